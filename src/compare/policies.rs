//! Compares balancer policies under the same arrivals and sizes.

use serde::Serialize;

use crate::config::elements::TopologyConfig;
use crate::plan::Plan;
use crate::report::{Report, RunOutcome};
use crate::topology::{Options, StartError, Topology};

/// Figures of one policy under one load and one distribution of service times, as means over seeds.
/// Times are in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyRow {
    /// Name of the design.
    pub design: String,
    /// Name of the balancer.
    pub balancer: String,
    /// Name of the policy.
    pub policy: String,
    /// The load, as a share of the workers' capacity; `None` for the load of the file.
    pub load: Option<f64>,
    /// The distribution of service times; `None` for that of the file.
    pub service: Option<String>,
    /// Number of simulations.
    pub seeds: u64,
    /// Number of answered requests in all simulations.
    pub answered: u64,
    /// Mean response time.
    pub mean_s: f64,
    /// Median response time.
    pub p50_s: f64,
    /// 99th percentile of response times.
    pub p99_s: f64,
    /// 99.9th percentile of response times.
    pub p999_s: f64,
    /// Half the spread of `p99_s` between seeds, as a share of it; `None` with a single seed.
    pub p99_scatter: Option<f64>,
    /// Mean time of an execution at a worker.
    pub service_s: f64,
    /// Mean over time and workers of pending requests.
    pub pending_mean: f64,
    /// Mean over time of their variance between workers.
    pub pending_variance: f64,
    /// Hedged copies, as a share of requests.
    pub copies: f64,
    /// Why figures are missing.
    pub note: Option<String>,
}

/// Name of a distribution, and its TOML for a mean in seconds.
pub type Distribution = (&'static str, fn(f64) -> String);

/// One combination to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Name of the policy.
    pub policy: Option<String>,
    /// The load, and the number of requests.
    pub load: Option<(f64, u64)>,
    /// The distribution of service times.
    pub service: Option<Distribution>,
}

/// The overrides of the config for a trial, as `KEY=VALUE`.
///
/// # Errors
/// Why the config has no such trial.
pub fn changes(config: &TopologyConfig, trial: &Trial) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for (name, balancer) in &config.balancers {
        let key = |rest: &str| format!("balancers.{name}.{rest}");
        let mean = mean(balancer.workers.work.options.get("time"));
        match trial.policy.as_deref() {
            None => {}
            Some("reserve") => {
                let Some(mean) = mean else {
                    return Err(format!(
                        "the policy reserve needs a service time, and the workers of `{name}` have \
                         no `time`"
                    ));
                };
                let workers = (balancer.workers.count * 3 / 10).max(1);
                out.push(key(&format!(
                    "policy={{ kind = \"reserve\", workers = {workers}, short = \"{:.0}ns\" }}",
                    mean * 1e9
                )));
            }
            Some(word) => out.push(key(&format!("policy={word}"))),
        }
        if let Some((word, distribution)) = trial.service {
            let Some(mean) = mean else {
                return Err(format!("the workers of `{name}` have no `time` that could be {word}"));
            };
            out.push(key(&format!("workers.work.time={}", distribution(mean))));
        }
        if trial.load.is_some() {
            // Arrivals do not depend on responses: a bound would only move the queue.
            out.push(key("queue=\"unbounded\""));
        }
    }
    let asking = |to: &str| {
        let who = config.requesters.values().filter(|asking| asking.to == to);
        who.count().max(1)
    };
    for (name, requester) in &config.requesters {
        if let Some((share, requests)) = trial.load {
            let others = asking(&requester.to);
            out.push(format!(
                "requesters.{name}.load={{ kind = \"open\", utilisation = {:?}, requests = {} }}",
                share / others as f64,
                requests / others as u64
            ));
        }
    }
    Ok(out)
}

/// The mean of a `time`, in seconds.
fn mean(time: Option<&toml::Value>) -> Option<f64> {
    use serde::Deserialize;

    let time = crate::catalog::service::span::SpanOption::deserialize(time?.clone()).ok()?;
    let mean = time.0.mean().as_secs_f64();
    (mean > 0.0).then_some(mean)
}

/// TOML of a fixed time, in seconds.
pub fn fixed(mean: f64) -> String {
    format!("\"{:.0}ns\"", mean * 1e9)
}

/// TOML of an exponential distribution with this mean, in seconds.
pub fn exponential(mean: f64) -> String {
    format!("{{ exponential = \"{:.0}ns\" }}", mean * 1e9)
}

/// TOML of a log-normal distribution with ten times the variance of an exponential one.
pub fn lognormal(mean: f64) -> String {
    format!("{{ lognormal = {{ mean = \"{:.0}ns\", cv2 = 10.0 }} }}", mean * 1e9)
}

/// TOML of a distribution with half the mean, and 100.5 times the mean in 5 of 1000 cases.
pub fn bimodal(mean: f64) -> String {
    format!(
        "{{ bimodal = {{ short = \"{:.0}ns\", long = \"{:.0}ns\", share = 0.005 }} }}",
        mean * 0.5e9,
        mean * 100.5e9
    )
}

/// Simulates a plan with consecutive seeds and returns a row for each balancer. Blocks this thread.
///
/// # Errors
/// As [`Topology::start`].
///
/// # Panics
/// Inside another runtime.
pub fn rows(plan: &Plan, trial: &Trial, seeds: u64) -> Result<Vec<PolicyRow>, StartError> {
    let mut all = Vec::new();
    for nth in 0..seeds.max(1) {
        let mut plan = plan.clone();
        plan.execution.seed = plan.execution.seed.wrapping_add(nth);
        let options = Options { dry: true, ..Options::default() };
        let topology = Topology::from_plan(plan).with_options(options);
        all.push(topology.simulate(None)?);
    }
    let count = plan.balancers.len();
    Ok((0..count).map(|at| row(plan, trial, at, &all)).collect())
}

fn row(plan: &Plan, trial: &Trial, at: usize, reports: &[Report]) -> PolicyRow {
    let each = || reports.iter().map(|report| &report.balancers[at]);
    let count = reports.len() as f64;
    let mean =
        |of: &dyn Fn(&crate::report::BalancerReport) -> f64| each().map(of).sum::<f64>() / count;
    let p99 = mean(&|one| one.response.p99_s);
    let (least, most) = each().fold((f64::MAX, 0.0f64), |(least, most), one| {
        (least.min(one.response.p99_s), most.max(one.response.p99_s))
    });
    let answered: u64 = each().map(|one| one.answered).sum();
    let executions =
        |one: &crate::report::BalancerReport| (one.answered + one.wasted).max(1) as f64;
    let passed = |report: &Report| report.virtual_s.unwrap_or_default();
    let places = f64::from(plan.balancers[at].workers) * f64::from(plan.balancers[at].concurrency);
    let service = reports
        .iter()
        .map(|report| {
            let one = &report.balancers[at];
            one.busy * passed(report) * places / executions(one)
        })
        .sum::<f64>();
    let note = reports.iter().find_map(|report| {
        (report.failures.first().cloned())
            .or_else(|| (!report.balances()).then(|| "the account does not balance".to_owned()))
            .or_else(|| {
                (report.outcome != RunOutcome::Finished).then(|| "it did not finish".to_owned())
            })
            .or_else(|| {
                let none = report.balancers[at].asked > 0 && report.balancers[at].answered == 0;
                none.then(|| "no request was answered".to_owned())
            })
    });
    PolicyRow {
        design: plan.name.clone(),
        balancer: plan.balancers[at].name.clone(),
        policy: plan.balancers[at].policy.name().to_owned(),
        load: trial.load.map(|(share, _)| share),
        service: trial.service.map(|(word, _)| word.to_owned()),
        seeds: reports.len() as u64,
        answered,
        mean_s: mean(&|one| one.response.mean_s),
        p50_s: mean(&|one| one.response.p50_s),
        p99_s: p99,
        p999_s: mean(&|one| one.response.p999_s),
        p99_scatter: (reports.len() > 1 && p99 > 0.0).then(|| (most - least) / 2.0 / p99),
        service_s: service / count,
        pending_mean: mean(&|one| one.pending_mean),
        pending_variance: mean(&|one| one.pending_variance),
        copies: each().map(|one| one.copies).sum::<u64>() as f64 / answered.max(1) as f64,
        note,
    }
}
