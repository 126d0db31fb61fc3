//! The rows of the table: their columns, order and cells.

use std::cmp::Ordering;

use super::super::print;
use super::feed::Node;

/// Shares of the last second that a node spent in a state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// `None` for nodes that serve carts in no time.
    pub busy: Option<f64>,
    pub blocked: Option<f64>,
    pub idle: Option<f64>,
}

/// A node with its shares.
pub struct Row<'a> {
    pub node: &'a Node,
    pub shares: Shares,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Node,
    Kind,
    State,
    Rate,
    Ready,
    Leased,
    Oldest,
    Busy,
    Blocked,
    Idle,
    Restarts,
    Failed,
    Failure,
}

impl Column {
    pub const ALL: [Self; 13] = [
        Self::Node,
        Self::Kind,
        Self::State,
        Self::Rate,
        Self::Ready,
        Self::Leased,
        Self::Oldest,
        Self::Busy,
        Self::Blocked,
        Self::Idle,
        Self::Restarts,
        Self::Failed,
        Self::Failure,
    ];

    pub const HEADS: [&'static str; 13] = [
        "node",
        "kind",
        "state",
        "per s",
        "ready",
        "leased",
        "oldest",
        "busy",
        "blocked",
        "idle",
        "restarts",
        "failed",
        "last failure",
    ];

    /// Columns of words, which come first and are flush left.
    pub const WORDS: usize = 3;

    pub fn head(self) -> &'static str {
        Self::HEADS[self as usize]
    }

    /// True for columns whose greatest value comes first.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Node | Self::Kind | Self::State | Self::Failure)
    }

    /// The column `by` places to the right of this one, round the end. Before the first one, the
    /// rows have the order of the file.
    pub fn beside(this: Option<Self>, by: isize) -> Option<Self> {
        let places = Self::ALL.len() as isize + 1;
        let at = this.map_or(0, |column| column as isize + 1);
        let to = (at + by).rem_euclid(places) as usize;
        to.checked_sub(1).map(|to| Self::ALL[to])
    }

    fn number(self, row: &Row<'_>) -> Option<f64> {
        let pile = row.node.pile.as_ref();
        match self {
            Self::Rate => Some(row.node.per_s),
            Self::Ready => pile.map(|pile| pile.ready as f64),
            Self::Leased => pile.map(|pile| pile.leased as f64),
            Self::Oldest => pile.and_then(|pile| pile.oldest_s),
            Self::Busy => row.shares.busy,
            Self::Blocked => row.shares.blocked,
            Self::Idle => row.shares.idle,
            Self::Restarts => Some(row.node.restarts as f64),
            Self::Failed => Some(row.node.failed as f64),
            Self::Node | Self::Kind | Self::State | Self::Failure => None,
        }
    }

    /// The order of two rows: names first to last, numbers greatest to least.
    pub fn order(self, one: &Row<'_>, other: &Row<'_>) -> Ordering {
        if self.is_number() {
            let number = |row| self.number(row).unwrap_or(f64::NEG_INFINITY);
            return number(other).total_cmp(&number(one));
        }
        // Rows without a failure come last.
        let text = |row| Some(self.cell(row)).filter(|text| text != "-");
        match (text(one), text(other)) {
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (one, other) => one.cmp(&other),
        }
    }

    /// The text of a cell; `-` for what a node does not have.
    pub fn cell(self, row: &Row<'_>) -> String {
        let node = row.node;
        let text = match self {
            Self::Node if node.kind == "gopher" => Some(format!("  {}", node.name)),
            Self::Node => Some(node.name.clone()),
            Self::Kind => Some(node.kind.clone()),
            Self::State => Some(node.state.clone()),
            Self::Failure => failure(node),
            Self::Rate => Some(rate(node.per_s)),
            Self::Oldest => self.number(row).map(print::seconds),
            Self::Busy | Self::Blocked | Self::Idle => {
                self.number(row).map(|share| format!("{:.0}%", share * 100.0))
            }
            Self::Ready | Self::Leased | Self::Restarts | Self::Failed => {
                self.number(row).map(|count| print::grouped(count as u64))
            }
        };
        text.unwrap_or_else(|| "-".to_owned())
    }
}

/// A rate with at least three significant digits.
fn rate(per_s: f64) -> String {
    match per_s {
        rate if rate >= 100.0 => print::grouped(rate.round() as u64),
        rate if rate >= 1.0 || rate == 0.0 => format!("{rate:.1}"),
        rate => format!("{rate:.3}"),
    }
}

/// Why a node is paused, or why something failed at it last; in one line.
fn failure(node: &Node) -> Option<String> {
    let paused = node.paused.as_ref().map(|why| format!("paused: {why}"));
    let text = paused.or_else(|| {
        let last = node.last_failure.as_ref()?;
        Some(last.reason.clone().unwrap_or_else(|| "another reason".to_owned()))
    })?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}
