//! Checks of a balancer's resilience settings against each other and against the balancer.

use super::{Validator, idempotent};
use crate::config::Code;
use crate::config::elements::BalancerConfig;
use crate::config::elements::Resilience;

pub(super) fn check(validator: &mut Validator<'_>, name: &str, balancer: &BalancerConfig) {
    let Resilience { deadline, shed, retries, slow_start: _, eject } = balancer.resilience;
    let top = |key| ["balancers", name, key];
    if let Some(shed) = shed {
        let path = |key| ["balancers", name, "shed", key];
        if shed.target > shed.interval && !shed.interval.is_zero() {
            let message = "`target` must be at most `interval`";
            let mistake = validator.error(Code::Contradiction, &path("target"), message);
            let other = validator.locate(&path("interval"));
            validator.report(mistake.related(other, "the interval"));
        }
        if deadline.is_some_and(|deadline| deadline < shed.target && !deadline.is_zero()) {
            let message = "this has no effect: the deadline passes before";
            let other = validator.locate(&top("deadline"));
            let warning = validator.warning(Code::NoEffect, &path("target"), message);
            validator.report(warning.related(other, "the deadline"));
        }
    }
    if retries.is_some() && !idempotent(balancer) {
        let message = format!("`{name}` never retries: it is not idempotent");
        let warning = validator.warning(Code::NoEffect, &top("retry_budget"), message);
        validator
            .report(warning.help("set `idempotent = true` if a request may be executed twice"));
    }
    if eject.is_some() && balancer.workers.count == 1 {
        let message = format!("no worker can be ejected: `{name}` has only one");
        let other = validator.locate(&["balancers", name, "workers"]);
        let warning = validator.warning(Code::NoEffect, &top("eject"), message);
        validator.report(warning.related(other, "its workers"));
    }
}
