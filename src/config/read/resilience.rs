//! Reads what protects a balancer.

use super::super::schema::{
    EjectConfig, PriorityConfig, ResilienceConfig, RetryBudgetConfig, ShedConfig,
};
use super::super::tree::{Item, Reading, Table};
use super::super::values::{duration, number, real};

/// Words for who goes first.
pub(crate) const PRIORITIES: [(&str, PriorityConfig); 3] = [
    ("low", PriorityConfig::Low),
    ("normal", PriorityConfig::Normal),
    ("high", PriorityConfig::High),
];

/// The keys of a balancer that are about it.
pub(super) fn resilience(table: &mut Table<'_>) -> ResilienceConfig {
    ResilienceConfig {
        deadline: table.opt("deadline", duration),
        shed: table.opt("shed", shed),
        retry_budget: table.opt("retry_budget", retry_budget),
        slow_start: table.opt("slow_start", duration),
        eject: table.opt("eject", eject),
    }
}

fn shed(reading: &Reading<'_>, item: Item<'_>) -> Option<ShedConfig> {
    let mut table = Table::open(reading, item)?;
    let usual = ShedConfig::default();
    let shed = ShedConfig {
        target: table.opt("target", duration).unwrap_or(usual.target),
        interval: table.opt("interval", duration).unwrap_or(usual.interval),
    };
    table.finish(&[]);
    Some(shed)
}

fn retry_budget(reading: &Reading<'_>, item: Item<'_>) -> Option<RetryBudgetConfig> {
    let mut table = Table::open(reading, item)?;
    let usual = RetryBudgetConfig::default();
    let budget = RetryBudgetConfig {
        share: table.opt("share", real).unwrap_or(usual.share),
        per_second: table.opt("per_second", real).unwrap_or(usual.per_second),
    };
    table.finish(&[]);
    Some(budget)
}

fn eject(reading: &Reading<'_>, item: Item<'_>) -> Option<EjectConfig> {
    let mut table = Table::open(reading, item)?;
    let usual = EjectConfig::default();
    let eject = EjectConfig {
        failures: table.opt("failures", number).unwrap_or(usual.failures),
        slower: table.opt("slower", real),
        pause: table.opt("pause", duration).unwrap_or(usual.pause),
        at_most: table.opt("at_most", real).unwrap_or(usual.at_most),
    };
    table.finish(&[]);
    Some(eject)
}
