//! Judges how nodes hang together, and puts them in order.

use std::collections::{BTreeMap, BTreeSet};

use super::Judge;
use crate::config::nearest;
use crate::config::schema::{CrewConfig, TopologyConfig};

/// Names in topological order.
pub(super) struct Order<'a> {
    /// Piles and dumps, upstream before downstream.
    pub piles: Vec<&'a str>,
    /// Crews, upstream before downstream.
    pub crews: Vec<&'a str>,
}

/// Reports what is wrong with the graph; the order of its nodes if there is one.
pub(super) fn check<'a>(
    judge: &mut Judge<'_>,
    config: &'a TopologyConfig,
    holes: bool,
) -> Option<Order<'a>> {
    let mut whole = !holes;
    for (name, crew) in &config.crews {
        whole &= ends(judge, config, name, crew);
        for end in [&crew.from, &crew.to] {
            fits(judge, config, name, crew, end);
        }
    }
    roomy(judge, config);
    if !whole {
        // With an end that leads nowhere, whatever seems cut off may not be.
        return None;
    }
    reached(judge, config);
    order(judge, config)
}

/// Judges the ends of a crew; true if both are right.
fn ends(judge: &mut Judge<'_>, config: &TopologyConfig, name: &str, crew: &CrewConfig) -> bool {
    let (from, to) = (crew.from.as_str(), crew.to.as_str());
    let (from_path, to_path) = (["crews", name, "from"], ["crews", name, "to"]);
    let mut right = true;
    let mut report = |mistake| {
        right = false;
        judge.found.push(mistake);
    };
    let origin = |path: &[&str]| (judge.locate)(path);
    let error = |path: &[&str], message: String| {
        crate::config::Diagnostic::error(path.join("."), origin(path), message)
    };
    let pile = |end: &str| config.piles.contains_key(end);
    let dump = |end: &str| config.dumps.contains_key(end);
    let fire = |end: &str| config.incinerators.contains_key(end);

    if fire(from) {
        let message = format!("`{from}` is an incinerator: nothing comes out of it");
        report(error(&from_path, message));
    } else if !pile(from) && !dump(from) {
        let known = config.piles.keys().chain(config.dumps.keys());
        let mistake = error(&from_path, format!("no pile or dump is called `{from}`"));
        report(mistake.suggest(nearest(from, known.map(String::as_str))));
    }
    if from == to && (pile(to) || dump(to)) {
        let message = format!("the crew `{name}` carries from `{to}` to itself");
        report(error(&to_path, message));
    } else if pile(to) {
        let message = format!("`{to}` is a pile: a crew unloads into a dump or an incinerator");
        let help = match config.piles[to].source {
            Some(_) => {
                "a pile with a source is no dump: put a dump between, or another incinerator".into()
            }
            None => format!("make it a dump: `[dumps.{to}]`"),
        };
        report(error(&to_path, message).help(help));
    } else if !dump(to) && !fire(to) {
        let known = config.dumps.keys().chain(config.incinerators.keys());
        let mistake = error(&to_path, format!("no dump or incinerator is called `{to}`"));
        report(mistake.suggest(nearest(to, known.map(String::as_str))));
    }
    right
}

/// Judges a crew's carts against a dump at one of its ends.
fn fits(judge: &mut Judge<'_>, config: &TopologyConfig, name: &str, crew: &CrewConfig, end: &str) {
    let Some(dump) = config.dumps.get(end) else {
        return;
    };
    let pairs = [
        ("books", Some(crew.carts.books), dump.capacity.books),
        ("bytes", crew.carts.bytes, dump.capacity.bytes),
    ];
    for (key, cart, room) in pairs {
        if let (Some(cart), Some(room)) = (cart, room)
            && cart > room
            && room > 0
        {
            let message = format!(
                "a cart of the crew `{name}` ({cart} {key}) is larger than the dump `{end}` ({room} {key})"
            );
            let other = (judge.locate)(&["dumps", end, "capacity", key]);
            let mistake = judge
                .error(&["crews", name, "carts", key], message)
                .related(other, "the dump's capacity");
            judge.report(mistake);
        }
    }
}

/// Warns of dumps that hold no cartload of each side at once: the sides then wait for each other.
fn roomy(judge: &mut Judge<'_>, config: &TopologyConfig) {
    for (name, dump) in &config.dumps {
        let most = |end: fn(&CrewConfig) -> &String| {
            (config.crews.values())
                .filter(|crew| end(crew) == name)
                .map(|crew| crew.carts.books)
                .max()
        };
        if let (Some(room), Some(fed), Some(emptied)) = (
            dump.capacity.books,
            most(|crew| &crew.to),
            most(|crew| &crew.from),
        ) && room >= fed.max(emptied)
            && room < fed.saturating_add(emptied)
        {
            let message = format!(
                "the dump `{name}` holds {room} books, less than a cartload of each side ({fed} + {emptied}): they wait for each other"
            );
            let warning = judge.warning(&["dumps", name, "capacity", "books"], message);
            judge.report(warning);
        }
    }
}

/// Judges what nobody fills, and what nobody empties.
fn reached(judge: &mut Judge<'_>, config: &TopologyConfig) {
    let from: BTreeSet<&str> = config
        .crews
        .values()
        .map(|crew| crew.from.as_str())
        .collect();
    let to: BTreeSet<&str> = config.crews.values().map(|crew| crew.to.as_str()).collect();
    if config.piles.is_empty() {
        judge.ensure(
            false,
            &["piles"],
            "there is no pile, so there is nothing to carry",
        );
    }
    if config.incinerators.is_empty() {
        let message = "no path leads from a pile to a fire: there is no incinerator";
        judge.ensure(false, &["incinerators"], message);
    }
    let sources = (config.piles.keys().map(|name| ("piles", "pile", name)))
        .chain(config.dumps.keys().map(|name| ("dumps", "dump", name)));
    for (group, word, name) in sources {
        if !from.contains(name.as_str()) {
            let message =
                format!("nobody empties the {word} `{name}`: no path leads from it to a fire");
            let mistake = judge.error(&[group, name], message).at_key();
            judge.report(mistake);
        }
    }
    for name in config
        .dumps
        .keys()
        .filter(|name| !to.contains(name.as_str()))
    {
        let mistake = judge.error(&["dumps", name], format!("nobody fills the dump `{name}`"));
        judge.report(mistake.at_key());
    }
    for name in config
        .incinerators
        .keys()
        .filter(|name| !to.contains(name.as_str()))
    {
        let message = format!("nobody feeds the incinerator `{name}`");
        let warning = judge.warning(&["incinerators", name], message).at_key();
        judge.report(warning);
    }
}

/// Orders piles and crews, or reports each cycle.
fn order<'a>(judge: &mut Judge<'_>, config: &'a TopologyConfig) -> Option<Order<'a>> {
    let names = config.piles.keys().chain(config.dumps.keys());
    let mut feeders: BTreeMap<&str, BTreeSet<&str>> =
        names.map(|name| (name.as_str(), BTreeSet::new())).collect();
    let mut fed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for crew in config.crews.values() {
        if let Some(feeders) = feeders.get_mut(crew.to.as_str()) {
            feeders.insert(&crew.from);
            fed.entry(&crew.from).or_default().insert(&crew.to);
        }
    }
    let mut open: BTreeSet<&str> = (feeders.iter())
        .filter(|(_, feeders)| feeders.is_empty())
        .map(|(name, _)| *name)
        .collect();
    let mut left = feeders.clone();
    let mut piles = Vec::new();
    while let Some(name) = open.pop_first() {
        piles.push(name);
        left.remove(name);
        for below in fed.get(name).into_iter().flatten() {
            if let Some(above) = left.get_mut(below) {
                above.remove(name);
                if above.is_empty() {
                    open.insert(below);
                }
            }
        }
    }
    if !left.is_empty() {
        cycles(judge, config, &left);
        return None;
    }
    let place: BTreeMap<&str, usize> = piles
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, at))
        .collect();
    let mut crews: Vec<&str> = config.crews.keys().map(String::as_str).collect();
    crews.sort_by_key(|name| place.get(config.crews[*name].from.as_str()).copied());
    Some(Order { piles, crews })
}

/// Every node of `left` has a feeder in it, so walking upstream from any of them ends in a cycle.
fn cycles(judge: &mut Judge<'_>, config: &TopologyConfig, left: &BTreeMap<&str, BTreeSet<&str>>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
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
        // The walk went upstream; books go the other way, and the least name comes first.
        let mut cycle: Vec<&str> = walk[first..].iter().rev().copied().collect();
        let least = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
        cycle.rotate_left(least);
        cycle.push(cycle[0]);
        let message = format!("books would go round for ever: {}", cycle.join(" -> "));
        let back = config
            .crews
            .iter()
            .find(|(_, crew)| crew.from == cycle[cycle.len() - 2] && crew.to == cycle[0]);
        let mistake = match back {
            Some((crew, _)) => judge.error(&["crews", crew, "to"], message),
            None => judge.error(&["dumps", cycle[0]], message).at_key(),
        };
        judge.report(mistake.label("this closes the cycle"));
    }
}
