//! The eleven goals, and whether they are met.

use crate::args::Args;
use crate::measured::{Measured, Metric, Spread};
use crate::plan::{self, Cell};

/// The bound of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
}

/// One line of the table of goals.
pub struct Goal {
    pub number: u8,
    pub what: String,
    pub group: &'static str,
    metric: Metric,
    ours: Cell,
    /// The figure is divided by the best of these cells; if empty, `scale` sets the unit.
    theirs: Vec<Cell>,
    scale: f64,
    pub bound: Bound,
    pub stretch: Option<f64>,
}

/// A goal and its measurement.
pub struct Judged {
    pub goal: Goal,
    /// `None` if a program that is needed was not run or failed.
    pub spread: Option<Spread>,
}

impl Judged {
    pub fn is_met(&self) -> Option<bool> {
        self.spread.map(|spread| self.goal.bound.is_met(spread.median))
    }
}

fn cell(peer: &str, row: &str, threads: usize) -> Cell {
    Cell { peer: peer.into(), row: row.into(), threads, count: None }
}

impl Cell {
    fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

fn goal(
    number: u8,
    what: &str,
    (group, metric): (&'static str, Metric),
    ours: Cell,
    theirs: &[Cell],
    bound: Bound,
) -> Goal {
    Goal {
        number,
        what: what.into(),
        group,
        metric,
        ours,
        theirs: theirs.to_vec(),
        scale: 1.0,
        bound,
        stretch: None,
    }
}

impl Goal {
    fn stretch(mut self, stretch: f64) -> Self {
        self.stretch = Some(stretch);
        self
    }

    fn in_units_of(mut self, unit: f64) -> Self {
        self.scale = 1.0 / unit;
        self
    }

    fn judge(self, measured: &Measured, args: &Args) -> Judged {
        let rounds = |cell: &Cell| measured.rounds(self.group, cell, self.metric, args);
        // The best cell is the fastest, or the one with least time or bytes.
        let better = |a: f64, b: f64| {
            if self.metric == Metric::PerSecond { a.max(b) } else { a.min(b) }
        };
        let theirs: Option<Vec<Vec<f64>>> = self.theirs.iter().map(rounds).collect();
        let spread = rounds(&self.ours).zip(theirs).and_then(|(ours, theirs)| {
            let ratios = ours.iter().enumerate().map(|(round, ours)| {
                let best = theirs.iter().map(|rounds| rounds[round]).reduce(better);
                ours / best.unwrap_or(1.0) * self.scale
            });
            Spread::of(ratios)
        });
        Judged { goal: self, spread }
    }
}

fn all(args: &Args) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    use Metric::{BytesEach, MeanNs, Ms, NsEach, P99Ns, PerSecond, Resident};
    let ours = |row: &str, threads| cell("gopherworks", row, threads);
    let go = |row: &str, threads| cell("go", row, threads);
    let pipeline = ("pipeline", PerSecond);
    let mut goals = vec![
        goal(
            1,
            "carts of 64 : Go, one a channel",
            pipeline,
            ours("pipeline-64", 1),
            &[go("pipeline-1", 1)],
            AtLeast(10.0),
        ),
        goal(
            1,
            "carts of 64 : tokio, one a message",
            pipeline,
            ours("pipeline-64", 1),
            &[cell("tokio", "pipeline-1", 1)],
            AtLeast(15.0),
        ),
        goal(
            1,
            "carts of 64 : raw actix, one a message",
            pipeline,
            ours("pipeline-64", 1),
            &[cell("raw-actix", "pipeline-1", 1)],
            AtLeast(10.0),
        ),
        goal(
            1,
            "carts of 64 : plain loop",
            pipeline,
            ours("pipeline-64", 1),
            &[cell("plain", "pipeline-64", 1)],
            AtLeast(0.6),
        )
        .stretch(0.7),
        goal(
            2,
            "carts of 1 : Go, one a channel",
            pipeline,
            ours("pipeline-1", 1),
            &[go("pipeline-1", 1)],
            AtLeast(1.0),
        )
        .stretch(4.0),
        goal(
            3,
            "carts of 64 : Go, carts of 64",
            pipeline,
            ours("pipeline-64", 1),
            &[go("pipeline-64", 1)],
            AtLeast(1.4),
        ),
        goal(
            3,
            "carts of 64 : tokio, carts of 64",
            pipeline,
            ours("pipeline-64", 1),
            &[cell("tokio", "pipeline-64", 1)],
            AtLeast(1.0),
        )
        .stretch(1.15),
        goal(
            3,
            "ring of four : Go's ring",
            ("ring", PerSecond),
            ours("ring-64", 1),
            &[go("ring-64", 1)],
            AtLeast(1.2),
        ),
        goal(
            4,
            "two copies on two cores : one",
            ("copies", PerSecond),
            ours("copies-64", 2),
            &[ours("pipeline-64", 1)],
            AtLeast(1.6),
        )
        .stretch(1.8),
        goal(
            4,
            "two copies on two cores : two Go pipelines",
            ("copies", PerSecond),
            ours("copies-64", 2),
            &[go("copies-64", 2)],
            AtLeast(2.5),
        ),
    ];
    let empty = |what: &str, threads, theirs: &[Cell], least| {
        goal(
            5,
            what,
            ("balancer-empty", PerSecond),
            ours("balancer-empty", threads),
            theirs,
            AtLeast(least),
        )
    };
    let of = |peer: &str| [cell(peer, "balancer-empty", 1)];
    goals.extend([
        empty("empty jobs : Go's heap", 1, &of("go"), 3.5),
        empty("empty jobs : tokio's heap", 1, &of("tokio"), 2.4),
        empty("empty jobs : ractor's factory", 1, &of("ractor"), 8.0),
        empty("empty jobs : kameo's pool", 1, &of("kameo"), 8.0),
        empty(
            "empty jobs, two arbiters : Go's best",
            2,
            &[go("balancer-empty", 1), go("balancer-empty", 2)],
            4.4,
        ),
    ]);
    for (group, job, least) in [
        ("balancer-10us", "10 us", 0.93),
        ("balancer-50us", "50 us", 0.97),
        ("balancer-mix", "10/200 us", 0.97),
    ] {
        let what = format!("jobs of {job} : calling the function");
        goals.push(goal(
            6,
            &what,
            (group, PerSecond),
            ours(group, 2),
            &[cell("plain", group, 2)],
            AtLeast(least),
        ));
        let what = format!("jobs of {job}, p99 : Go's heap");
        goals.push(goal(6, &what, (group, P99Ns), ours(group, 2), &[go(group, 2)], AtMost(0.6)));
    }
    let sleep = |what: &str, metric, theirs: Cell, most| {
        goal(
            7,
            what,
            ("balancer-sleep", metric),
            ours("balancer-sleep", 1).times(plan::sleep_count(args)),
            &[theirs.times(plan::sleep_count(args))],
            AtMost(most),
        )
    };
    let idle = |what: &str, metric, bound| {
        let count = plan::idle_count(args);
        goal(
            8,
            what,
            ("idle", metric),
            ours("idle", 1).times(count),
            &[go("idle", 1).times(count)],
            bound,
        )
    };
    goals.extend([
        sleep(
            "jobs that sleep, mean : own round robin",
            MeanNs,
            ours("balancer-sleep-round-robin", 1),
            0.62,
        ),
        sleep(
            "jobs that sleep, p99 : own round robin",
            P99Ns,
            ours("balancer-sleep-round-robin", 1),
            0.55,
        ),
        sleep("jobs that sleep, mean : Go's heap", MeanNs, go("balancer-sleep", 1), 1.05),
        idle("idle gophers, bytes each : Go", BytesEach, AtMost(0.35)),
        idle("idle gophers, spawns a second : Go", PerSecond, AtLeast(3.5)),
        goal(
            9,
            "supervised : bare, ping-pong",
            ("supervised", PerSecond),
            ours("pingpong-supervised", 1),
            &[ours("pingpong-bare", 1)],
            AtLeast(0.95),
        ),
        goal(
            9,
            "supervised : bare, bursts",
            ("supervised", PerSecond),
            ours("burst-supervised", 1),
            &[ours("burst-bare", 1)],
            AtLeast(0.95),
        ),
        goal(
            9,
            "restart without backoff, us",
            ("restart", NsEach),
            ours("restart", 1),
            &[],
            AtMost(20.0),
        )
        .in_units_of(1e3),
        goal(
            10,
            "light load, time of a round : Go",
            ("light", NsEach),
            ours("light", 1),
            &[go("light", 1)],
            AtMost(1.0),
        ),
    ]);
    let scales = plan::scales(args);
    let (few, many) = (scales[0], scales[scales.len() - 1]);
    let at = |books: u64| ours("pipeline-64", 1).times(books);
    goals.extend([
        goal(
            11,
            &format!(
                "books a second, {many:.0e} : {few:.0e}",
                many = many as f64,
                few = few as f64
            ),
            ("scale", PerSecond),
            at(many),
            &[at(few)],
            AtLeast(0.9),
        ),
        goal(
            11,
            &format!("bytes, {many:.0e} : {few:.0e}", many = many as f64, few = few as f64),
            ("scale", Resident),
            at(many),
            &[at(few)],
            AtMost(1.1),
        ),
        goal(
            11,
            "start of 1,000 nodes, ms",
            ("scale", Ms),
            ours("start", 1).times(1000),
            &[],
            AtMost(1000.0),
        ),
    ]);
    goals
}

/// All goals with their measurements.
pub fn judge(measured: &Measured, args: &Args) -> Vec<Judged> {
    all(args).into_iter().map(|goal| goal.judge(measured, args)).collect()
}

#[cfg(test)]
mod tests;
