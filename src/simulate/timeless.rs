//! Finds the part of a design that takes no virtual time.

use gopherworks_pipeline::steps::StepTime;

use crate::plan::{CrewPlan, Plan, Target};

/// A bound on reads of the clock within one instant, above what this design needs if time moves in
/// it: some for each actor, and some for each book that its queues can hold.
pub(super) fn most_looks(plan: &Plan) -> u64 {
    let gophers: usize = plan.crews.iter().map(|crew| crew.gophers.len()).sum();
    let workers: u64 = (plan.balancers.iter())
        .map(|balancer| u64::from(balancer.workers) * u64::from(balancer.concurrency))
        .sum();
    let nodes = (plan.piles.len() + plan.incinerators.len() + gophers) as u64 + workers;
    let carried = (plan.crews.iter())
        .map(|crew| u64::from(crew.carts).saturating_mul(crew.cart_books as u64));
    let held = plan.piles.iter().filter_map(|pile| pile.capacity.books);
    // Capacities of many millions are hardly filled in one instant.
    let books = (carried.chain(held)).fold(0, u64::saturating_add).min(1_000_000);
    200_000_u64.saturating_add(nodes.saturating_mul(100)).saturating_add(books.saturating_mul(10))
}

/// Explains why a simulation with a time limit does not end, and what to change.
pub(super) fn said(plan: &Plan) -> String {
    let ring = ring(plan);
    let hint = match ring.iter().find_map(|(_, crew)| *crew) {
        Some(crew) => format!(
            "give a step a time, such as `--set crews.{crew}.steps.load=1ms`, \
             or leave out the time limit, so that its source ends by itself"
        ),
        None => "give the workers a time, or the requester a rate and a number of requests, and \
                 leave out the time limit"
            .to_owned(),
    };
    let names: Vec<String> = ring.iter().map(|(name, _)| format!("`{name}`")).collect();
    let who = match names.is_empty() {
        true => "nothing in this design takes time".to_owned(),
        false => format!("{} take no time", names.join(" -> ")),
    };
    format!(
        "virtual time does not advance, so the time limit is never reached: {who}, \
         and their source never ends; {hint}"
    )
}

/// A chain of nodes without any step that takes time, from a source to an incinerator or from a
/// requester to its workers. A crew comes with its name in the file.
fn ring(plan: &Plan) -> Vec<(&str, Option<&str>)> {
    let sources = (plan.piles.iter().enumerate()).filter(|(_, pile)| pile.source.is_some());
    for (from, pile) in sources {
        let mut ring = vec![(pile.name.as_str(), None)];
        let mut seen = vec![false; plan.piles.len()];
        seen[from] = true;
        if follow(plan, from, &mut seen, &mut ring) {
            return ring;
        }
    }
    let Some(asks) = plan.requesters.first() else {
        return Vec::new();
    };
    let to = &plan.balancers[asks.to];
    vec![(asks.name.as_str(), None), (to.name.as_str(), None)]
}

/// Extends `ring` from this pile to an incinerator; true if there is such a chain.
fn follow<'a>(
    plan: &'a Plan,
    from: usize,
    seen: &mut [bool],
    ring: &mut Vec<(&'a str, Option<&'a str>)>,
) -> bool {
    for crew in plan.crews.iter().filter(|crew| crew.from == from) {
        if !takes_no_time(crew) {
            continue;
        }
        let length = ring.len();
        // Copies are called `crew[2]`; relays are gophers that are not in the file.
        let in_file = crew.name.split('[').next();
        ring.push((crew.name.as_str(), in_file.filter(|_| !crew.relay)));
        match crew.to {
            Target::Incinerator(fire) => {
                ring.push((plan.incinerators[fire].name.as_str(), None));
                return true;
            }
            Target::Dump(dump) if !std::mem::replace(&mut seen[dump], true) => {
                ring.push((plan.piles[dump].name.as_str(), None));
                if follow(plan, dump, seen, ring) {
                    return true;
                }
            }
            Target::Dump(_) => {}
        }
        ring.truncate(length);
    }
    false
}

fn takes_no_time(crew: &CrewPlan) -> bool {
    crew.steps.0.iter().all(StepTime::is_zero)
}
