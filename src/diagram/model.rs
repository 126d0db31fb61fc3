//! The content of a picture, independent of its format.

use std::collections::BTreeSet;

use super::Copies;
use super::draft::{Draft, totals};
use super::words::{clean, counted};
use crate::config::elements::TopologyConfig;
use crate::config::label::{compare, product};
use crate::plan::unfold;

/// The steps of a gopher's round, in the order in which a cart passes through them.
pub const STEPS: [&str; 4] = ["load", "push", "unload", "return"];

/// Nodes, and the ways (crews, relays and requests) between them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub title: String,
    /// Number of elements of each type, counting every copy.
    pub totals: String,
    /// Nodes, sorted by role and then by name.
    pub nodes: Vec<DiagramNode>,
    /// Ways, upstream first, then by name. They form no cycle.
    pub ways: Vec<DiagramWay>,
}

/// The type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Pile,
    Dump,
    Incinerator,
    Requester,
    Balancer,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pile => "pile",
            Self::Dump => "dump",
            Self::Incinerator => "incinerator",
            Self::Requester => "requester",
            Self::Balancer => "balancer",
        }
    }
}

#[derive(Debug, Clone)]
pub struct DiagramNode {
    pub role: Role,
    pub name: String,
    /// Further lines of text below the name.
    pub notes: Vec<String>,
    /// The workers of a balancer, or the clients of a requester with a closed load.
    pub team: Option<Team>,
    /// `2 lanes`, if the node represents several copies.
    pub copies: Option<String>,
    /// True for a shared node of a topology with copies.
    pub shared: bool,
    /// The balancer that an incinerator asks, as an index into [`Graph::nodes`].
    pub asks: Option<usize>,
    /// Length of the longest path that leads to it, in ways.
    pub layer: usize,
}

/// The workers of a balancer or the clients of a requester.
#[derive(Debug, Clone)]
pub struct Team {
    pub count: u32,
    /// `10 workers` or `100 clients`.
    pub title: String,
    /// What each worker or client does, as lines of text.
    pub notes: Vec<String>,
}

impl Team {
    pub fn lines(&self) -> Vec<String> {
        [&self.title].into_iter().chain(&self.notes).cloned().collect()
    }
}

impl DiagramNode {
    /// Name, role, copies and notes as lines of text, without the team.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.name.clone(), self.role.word().to_owned()];
        lines.extend(self.copies.clone());
        lines.extend(self.shared.then(|| "shared by copies".to_owned()));
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

/// A connection between two nodes: a crew, a relay, or a requester's requests.
#[derive(Debug, Clone)]
pub struct DiagramWay {
    pub name: String,
    /// Index into [`Graph::nodes`].
    pub from: usize,
    /// Index into [`Graph::nodes`].
    pub to: usize,
    /// `2 lanes`, if the way represents several copies.
    pub copies: Option<String>,
    /// In a folded picture, the ends that refer to one particular copy, as lines of text.
    pub ends: Vec<String>,
    pub what: What,
}

impl DiagramWay {
    /// Name, copies, ends, and works or notes as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let (mut lines, more) = match &self.what {
            What::Crew(crew) if crew.work.is_empty() => (vec![self.name.clone()], Vec::new()),
            What::Crew(crew) => (vec![self.name.clone()], vec![crew.work.join(" · ")]),
            What::Relay(notes) => (vec![self.name.clone(), "relay".to_owned()], notes.clone()),
            What::Requests => (vec!["requests".to_owned()], Vec::new()),
        };
        lines.extend(self.copies.iter().chain(&self.ends).cloned());
        lines.extend(more);
        lines
    }
}

/// A crew or an incinerator that asks a balancer on behalf of books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Index into [`Graph::ways`].
    Crew(usize),
    /// Index into [`Graph::nodes`].
    Incinerator(usize),
}

/// What carries books or requests along a way.
#[derive(Debug, Clone)]
pub enum What {
    Crew(DiagramCrew),
    /// A way without gophers, with the most books at a time if that is set.
    Relay(Vec<String>),
    /// From a requester to its balancer. Drawings omit the name, which only identifies the way.
    Requests,
}

/// Gophers with their carts.
#[derive(Debug, Clone)]
pub struct DiagramCrew {
    /// One entry per distinct set of duties, in the order of first occurrence.
    pub gophers: Vec<Gophers>,
    pub carts: u32,
    /// `4 carts of 10 books`.
    pub load: String,
    /// Kinds of work, in order of execution; `asks desk` if a balancer does it.
    pub work: Vec<String>,
    /// Balancers that the crew asks, as indices into [`Graph::nodes`].
    pub asks: BTreeSet<usize>,
    /// Cost of each of [`STEPS`]; `None` if it is zero.
    pub times: [Option<String>; 4],
}

impl DiagramCrew {
    /// The gophers' duties and the costs of these as lines of text.
    pub fn lines(&self, group: &Gophers) -> Vec<String> {
        [group.line()].into_iter().chain(self.timed(|step| group.does[step])).collect()
    }

    /// Indices of the gophers that do a step.
    pub fn doing(&self, step: usize) -> impl Iterator<Item = usize> {
        let groups = self.gophers.iter().enumerate();
        groups.filter(move |(_, group)| group.does[step]).map(|(at, _)| at)
    }

    /// How carts pass between gophers: after which step, from which gophers, to which.
    pub fn passes(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..STEPS.len()).flat_map(move |step| {
            self.doing(step).flat_map(move |giver| {
                let takers = self.doing((step + 1) % STEPS.len());
                takers.filter(move |taker| *taker != giver).map(move |taker| (step, giver, taker))
            })
        })
    }

    /// `load 1 ms` for each selected step with a cost.
    pub fn timed(&self, steps: impl Fn(usize) -> bool) -> Vec<String> {
        let times = STEPS.iter().zip(&self.times).enumerate();
        times
            .filter(|(step, _)| steps(*step))
            .filter_map(|(_, (step, time))| Some(format!("{step} {}", time.as_ref()?)))
            .collect()
    }
}

/// Gophers with equal duties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gophers {
    pub count: usize,
    /// The duties, as a flag for each of [`STEPS`].
    pub does: [bool; 4],
}

impl Gophers {
    pub fn duties(&self) -> Vec<&'static str> {
        let duties = STEPS.into_iter().zip(self.does);
        duties.filter(|(_, does)| *does).map(|(step, _)| step).collect()
    }

    /// `gopher: load push` or `2 gophers: load`.
    pub fn line(&self) -> String {
        let who = match self.count {
            1 => "gopher".to_owned(),
            count => counted(count as u64, "gopher"),
        };
        format!("{who}: {}", self.duties().join(" "))
    }
}

impl Graph {
    pub fn new(config: &TopologyConfig, copies: Copies) -> Self {
        let unfolded;
        let (drawn, axes) = match copies {
            Copies::Folded => (config, Some(&config.copies)),
            Copies::Expanded => {
                unfolded = unfold(config);
                (&unfolded, None)
            }
        };
        let draft = Draft {
            shared: config.shared.iter().map(String::as_str).collect(),
            axes,
            has_copies: config.copies.values().any(|count| *count > 1),
            piles: product(&config.copies),
        };
        let mut graph = Self {
            title: clean(&config.name),
            totals: totals(config),
            nodes: draft.nodes(drawn),
            ways: Vec::new(),
        };
        graph.ways = draft.ways(drawn, &graph.nodes);
        graph.put_in_order();
        graph.put_balancers_behind();
        graph
    }

    /// Places balancers behind the crews and incinerators that ask them. Only an invalid config has
    /// a way out of a balancer; requests to that one are left out.
    fn put_balancers_behind(&mut self) {
        let outs = self.outs();
        let is_end = |node: &usize| outs[*node].is_empty();
        for way in &mut self.ways {
            if let What::Crew(crew) = &mut way.what {
                crew.asks.retain(is_end);
            }
        }
        for node in &mut self.nodes {
            node.asks = node.asks.filter(is_end);
        }
        for (asker, to) in self.asks() {
            let from = match asker {
                Asker::Crew(way) => self.ways[way].from,
                Asker::Incinerator(node) => node,
            };
            self.nodes[to].layer = self.nodes[to].layer.max(self.nodes[from].layer + 1);
        }
    }

    /// Crews and incinerators that ask a balancer, with the index of that one in
    /// [`Graph::nodes`].
    pub fn asks(&self) -> Vec<(Asker, usize)> {
        let crews = self.ways.iter().enumerate().flat_map(|(at, way)| match &way.what {
            What::Crew(crew) => crew.asks.iter().map(|to| (Asker::Crew(at), *to)).collect(),
            What::Relay(_) | What::Requests => Vec::new(),
        });
        let fires = self.nodes.iter().enumerate();
        let fires = fires.filter_map(|(at, node)| Some((Asker::Incinerator(at), node.asks?)));
        crews.chain(fires).collect()
    }

    /// For each node, the ways out of it, as indices into [`Graph::ways`] in ascending order.
    pub fn outs(&self) -> Vec<Vec<usize>> {
        let mut outs = vec![Vec::new(); self.nodes.len()];
        for (at, way) in self.ways.iter().enumerate() {
            outs[way.from].push(at);
        }
        outs
    }

    /// Computes layers (longest path) in topological order and sorts the ways. A way that closes a
    /// cycle is removed.
    fn put_in_order(&mut self) {
        let outs = self.outs();
        let mut left = vec![0usize; self.nodes.len()];
        for way in &self.ways {
            left[way.to] += 1;
        }
        let mut done = vec![false; self.nodes.len()];
        let mut dropped = BTreeSet::new();
        let mut ready: Vec<usize> = (0..self.nodes.len()).filter(|at| left[*at] == 0).collect();
        ready.reverse();
        let mut next = 0;
        loop {
            let Some(node) = ready.pop() else {
                while next < done.len() && done[next] {
                    next += 1;
                }
                if next == done.len() {
                    break;
                }
                // Only cycles are left: break this one by dropping the ways into its first node.
                let cut = |(at, way): (usize, &DiagramWay)| {
                    (way.to == next && !done[way.from]).then_some(at)
                };
                dropped.extend(self.ways.iter().enumerate().filter_map(cut));
                ready.push(next);
                left[next] = 0;
                continue;
            };
            done[node] = true;
            let layer = self.nodes[node].layer + 1;
            for way in &outs[node] {
                let to = self.ways[*way].to;
                if dropped.contains(way) || done[to] {
                    continue;
                }
                self.nodes[to].layer = layer.max(self.nodes[to].layer);
                left[to] -= 1;
                if left[to] == 0 {
                    ready.push(to);
                }
            }
        }
        let mut at = 0;
        self.ways.retain(|_| {
            at += 1;
            !dropped.contains(&(at - 1))
        });
        let nodes = &self.nodes;
        self.ways.sort_by(|a, b| {
            let layer = |way: &DiagramWay| nodes[way.from].layer;
            layer(a).cmp(&layer(b)).then_with(|| compare(&a.name, &b.name))
        });
    }
}
