//! Unfolds copies: replaces each node that has copies by one labelled node per copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Validator, balancing};
use crate::config::elements::{CrewConfig, KindConfig, TopologyConfig};
use crate::config::label::{At, is_name, label, parse, places, product};
use crate::config::limits::{MOST_ACTORS, MOST_COPIES, grouped};
use crate::config::{Code, nearest};

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
pub(super) fn reporting<'a>(
    validator: &mut Validator<'_>,
    config: &'a TopologyConfig,
) -> Cow<'a, TopologyConfig> {
    if is_plain(config) {
        return Cow::Borrowed(config);
    }
    let mut told = BTreeSet::new();
    Cow::Owned(unfolded(config, &mut |path, wrong| {
        if !told.insert(path.map(str::to_owned)) {
            return;
        }
        let mut mistake = validator.error(Code::UnresolvedCopy, &path, wrong.message);
        if let Some(help) = wrong.help {
            mistake = mistake.help(help);
        }
        validator.report(mistake);
    }))
}

/// True if there are no copies and no references to some.
fn is_plain(config: &TopologyConfig) -> bool {
    let crews = config.crews.values().flat_map(|crew| {
        let works = crew.work.iter().filter_map(balancing::named);
        works.chain([crew.from.as_str(), crew.to.as_str()])
    });
    let relays = config.relays.values().flat_map(|relay| [relay.from.as_str(), relay.to.as_str()]);
    let requesters = config.requesters.values().map(|requester| requester.to.as_str());
    let burns = config.incinerators.values().filter_map(|fire| balancing::named(&fire.burn));
    config.copies.is_empty()
        && config.crews.values().all(|crew| crew.copies.is_empty())
        && !crews.chain(relays).chain(requesters).chain(burns).any(|end| end.contains('['))
}

fn unfolded(config: &TopologyConfig, wrong: &mut dyn FnMut([&str; 3], Wrong)) -> TopologyConfig {
    let all = places(&config.copies);
    let once = [At::new()];
    let of = |name: &str| -> &[At] { if is_shared(config, name) { &once } else { &all } };
    let mut refer =
        |path: [&str; 3], end: &mut String, at: &At| match resolved(config, path[1], end, at) {
            Ok(name) => *end = name,
            Err(why) => wrong(path, why),
        };
    let mut crews = BTreeMap::new();
    for (name, crew) in &config.crews {
        let own = places(&crew.copies);
        for at in of(name) {
            let mut copy = CrewConfig { copies: BTreeMap::new(), ..crew.clone() };
            refer(["crews", name, "from"], &mut copy.from, at);
            refer(["crews", name, "to"], &mut copy.to, at);
            for to in copy.work.iter_mut().filter_map(asked) {
                refer(["crews", name, "work"], to, at);
            }
            for more in &own {
                let at = at.iter().chain(more).map(|(axis, place)| (axis.clone(), *place));
                crews.insert(label(name, &at.collect()), copy.clone());
            }
        }
    }
    TopologyConfig {
        name: config.name.clone(),
        copies: BTreeMap::new(),
        shared: Vec::new(),
        piles: copied(&config.piles, of, |_, _, _| ()),
        dumps: copied(&config.dumps, of, |_, _, _| ()),
        incinerators: copied(&config.incinerators, of, |name, fire, at| {
            if let Some(to) = asked(&mut fire.burn) {
                refer(["incinerators", name, "burn"], to, at);
            }
        }),
        crews,
        relays: copied(&config.relays, of, |name, relay, at| {
            refer(["relays", name, "from"], &mut relay.from, at);
            refer(["relays", name, "to"], &mut relay.to, at);
        }),
        balancers: copied(&config.balancers, of, |_, _, _| ()),
        requesters: copied(&config.requesters, of, |name, requester, at| {
            refer(["requesters", name, "to"], &mut requester.to, at);
        }),
        store: config.store.clone(),
        operations: config.operations.clone(),
        execution: config.execution.clone(),
        supervision: config.supervision,
        model: config.model,
        faults: config.faults.clone(),
        expect: config.expect,
    }
}

/// One labelled node per copy, each changed by `change`.
fn copied<'a, T: Clone>(
    nodes: &BTreeMap<String, T>,
    of: impl Fn(&str) -> &'a [At],
    mut change: impl FnMut(&str, &mut T, &At),
) -> BTreeMap<String, T> {
    let mut out = BTreeMap::new();
    for (name, node) in nodes {
        for at in of(name) {
            let mut copy = node.clone();
            change(name, &mut copy, at);
            out.insert(label(name, at), copy);
        }
    }
    out
}

/// Name of the balancer to which a work or a burn delegates.
fn asked(kind: &mut KindConfig) -> Option<&mut String> {
    match kind.options.get_mut("to") {
        Some(toml::Value::String(to)) if kind.kind == "balancer" => Some(to),
        _ => None,
    }
}

fn is_shared(config: &TopologyConfig, name: &str) -> bool {
    // Without copies the result does not matter; with them, `shared` is short.
    !config.copies.is_empty() && config.shared.iter().any(|shared| shared == name)
}

/// Resolves the reference `end`, made by the copy at `at` of the node `who`.
fn resolved(config: &TopologyConfig, who: &str, end: &str, at: &At) -> Result<String, Wrong> {
    let simply = |message| Wrong { message, help: None };
    // `said`: the places along axes that the reference names, such as `lane=2`.
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
        validator.ensure(false, Code::OutOfBounds, &[path], &message);
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
                .error(
                    Code::UnknownNode,
                    &["shared", &at.to_string()],
                    format!("no node is called `{name}`"),
                )
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
        let mut fail = |holds: bool, code, message: &str| {
            validator.ensure(holds, code, &at, message);
            whole &= holds;
        };
        fail(
            is_name(axis),
            Code::InvalidName,
            &format!(
                "`{axis}` is not a valid name for an axis: lower-case letters, \
                 digits and underscores, \
                 a letter first"
            ),
        );
        fail(*count > 0, Code::OutOfBounds, "there is at least one copy");
        let few = u64::from(*count) <= MOST_COPIES;
        fail(few, Code::OutOfBounds, &format!("at most {MOST_COPIES} copies"));
        if outer.is_some_and(|outer| outer.contains_key(axis)) {
            let other = validator.locate(&["copies", axis]);
            let mistake = validator
                .error(Code::DuplicateAxis, &at, format!("the axis `{axis}` is used twice"))
                .at_key()
                .related(other, "every node has it already")
                .help("rename one of them: copies along both axes multiply");
            validator.report(mistake);
            whole = false;
        }
    }
    if whole && product(axes) > MOST_COPIES {
        validator.ensure(
            false,
            Code::OutOfBounds,
            path,
            &format!("at most {MOST_COPIES} copies in all"),
        );
        whole = false;
    }
    whole
}
