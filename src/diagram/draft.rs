//! Turns a config into the nodes and ways of a picture.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{DiagramCrew, DiagramNode, DiagramWay, Gophers, Role, STEPS, What};
use super::requests::{asked, balanced, clients, workers};
use super::words::{capacity, clean, copies, counted, kind, size, step};
use crate::config::elements::{CrewConfig, Exclusive, KindConfig, LoadConfig, TopologyConfig};
use crate::config::label::{base, compare, product};
use crate::plan::named;

/// Options for the drawing of nodes.
pub struct Draft<'a> {
    pub shared: BTreeSet<&'a str>,
    /// The axes of the whole topology if copies are folded; `None` if they are expanded.
    pub axes: Option<&'a BTreeMap<String, u32>>,
    pub has_copies: bool,
    /// Copies of each pile that is not shared.
    pub piles: u64,
}

impl Draft<'_> {
    fn is_shared(&self, name: &str) -> bool {
        self.has_copies && self.shared.contains(name)
    }

    fn copies(&self, name: &str, own: &BTreeMap<String, u32>) -> Option<String> {
        let all = self.axes.filter(|_| !self.shared.contains(name))?;
        let parts: Vec<String> =
            (all.iter().chain(own)).map(|(axis, count)| copies(*count, &clean(axis))).collect();
        (!parts.is_empty()).then(|| parts.join(" × "))
    }

    /// `dealt to 2 piles`, if one reader distributes a source's books among copies of a pile.
    fn dealt(&self, name: &str) -> Option<String> {
        let copied = self.piles > 1 && !self.shared.contains(base(name));
        copied.then(|| format!("dealt to {}", counted(self.piles, "pile")))
    }

    pub fn nodes(&self, config: &TopologyConfig) -> Vec<DiagramNode> {
        let node = |role, name: &String, notes| DiagramNode {
            role,
            name: clean(name),
            notes,
            team: None,
            copies: self.copies(name, &BTreeMap::new()),
            shared: self.is_shared(name),
            asks: None,
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
            let team = clients(&requester.load);
            DiagramNode { team, ..node(Role::Requester, name, asked(&requester.load)) }
        });
        let balancers = config.balancers.iter().map(|(name, balancer)| {
            let team = Some(workers(&balancer.workers));
            DiagramNode { team, ..node(Role::Balancer, name, balanced(balancer)) }
        });
        let books = piles.chain(dumps).chain(fires);
        let mut nodes: Vec<DiagramNode> = books.chain(requesters).chain(balancers).collect();
        nodes.sort_by(|a, b| {
            let role = |node: &DiagramNode| node.role as u8;
            role(a).cmp(&role(b)).then_with(|| compare(&a.name, &b.name))
        });
        let asked: BTreeMap<String, Option<usize>> = {
            let balancers = balancers_of(&nodes);
            let fires = config.incinerators.iter();
            fires.map(|(name, fire)| (clean(name), balancer(&balancers, &fire.burn))).collect()
        };
        for node in nodes.iter_mut().filter(|node| node.role == Role::Incinerator) {
            node.asks = asked.get(&node.name).copied().flatten();
        }
        nodes
    }

    pub fn ways(&self, config: &TopologyConfig, nodes: &[DiagramNode]) -> Vec<DiagramWay> {
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
        let balancers = balancers_of(nodes);
        let crews = config.crews.iter().filter_map(|(name, crew)| {
            let mut what = described(crew);
            what.asks = crew.work.iter().filter_map(|work| balancer(&balancers, work)).collect();
            way(name, &crew.from, &crew.to, &crew.copies, What::Crew(what))
        });
        let none = BTreeMap::new();
        let relays = config.relays.iter().filter_map(|(name, relay)| {
            let notes = relay.books.map(|books| format!("{} at once", counted(books, "book")));
            let notes = notes.into_iter().collect();
            way(name, &relay.from, &relay.to, &none, What::Relay(notes))
        });
        let asking = config.requesters.iter().filter_map(|(name, requester)| {
            let mut way = way(name, name, &requester.to, &none, What::Requests)?;
            // Some formats would merge a node and a way of equal name.
            way.name = format!("{} to {}", way.name, clean(&requester.to));
            Some(way)
        });
        crews.chain(relays).chain(asking).collect()
    }
}

fn balancers_of(nodes: &[DiagramNode]) -> BTreeMap<&str, usize> {
    let nodes = nodes.iter().enumerate().filter(|(_, node)| node.role == Role::Balancer);
    nodes.map(|(at, node)| (node.name.as_str(), at)).collect()
}

/// Index of the balancer that a work or a burn sends requests to.
fn balancer(balancers: &BTreeMap<&str, usize>, kind: &KindConfig) -> Option<usize> {
    let to = clean(named(kind)?);
    balancers.get(&*to).or_else(|| balancers.get(base(&to))).copied()
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
        work: crew.work.iter().map(kind).collect(),
        asks: BTreeSet::new(),
        times: [&steps.load, &steps.push, &steps.unload, &steps.return_].map(step),
    }
}

/// Limits on concurrent loads and unloads, as lines of text.
fn slots(of: Exclusive) -> impl Iterator<Item = String> {
    let slots = [("loads", of.load), ("unloads", of.unload)].into_iter();
    slots.filter_map(|(word, slots)| Some(format!("{word} {} at a time", slots?)))
}

/// `16 gophers, 16 carts, 2 piles, 2 dumps, 2 incinerators`: copies are counted, too.
pub fn totals(config: &TopologyConfig) -> String {
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
        ("client", 0),
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
    for (name, requester) in &config.requesters {
        add(6, times(name));
        if let LoadConfig::Closed { count, .. } = requester.load {
            add(7, times(name).saturating_mul(count.into()));
        }
    }
    for (name, balancer) in &config.balancers {
        add(8, times(name));
        add(9, times(name).saturating_mul(balancer.workers.count.into()));
    }
    let parts = counts.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts.map(|(word, count)| counted(*count, word)).collect();
    parts.join(", ")
}
