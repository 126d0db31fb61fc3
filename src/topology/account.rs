//! The report of a run: its ledger and a row for each node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gopherworks_balancer::CallError;
use gopherworks_pipeline::__private::{Charges, NodeStats, Reasons, Then, Unanswered};
use gopherworks_pipeline::steps::Step;
use gopherworks_supervision::clock::Clock;

use super::crews::RunningCrew;
use super::node_set::PilesByKey;
use super::running::RunningTopology;
use crate::report::{Ledger, NodeReport, ReasonReport, Report, RunOutcome};

/// Records why books fail, at the node that failed or, if unknown, at their pile.
pub(super) fn charges(piles: Arc<PilesByKey>, (reasons, clock): (Arc<Reasons>, Clock)) -> Charges {
    Box::new(move |charge| {
        let node = charge.failure.node();
        let node = node.map_or_else(|| piles.name(charge.pile), |node| node.to_string());
        let then = match charge.dead {
            true => Then::Final,
            false => Then::Again,
        };
        let (reason, attempt) = (charge.failure.reason(), Some(charge.attempt));
        reasons.note(&node, (&charge.book, attempt), reason, then, clock.now());
    })
}

/// Records why requests of the requester `from` to the balancer `to` fail. Refusals for lack of
/// capacity or time are part of the balancer's configuration.
pub(super) fn requests(
    from: &str,
    to: &str,
    (reasons, clock): (Arc<Reasons>, Clock),
) -> gopherworks_pipeline::__private::FailureCallback {
    let (from, to) = (from.to_owned(), to.to_owned());
    Arc::new(move |number, why| {
        let (reason, then) = match why {
            Unanswered::Error(failure) => (failure.reason().to_owned(), Then::Final),
            // The run is being stopped.
            Unanswered::Call(CallError::Closed) => return,
            Unanswered::Call(error @ CallError::WorkerLost { .. }) => {
                (error.to_string(), Then::Final)
            }
            Unanswered::Call(error) => (error.to_string(), Then::Intended),
        };
        let what = format!("request {} of {from}", number + 1);
        reasons.note(&to, (&what, None), &reason, then, clock.now());
    })
}

impl RunningTopology {
    pub(super) fn report(&self, outcome: RunOutcome) -> Report {
        let inner = &self.shared.inner;
        let context = &inner.context;
        let virtually = context.clock.is_simulated();
        let passed = (context.clock.now() - inner.started).as_secs_f64();
        let makespan = (context.last_burn() - inner.started).as_secs_f64();
        let ledger = context.custody.ledger();
        let restarts = self.shared.supervisor.all_restarts();
        let of = |name: &str| restarts.get(name).copied().unwrap_or(0);
        let past = |crew: &RunningCrew| crew.past_restarts.load(Ordering::Relaxed);
        let past: u64 = inner.nodes().crews.iter().map(|crew| past(crew)).sum();
        let nodes = self.rows(passed, &of);
        // Snapshots are frequent, and their makespan is not final.
        let present = inner.nodes();
        let judged = (outcome != RunOutcome::Running).then(|| present.prediction());
        let (plan, books) = (&present.plan, ledger.burned);
        let reasons = context.reasons.all().into_iter();
        let reasons = reasons.map(|reason| ReasonReport::new(reason, inner.started));
        let wall = match virtually {
            true => inner.stopwatch.elapsed().as_secs_f64(),
            false => passed,
        };
        Report {
            topology: inner.name.clone(),
            mode: if virtually { "simulate" } else { "run" }.to_owned(),
            seed: inner.seed,
            cores: inner.cores,
            wall_s: wall,
            virtual_s: virtually.then_some(passed),
            makespan_s: (ledger.burned > 0).then_some(makespan),
            makespan_formula_s: judged
                .filter(|_| books > 0)
                .and_then(|by| by.makespan_s(plan, books)),
            speed_up: judged.and_then(|by| by.measured(plan, books, makespan)),
            speed_up_formula: judged.and_then(|by| by.speed_up),
            bottleneck: judged.and_then(|by| by.bottleneck.clone()),
            books_per_s: match passed > 0.0 {
                true => ledger.burned as f64 / passed,
                false => 0.0,
            },
            restarts: restarts.values().sum::<u64>() + past,
            ledger: Ledger { kept: inner.context.custody.kept_books() as u64, ..ledger.into() },
            account: (context.custody.store_account())
                .or_else(|| inner.found.as_ref().and_then(|found| found.account))
                .map(Into::into),
            nodes,
            balancers: inner.balancers.balancer_reports(passed, &of),
            requesters: inner.balancers.requester_reports(passed),
            reasons: reasons.collect(),
            unsaid: judged.map_or_else(Vec::new, |by| by.unsaid.clone()),
            trace_sha256: None,
            failures: context.failures(),
            outcome,
        }
    }

    fn rows(&self, passed: f64, restarts_of: &dyn Fn(&str) -> u64) -> Vec<NodeReport> {
        let inner = &self.shared.inner;
        let share = |busy: Duration| {
            if passed > 0.0 { (busy.as_secs_f64() / passed).min(1.0) } else { 0.0 }
        };
        let row = |name: &str, kind, stats: &NodeStats, busy: f64, restarts| NodeReport {
            name: name.to_owned(),
            kind,
            books: stats.books(),
            carts: stats.carts(),
            busy,
            idle: 1.0 - busy,
            restarts,
            waits: stats.waits(),
        };
        let mut rows = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        let present = inner.nodes();
        for pile in &present.piles {
            let kind = if pile.dump { "dump" } else { "pile" };
            // A source that serves several copies is counted with the first.
            let feeder = (pile.feeder())
                .filter(|feeder| told.insert(feeder.name.clone()))
                .map_or(0, |feeder| restarts_of(&feeder.name));
            let restarts = restarts_of(&pile.name) + feeder;
            rows.push(row(&pile.name, kind, &pile.stats, share(pile.stats.busy()), restarts));
        }
        for crew in &present.crews {
            let all = crew.all();
            let gophers: Vec<NodeReport> = (all.iter().map(|gopher| &gopher.core))
                .map(|gopher| {
                    let busy = share(gopher.stats.busy());
                    row(&gopher.name, "gopher", &gopher.stats, busy, restarts_of(&gopher.name))
                })
                .collect();
            // Each cartload is loaded once, so the crew's figures are the sum of its loaders'
            // figures.
            let loaders =
                all.iter().zip(&gophers).filter(|(gopher, _)| gopher.core.counts == Step::Load);
            let (books, carts) = loaders
                .fold((0, 0), |(books, carts), (_, row)| (books + row.books, carts + row.carts));
            if crew.relay {
                let relay = gophers.into_iter().map(|row| NodeReport { kind: "relay", ..row });
                rows.extend(relay);
                continue;
            }
            let sum = || all.iter().map(|gopher| gopher.core.stats.busy().as_secs_f64()).sum();
            let busy = match crew.was_scaled() {
                true => share(Duration::from_secs_f64(crew.busy(sum()))),
                false => {
                    gophers.iter().map(|row| row.busy).sum::<f64>() / gophers.len().max(1) as f64
                }
            };
            rows.push(NodeReport {
                name: crew.name.clone(),
                kind: "crew",
                books,
                carts,
                busy,
                idle: 1.0 - busy,
                restarts: gophers.iter().map(|row| row.restarts).sum::<u64>()
                    + crew.past_restarts.load(Ordering::Relaxed),
                waits: 0,
            });
            rows.extend(gophers);
        }
        for fire in &present.incinerators {
            let busy = share(fire.stats.busy());
            rows.push(row(&fire.name, "incinerator", &fire.stats, busy, restarts_of(&fire.name)));
        }
        rows
    }
}
