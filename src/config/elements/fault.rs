//! `[faults.x]` and `[expect]`: what goes wrong on purpose, and what is expected nevertheless.

use std::collections::BTreeSet;
use std::time::Duration;

use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::{FOR_EVER, LEAST_PERIOD};
pub use gopherworks_supervision::fault::{Kind as FaultKind, When};
use serde_json::json;

use super::{Text, Verbatim};
use crate::config::Code;
use crate::config::element::{
    Bounds, Checks, Element, Group, Item, Json, Reading, Type, read_group,
};
use crate::config::json_schema::parts::whole_or_env;
use crate::config::limits::MOST_MIXED;
use crate::config::tree::NodeKind;
use crate::config::units::{duration_pattern, parse_duration};
use crate::config::values::{duration, outside};

/// The message of a share that is out of bounds.
const A_SHARE: &str = "this is a share above 0, at most 1";

/// Default text of a panic or an error.
pub(crate) const TEXT: &str = "a fault";

/// Default time until a killed process is started again.
const RESTART: Duration = Duration::from_secs(1);

/// A fault to inject. `run` ignores it unless told otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultConfig {
    /// Where: a node (`near`, `near/1`, `front/*`), a point in its work (`near.load`), or the
    /// messages of a crew to a node (`near -> middle`); `*` and `?` stand for any letters,
    /// `[lane=1]` selects copies.
    pub target: String,
    /// What, and when.
    pub what: FaultWhatConfig,
    /// Not before this time from the start.
    pub from: Duration,
    /// Not from this time on.
    pub until: Option<Duration>,
    /// Most times that it fires.
    pub times: Option<u64>,
    /// The share of seeds for which it is active, above 0 to 1.
    pub odds: f64,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultWhatConfig {
    /// One kind of fault.
    Kind {
        /// What happens.
        kind: FaultKind,
        /// When it fires.
        when: When,
    },
    /// A script of what happens at each visit of a point: `5%2*panic(oops)->hang(10ms)->off`.
    Script(String),
    /// A random mix, derived from the seed, of all kinds that the targets know.
    Mix {
        /// Most faults in the mix (>= 1).
        most: u32,
    },
}

/// When a fault fires.
#[derive(Element)]
#[element(by_key, remote = When, hint = "write it like `{ every = \"50ms\" }`")]
#[allow(dead_code, reason = "it describes another enum")]
enum WhenKeys {
    /// At this time from the start, or these, such as "2s".
    #[key(as = OneOrMore<Time>, min = 1, because = "a time is missing")]
    At(Vec<Time>),
    /// Again and again, this far apart.
    #[key(
        min = LEAST_PERIOD.as_secs_f64(),
        because = "faults of one rule are at least 1 ms apart"
    )]
    Every(Duration),
    /// Again and again at random, this far apart on average.
    #[key(
        min = LEAST_PERIOD.as_secs_f64(),
        because = "faults of one rule are on average at least 1 ms apart"
    )]
    Poisson(Duration),
    /// At the visit of this number.
    #[key(min = 1, because = "visits are counted from 1")]
    Nth(u64),
    /// At each visit with this probability.
    #[key(above = 0, max = 1, because = A_SHARE)]
    Chance(f64),
    /// With this book or request, or these, by number.
    #[key(min = 1, because = "a book is missing")]
    Items(BTreeSet<u64>),
    /// With this share of books or requests, the same ones every time.
    #[key(name = "share", above = 0, max = 1, because = A_SHARE)]
    ItemChance(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
#[element(words)]
enum FaultWord {
    /// The actor panics.
    Panic,
    /// It is killed.
    Kill,
    /// It stops in good order, unasked.
    Stop,
    /// It blocks its thread.
    Hang,
    /// Its steps and work take longer.
    Slow,
    /// What it does fails.
    Error,
    /// What it does with certain books fails every time.
    Poison,
    /// A message is late.
    Delay,
    /// A message is lost.
    Drop,
    /// A wake-up or a settlement comes twice.
    Duplicate,
    /// A pile, or the store, says that it is full.
    Full,
    /// The process is killed and started again, in a simulation with a store.
    Crash,
    /// The store can't be reached, in a simulation.
    Unavailable,
    /// An answer of the store is lost: it took effect, or it did not. In a simulation.
    UnknownOutcome,
    /// The store answers without having synced: a crash loses what it stored, unless something is
    /// synced before. In a simulation.
    LostSync,
    /// The process is killed in the middle of a commit, of which the store has written a part, and
    /// started again. In a simulation.
    TornWrite,
    /// A store that processes share delivers books again that this one still holds. In a
    /// simulation.
    Redeliver,
    /// A store that processes share ends the leases of all books that this one holds. In a
    /// simulation.
    LostLease,
    /// The node gets other settings (carts, gophers, capacity), drawn from the seed, or those of
    /// the file, while the run goes on.
    Reload,
    /// A random mix, derived from the seed, of all kinds that the targets know.
    Mix,
}

/// Kinds with the key `for`.
const SPANNED: &[FaultWord] = &[
    FaultWord::Hang,
    FaultWord::Slow,
    FaultWord::Full,
    FaultWord::Crash,
    FaultWord::Unavailable,
    FaultWord::TornWrite,
];

/// A fault, which a plain run ignores.
#[derive(Element)]
#[element(def = fault, at_most_one(kind, actions), complete = complete)]
struct FaultKeys {
    /// Where: a node such as near, near/1 or front/*; a point in its work, such as near.load; or
    /// messages, such as "near -> middle"; * and ? stand for any letters, [lane=1] selects copies.
    #[key(as = Text, stand_in)]
    target: String,
    /// What goes wrong.
    kind: Option<FaultWord>,
    /// When it fires: one of these.
    when: Option<When>,
    /// Instead of `kind` and `when`: what happens at each visit of a point, such as
    /// "5%2*panic(oops)->hang(10ms)->off".
    #[key(as = Text)]
    actions: Option<String>,
    /// How long a hang, a slow, a full or an unavailable lasts, such as "1s"; or the time until a
    /// killed process is started again (1 s). Without it a hang lasts until it is given up, and
    /// slowness to the end.
    #[key(name = "for")]
    span: Option<Duration>,
    /// How much longer a step takes, or how late a message is, such as "10ms".
    #[key(above = 0, because = "it must be longer than 0")]
    by: Option<Duration>,
    /// Text of a panic or an error. Without it "a fault".
    #[key(as = Verbatim)]
    text: Option<String>,
    /// True if an error is not tried again.
    permanent: Option<bool>,
    /// True if the store did what it was asked before its answer was lost, or the process killed;
    /// false if not. Drawn by default.
    stored: Option<bool>,
    /// Most faults in a mix. Without it 6.
    #[key(min = 1, most = MOST_MIXED, because = "a mix has at least one fault")]
    most: Option<u32>,
    /// Not before this time from the start, such as "1s".
    #[key(default)]
    from: Duration,
    /// Not from this time on, such as "10s".
    until: Option<Duration>,
    /// Most times that it fires.
    times: Option<u64>,
    /// The share of seeds for which it is active.
    #[key(default = 1.0, above = 0, max = 1, because = A_SHARE)]
    odds: f64,
}

/// What must be there in a file that inherits nothing, besides the target.
fn complete() -> Json {
    let of = |words: &[FaultWord], key: &str| {
        let words: Vec<Json> = words.iter().map(FaultWord::show).collect();
        json!({
            "if": { "required": ["kind"], "properties": { "kind": { "enum": words } } },
            "then": { "required": [key] },
        })
    };
    let mix = json!({ "required": ["kind"], "properties": { "kind": { "const": "mix" } } });
    let untimed = json!({ "anyOf": [mix, { "required": ["actions"] }] });
    json!({
        "anyOf": [{ "required": ["kind"] }, { "required": ["actions"] }],
        "allOf": [
            { "if": untimed, "else": { "required": ["when"] } },
            of(&[FaultWord::Slow, FaultWord::Delay], "by"),
            of(&[FaultWord::Full, FaultWord::Unavailable], "for"),
        ],
    })
}

impl Element for FaultConfig {
    type Value = Self;
    const TYPE: Type = FaultKeys::TYPE;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self> {
        let keys: FaultKeys = read_group(reading, item)?;
        let what = what(&keys, &|key| item.below(key).is_some());
        match what {
            Ok(what) => Some(FaultConfig {
                target: keys.target,
                what: what?,
                from: keys.from,
                until: keys.until,
                times: keys.times,
                odds: keys.odds,
            }),
            Err((code, message)) => {
                reading.report(item.error(code, message));
                None
            }
        }
    }

    fn check<'c>(value: &'c Self, _: &Bounds, at: &mut Checks<'c, '_>) {
        let bounds = |key: &str| FaultKeys::TABLE.key(key).map_or(Bounds::NONE, |key| key.bounds);
        let mut time = |key: &'static str, time: Option<Duration>| {
            if let Some(time) = time {
                at.key(key, |at| bounds(key).time(time, at));
            }
        };
        time("from", Some(value.from));
        time("until", value.until);
        match &value.what {
            FaultWhatConfig::Kind { kind, when } => {
                match *kind {
                    FaultKind::Hang { span } => time("for", Some(span)),
                    FaultKind::Full { span } | FaultKind::Unavailable { span }
                        if span.is_zero() =>
                    {
                        at.key("for", |at| at.refuse("it must be longer than 0"));
                    }
                    FaultKind::Full { span }
                    | FaultKind::Unavailable { span }
                    | FaultKind::Crash { span, .. }
                    | FaultKind::TornWrite { span } => time("for", Some(span)),
                    FaultKind::Slow { by, span } => {
                        time("by", Some(by));
                        time("for", Some(span));
                    }
                    FaultKind::Delay { by } => time("by", Some(by)),
                    _ => {}
                }
                at.key("when", |at| when.check_keys(at));
            }
            FaultWhatConfig::Mix { most } => {
                at.key("most", |at| bounds("most").whole((*most).into(), at));
            }
            FaultWhatConfig::Script(_) => {}
        }
        at.key("odds", |at| bounds("odds").real(value.odds, at));
    }
}

/// What a fault does; `None` if a mistake in a key is reported already. `has` says whether a key
/// stands in the table, even if it could not be read.
///
/// # Errors
/// Which keys exclude or need each other.
fn what(
    keys: &FaultKeys,
    has: &dyn Fn(&str) -> bool,
) -> Result<Option<FaultWhatConfig>, (Code, String)> {
    let missing = |message| Err((Code::MissingKey, message));
    if has("kind") && has("actions") {
        let message = "a fault has a `kind`, or `actions`, not both".to_owned();
        return Err((Code::ExclusiveKeys, message));
    }
    if !has("kind") && !has("actions") {
        let words = words().join(", ");
        return missing(format!(
            "a fault needs a `kind` ({words}), or `actions` such as \"5%panic->off\""
        ));
    }
    use FaultWord as Word;
    // Keys that only some kinds have; a script has none of them.
    for (key, of) in [
        ("for", SPANNED),
        ("by", &[Word::Slow, Word::Delay][..]),
        ("text", &[Word::Panic, Word::Error]),
        ("permanent", &[Word::Error]),
        ("stored", &[Word::Crash, Word::UnknownOutcome]),
        ("most", &[Word::Mix]),
    ] {
        if !has(key) {
            continue;
        }
        match keys.kind {
            Some(kind) if !of.contains(&kind) => return Err(refused(Some(kind), key)),
            None if has("actions") => return Err(refused(None, key)),
            _ => {}
        }
    }
    if has("when") && (has("actions") || keys.kind == Some(Word::Mix)) {
        return Err(refused(keys.kind, "when"));
    }
    let Some(word) = keys.kind else {
        return Ok(keys.actions.clone().map(FaultWhatConfig::Script));
    };
    if word == Word::Mix {
        return Ok(Some(FaultWhatConfig::Mix { most: keys.most.unwrap_or(6) }));
    }
    let needed = |what: Option<Duration>, key: &str, example: &str| match what {
        None if !has(key) => {
            let word = named(Some(word));
            let message = format!("a fault of {word} needs `{key}`, such as {key} = \"{example}\"");
            Err((Code::MissingKey, message))
        }
        what => Ok(what),
    };
    let text = || keys.text.clone().unwrap_or_else(|| TEXT.to_owned());
    let span = keys.span.unwrap_or(FOR_EVER);
    let kind = match word {
        Word::Panic => Some(FaultKind::Panic { text: text() }),
        Word::Kill => Some(FaultKind::Kill),
        Word::Stop => Some(FaultKind::Stop),
        Word::Hang => Some(FaultKind::Hang { span }),
        Word::Slow => needed(keys.by, "by", "10ms")?.map(|by| FaultKind::Slow { by, span }),
        Word::Error => {
            let permanent = keys.permanent.unwrap_or_default();
            Some(FaultKind::Error { text: text(), permanent })
        }
        Word::Poison => Some(FaultKind::Poison),
        Word::Delay => needed(keys.by, "by", "10ms")?.map(|by| FaultKind::Delay { by }),
        Word::Drop => Some(FaultKind::Drop),
        Word::Duplicate => Some(FaultKind::Duplicate),
        Word::Crash => {
            let (span, stored) = (keys.span.unwrap_or(RESTART), keys.stored);
            Some(FaultKind::Crash { span, stored })
        }
        Word::UnknownOutcome => Some(FaultKind::UnknownOutcome { stored: keys.stored }),
        Word::LostSync => Some(FaultKind::LostSync),
        Word::TornWrite => Some(FaultKind::TornWrite { span: keys.span.unwrap_or(RESTART) }),
        Word::Redeliver => Some(FaultKind::Redeliver),
        Word::LostLease => Some(FaultKind::LostLease),
        Word::Reload => Some(FaultKind::Reload),
        Word::Unavailable => {
            needed(keys.span, "for", "1s")?.map(|span| FaultKind::Unavailable { span })
        }
        Word::Full | Word::Mix => {
            needed(keys.span, "for", "1s")?.map(|span| FaultKind::Full { span })
        }
    };
    if !has("when") {
        let whens: Vec<&str> = When::TABLE.keys.iter().map(|key| key.name).collect();
        return missing(format!(
            "a fault of {} needs to know when: one of {}",
            named(Some(word)),
            whens.join(", ")
        ));
    }
    let what = kind.zip(keys.when.clone());
    Ok(what.map(|(kind, when)| FaultWhatConfig::Kind { kind, when }))
}

fn words() -> Vec<&'static str> {
    match FaultWord::TYPE {
        Type::Words(words) => words.iter().map(|word| word.name).collect(),
        _ => Vec::new(),
    }
}

fn named(kind: Option<FaultWord>) -> String {
    kind.map_or("`actions`".to_owned(), |kind| {
        format!("`{}`", FaultWord::show(&kind).as_str().unwrap_or_default())
    })
}

fn refused(kind: Option<FaultWord>, key: &str) -> (Code, String) {
    (Code::UnknownKey, format!("a fault of {} has no `{key}`", named(kind)))
}

/// What is expected of a run with faults. By default nothing is lost and nothing is done twice.
#[derive(Debug, Clone, Copy, PartialEq, Element)]
pub struct ExpectConfig {
    /// Most books and requests that may be lost.
    #[key(default)]
    pub lost: u64,
    /// Most books burned, and requests answered, more than once.
    #[key(default)]
    pub duplicates: u64,
    /// Most books and requests in flight at the end.
    #[key(default)]
    pub in_flight: u64,
    /// Most times that supervision may give up.
    #[key(default)]
    pub escalations: u64,
    /// Longest time from an actor's end to the first work of its next life, for 99 of 100, such as
    /// "<= 100ms".
    #[key(as = AtMost)]
    pub recovery_p99: Option<Duration>,
    /// Largest share of the throughput that may be missing.
    #[key(min = 0, max = 1, because = "this is a share from 0 to 1")]
    pub throughput_dip: Option<f64>,
}

/// `"100ms"`, or `"<= 100ms"`.
struct AtMost;

impl Element for AtMost {
    type Value = Duration;
    const TYPE: Type = Type::Other("duration", || {
        let pattern = format!(r"\s*(<=)?{}", duration_pattern(false));
        json!({ "type": "string", "pattern": whole_or_env(&pattern) })
    });

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Duration> {
        let NodeKind::String(text) = &item.node.kind else {
            return duration(reading, item);
        };
        let text = outside(item, text);
        let text = text.trim();
        let bare = text.strip_prefix("<=").unwrap_or(text).trim();
        parse_duration(bare).map_err(|why| reading.report(item.error(Code::InvalidValue, why))).ok()
    }

    fn check(value: &Duration, bounds: &Bounds, at: &mut Checks<'_, '_>) {
        bounds.time(*value, at);
    }
}
