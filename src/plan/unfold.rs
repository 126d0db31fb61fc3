//! Unfolds copies: replaces each node that has copies by one labelled node per copy.

use std::collections::{BTreeMap, BTreeSet};

use super::Validator;
use crate::config::label::{At, is_name, label, parse, places, product};
use crate::config::limits::{MOST_ACTORS, MOST_COPIES, grouped};
use crate::config::nearest;
use crate::config::schema::{KindConfig, TopologyConfig};

/// Returns a config in which each copy is a node with a label, such as `near[lane=1]`. Inside a
/// copy, a name refers to the node of that copy, or to the shared node.
///
/// Each copy of a pile keeps its source, but a plan has one reader for all of them. Names that
/// cannot be resolved stay unchanged.
#[must_use]
pub fn unfold(config: &TopologyConfig) -> TopologyConfig {
    unfolded(config, &mut |_, _| ())
}

/// An error in a reference to a node.
struct Wrong {
    message: String,
    help: Option<String>,
}

/// Unfolds a config that [`check`] accepted, and reports each unresolved reference once.
pub(super) fn reporting(validator: &mut Validator<'_>, config: &TopologyConfig) -> TopologyConfig {
    let mut told = BTreeSet::new();
    unfolded(config, &mut |path, wrong| {
        if !told.insert(path.map(str::to_owned)) {
            return;
        }
        let mut mistake = validator.error(&path, wrong.message);
        if let Some(help) = wrong.help {
            mistake = mistake.help(help);
        }
        validator.report(mistake);
    })
}

fn unfolded(config: &TopologyConfig, wrong: &mut dyn FnMut([&str; 3], Wrong)) -> TopologyConfig {
    let all = places(&config.copies);
    let once = [At::new()];
    let of = |name: &str| -> &[At] { if is_shared(config, name) { &once } else { &all } };
    let mut out = TopologyConfig {
        copies: BTreeMap::new(),
        shared: Vec::new(),
        piles: BTreeMap::new(),
        dumps: BTreeMap::new(),
        incinerators: BTreeMap::new(),
        crews: BTreeMap::new(),
        relays: BTreeMap::new(),
        balancers: BTreeMap::new(),
        requesters: BTreeMap::new(),
        ..config.clone()
    };
    for (name, pile) in &config.piles {
        for at in of(name) {
            out.piles.insert(label(name, at), pile.clone());
        }
    }
    for (name, dump) in &config.dumps {
        for at in of(name) {
            out.dumps.insert(label(name, at), dump.clone());
        }
    }
    for (name, fire) in &config.incinerators {
        for at in of(name) {
            let mut copy = fire.clone();
            if let Err(why) = asking(config, name, &mut copy.burn, at) {
                wrong(["incinerators", name, "burn"], why);
            }
            out.incinerators.insert(label(name, at), copy);
        }
    }
    for (name, crew) in &config.crews {
        let own = places(&crew.copies);
        for at in of(name) {
            let mut copy = crew.clone();
            copy.copies.clear();
            for (key, end) in [("from", &mut copy.from), ("to", &mut copy.to)] {
                match resolved(config, name, end, at) {
                    Ok(name) => *end = name,
                    Err(why) => wrong(["crews", name, key], why),
                }
            }
            for work in &mut copy.work {
                if let Err(why) = asking(config, name, work, at) {
                    wrong(["crews", name, "work"], why);
                }
            }
            for more in &own {
                let at = at.iter().chain(more);
                let at = at.map(|(axis, place)| (axis.clone(), *place)).collect();
                out.crews.insert(label(name, &at), copy.clone());
            }
        }
    }
    for (name, relay) in &config.relays {
        for at in of(name) {
            let mut copy = relay.clone();
            for (key, end) in [("from", &mut copy.from), ("to", &mut copy.to)] {
                match resolved(config, name, end, at) {
                    Ok(name) => *end = name,
                    Err(why) => wrong(["relays", name, key], why),
                }
            }
            out.relays.insert(label(name, at), copy);
        }
    }
    for (name, balancer) in &config.balancers {
        for at in of(name) {
            out.balancers.insert(label(name, at), balancer.clone());
        }
    }
    for (name, requester) in &config.requesters {
        for at in of(name) {
            let mut copy = requester.clone();
            match resolved(config, name, &copy.to, at) {
                Ok(name) => copy.to = name,
                Err(why) => wrong(["requesters", name, "to"], why),
            }
            out.requesters.insert(label(name, at), copy);
        }
    }
    out
}

/// Resolves the balancer to which a work or a burn delegates.
fn asking(config: &TopologyConfig, who: &str, kind: &mut KindConfig, at: &At) -> Result<(), Wrong> {
    if kind.kind == "balancer"
        && let Some(toml::Value::String(to)) = kind.options.get_mut("to")
    {
        *to = resolved(config, who, to, at)?;
    }
    Ok(())
}

fn is_shared(config: &TopologyConfig, name: &str) -> bool {
    // Without copies the result does not matter; with them, `shared` is short.
    !config.copies.is_empty() && config.shared.iter().any(|shared| shared == name)
}

/// Resolves the reference `end`, made by the copy at `at` of the node `who`.
fn resolved(config: &TopologyConfig, who: &str, end: &str, at: &At) -> Result<String, Wrong> {
    let simply = |message| Wrong { message, help: None };
    let (base, said) = parse(end).map_err(simply)?;
    let known = config.piles.contains_key(base)
        || config.dumps.contains_key(base)
        || config.incinerators.contains_key(base)
        || config.balancers.contains_key(base);
    if !known {
        // The checks of the graph report unknown names, with a suggestion.
        return Ok(end.to_owned());
    }
    let none = BTreeMap::new();
    let axes = if is_shared(config, base) { &none } else { &config.copies };
    for (axis, place) in &said {
        match axes.get(axis) {
            None => return Err(simply(format!("`{base}` has no copies along `{axis}`"))),
            Some(count) if place >= count => {
                return Err(simply(format!(
                    "`{base}` has no copy {place} along `{axis}`: they are counted from 0 to {}",
                    count.saturating_sub(1)
                )));
            }
            Some(_) => {}
        }
    }
    let mut place = At::new();
    for axis in axes.keys() {
        let Some(number) = said.get(axis).or_else(|| at.get(axis)) else {
            return Err(Wrong {
                message: format!("`{who}` is shared, but `{base}` has copies along `{axis}`"),
                help: Some(format!(
                    "name one, such as `{base}[{axis}=0]`, or add `{base}` to `shared`"
                )),
            });
        };
        place.insert(axis.clone(), *number);
    }
    Ok(label(base, &place))
}

/// Checks copies and shared nodes; true if the config can be unfolded.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) -> bool {
    let mut whole = axes(validator, &["copies"], &config.copies, None);
    for (name, crew) in &config.crews {
        whole &= axes(
            validator,
            &["crews", name, "copies"],
            &crew.copies,
            Some(&config.copies).filter(|_| !is_shared(config, name)),
        );
    }
    let actors = actors(config);
    if whole && actors > MOST_ACTORS {
        let message = format!(
            "{} actors in all, copies counted: at most {}",
            grouped(actors),
            grouped(MOST_ACTORS)
        );
        let most_workers = (config.balancers.iter()).any(|(name, of)| {
            copies_of(config, name).saturating_mul(of.workers.count.into()) > actors / 2
        });
        let path = if !config.copies.is_empty() {
            "copies"
        } else if most_workers {
            "balancers"
        } else {
            "crews"
        };
        validator.ensure(false, &[path], &message);
        whole = false;
    }
    whole = whole && super::bounds::sums(validator, config);
    let nodes: BTreeSet<&str> = (config.piles.keys())
        .chain(config.dumps.keys())
        .chain(config.incinerators.keys())
        .chain(config.crews.keys())
        .chain(config.relays.keys())
        .chain(config.balancers.keys())
        .chain(config.requesters.keys())
        .map(String::as_str)
        .collect();
    for (at, name) in config.shared.iter().enumerate() {
        if !nodes.contains(name.as_str()) {
            let mistake = validator
                .error(&["shared", &at.to_string()], format!("no node is called `{name}`"))
                .suggest(nearest(name, nodes.iter().copied()));
            validator.report(mistake);
        }
    }
    whole
}

/// Number of copies of a node along the axes of the whole topology.
pub(super) fn copies_of(config: &TopologyConfig, name: &str) -> u64 {
    if is_shared(config, name) { 1 } else { product(&config.copies) }
}

/// Number of actors: gophers, workers, and one for each other node.
pub(super) fn actors(config: &TopologyConfig) -> u64 {
    let names = (config.piles.keys())
        .chain(config.dumps.keys())
        .chain(config.incinerators.keys())
        .chain(config.relays.keys())
        .chain(config.requesters.keys());
    let nodes = names.map(|name| copies_of(config, name));
    let balancers = config.balancers.iter().map(|(name, balancer)| {
        let own = u64::from(balancer.workers.count).saturating_add(1);
        copies_of(config, name).saturating_mul(own)
    });
    let gophers = config.crews.iter().map(|(name, crew)| {
        copies_of(config, name)
            .saturating_mul(product(&crew.copies))
            .saturating_mul(crew.gophers.len() as u64)
    });
    nodes.chain(balancers).chain(gophers).fold(0, u64::saturating_add)
}

fn axes(
    validator: &mut Validator<'_>,
    path: &[&str],
    axes: &BTreeMap<String, u32>,
    outer: Option<&BTreeMap<String, u32>>,
) -> bool {
    let mut whole = true;
    for (axis, count) in axes {
        let at = [path, &[axis.as_str()]].concat();
        let mut fail = |holds: bool, message: &str| {
            validator.ensure(holds, &at, message);
            whole &= holds;
        };
        fail(
            is_name(axis),
            &format!(
                "`{axis}` is not a valid name for an axis: lower-case letters, \
                 digits and underscores, \
                 a letter first"
            ),
        );
        fail(*count > 0, "there is at least one copy");
        fail(u64::from(*count) <= MOST_COPIES, &format!("at most {MOST_COPIES} copies"));
        if outer.is_some_and(|outer| outer.contains_key(axis)) {
            let other = validator.locate(&["copies", axis]);
            let mistake = validator
                .error(&at, format!("the axis `{axis}` is used twice"))
                .at_key()
                .related(other, "every node has it already")
                .help("rename one of them: copies along both axes multiply");
            validator.report(mistake);
            whole = false;
        }
    }
    if whole && product(axes) > MOST_COPIES {
        validator.ensure(false, path, &format!("at most {MOST_COPIES} copies in all"));
        whole = false;
    }
    whole
}
