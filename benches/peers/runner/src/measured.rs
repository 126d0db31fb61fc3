//! The measurements of each round.

use std::collections::BTreeMap;

use crate::args::Args;
use crate::plan::Cell;
use crate::program::{Line, number};

/// A figure of a program's output line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Books, requests, messages or spawns per second.
    PerSecond,
    /// Nanoseconds per operation.
    NsEach,
    /// Milliseconds for the whole run.
    Ms,
    MeanNs,
    P99Ns,
    BytesEach,
    Resident,
}

#[derive(Default)]
pub struct Measured {
    /// Output lines by group and cell, one per round; `None` if the program failed.
    pub lines: BTreeMap<(&'static str, Cell), Vec<Option<Line>>>,
    /// Failed programs, with the reason.
    pub failures: Vec<String>,
}

impl Measured {
    pub fn add(
        &mut self,
        group: &'static str,
        cell: &Cell,
        round: usize,
        line: Result<Line, String>,
    ) {
        let lines = self.lines.entry((group, cell.clone())).or_default();
        match line {
            Ok(line) => lines.push(Some(line)),
            Err(why) => {
                lines.push(None);
                let failure = format!("{cell}, round {}: {why}", round + 1);
                eprintln!("{failure}");
                self.failures.push(failure);
            }
        }
    }

    /// The figure of each round; `None` if the cell was not run.
    pub fn rounds(
        &self,
        group: &'static str,
        cell: &Cell,
        metric: Metric,
        args: &Args,
    ) -> Option<Vec<f64>> {
        let lines = self.lines.get(&(group, cell.clone()))?;
        let figure = |line: &Option<Line>| {
            line.as_ref().map_or(f64::NAN, |line| metric.of(line, cell, args))
        };
        Some(lines.iter().map(figure).collect())
    }
}

impl Metric {
    fn of(self, line: &Line, cell: &Cell, args: &Args) -> f64 {
        // With several threads, or with sleeping, core time does not show the duration.
        let by_cpu = args.by_cpu && cell.threads == 1 && !cell.row.contains("sleep");
        let seconds = number(line, if by_cpu { "cpu_seconds" } else { "seconds" });
        let count = number(line, "count");
        match self {
            Metric::PerSecond => count / seconds,
            Metric::NsEach => seconds / count * 1e9,
            Metric::Ms => seconds * 1e3,
            Metric::MeanNs => number(line, "mean_ns"),
            Metric::P99Ns => number(line, "p99_ns"),
            Metric::BytesEach => number(line, "bytes_each"),
            Metric::Resident => number(line, "resident"),
        }
    }
}

/// Median, least and most of the valid figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, min: *first, max: *last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_what_is_a_number() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(
            spread(&[3.0, f64::NAN, 1.0, 2.0]),
            Some(Spread { median: 2.0, min: 1.0, max: 3.0 })
        );
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
