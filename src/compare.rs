//! Compares designs by simulating them without side effects.

pub mod policies;

use serde::Serialize;

use crate::config::elements::TopologyConfig;
use crate::config::nearest;
use crate::plan::Plan;
use crate::report::{Report, RunOutcome};
use crate::topology::{Options, StartError, Topology};

/// The figures of one design.
#[derive(Debug, Clone, Serialize)]
pub struct DesignRow {
    /// Name of the design.
    pub design: String,
    /// The change to the design, as `KEY=VALUE`; `None` for the design itself.
    pub what_if: Option<String>,
    /// Number of gophers.
    pub gophers: usize,
    /// Number of carts.
    pub carts: u64,
    /// Number of cores.
    pub cores: usize,
    /// Speed-up over one gopher, measured.
    pub speed_up: Option<f64>,
    /// Speed-up as predicted by the formula.
    pub speed_up_formula: Option<f64>,
    /// Virtual seconds to the last burn.
    pub makespan_s: Option<f64>,
    /// Mean idle share of the gophers, 0 to 1.
    pub idle: Option<f64>,
    /// The limiting node.
    pub bottleneck: Option<String>,
    /// Why figures are missing.
    pub note: Option<String>,
    /// True if the simulation failed; `note` says why.
    pub failed: bool,
}

/// Simulates a plan without its works, with burns that only count. Blocks this thread.
///
/// As [`Topology::start`].
/// Those of [`Topology::start`].
///
/// # Panics
/// Inside another runtime.
pub fn row(plan: &Plan, what_if: Option<&str>) -> Result<DesignRow, StartError> {
    let mut row = DesignRow {
        design: plan.name.clone(),
        what_if: what_if.map(str::to_owned),
        gophers: (plan.crews.iter()).map(|crew| crew.gophers.len()).sum(),
        carts: plan.crews.iter().map(|crew| u64::from(crew.carts)).sum(),
        cores: plan.execution.cores,
        speed_up: None,
        speed_up_formula: None,
        makespan_s: None,
        idle: None,
        bottleneck: None,
        note: None,
        failed: false,
    };
    let timed = plan.crews.iter().any(|crew| crew.steps.0.iter().any(|step| !step.is_zero()));
    if !timed {
        row.note = Some("no step takes time: there is nothing to compare".to_owned());
        return Ok(row);
    }
    if let Some(why) = plan.outside.iter().find(|why| why.ends_with("input")) {
        row.note = Some(why.clone());
        return Ok(row);
    }
    let options = Options { dry: true, ..Options::default() };
    let topology = Topology::from_plan(plan.clone()).with_options(options);
    fill(&mut row, &topology.simulate(None)?);
    Ok(row)
}

fn fill(row: &mut DesignRow, report: &Report) {
    let idle: Vec<f64> =
        (report.nodes.iter()).filter(|node| node.kind == "gopher").map(|node| node.idle).collect();
    row.idle = (!idle.is_empty()).then(|| idle.iter().sum::<f64>() / idle.len() as f64);
    row.speed_up = report.speed_up;
    row.speed_up_formula = report.speed_up_formula;
    row.makespan_s = report.makespan_s;
    row.bottleneck.clone_from(&report.bottleneck);
    let failed = (report.failures.first().cloned())
        .or_else(|| (!report.ledger.balances()).then(|| "the ledger does not balance".to_owned()))
        .or_else(|| {
            (report.outcome != RunOutcome::Finished).then(|| "it did not finish".to_owned())
        });
    row.failed = failed.is_some();
    row.note = failed.or_else(|| report.unsaid.first().cloned());
}

/// The changes that `what_if` (`KEY=VALUE`) means for a design: one for each node that matches `*`,
/// none if there is no such node.
pub fn changes(config: &TopologyConfig, what_if: &str) -> Vec<String> {
    let Some((key, value)) = what_if.split_once('=') else {
        return vec![what_if.to_owned()];
    };
    let mut parts = key.trim().splitn(3, '.');
    let (Some(group), Some(name)) = (parts.next(), parts.next()) else {
        return vec![what_if.to_owned()];
    };
    let Some(names) = names(config, group) else {
        return vec![what_if.to_owned()];
    };
    let rest = parts.next().map_or(String::new(), |rest| format!(".{rest}"));
    let meant = names.into_iter().filter(|known| name == "*" || *known == name);
    meant.map(|name| format!("{group}.{name}{rest}={value}")).collect()
}

/// The names of a design's nodes in one group of tables; `None` if `key` is no such group.
fn names<'a>(config: &'a TopologyConfig, group: &str) -> Option<Vec<&'a String>> {
    Some(match group {
        "piles" => config.piles.keys().collect(),
        "dumps" => config.dumps.keys().collect(),
        "incinerators" => config.incinerators.keys().collect(),
        "crews" => config.crews.keys().collect(),
        "relays" => config.relays.keys().collect(),
        "balancers" => config.balancers.keys().collect(),
        "requesters" => config.requesters.keys().collect(),
        _ => return None,
    })
}

/// The node that `what_if` (`KEY=VALUE`) probably means, if it names none of this design.
pub fn probably<'a>(config: &'a TopologyConfig, what_if: &str) -> Option<&'a str> {
    let mut parts = what_if.trim().splitn(3, '.');
    let names = names(config, parts.next()?)?;
    nearest(parts.next()?, names.into_iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_means_every_node_and_a_stranger_none() {
        let config = TopologyConfig::builder("x")
            .crew("near", "a", "b", |crew| crew)
            .crew("far", "b", "c", |crew| crew)
            .build();
        let all = changes(&config, "crews.*.carts.count=8");
        assert_eq!(all, ["crews.far.carts.count=8", "crews.near.carts.count=8"]);
        assert_eq!(changes(&config, "crews.near.to=d"), ["crews.near.to=d"]);
        assert!(changes(&config, "crews.haul.carts.count=8").is_empty());
        assert_eq!(probably(&config, "crews.naer.carts.count=8"), Some("near"));
        assert_eq!(probably(&config, "crews.haul.carts.count=8"), None);
        assert_eq!(changes(&config, "execution.cores=1"), ["execution.cores=1"]);
    }
}
