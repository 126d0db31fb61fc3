//! The content of a picture, independent of its format.

use std::collections::{BTreeMap, BTreeSet};

use super::Copies;
use super::requests::{asked, balanced};
use super::words::{capacity, clean, counted, kind, size, step};
use crate::config::elements::{CrewConfig, Exclusive, TopologyConfig};
use crate::config::label::{base, compare, product};
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
    /// `x 2 lane`, if the node represents several copies.
    pub copies: Option<String>,
    /// True for a shared node of a topology with copies.
    pub shared: bool,
    /// Length of the longest path that leads to it, in ways.
    pub layer: usize,
}

impl DiagramNode {
    /// Name, role, copies and notes as lines of text.
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
    /// `x 2 lane`, if the way represents several copies.
    pub copies: Option<String>,
    /// In a folded picture, the ends that refer to one particular copy, as lines of text.
    pub ends: Vec<String>,
    pub what: What,
}

impl DiagramWay {
    /// Name, copies, ends, and works or notes as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let (word, more) = match &self.what {
            What::Crew(crew) if crew.work.is_empty() => (None, Vec::new()),
            What::Crew(crew) => (None, vec![crew.work.join(" · ")]),
            What::Relay { word, notes } => (Some((*word).to_owned()), notes.clone()),
        };
        let lines = [self.name.clone()].into_iter().chain(word);
        lines.chain(self.copies.iter().chain(&self.ends).cloned()).chain(more).collect()
    }
}

/// What carries books or requests along a way.
#[derive(Debug, Clone)]
pub enum What {
    Crew(DiagramCrew),
    /// A way without gophers.
    Relay {
        /// `relay` or `requests`.
        word: &'static str,
        /// Most books at a time, if set.
        notes: Vec<String>,
    },
}

/// Gophers with their carts.
#[derive(Debug, Clone)]
pub struct DiagramCrew {
    /// One entry per distinct set of duties, in the order of first occurrence.
    pub gophers: Vec<Gophers>,
    pub carts: u32,
    /// `4 carts of 10 books`.
    pub load: String,
    /// Kinds of work, in order of execution.
    pub work: Vec<String>,
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
        graph
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

struct Draft<'a> {
    shared: BTreeSet<&'a str>,
    /// The axes of the whole topology if copies are folded; `None` if they are expanded.
    axes: Option<&'a BTreeMap<String, u32>>,
    has_copies: bool,
    /// Copies of each pile that is not shared.
    piles: u64,
}

impl Draft<'_> {
    fn is_shared(&self, name: &str) -> bool {
        self.has_copies && self.shared.contains(name)
    }

    fn copies(&self, name: &str, own: &BTreeMap<String, u32>) -> Option<String> {
        let all = self.axes.filter(|_| !self.shared.contains(name))?;
        let parts: Vec<String> = (all.iter().chain(own))
            .map(|(axis, count)| format!("x {count} {}", clean(axis)))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// `dealt to 2 piles`, if one reader distributes a source's books among copies of a pile.
    fn dealt(&self, name: &str) -> Option<String> {
        let copied = self.piles > 1 && !self.shared.contains(base(name));
        copied.then(|| format!("dealt to {}", counted(self.piles, "pile")))
    }

    fn nodes(&self, config: &TopologyConfig) -> Vec<DiagramNode> {
        let node = |role, name: &String, notes| DiagramNode {
            role,
            name: clean(name),
            notes,
            copies: self.copies(name, &BTreeMap::new()),
            shared: self.is_shared(name),
            layer: 0,
        };
        let holds = |of| capacity(of).map(|all| format!("holds {all}"));
        let piles = config.piles.iter().map(|(name, pile)| {
            let mut notes = vec![match &pile.source {
                Some(source) => kind(source),
                None => "no source".to_owned(),
            }];
            if pile.source.is_some() {
                notes.extend(self.dealt(name));
            }
            notes.extend(holds(pile.capacity));
            notes.extend(slots(pile.exclusive.into()));
            node(Role::Pile, name, notes)
        });
        let dumps = config.dumps.iter().map(|(name, dump)| {
            let mut notes = Vec::from_iter(holds(dump.capacity));
            notes.extend(slots(dump.exclusive));
            node(Role::Dump, name, notes)
        });
        let fires = config.incinerators.iter().map(|(name, fire)| {
            let mut notes = vec![kind(&fire.burn)];
            notes.extend(slots(fire.exclusive.into()));
            node(Role::Incinerator, name, notes)
        });
        let requesters = config.requesters.iter().map(|(name, requester)| {
            let notes = asked(&requester.load);
            node(Role::Requester, name, notes)
        });
        let balancers = (config.balancers.iter())
            .map(|(name, balancer)| node(Role::Balancer, name, balanced(balancer)));
        let books = piles.chain(dumps).chain(fires);
        let mut nodes: Vec<DiagramNode> = books.chain(requesters).chain(balancers).collect();
        nodes.sort_by(|a, b| {
            let role = |node: &DiagramNode| node.role as u8;
            role(a).cmp(&role(b)).then_with(|| compare(&a.name, &b.name))
        });
        nodes
    }

    fn ways(&self, config: &TopologyConfig, nodes: &[DiagramNode]) -> Vec<DiagramWay> {
        let known: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let find = |end: &str| {
            let end = clean(end);
            known.get(&*end).or_else(|| known.get(base(&end))).copied()
        };
        let way = |name: &String, from: &String, to: &String, own, what| {
            // A folded picture has one node for all copies, so an end at one copy needs a note.
            let certain = |word: &str, end: &String| {
                (self.axes.is_some() && base(end) != end).then(|| format!("{word} {}", clean(end)))
            };
            Some(DiagramWay {
                name: clean(name),
                from: find(from)?,
                to: find(to)?,
                copies: self.copies(name, own),
                ends: certain("from", from).into_iter().chain(certain("to", to)).collect(),
                what,
            })
        };
        let crews = config.crews.iter().filter_map(|(name, crew)| {
            way(name, &crew.from, &crew.to, &crew.copies, What::Crew(described(crew)))
        });
        let none = BTreeMap::new();
        let relays = config.relays.iter().filter_map(|(name, relay)| {
            let notes = relay.books.map(|books| format!("{} at once", counted(books, "book")));
            let notes = notes.into_iter().collect();
            way(name, &relay.from, &relay.to, &none, What::Relay { word: "relay", notes })
        });
        let asking = config.requesters.iter().filter_map(|(name, requester)| {
            let what = What::Relay { word: "requests", notes: Vec::new() };
            let mut way = way(name, name, &requester.to, &none, what)?;
            // Some formats would merge a node and a way of equal name.
            way.name = format!("{} to {}", way.name, clean(&requester.to));
            Some(way)
        });
        crews.chain(relays).chain(asking).collect()
    }
}

fn described(crew: &CrewConfig) -> DiagramCrew {
    let mut gophers: Vec<Gophers> = Vec::new();
    for duties in &crew.gophers {
        let does = STEPS.map(|step| duties.iter().any(|duty| duty == step));
        match gophers.iter_mut().find(|group| group.does == does) {
            Some(group) => group.count += 1,
            None => gophers.push(Gophers { count: 1, does }),
        }
    }
    let carts = crew.carts;
    let mut load =
        format!("{} of {}", counted(carts.count.into(), "cart"), counted(carts.books, "book"));
    if let Some(bytes) = carts.bytes {
        load += &format!(", {}", size(bytes));
    }
    let steps = &crew.steps;
    DiagramCrew {
        gophers,
        carts: carts.count,
        load,
        work: crew.work.iter().map(|work| clean(&work.kind)).collect(),
        times: [&steps.load, &steps.push, &steps.unload, &steps.return_].map(step),
    }
}

/// Limits on concurrent loads and unloads, as lines of text.
fn slots(of: Exclusive) -> impl Iterator<Item = String> {
    let slots = [("loads", of.load), ("unloads", of.unload)].into_iter();
    slots.filter_map(|(word, slots)| Some(format!("{word} {} at a time", slots?)))
}

/// `16 gophers, 16 carts, 2 piles, 2 dumps, 2 incinerators`.
fn totals(config: &TopologyConfig) -> String {
    let all = product(&config.copies);
    let times = |name: &String| if config.shared.contains(name) { 1 } else { all };
    let mut counts = [
        ("gopher", 0u64),
        ("cart", 0),
        ("pile", 0),
        ("dump", 0),
        ("incinerator", 0),
        ("relay", 0),
        ("requester", 0),
        ("balancer", 0),
        ("worker", 0),
    ];
    let mut add = |at: usize, more: u64| counts[at].1 = counts[at].1.saturating_add(more);
    for (name, crew) in &config.crews {
        let crews = times(name).saturating_mul(product(&crew.copies));
        add(0, crews.saturating_mul(crew.gophers.len() as u64));
        add(1, crews.saturating_mul(crew.carts.count.into()));
    }
    config.piles.keys().for_each(|name| add(2, times(name)));
    config.dumps.keys().for_each(|name| add(3, times(name)));
    config.incinerators.keys().for_each(|name| add(4, times(name)));
    config.relays.keys().for_each(|name| add(5, times(name)));
    config.requesters.keys().for_each(|name| add(6, times(name)));
    for (name, balancer) in &config.balancers {
        add(7, times(name));
        add(8, times(name).saturating_mul(balancer.workers.count.into()));
    }
    let parts = counts.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts.map(|(word, count)| counted(*count, word)).collect();
    parts.join(", ")
}
