//! The tree becomes a [`TopologyConfig`]. Only types are judged here; what the values mean is the plan's affair.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::MOST_GOPHERS;
use super::options::{self, Role};
use super::schema::{
    BackoffConfig, Capacity, CartsConfig, CrewConfig, DumpConfig, Exclusive, ExecutionConfig,
    IncineratorConfig, KindConfig, ModelConfig, PileConfig, Placement, RelayConfig, SpanConfig,
    StepTimeConfig, StepsConfig, StrategyConfig, SupervisionConfig, TopologyConfig,
};
use super::suggestions::nearest;
use super::tree::{Item, Node, NodeKind, Reading, Table, join};
use super::values::{self, duration, number, path, real, size, span, text};

pub(crate) mod balancing;
pub(crate) mod faults;
pub(crate) mod resilience;

/// Words for how nodes are laid on arbiters.
pub(crate) const PLACEMENTS: [(&str, Placement); 2] =
    [("together", Placement::Together), ("spread", Placement::Spread)];

/// Words for who is restarted with a failed actor.
pub(crate) const STRATEGIES: [(&str, StrategyConfig); 3] = [
    ("one_for_one", StrategyConfig::OneForOne),
    ("one_for_all", StrategyConfig::OneForAll),
    ("rest_for_one", StrategyConfig::RestForOne),
];

/// Reads all of it. What can't be read has its default, and a mistake in `reading`.
pub(crate) fn topology(reading: &Reading<'_>, root: &Node, name: &str) -> TopologyConfig {
    let mut config = TopologyConfig { name: name.to_owned(), ..TopologyConfig::default() };
    let item = Item { node: root, path: "" };
    let Some(mut top) = Table::open(reading, item) else {
        return config;
    };
    // Files' own are followed before anything is read.
    top.opt("extends", |reading, item| -> Option<()> {
        reading.report(item.error("only a file extends another").at_key());
        None
    });
    top.opt("remove", |_, _| None::<()>);
    config.copies = top.opt("copies", copies).unwrap_or_default();
    config.shared = top.opt("shared", names).unwrap_or_default();
    config.piles = top.opt("piles", |r, i| named(r, i, pile)).unwrap_or_default();
    config.dumps = top.opt("dumps", |r, i| named(r, i, dump)).unwrap_or_default();
    config.incinerators =
        top.opt("incinerators", |r, i| named(r, i, incinerator)).unwrap_or_default();
    config.crews = top.opt("crews", |r, i| named(r, i, crew)).unwrap_or_default();
    config.relays = top.opt("relays", |r, i| named(r, i, relay)).unwrap_or_default();
    config.balancers =
        top.opt("balancers", |r, i| named(r, i, balancing::balancer)).unwrap_or_default();
    config.requesters =
        top.opt("requesters", |r, i| named(r, i, balancing::requester)).unwrap_or_default();
    config.execution = top.opt("execution", execution).unwrap_or_default();
    config.supervision = top.opt("supervision", supervision).unwrap_or_default();
    config.model = top.opt("model", model).unwrap_or_default();
    // A fault that can't be read leaves no hole in the graph.
    let holes = reading.holes.get();
    config.faults = top.opt("faults", |r, i| named(r, i, faults::fault)).unwrap_or_default();
    reading.holes.set(holes);
    config.expect = top.opt("expect", faults::expect).unwrap_or_default();
    top.finish(&[]);
    config
}

/// A table of nodes by name.
fn named<T>(
    reading: &Reading<'_>,
    item: Item<'_>,
    read: impl Fn(&Reading<'_>, Item<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let NodeKind::Table(entries) = &item.node.kind else {
        reading.holes.set(true);
        return reading.expected(&item, "a table of tables by name");
    };
    let mut out = BTreeMap::new();
    for (name, node) in entries {
        let path = join(item.path, name);
        match read(reading, Item { node, path: &path }) {
            Some(value) => {
                out.insert(name.clone(), value);
            }
            None => reading.holes.set(true),
        }
    }
    Some(out)
}

fn pile(reading: &Reading<'_>, item: Item<'_>) -> Option<PileConfig> {
    let mut table = Table::open(reading, item)?;
    let default = PileConfig::default();
    let pile = PileConfig {
        source: table.opt("source", |r, i| options::kind(r, i, Role::Source)),
        capacity: table.opt("capacity", capacity).unwrap_or(default.capacity),
        exclusive: table.opt("exclusive", |r, i| exclusive(r, i, true, false)).unwrap_or_default(),
        max_attempts: table.opt("max_attempts", number).unwrap_or(default.max_attempts),
    };
    table.finish(&[]);
    Some(pile)
}

fn dump(reading: &Reading<'_>, item: Item<'_>) -> Option<DumpConfig> {
    let mut table = Table::open(reading, item)?;
    let default = DumpConfig::default();
    let dump = DumpConfig {
        capacity: table.opt("capacity", capacity).unwrap_or(default.capacity),
        exclusive: table.opt("exclusive", |r, i| exclusive(r, i, true, true)).unwrap_or_default(),
        max_attempts: table.opt("max_attempts", number).unwrap_or(default.max_attempts),
    };
    table.finish(&[]);
    Some(dump)
}

fn incinerator(reading: &Reading<'_>, item: Item<'_>) -> Option<IncineratorConfig> {
    let mut table = Table::open(reading, item)?;
    let burn = table.req("burn", |r, i| options::kind(r, i, Role::Burn));
    let exclusive = table.opt("exclusive", |r, i| exclusive(r, i, false, true));
    table.finish(&[]);
    Some(IncineratorConfig {
        // The place is kept, so that crews may still name it; the mistake is known.
        burn: burn.unwrap_or_else(unread),
        exclusive: exclusive.unwrap_or_default(),
    })
}

/// Stands for a kind that could not be read.
fn unread() -> KindConfig {
    KindConfig { kind: String::new(), options: toml::Table::new() }
}

fn capacity(reading: &Reading<'_>, item: Item<'_>) -> Option<Capacity> {
    let mut table = Table::open(reading, item)?;
    let capacity = Capacity { books: table.opt("books", number), bytes: table.opt("bytes", size) };
    table.finish(&[]);
    Some(capacity)
}

fn exclusive(r: &Reading<'_>, item: Item<'_>, load: bool, unload: bool) -> Option<Exclusive> {
    let mut table = Table::open(r, item)?;
    let mut slots = |key, wanted: bool| wanted.then(|| table.opt(key, number)).flatten();
    let exclusive = Exclusive { load: slots("load", load), unload: slots("unload", unload) };
    table.finish(&[]);
    Some(exclusive)
}

fn crew(reading: &Reading<'_>, item: Item<'_>) -> Option<CrewConfig> {
    let mut table = Table::open(reading, item)?;
    // Unfolded before anything is read; named here for what is known of a crew.
    table.opt("like", |_, _| None::<()>);
    let crew = CrewConfig {
        from: table.req("from", text).unwrap_or_default(),
        to: table.req("to", text).unwrap_or_default(),
        gophers: table.req("gophers", gophers).unwrap_or_default(),
        carts: table.opt("carts", carts).unwrap_or_default(),
        work: table.opt("work", options::works).unwrap_or_default(),
        steps: table.opt("steps", steps).unwrap_or_default(),
        copies: table.opt("copies", copies).unwrap_or_default(),
    };
    table.finish(&[]);
    Some(crew)
}

fn relay(reading: &Reading<'_>, item: Item<'_>) -> Option<RelayConfig> {
    let mut table = Table::open(reading, item)?;
    let relay = RelayConfig {
        from: table.req("from", text).unwrap_or_default(),
        to: table.req("to", text).unwrap_or_default(),
        books: table.opt("books", number),
    };
    table.finish(&[]);
    Some(relay)
}

/// Copies along each axis.
fn copies(reading: &Reading<'_>, item: Item<'_>) -> Option<BTreeMap<String, u32>> {
    let NodeKind::Table(axes) = &item.node.kind else {
        return reading.expected(&item, "a number, or a table of axes such as { lane = 2 }");
    };
    let mut out = BTreeMap::new();
    for (axis, node) in axes {
        let path = join(item.path, axis);
        if let Some(count) = number(reading, Item { node, path: &path }) {
            out.insert(axis.clone(), count);
        }
    }
    Some(out)
}

/// A list of names.
fn names(reading: &Reading<'_>, item: Item<'_>) -> Option<Vec<String>> {
    let NodeKind::Array(entries) = &item.node.kind else {
        return reading.expected(&item, "an array of names such as [\"a\", \"b\"]");
    };
    let read = |(at, node)| {
        let path = join(item.path, &usize::to_string(&at));
        text(reading, Item { node, path: &path })
    };
    Some(entries.iter().enumerate().filter_map(read).collect())
}

fn gophers(reading: &Reading<'_>, item: Item<'_>) -> Option<Vec<Vec<String>>> {
    let what = "strings, one a gopher, such as [\"load push\", \"unload return\"]";
    let NodeKind::Array(entries) = &item.node.kind else {
        return reading.expected(&item, &format!("an array of {what}"));
    };
    let mut out = Vec::new();
    for (at, node) in entries.iter().enumerate() {
        // Gophers are counted by their own numbers; those of entries stand in brackets.
        let path = format!("{}[{at}]", item.path);
        // An entry that can't be read is left out, so that the others are judged.
        let Some((times, words)) = gopher(reading, Item { node, path: &path }) else {
            continue;
        };
        if times > MOST_GOPHERS - out.len() {
            reading.report(item.error(format!("a crew has at most {MOST_GOPHERS} gophers")));
            break;
        }
        let origin = &node.ticket.origin;
        for _ in 0..times {
            let alias = join(item.path, &out.len().to_string());
            reading.aliases.borrow_mut().push((alias, origin.clone()));
            out.push(words.clone());
        }
    }
    Some(out)
}

/// Longest entry of a gopher, in bytes.
const LONGEST_ENTRY: usize = 1000;

/// An entry such as `load push` or `2 * load push`: how many gophers, and their duties.
fn gopher(reading: &Reading<'_>, item: Item<'_>) -> Option<(usize, Vec<String>)> {
    let entry = text(reading, item)?;
    if entry.len() > LONGEST_ENTRY {
        let message = format!("an entry has at most {LONGEST_ENTRY} bytes");
        let help = "a gopher does each of the four steps once at most, such as \"2 * load push\"";
        reading.report(item.error(message).help(help));
        return None;
    }
    let (times, words) = match entry.split_once('*') {
        None => (1, entry.as_str()),
        Some((times, words)) => match times.trim().parse() {
            Ok(times @ 1..) => (times, words),
            _ => {
                let message = format!("`{}` is no number of gophers", times.trim());
                reading.report(item.error(message).help("write \"2 * load push\""));
                return None;
            }
        },
    };
    Some((times, words.split_whitespace().map(str::to_owned).collect()))
}

fn carts(reading: &Reading<'_>, item: Item<'_>) -> Option<CartsConfig> {
    let mut table = Table::open(reading, item)?;
    let default = CartsConfig::default();
    let carts = CartsConfig {
        count: table.opt("count", number).unwrap_or(default.count),
        books: table.opt("books", number).unwrap_or(default.books),
        bytes: table.opt("bytes", size),
    };
    table.finish(&[]);
    Some(carts)
}

fn steps(reading: &Reading<'_>, item: Item<'_>) -> Option<StepsConfig> {
    let mut table = Table::open(reading, item)?;
    let steps = StepsConfig {
        load: table.opt("load", step).unwrap_or_default(),
        push: table.opt("push", step).unwrap_or_default(),
        unload: table.opt("unload", step).unwrap_or_default(),
        return_: table.opt("return", step).unwrap_or_default(),
    };
    table.finish(&[]);
    Some(steps)
}

fn step(reading: &Reading<'_>, item: Item<'_>) -> Option<StepTimeConfig> {
    let mut table = Table::open(reading, item)?;
    // A bare duration says both: no time on a core.
    let none = SpanConfig::Fixed(Duration::ZERO);
    let step = StepTimeConfig {
        wait: table.opt("wait", span).filter(|span| *span != none),
        cpu: table.opt("cpu", span).filter(|span| *span != none),
    };
    table.finish(&[]);
    Some(step)
}

fn execution(reading: &Reading<'_>, item: Item<'_>) -> Option<ExecutionConfig> {
    let mut table = Table::open(reading, item)?;
    let default = ExecutionConfig::default();
    let execution = ExecutionConfig {
        cores: table.opt("cores", number).unwrap_or(default.cores),
        placement: (table.opt("placement", |r, i| word(r, i, &PLACEMENTS))).unwrap_or_default(),
        seed: table.opt("seed", number).unwrap_or(default.seed),
        scratch: table.opt("scratch", path),
        drain_deadline: table.opt("drain_deadline", duration),
    };
    table.finish(&[]);
    Some(execution)
}

fn supervision(reading: &Reading<'_>, item: Item<'_>) -> Option<SupervisionConfig> {
    let mut table = Table::open(reading, item)?;
    let default = SupervisionConfig::default();
    let supervision = SupervisionConfig {
        strategy: (table.opt("strategy", |r, i| word(r, i, &STRATEGIES))).unwrap_or_default(),
        intensity: table.opt("intensity", limit).unwrap_or(default.intensity),
        period: table.opt("period", duration).unwrap_or(default.period),
        in_a_row: table.opt("in_a_row", limit).unwrap_or(default.in_a_row),
        backoff: table.opt("backoff", backoff).unwrap_or_default(),
        shutdown: table.opt("shutdown", duration).unwrap_or(default.shutdown),
        hang_after: table.opt("hang_after", duration).unwrap_or(default.hang_after),
    };
    table.finish(&[]);
    Some(supervision)
}

/// The word for no limit.
pub(crate) const UNLIMITED: &str = "unlimited";

/// A number, or no limit.
fn limit(reading: &Reading<'_>, item: Item<'_>) -> Option<u32> {
    match &item.node.kind {
        NodeKind::String(word) if values::outside(item, word).trim() == UNLIMITED => Some(u32::MAX),
        NodeKind::String(word) if !item.node.ticket.text => {
            let mistake = item
                .error(format!("expected a number, or \"{UNLIMITED}\""))
                .suggest(nearest(word, [UNLIMITED]));
            reading.report(mistake);
            None
        }
        // A number that is too large does not stand for no limit.
        _ => number(reading, item).map(|most: u32| most.min(u32::MAX - 1)),
    }
}

fn backoff(reading: &Reading<'_>, item: Item<'_>) -> Option<BackoffConfig> {
    let mut table = Table::open(reading, item)?;
    let default = BackoffConfig::default();
    let backoff = BackoffConfig {
        min: table.opt("min", duration).unwrap_or(default.min),
        max: table.opt("max", duration).unwrap_or(default.max),
        jitter: table.opt("jitter", real).unwrap_or(default.jitter),
        reset: table.opt("reset", duration).unwrap_or(default.reset),
    };
    table.finish(&[]);
    Some(backoff)
}

fn model(reading: &Reading<'_>, item: Item<'_>) -> Option<ModelConfig> {
    let mut table = Table::open(reading, item)?;
    let model = ModelConfig { t1: table.opt("t1", duration) };
    table.finish(&[]);
    Some(model)
}

/// One of a few words.
fn word<T: Copy>(reading: &Reading<'_>, item: Item<'_>, words: &[(&str, T)]) -> Option<T> {
    let said = text(reading, item)?;
    let found = words.iter().find(|(word, _)| *word == said);
    if found.is_none() {
        let known = || words.iter().map(|(word, _)| *word);
        let all: Vec<_> = known().collect();
        let mistake = item
            .error(format!("`{said}` is none of {}", all.join(", ")))
            .suggest(nearest(&said, known()));
        reading.report(mistake);
    }
    found.map(|(_, value)| *value)
}
