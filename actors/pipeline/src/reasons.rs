//! Failure reasons of books, requests and reads of sources, by node: the first failure of each
//! reason is logged, and all are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use gopherworks_supervision::clock::Time;

/// Distinct reasons kept per node; further ones are counted together.
const MOST_REASONS: usize = 50;

/// Reasons logged per node; twice as many if final.
const MOST_LOGGED: u64 = 5;

/// Characters kept of a reason.
const MOST_TEXT: usize = 500;

/// Failures at one node for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonCount {
    /// The node: a crew, an incinerator, a pile, a balancer, or a source as `pile.source`.
    pub node: String,
    /// The reason's text at its first failure; `None` for all reasons beyond the first 50 of the
    /// node.
    pub reason: Option<String>,
    /// Number of failed attempts.
    pub count: u64,
    /// Number of failures without a further attempt: dead letters, and failed requests.
    pub final_count: u64,
    /// The first book or request that failed for this reason; `a read` for a source.
    pub first: String,
    /// When the last failure happened.
    pub last: Time,
}

/// Failure reasons of a run.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<String, NodeReasons>>);

#[derive(Debug, Default)]
struct NodeReasons {
    /// Keyed by the reason without the parts that differ between books.
    tallies: BTreeMap<String, ReasonTally>,
    others: Option<ReasonTally>,
    logged: u64,
}

#[derive(Debug)]
struct ReasonTally {
    reason: Option<String>,
    count: u64,
    final_count: u64,
    first: String,
    last: Time,
    order: usize,
}

/// Consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The book or request is tried again.
    Again,
    /// There is no further attempt.
    Final,
    /// There is no further attempt, by configuration: counted but not logged.
    Intended,
}

impl Reasons {
    /// Counts a failure at `node` of `what`, a book with the number of its attempt, a request or a
    /// read, and logs the first of each reason.
    pub fn note(
        &self,
        node: &str,
        (what, attempt): (&str, Option<u32>),
        reason: &str,
        then: Then,
        now: Time,
    ) {
        let key = alike(reason, what);
        let line = {
            let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !nodes.contains_key(node) {
                nodes.insert(node.to_owned(), NodeReasons::default());
            }
            let Some(at) = nodes.get_mut(node) else {
                return;
            };
            at.note(key, what, reason, then, now)
        };
        if line {
            let (what, reason) = (printable(what), printable(reason));
            let book = attempt.map(|_| what.as_str());
            match then {
                Then::Again => log::warn!(
                    node, book, attempt;
                    "{node}: {what} failed and is retried: {reason}"
                ),
                Then::Final => log::error!(
                    node, book, attempt;
                    "{node}: {what} failed permanently: {reason}"
                ),
                Then::Intended => {}
            }
        }
    }

    /// All reasons, ordered by node name; the most frequent of a node first.
    pub fn all(&self) -> Vec<ReasonCount> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (node, at) in &*nodes {
            let mut tallies: Vec<&ReasonTally> = at.tallies.values().collect();
            tallies.sort_by_key(|tally| {
                (std::cmp::Reverse((tally.final_count, tally.count)), tally.order)
            });
            all.extend(tallies.into_iter().chain(&at.others).map(|tally| ReasonCount {
                node: node.clone(),
                reason: tally.reason.clone(),
                count: tally.count,
                final_count: tally.final_count,
                first: tally.first.clone(),
                last: tally.last,
            }));
        }
        all
    }
}

impl NodeReasons {
    /// Counts a failure; true if it should be logged.
    fn note(&mut self, key: String, what: &str, reason: &str, then: Then, now: Time) -> bool {
        let order = self.tallies.len();
        let is_full = order >= MOST_REASONS && !self.tallies.contains_key(&key);
        let fresh = |reason: Option<&str>| ReasonTally {
            reason: reason.map(printable),
            count: 0,
            final_count: 0,
            first: printable(what),
            last: now,
            order,
        };
        let tally = match is_full {
            true => self.others.get_or_insert_with(|| fresh(None)),
            false => self.tallies.entry(key).or_insert_with(|| fresh(Some(reason))),
        };
        let first = match then {
            Then::Again => tally.count == 0,
            Then::Final => tally.final_count == 0,
            Then::Intended => false,
        };
        tally.count += 1;
        tally.final_count += u64::from(then != Then::Again);
        tally.last = tally.last.max(now);
        // Repeated attempts must not use up the log lines of final failures.
        let most = match then {
            Then::Again => MOST_LOGGED,
            _ => 2 * MOST_LOGGED,
        };
        let log = first && self.logged < most && !is_full;
        self.logged += u64::from(log);
        log
    }
}

/// Makes external text printable: one line, control characters escaped, at most 500 characters.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.trim().chars().enumerate() {
        if at >= MOST_TEXT {
            out.push('…');
            break;
        }
        match c {
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => _ = write!(out, "{}", c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Normalises a reason: replaces the book's name, paths, addresses, and numbers other than codes.
fn alike(reason: &str, what: &str) -> String {
    let kept: String = reason.chars().take(MOST_TEXT).collect();
    let kept = without(&kept, what);
    let mut out = String::new();
    let mut code = false;
    for word in kept.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if word.contains('/') {
            out.push('*');
        } else if code && bare.chars().all(|c| c.is_ascii_digit()) {
            out.push_str(word);
        } else {
            numberless(word, &mut out);
        }
        code = CODES.contains(&bare.to_ascii_lowercase().as_str());
    }
    out
}

/// Replaces `name` in `text` by `*`, unless it is part of a longer word.
fn without(text: &str, name: &str) -> String {
    let mut out = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices(name).filter(|_| !name.is_empty()) {
        let end = at + name.len();
        let before = text[..at].chars().next_back();
        let after = text[end..].chars().next();
        if at >= copied && ![before, after].into_iter().flatten().any(char::is_alphanumeric) {
            out.push_str(&text[copied..at]);
            out.push('*');
            copied = end;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// A number after one of these words distinguishes reasons.
const CODES: [&str; 9] =
    ["status", "code", "signal", "exit", "answered", "error", "errno", "os", "http"];

/// Appends `word` with `#` for each number, and for each part of 8 or more characters with a digit
/// (an id, a hash).
fn numberless(word: &str, out: &mut String) {
    for part in word.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let bare = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        let end = &part[bare.len()..];
        let digits = bare.chars().filter(char::is_ascii_digit).count();
        if digits > 0 && bare.len() >= 8 {
            out.push('#');
        } else {
            let mut in_number = false;
            for c in bare.chars() {
                if !c.is_ascii_digit() {
                    out.push(c);
                } else if !in_number {
                    out.push('#');
                }
                in_number = c.is_ascii_digit();
            }
        }
        out.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_names_and_numbers_are_alike() {
        let same = [
            ("in/a.gz: not gzip at byte 17", "in/a.gz"),
            ("in/other.gz: not gzip at byte 4096", "in/other.gz"),
        ];
        let [one, other] = same.map(|(reason, what)| alike(reason, what));
        assert_eq!(one, other);
        assert_eq!(alike("127.0.0.1:9000 refused", ""), alike("127.0.0.1:80 refused", ""));
        // A short name must not be replaced inside other words.
        assert_eq!(alike("e: not there", "e"), alike("t: not there", "t"));
        assert_eq!(alike("book-12 is odd", "x"), alike("book-9 is odd", "x"));
        assert_eq!(alike("no key 01h4z6gx2t", "x"), alike("no key 7j8kq03mm1", "x"));
        for (one, other) in [
            ("prog: exit status: 1", "prog: exit status: 2"),
            ("h answered 404 Not Found", "h answered 503 Not Found"),
            ("No space left (os error 28)", "No space left (os error 5)"),
            ("not gzip", "not zstd"),
        ] {
            assert_ne!(alike(one, "x"), alike(other, "x"));
        }
    }

    #[test]
    fn all_are_counted_and_the_first_of_each_is_logged() {
        let mut node = NodeReasons::default();
        let mut note = |reason: &str, then| {
            let key = alike(reason, "b");
            node.note(key, "b", reason, then, Time(7))
        };
        assert!(note("x 1", Then::Again));
        assert!(!note("x 2", Then::Again));
        assert!(note("x 3", Then::Final), "its end is told as well");
        assert!(!note("x 4", Then::Final));
        assert!(!note("full", Then::Intended));
        for at in 0..100 {
            let word: String = std::iter::repeat_n('y', at).collect();
            note(&format!("z{word}"), Then::Final);
        }
        assert_eq!(node.tallies.len(), MOST_REASONS);
        assert_eq!(node.logged, 2 * MOST_LOGGED);
        let counted: u64 = node.tallies.values().chain(&node.others).map(|tally| tally.count).sum();
        assert_eq!(counted, 105);
    }

    #[test]
    fn what_comes_from_outside_obeys_no_terminal() {
        assert_eq!(printable(" a\nb\u{1b}[2J "), "a b\\u{1b}[2J");
        assert!(printable(&"x".repeat(10_000)).chars().count() <= MOST_TEXT + 1);
    }
}
