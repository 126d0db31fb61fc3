//! Checks and plans a balancer's resilience settings: deadlines, shedding, retry budget, slow start
//! and ejection.

use std::time::Duration;

use gopherworks_balancer::resilience::{Eject, Priority, Resilience, RetryBudget, Shed};

use super::{Validator, idempotent};
use crate::config::schema::{BalancerConfig, PriorityConfig, ResilienceConfig};

pub(super) fn check(validator: &mut Validator<'_>, name: &str, balancer: &BalancerConfig) {
    let ResilienceConfig { deadline, shed, retry_budget, slow_start, eject } = balancer.resilience;
    let top = |key| ["balancers", name, key];
    let some = |validator: &mut Validator<'_>, path: &[&str], span: Duration, what: &str| {
        validator.ensure(!span.is_zero(), path, &format!("{what} must be longer than 0"));
    };
    if let Some(deadline) = deadline {
        some(validator, &top("deadline"), deadline, "a deadline");
    }
    if let Some(span) = slow_start {
        some(validator, &top("slow_start"), span, "a slow start");
    }
    if let Some(shed) = shed {
        let path = |key| ["balancers", name, "shed", key];
        some(validator, &path("target"), shed.target, "a target");
        some(validator, &path("interval"), shed.interval, "an interval");
        if shed.target > shed.interval && !shed.interval.is_zero() {
            let message = "`target` must be at most `interval`";
            let mistake = validator.error(&path("target"), message);
            let other = validator.locate(&path("interval"));
            validator.report(mistake.related(other, "the interval"));
        }
        if deadline.is_some_and(|deadline| deadline < shed.target && !deadline.is_zero()) {
            let message = "this has no effect: the deadline passes before";
            let other = validator.locate(&top("deadline"));
            let warning = validator.warning(&path("target"), message);
            validator.report(warning.related(other, "the deadline"));
        }
    }
    if let Some(budget) = retry_budget {
        for (key, value) in [("share", budget.share), ("per_second", budget.per_second)] {
            let right = value >= 0.0 && value.is_finite();
            let message = "a budget is a number of at least 0";
            validator.ensure(right, &["balancers", name, "retry_budget", key], message);
        }
        if !idempotent(balancer) {
            let message = format!("`{name}` never retries: it is not idempotent");
            let warning = validator.warning(&top("retry_budget"), message);
            validator
                .report(warning.help("set `idempotent = true` if a request may be executed twice"));
        }
    }
    if let Some(eject) = eject {
        let path = |key| ["balancers", name, "eject", key];
        let message = "a worker is ejected after at least one failure";
        validator.ensure(eject.failures > 0, &path("failures"), message);
        let right = eject.slower.is_none_or(|times| times > 1.0 && times.is_finite());
        let message = "`slower` is a factor above 1 of the median";
        validator.ensure(right, &path("slower"), message);
        some(validator, &path("pause"), eject.pause, "a pause");
        let right = eject.at_most > 0.0 && eject.at_most <= 1.0;
        let message = "the ejected share is above 0 and at most 1";
        validator.ensure(right, &path("at_most"), message);
        if balancer.workers.count == 1 {
            let message = format!("no worker can be ejected: `{name}` has only one");
            let other = validator.locate(&["balancers", name, "workers"]);
            let warning = validator.warning(&top("eject"), message);
            validator.report(warning.related(other, "its workers"));
        }
    }
}

pub(super) fn plan(config: &ResilienceConfig) -> Resilience {
    Resilience {
        deadline: config.deadline,
        shed: config.shed.map(|shed| Shed { target: shed.target, interval: shed.interval }),
        retries: config
            .retry_budget
            .map(|budget| RetryBudget { share: budget.share, per_second: budget.per_second }),
        slow_start: config.slow_start,
        eject: config.eject.map(|eject| Eject {
            failures: Some(eject.failures),
            slower: eject.slower,
            pause: eject.pause,
            at_most: eject.at_most,
        }),
    }
}

pub(super) fn priority(config: PriorityConfig) -> Priority {
    match config {
        PriorityConfig::Low => Priority::Low,
        PriorityConfig::Normal => Priority::Normal,
        PriorityConfig::High => Priority::High,
    }
}
