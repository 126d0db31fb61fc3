//! Checks the graph of nodes and crews, and sorts it topologically.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Validator, balancing};
use crate::config::elements::TopologyConfig;
use crate::config::label::{base, compare};
use crate::config::{Code, nearest};

pub(super) struct Order<'a> {
    /// Piles and dumps, upstream before downstream.
    pub piles: Vec<&'a str>,
    /// Crews and relays, upstream before downstream.
    pub ways: Vec<CrewOrRelay<'a>>,
}

/// A crew or a relay, which carries books from one node to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct CrewOrRelay<'a> {
    /// `crews` or `relays`.
    pub group: &'static str,
    pub name: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    /// Maximum number of books at once; `None` if unknown.
    books: Option<u64>,
    bytes: Option<u64>,
}

impl CrewOrRelay<'_> {
    /// How messages refer to it, such as "the crew `x`".
    fn what(&self) -> String {
        let word = if self.is_relay() { "relay" } else { "crew" };
        format!("the {word} `{}`", self.name)
    }

    pub fn is_relay(&self) -> bool {
        self.group == "relays"
    }
}

fn ways(config: &TopologyConfig) -> Vec<CrewOrRelay<'_>> {
    let crews = config.crews.iter().map(|(name, crew)| CrewOrRelay {
        group: "crews",
        name,
        from: &crew.from,
        to: &crew.to,
        books: Some(crew.carts.books),
        bytes: crew.carts.bytes,
    });
    let relays = config.relays.iter().map(|(name, relay)| CrewOrRelay {
        group: "relays",
        name,
        from: &relay.from,
        to: &relay.to,
        books: relay.books,
        bytes: None,
    });
    crews.chain(relays).collect()
}

/// Checks the graph; returns its topological order unless it has an error. With `holes`, some node
/// could not be read, so checks that need the whole graph are skipped.
pub(super) fn check<'a>(
    validator: &mut Validator<'_>,
    config: &'a TopologyConfig,
    holes: bool,
) -> Option<Order<'a>> {
    let mut whole = balancing::graph(validator, config, holes) && !holes;
    let ways = ways(config);
    let nodes = (config.piles.keys().chain(config.dumps.keys()))
        .chain(config.incinerators.keys())
        .chain(config.balancers.keys());
    let bases: HashSet<&str> = nodes.map(|name| base(name)).collect();
    for way in &ways {
        whole &= ends(validator, config, way, &bases);
        for end in [way.from, way.to] {
            fits(validator, config, way, end);
        }
    }
    roomy(validator, config, &ways);
    if !whole {
        // With an unresolved end, nodes that seem disconnected may not be.
        return None;
    }
    if moves(config) {
        reached(validator, config, &ways);
    }
    order(validator, config, ways)
}

/// True if the topology moves books. A config with only balancers and requesters does not.
fn moves(config: &TopologyConfig) -> bool {
    let asks = !(config.balancers.is_empty() && config.requesters.is_empty());
    let carries = !(config.piles.is_empty()
        && config.dumps.is_empty()
        && config.incinerators.is_empty()
        && config.crews.is_empty()
        && config.relays.is_empty());
    carries || !asks
}

/// Checks the ends of a way; true if both are valid.
fn ends(
    validator: &mut Validator<'_>,
    config: &TopologyConfig,
    way: &CrewOrRelay<'_>,
    bases: &HashSet<&str>,
) -> bool {
    let CrewOrRelay { group, name, from, to, .. } = *way;
    let (from_path, to_path) = ([group, name, "from"], [group, name, "to"]);
    let mut mistakes = Vec::new();
    let mut report = |mistake| mistakes.push(mistake);
    let error = |code, path: &[&str], message: String| validator.error(code, path, message);
    let pile = |end: &str| config.piles.contains_key(end);
    let dump = |end: &str| config.dumps.contains_key(end);
    let fire = |end: &str| config.incinerators.contains_key(end);
    let balancer = |end: &str| config.balancers.contains_key(end);
    // `unfold` reports names that refer to a nonexistent copy.
    let told = |end: &str| bases.contains(base(end));
    let mut right = true;

    if fire(from) {
        let message = format!("`{from}` is an incinerator: nothing comes out of it");
        report(error(Code::WrongEnd, &from_path, message));
    } else if balancer(from) {
        let message = format!("`{from}` is a balancer: it contains no books");
        report(error(Code::WrongEnd, &from_path, message));
    } else if !pile(from) && !dump(from) {
        right = false;
        if !told(from) {
            let known = config.piles.keys().chain(config.dumps.keys());
            let mistake =
                error(Code::UnknownNode, &from_path, format!("no pile or dump is called `{from}`"));
            report(mistake.suggest(nearest(base(from), known.map(|name| base(name)))));
        }
    }
    if from == to && (pile(to) || dump(to)) {
        let message = format!("{} carries from `{to}` to itself", way.what());
        report(error(Code::WrongEnd, &to_path, message));
    } else if pile(to) && way.is_relay() {
        if config.piles[to].source.is_some() {
            let message = format!("the pile `{to}` has a source: a relay needs a pile without one");
            report(error(Code::WrongEnd, &to_path, message));
        }
    } else if pile(to) {
        let message = format!("`{to}` is a pile: a crew unloads into a dump or an incinerator");
        let help = match config.piles[to].source {
            Some(_) => "a crew can't fill a pile that has a source: unload into a dump or an \
                        incinerator"
                .into(),
            None => format!("make it a dump: `[dumps.{to}]`"),
        };
        report(error(Code::WrongEnd, &to_path, message).help(help));
    } else if balancer(to) {
        let message = format!("`{to}` is a balancer: crews can't unload into it");
        report(error(Code::WrongEnd, &to_path, message));
    } else if !dump(to) && !fire(to) {
        right = false;
        if !told(to) {
            let known = config.dumps.keys().chain(config.incinerators.keys());
            let mistake = error(
                Code::UnknownNode,
                &to_path,
                format!("no dump or incinerator is called `{to}`"),
            );
            report(mistake.suggest(nearest(base(to), known.map(|name| base(name)))));
        }
    }
    right &= mistakes.is_empty();
    validator.found.extend(mistakes);
    right
}

/// Checks that a full cart fits into the dump at an end of its way.
fn fits(validator: &mut Validator<'_>, config: &TopologyConfig, way: &CrewOrRelay<'_>, end: &str) {
    let Some(dump) = config.dumps.get(end) else {
        return;
    };
    let pairs =
        [("books", way.books, dump.capacity.books), ("bytes", way.bytes, dump.capacity.bytes)];
    for (key, cart, room) in pairs {
        if let (Some(cart), Some(room)) = (cart, room)
            && cart > room
            && room > 0
        {
            let message = format!(
                "a cart of {} ({cart} {key}) is larger than the dump `{end}` ({room} {key})",
                way.what()
            );
            let other = validator.locate(&["dumps", end, "capacity", key]);
            let carts: &[&str] = if way.is_relay() { &[] } else { &["carts"] };
            let path = [&[way.group, way.name], carts, &[key]].concat();
            validator.report(
                validator
                    .error(Code::CartTooLarge, &path, message)
                    .related(other, "the dump's capacity"),
            );
        }
    }
}

/// Warns of dumps too small for one cartload of each side: either side would have to wait for the
/// other.
fn roomy(validator: &mut Validator<'_>, config: &TopologyConfig, ways: &[CrewOrRelay<'_>]) {
    let mut fed: HashMap<&str, u64> = HashMap::new();
    let mut emptied: HashMap<&str, u64> = HashMap::new();
    for way in ways {
        let books = way.books.unwrap_or(1);
        for (most, end) in [(&mut fed, way.to), (&mut emptied, way.from)] {
            let most = most.entry(end).or_default();
            *most = books.max(*most);
        }
    }
    for (name, dump) in &config.dumps {
        if let (Some(room), Some(&fed), Some(&emptied)) =
            (dump.capacity.books, fed.get(name.as_str()), emptied.get(name.as_str()))
            && room >= fed.max(emptied)
            && room < fed.saturating_add(emptied)
        {
            let message = format!(
                "the dump `{name}` holds {room} books, less than a cartload of each side ({fed} + \
                 {emptied}): the sides wait for each other"
            );
            validator.report(validator.warning(
                Code::SmallDump,
                &["dumps", name, "capacity", "books"],
                message,
            ));
        }
    }
}

/// Checks that each pile is emptied, and each dump and incinerator is filled.
fn reached(validator: &mut Validator<'_>, config: &TopologyConfig, ways: &[CrewOrRelay<'_>]) {
    let from: HashSet<&str> = ways.iter().map(|way| way.from).collect();
    let to: HashSet<&str> = ways.iter().map(|way| way.to).collect();
    if config.piles.is_empty() {
        validator.ensure(
            false,
            Code::DeadEnd,
            &["piles"],
            "there is no pile, so there is nothing to carry",
        );
    }
    if config.incinerators.is_empty() {
        let message = "no path leads from a pile to an incinerator: there is none";
        validator.ensure(false, Code::DeadEnd, &["incinerators"], message);
    }
    let sources = (config.piles.keys().map(|name| ("piles", "pile", name)))
        .chain(config.dumps.keys().map(|name| ("dumps", "dump", name)));
    for (group, word, name) in sources {
        if !from.contains(name.as_str()) {
            let message = format!(
                "nothing empties the {word} `{name}`: no path leads from it to an incinerator"
            );
            validator.report(validator.error(Code::DeadEnd, &[group, name], message).at_key());
        }
    }
    for name in config.dumps.keys().filter(|name| !to.contains(name.as_str())) {
        let mistake = validator.error(
            Code::DeadEnd,
            &["dumps", name],
            format!("nothing fills the dump `{name}`"),
        );
        validator.report(mistake.at_key());
    }
    for name in config.incinerators.keys().filter(|name| !to.contains(name.as_str())) {
        let message = format!("nothing feeds the incinerator `{name}`");
        validator
            .report(validator.warning(Code::UnusedNode, &["incinerators", name], message).at_key());
    }
}

/// Sorts piles and ways topologically, or reports each cycle and returns `None`.
fn order<'a>(
    validator: &mut Validator<'_>,
    config: &'a TopologyConfig,
    mut ways: Vec<CrewOrRelay<'a>>,
) -> Option<Order<'a>> {
    let names = config.piles.keys().chain(config.dumps.keys());
    let mut feeders: BTreeMap<&str, BTreeSet<&str>> =
        names.map(|name| (name.as_str(), BTreeSet::new())).collect();
    let mut fed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for way in &ways {
        if let Some(feeders) = feeders.get_mut(way.to) {
            feeders.insert(way.from);
            fed.entry(way.from).or_default().insert(way.to);
        }
    }
    let mut open: BTreeSet<Counted<'_>> = (feeders.iter())
        .filter(|(_, feeders)| feeders.is_empty())
        .map(|(name, _)| Counted(name))
        .collect();
    let mut left = feeders;
    let mut piles = Vec::new();
    while let Some(Counted(name)) = open.pop_first() {
        piles.push(name);
        left.remove(name);
        for below in fed.get(name).into_iter().flatten() {
            if let Some(above) = left.get_mut(below) {
                above.remove(name);
                if above.is_empty() {
                    open.insert(Counted(below));
                }
            }
        }
    }
    if !left.is_empty() {
        cycles(validator, &ways, &left);
        return None;
    }
    let place: HashMap<&str, usize> =
        piles.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    ways.sort_by_cached_key(|way| (place.get(way.from).copied(), Counted(way.name)));
    Some(Order { piles, ways })
}

/// A name with natural order: `x[lane=2]` before `x[lane=10]`.
#[derive(PartialEq, Eq)]
struct Counted<'a>(&'a str);

impl Ord for Counted<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare(self.0, other.0)
    }
}

impl PartialOrd for Counted<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Reports cycles. Every node of `left` has a feeder in `left`, so a walk upstream from any of them
/// ends in a cycle.
fn cycles(
    validator: &mut Validator<'_>,
    ways: &[CrewOrRelay<'_>],
    left: &BTreeMap<&str, BTreeSet<&str>>,
) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut back: BTreeMap<(&str, &str), &CrewOrRelay<'_>> = BTreeMap::new();
    for way in ways {
        back.entry((way.from, way.to)).or_insert(way);
    }
    for start in left.keys() {
        let mut walk = Vec::new();
        let mut at = *start;
        while seen.insert(at) {
            walk.push(at);
            let Some(up) = left.get(at).and_then(|feeders| feeders.first()) else {
                break;
            };
            at = up;
        }
        let Some(first) = walk.iter().position(|name| *name == at) else {
            continue;
        };
        // The walk went upstream: reverse it, and start at the smallest name.
        let mut cycle: Vec<&str> = walk[first..].iter().rev().copied().collect();
        let least = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
        cycle.rotate_left(least);
        cycle.push(cycle[0]);
        let message = format!("books would circulate forever: {}", cycle.join(" -> "));
        let mistake = match back.get(&(cycle[cycle.len() - 2], cycle[0])) {
            Some(way) => validator.error(Code::Cycle, &[way.group, way.name, "to"], message),
            None => validator.error(Code::Cycle, &["dumps", cycle[0]], message).at_key(),
        };
        validator.report(mistake.label("this closes the cycle"));
    }
}
