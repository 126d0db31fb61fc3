//! Checks each node by itself: its name, lower bounds of its numbers, and its gophers.

use std::collections::HashMap;

use gopherworks_pipeline::steps::Step;

use super::{Validator, balancing};
use crate::config::elements::{
    Capacity, CrewConfig, RetryConfig, Span, StoreConfig, TopologyConfig,
};
use crate::config::label::is_name;
use crate::config::{Code, nearest};

/// Reports all errors and warnings that concern a single node.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    names(validator, config);
    let intensity = config.supervision.intensity;
    for (name, pile) in &config.piles {
        let node = ["piles", name.as_str()];
        attempts(validator, node, pile.max_attempts, intensity);
    }
    for (name, dump) in &config.dumps {
        let node = ["dumps", name.as_str()];
        attempts(validator, node, dump.max_attempts, intensity);
        if dump.capacity == Capacity::default() {
            let message = format!(
                "the dump `{name}` has no capacity: there is no back-pressure on the crews that \
                 fill it"
            );
            let warning =
                validator.warning(Code::NoBackPressure, &["dumps", name, "capacity"], message);
            validator.report(warning.help("bound it: `capacity = { books = 80 }`"));
        }
    }
    for (name, crew) in &config.crews {
        gophers(validator, name, crew);
        carts(validator, name, crew);
        steps(validator, name, crew);
    }
    balancing::check(validator, config);
    let (is_built, feature) = match &config.store {
        None => (true, ""),
        Some(StoreConfig::Sqlite { .. }) => (cfg!(feature = "sqlite"), "sqlite"),
        Some(StoreConfig::Postgres { .. }) => (cfg!(feature = "postgres"), "postgres"),
        Some(StoreConfig::Jetstream { .. }) => (cfg!(feature = "jetstream"), "jetstream"),
    };
    if !is_built {
        let message = format!("this build has no stores of the kind `{feature}`");
        let mistake = validator.error(Code::MissingFeature, &["store"], message);
        validator.report(mistake.help(format!("build it with the feature `{feature}`")));
    }
    if let Some(StoreConfig::Postgres { works, .. } | StoreConfig::Jetstream { works, .. }) =
        &config.store
        && works.is_empty()
    {
        let message = "the works need a name in a store that several works may share";
        validator.report(validator.error(Code::OutOfBounds, &["store", "works"], message));
    }
    let backoff = &config.supervision.backoff;
    let piles = config.piles.iter().map(|(name, pile)| (["piles", name.as_str()], pile.retry));
    let dumps = config.dumps.iter().map(|(name, dump)| (["dumps", name.as_str()], dump.retry));
    let retries = piles.chain(dumps).filter_map(|(node, retry)| {
        let RetryConfig { min, max, .. } = retry?;
        Some((vec![node[0], node[1], "retry"], min, max))
    });
    let own = (vec!["supervision", "backoff"], backoff.min, backoff.max);
    for (path, ..) in retries.chain([own]).filter(|(_, min, max)| min > max) {
        let at = |key| [&path[..], &[key]].concat();
        let mistake = validator
            .error(Code::Contradiction, &at("min"), "the first delay is longer than the longest")
            .related(validator.locate(&at("max")), "the longest");
        validator.report(mistake);
    }
}

fn names(validator: &mut Validator<'_>, config: &TopologyConfig) {
    let all = (config.piles.keys().map(|name| ("piles", name)))
        .chain(config.dumps.keys().map(|name| ("dumps", name)))
        .chain(config.incinerators.keys().map(|name| ("incinerators", name)))
        .chain(config.crews.keys().map(|name| ("crews", name)))
        .chain(config.relays.keys().map(|name| ("relays", name)))
        .chain(config.balancers.keys().map(|name| ("balancers", name)))
        .chain(config.requesters.keys().map(|name| ("requesters", name)));
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (group, name) in all {
        if !is_name(name) {
            let mistake = validator
                .error(
                    Code::InvalidName,
                    &[group, name],
                    format!("`{name}` is not a valid name for a node"),
                )
                .at_key()
                .help(
                    "names are lower-case letters, digits and underscores, and begin with a letter",
                );
            validator.report(mistake);
        }
        if let Some(first) = seen.insert(name, group) {
            let other = validator.locate(&[first, name]);
            let mistake = validator
                .error(
                    Code::DuplicateName,
                    &[group, name],
                    format!("two nodes are called `{name}`"),
                )
                .at_key()
                .related(other, "the other one");
            validator.report(mistake);
        }
    }
}

fn attempts(
    validator: &mut Validator<'_>,
    [group, name]: [&str; 2],
    attempts: u32,
    intensity: u32,
) {
    let path = [group, name, "max_attempts"];
    if attempts > intensity {
        let message = format!(
            "one bad book can end the run: it has {attempts} attempts, and supervision allows \
             {intensity} failures"
        );
        let warning = validator.warning(Code::FewRestarts, &path, message);
        validator.report(warning.help("raise `supervision.intensity`, or lower `max_attempts`"));
    }
}

fn gophers(validator: &mut Validator<'_>, name: &str, crew: &CrewConfig) {
    let path = ["crews", name, "gophers"];
    if crew.gophers.is_empty() {
        validator.ensure(false, Code::Steps, &path, "a crew needs at least one gopher");
        return;
    }
    let mut done = [false; Step::ALL.len()];
    let mut strange = false;
    for (at, words) in crew.gophers.iter().enumerate() {
        for step in words.iter().filter_map(|word| Step::from_name(word)) {
            done[step.index()] = true;
        }
        // Gophers of one entry have equal duties; report their errors once.
        if at == 0 || crew.gophers[at - 1] != *words {
            strange |= duties(validator, name, at, words);
        }
    }
    // A misspelt step is reported already; do not also report it as missing.
    let idle = Step::ALL.into_iter().filter(|step| !done[step.index()] && !strange);
    for step in idle {
        let message = format!("no gopher of the crew `{name}` does the step `{step}`");
        validator.ensure(false, Code::Steps, &path, &message);
    }
}

/// Checks the duties of one gopher; true if one of them is not a step.
fn duties(validator: &mut Validator<'_>, name: &str, at: usize, words: &[String]) -> bool {
    let at = at.to_string();
    let path = ["crews", name, "gophers", at.as_str()];
    validator.ensure(!words.is_empty(), Code::Steps, &path, "this gopher has nothing to do");
    let mut strange = false;
    for (nth, word) in words.iter().enumerate() {
        if Step::from_name(word).is_none() {
            strange = true;
            let mut mistake =
                validator.error(Code::UnknownWord, &path, format!("`{word}` is not a step"));
            mistake.origin = mistake.origin.narrowed(word);
            let near = nearest(word, Step::ALL.map(Step::name));
            let all = "the steps are load, push, unload and return";
            let mistake = match near {
                Some(near) => mistake.suggest(Some(near)),
                None => mistake.help(all),
            };
            validator.report(mistake);
        } else if words[..nth].iter().filter(|earlier| *earlier == word).count() == 1 {
            let message = format!("step `{word}` is listed twice for one gopher");
            validator.ensure(false, Code::Steps, &path, &message);
        }
    }
    strange
}

fn carts(validator: &mut Validator<'_>, name: &str, crew: &CrewConfig) {
    let path = |key| ["crews", name, "carts", key];
    let carts = crew.carts;
    let gophers = crew.gophers.len();
    if carts.count > 0 && (carts.count as usize) < gophers {
        let message = format!(
            "the crew `{name}` has fewer carts ({}) than gophers ({gophers}): some gophers always \
             wait for a cart",
            carts.count
        );
        let warning = validator.warning(Code::FewCarts, &path("count"), message);
        validator.report(warning);
    }
}

fn steps(validator: &mut Validator<'_>, name: &str, crew: &CrewConfig) {
    let steps = &crew.steps;
    let times = [&steps.load, &steps.push, &steps.unload, &steps.return_];
    for (step, time) in Step::ALL.into_iter().zip(times) {
        for (key, span) in [("wait", time.wait), ("cpu", time.cpu)] {
            self::span(validator, &["crews", name, "steps", step.name(), key], span);
        }
    }
}

/// Checks the parameters of a distribution against each other.
pub(super) fn span(validator: &mut Validator<'_>, path: &[&str], span: Span) {
    let (holds, keys, message) = match span {
        Span::Uniform(least, most) => {
            (least <= most, &["uniform"][..], "the shortest time comes first")
        }
        Span::Bimodal { short, long, .. } => {
            let message = "the short time is longer than the long one";
            (short <= long, &["bimodal", "short"][..], message)
        }
        Span::Zero | Span::Fixed(_) | Span::Exponential(_) | Span::LogNormal { .. } => return,
    };
    validator.ensure(holds, Code::Contradiction, &[path, keys].concat(), message);
}
