//! The state of the screen: what the run reported last, and what the keys have chosen.

use std::collections::HashMap;

use super::feed::{Detail, Node, Snapshot};
use super::rows::{Column, Row, Shares};

/// Shortest time over which shares are taken, in seconds.
const SHARE_OVER: f64 = 0.9;

/// A node limits the rate if its busy share exceeds its waiting by this.
const LIMITS: f64 = 0.5;

#[derive(Default)]
pub struct Screen {
    pub now: Snapshot,
    /// Shares by node, since the last snapshot that is at least a second older.
    shares: HashMap<String, Shares>,
    /// Time and counters of that snapshot, from which the next shares are taken.
    since: (f64, HashMap<String, Times>),
    /// Why nothing comes at present.
    pub problem: Option<String>,
    /// `None` for the order of the run.
    pub sort: Option<Column>,
    pub reversed: bool,
    pub filter: String,
    /// True while keys go to the filter.
    pub typing: bool,
    pub gophers: bool,
    /// Name of the chosen node.
    pub chosen: Option<String>,
    /// The node whose details are shown, and its details once they have come.
    pub open: Option<(String, Option<Detail>)>,
    /// Lines of the details that are scrolled away.
    pub scrolled: usize,
    /// Rows that the terminal has.
    pub height: usize,
}

/// Seconds that a node has been busy, blocked and idle.
#[derive(Clone, Copy)]
struct Times {
    busy: f64,
    blocked: Option<f64>,
    idle: Option<f64>,
}

impl Times {
    const NONE: Self = Self { busy: 0.0, blocked: Some(0.0), idle: Some(0.0) };

    fn of(node: &Node) -> Self {
        Self { busy: node.busy_s, blocked: node.blocked_s, idle: node.idle_s }
    }

    fn shares(&self, before: &Self, passed: f64, is_busy: bool) -> Shares {
        let share = |now: f64, before: f64| ((now - before) / passed).clamp(0.0, 1.0);
        let both = |now: Option<f64>, before: Option<f64>| Some(share(now?, before?));
        Shares {
            busy: is_busy.then(|| share(self.busy, before.busy)),
            blocked: both(self.blocked, before.blocked),
            idle: both(self.idle, before.idle),
        }
    }
}

impl Screen {
    /// Takes a new snapshot. The first one of a run is compared with its start.
    pub fn take(&mut self, now: Snapshot) {
        if now.run != self.now.run || now.at_s < self.since.0 {
            self.since = Default::default();
            self.shares.clear();
        }
        let passed = now.at_s - self.since.0;
        if passed >= SHARE_OVER || self.shares.is_empty() {
            let shares = now.nodes.iter().map(|node| {
                let is_busy = !matches!(node.kind.as_str(), "pile" | "dump" | "requester");
                let before = self.since.1.get(&node.name).unwrap_or(&Times::NONE);
                let shares = Times::of(node).shares(before, passed.max(1e-9), is_busy);
                (node.name.clone(), shares)
            });
            self.shares = shares.collect();
            let times = now.nodes.iter().map(|node| (node.name.clone(), Times::of(node)));
            self.since = (now.at_s, times.collect());
        }
        self.now = now;
        self.problem = None;
    }

    /// Takes the details of a node, if they are still wanted.
    pub fn show(&mut self, detail: Detail) {
        if let Some((node, shown)) = &mut self.open
            && *node == detail.node.name
        {
            *shown = Some(detail);
        }
    }

    /// The node whose details are wanted.
    pub fn wanted(&self) -> Option<&str> {
        self.open.as_ref().map(|(node, _)| node.as_str())
    }

    pub fn row<'a>(&self, node: &'a Node) -> Row<'a> {
        Row { node, shares: self.shares.get(&node.name).copied().unwrap_or_default() }
    }

    /// The rows that are shown, in their order.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let filter = self.filter.to_lowercase();
        let has = |row: &Row<'_>| {
            let words = [Column::Node, Column::Kind, Column::State, Column::Failure];
            words.iter().any(|column| column.cell(row).to_lowercase().contains(&filter))
        };
        let rows = self.now.nodes.iter().filter(|node| self.gophers || node.kind != "gopher");
        let mut rows: Vec<_> = rows.map(|node| self.row(node)).filter(|row| has(row)).collect();
        if let Some(column) = self.sort {
            rows.sort_by(|one, other| column.order(one, other));
        }
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// Place of the chosen node among `rows`; the first one if it is not shown.
    pub fn place(&self, rows: &[Row<'_>]) -> usize {
        let chosen = self.chosen.as_deref();
        rows.iter().position(|row| Some(row.node.name.as_str()) == chosen).unwrap_or(0)
    }

    /// The node that limits the rate: it is busy while it neither lacks books nor waits for space.
    pub fn bottleneck(&self) -> Option<&str> {
        let mut best: Option<(f64, &str)> = None;
        for node in &self.now.nodes {
            let Some(busy) = self.row(node).shares.busy.filter(|_| node.kind != "relay") else {
                continue;
            };
            // A gopher limits its crew, whose carts wait.
            let name = match node.name.rsplit_once('/') {
                Some((crew, _)) if node.kind == "gopher" => crew,
                _ => node.name.as_str(),
            };
            let waits = self.shares.get(name).copied().unwrap_or_default();
            let limits = busy - waits.blocked.unwrap_or(0.0) - waits.idle.unwrap_or(0.0);
            if limits > LIMITS && best.is_none_or(|(most, _)| limits > most) {
                best = Some((limits, name));
            }
        }
        best.map(|(_, name)| name)
    }
}
