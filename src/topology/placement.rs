//! Placement: nodes that pass carts to each other share an arbiter; there are at most as many
//! arbiters as cores.

use gopherworks_supervision::Arbiters;
use gopherworks_supervision::clock::Clock;

use crate::config::elements::Placement;
use crate::plan::{Plan, Target};

/// The arbiter of each node.
pub(super) struct Places {
    wanted: usize,
    /// Number of each pile's arbiter, modulo the number of arbiters.
    pub(super) piles: Vec<usize>,
    pub(super) incinerators: Vec<usize>,
    pub(super) crews: Vec<usize>,
}

impl Places {
    pub(super) fn new(plan: &Plan) -> Self {
        let (piles, fires) = (plan.piles.len(), plan.incinerators.len());
        let nodes = piles + fires + plan.crews.len();
        let mut group: Vec<usize> = (0..nodes).collect();
        if plan.execution.placement == Placement::Together {
            for (at, crew) in plan.crews.iter().enumerate() {
                let to = match crew.to {
                    Target::Dump(pile) => pile,
                    Target::Incinerator(fire) => piles + fire,
                };
                for other in [crew.from, to] {
                    let (a, b) = (group[piles + fires + at], group[other]);
                    let least = a.min(b);
                    group.iter_mut().filter(|g| **g == a || **g == b).for_each(|g| *g = least);
                }
            }
        }
        let mut distinct = group.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let number = |node: usize| distinct.binary_search(&group[node]).unwrap_or(0);
        // Workers can be on any arbiter: they take from no pile.
        let workers: usize =
            (plan.balancers.iter()).map(|balancer| balancer.workers as usize).sum();
        let most = distinct.len().saturating_add(workers);
        let wanted = plan.execution.cores.min(most).max(1);
        Self {
            wanted,
            piles: (0..piles).map(number).collect(),
            incinerators: (piles..piles + fires).map(number).collect(),
            crews: (piles + fires..nodes).map(number).collect(),
        }
    }

    /// Starts the arbiters; called last, when nothing can fail any more.
    pub(super) fn arbiters(&self, plan: &Plan, clock: &Clock) -> Arbiters {
        Arbiters::start(self.wanted, Some(plan.supervision.hang_after), clock)
    }
}
