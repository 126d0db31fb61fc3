//! Which programs run which rows. Cells that are compared with each other form a group, and run in
//! turns.

use crate::args::Args;

/// One program with one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub peer: String,
    pub row: String,
    pub threads: usize,
    /// A fixed count; if `None`, as many operations as fill the time.
    pub count: Option<u64>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.peer, self.row, self.threads)?;
        self.count.map_or(Ok(()), |count| write!(f, " x {count}"))
    }
}

pub struct Group {
    pub name: &'static str,
    pub cells: Vec<Cell>,
}

pub const NAMES: [&str; 13] = [
    "pipeline",
    "ring",
    "copies",
    "balancer-empty",
    "balancer-10us",
    "balancer-50us",
    "balancer-mix",
    "balancer-sleep",
    "idle",
    "light",
    "supervised",
    "restart",
    "scale",
];

/// Idle actors, or 1 % of them.
pub fn idle_count(args: &Args) -> u64 {
    if args.quick { 10_000 } else { 1_000_000 }
}

/// Requests that sleep: as many as take one second.
pub fn sleep_count(args: &Args) -> u64 {
    if args.quick { 400 } else { 4000 }
}

/// Counts of books from small to large.
pub fn scales(args: &Args) -> Vec<u64> {
    let most = if args.quick { 6 } else { 8 };
    (5..=most).map(|power| 10_u64.pow(power)).collect()
}

/// Nodes of topologies from small to large.
pub const NODES: [u64; 3] = [10, 100, 1000];

fn cells(name: &str, args: &Args) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |peers: &[&str], rows: &[&str], threads: usize, count: Option<u64>| {
        for row in rows {
            for peer in peers {
                cells.push(Cell { peer: (*peer).into(), row: (*row).into(), threads, count });
            }
        }
    };
    let movers = ["gopherworks", "go", "tokio", "raw-actix", "ractor", "kameo", "plain"];
    let askers = ["gopherworks", "go", "tokio", "raw-actix", "ractor", "kameo", "tower", "plain"];
    match name {
        "pipeline" => {
            add(&movers, &["pipeline-1", "pipeline-64", "pipeline-1024"], 1, None);
            add(&["plain", "tokio"], &["value-64"], 1, None);
            add(&["go"], &["recycled-64"], 1, None);
        }
        "ring" => add(&movers, &["ring-64"], 1, None),
        "copies" => {
            add(&["gopherworks"], &["pipeline-64"], 1, None);
            add(&["gopherworks", "go", "tokio", "raw-actix"], &["copies-64"], 2, None);
            add(&["go"], &["copies-1", "recycled-64"], 2, None);
        }
        "balancer-empty" => {
            add(&askers, &[name], 1, None);
            add(&askers[..7], &[name], 2, None);
        }
        "balancer-10us" | "balancer-50us" | "balancer-mix" => {
            add(&askers, &[name], 2, None);
        }
        "balancer-sleep" => {
            let count = Some(sleep_count(args));
            add(&askers[..7], &[name], 1, count);
            add(&["go", "gopherworks"], &["balancer-sleep-round-robin"], 1, count);
            add(&["gopherworks"], &["balancer-sleep-least-loaded"], 1, count);
        }
        "idle" => add(&movers[..6], &[name], 1, Some(idle_count(args))),
        "light" => add(&movers[..6], &[name], 1, None),
        "supervised" => {
            let rows = ["pingpong-bare", "pingpong-supervised", "burst-bare", "burst-supervised"];
            add(&["gopherworks"], &rows, 1, None);
        }
        "restart" => add(&["gopherworks"], &[name], 1, None),
        "scale" => {
            for books in scales(args) {
                add(&["gopherworks"], &["pipeline-64"], 1, Some(books));
            }
            for nodes in NODES {
                add(&["gopherworks"], &["start"], 1, Some(nodes));
            }
        }
        _ => unreachable!("every name has its cells"),
    }
    cells
}

/// The groups that the arguments select.
pub fn groups(args: &Args) -> Vec<Group> {
    let wanted = |name: &str| {
        let is = |only: &String| {
            name == only
                || name.strip_prefix(only.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        args.only.is_empty() || args.only.iter().any(is)
    };
    let groups = NAMES.into_iter().filter(|name| wanted(name)).map(|name| Group {
        name,
        cells: (cells(name, args).into_iter())
            .filter(|cell| args.peers.is_empty() || args.peers.contains(&cell.peer))
            .collect(),
    });
    groups.filter(|group| !group.cells.is_empty()).collect()
}
