//! Fault scripts, in the grammar of the crate `fail`: `5%2*panic(oops)->hang(10ms)->off`.

use std::time::Duration;

use super::{FOR_EVER, Kind};

/// One term of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The probability, from 0 to 1.
    pub chance: f64,
    /// Maximum number of uses; `None` is unlimited.
    pub times: Option<u64>,
    /// The fault; `None` is `off`: no fault, and later terms are not evaluated.
    pub kind: Option<Kind>,
}

/// The valid action names.
const WORDS: [&str; 10] =
    ["off", "panic", "kill", "stop", "hang", "slow", "error", "delay", "drop", "duplicate"];

/// Parses a script: terms joined by `->`, each `[P%][N*]ACTION[(ARGUMENT)]`. At a visit, the first
/// term that has uses left and whose probability hits is applied. `duration` parses arguments that
/// are durations.
///
/// # Errors
/// A message that describes the first mistake.
pub fn parse(
    text: &str,
    duration: impl Fn(&str) -> Result<Duration, String>,
) -> Result<Vec<Term>, String> {
    text.split("->").map(|term| read(term.trim(), &duration)).collect()
}

fn read(term: &str, duration: &impl Fn(&str) -> Result<Duration, String>) -> Result<Term, String> {
    let mut rest = term;
    let mut chance = 1.0;
    let mut times = None;
    let head = rest.find('(').unwrap_or(rest.len());
    if let Some(at) = rest[..head].find('%') {
        let number = rest[..at].trim();
        chance = match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => percent / 100.0,
            _ => return Err(format!("`{number}%` is not a percentage from 0 to 100")),
        };
        rest = &rest[at + 1..];
    }
    let head = rest.find('(').unwrap_or(rest.len());
    if let Some(at) = rest[..head].find('*') {
        let number = rest[..at].trim();
        times = match number.parse::<u64>() {
            Ok(times) => Some(times),
            Err(_) => return Err(format!("`{number}*` is not a number of times")),
        };
        rest = &rest[at + 1..];
    }
    let (word, argument) = match rest.split_once('(') {
        None => (rest.trim(), None),
        Some((word, argument)) => match argument.trim_end().strip_suffix(')') {
            Some(argument) => (word.trim(), Some(argument.trim())),
            None => return Err(format!("`{term}` lacks its closing bracket")),
        },
    };
    let text = || argument.unwrap_or("a fault").to_owned();
    let needed = |what: &str| match argument {
        Some(span) => duration(span),
        None => Err(format!("`{word}` needs a time: `{word}({what})`")),
    };
    let bare = |kind: Kind| match argument {
        None => Ok(kind),
        Some(_) => Err(format!("`{word}` takes nothing in brackets")),
    };
    let kind = match word {
        "off" => None,
        "panic" => Some(Kind::Panic { text: text() }),
        "kill" => Some(bare(Kind::Kill)?),
        "stop" => Some(bare(Kind::Stop)?),
        "hang" => Some(Kind::Hang { span: argument.map_or(Ok(FOR_EVER), duration)? }),
        "slow" => Some(Kind::Slow { by: needed("10ms")?, span: Duration::ZERO }),
        "error" => Some(Kind::Error { text: text(), permanent: false }),
        "delay" => Some(Kind::Delay { by: needed("10ms")? }),
        "drop" => Some(bare(Kind::Drop)?),
        "duplicate" => Some(bare(Kind::Duplicate)?),
        other => {
            return Err(format!("`{other}` is none of {}", WORDS.join(", ")));
        }
    };
    Ok(Term { chance, times, kind })
}
