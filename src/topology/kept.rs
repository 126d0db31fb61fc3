//! Which nodes a reload leaves as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cores::Kept;
use super::made::Needs;
use super::node_set::NodeSet;
use super::placement::Places;
use crate::plan::changes::{Changes, Step};
use crate::plan::{CrewPlan, Plan, Target};

impl Kept {
    /// What stays of `old` under another plan.
    pub(super) fn of(old: &NodeSet, plan: &Plan, changes: &Changes) -> Self {
        let steps: BTreeMap<&str, &Step> =
            changes.steps.iter().map(|step| (step.node.as_str(), step)).collect();
        let has_key = |node: &str, key: &str| {
            let step = steps.get(node);
            step.is_some_and(|step| step.keys.iter().any(|change| change.is_below(key)))
        };
        let piles = names(&old.piles, |pile| &pile.name);
        let fires = names(&old.incinerators, |fire| &fire.name);
        let crews = names(&old.crews, |crew| &crew.name);
        let sources: BTreeMap<&str, usize> = (old.plan.sources.iter().enumerate())
            .map(|(at, source)| (source.name.as_str(), at))
            .collect();
        let same_fire = |name: &str| !has_key(name, "burn");
        let same_end = |name: &str| !has_key(name, "exclusive") && same_fire(name);
        let same_crew = |crew: &CrewPlan| {
            let to = match crew.to {
                Target::Dump(pile) => &plan.piles[pile].name,
                Target::Incinerator(fire) => &plan.incinerators[fire].name,
            };
            !steps.contains_key(crew.name.as_str())
                && same_end(&plan.piles[crew.from].name)
                && same_end(to)
        };
        Self {
            feeders: { plan.sources.iter() }
                .map(|source| sources.get(source.name.as_str()).copied())
                .collect(),
            piles: { plan.piles.iter() }
                .map(|pile| piles.get(pile.name.as_str()).copied())
                .collect(),
            incinerators: { plan.incinerators.iter() }
                .map(|fire| {
                    fires.get(fire.name.as_str()).copied().filter(|_| same_fire(&fire.name))
                })
                .collect(),
            crews: { plan.crews.iter() }
                .map(|crew| crews.get(crew.name.as_str()).copied().filter(|_| same_crew(crew)))
                .collect(),
        }
    }

    /// What has to be made.
    pub(super) fn needs(&self) -> Needs {
        let missing = |kept: &[Option<usize>]| kept.iter().map(Option::is_none).collect();
        Needs {
            sources: missing(&self.feeders),
            burns: missing(&self.incinerators),
            works: missing(&self.crews),
            keeps_works: true,
        }
    }

    /// Arbiters of the new plan's nodes: those that stay are where they were.
    pub(super) fn places(&self, old: &NodeSet, plan: &Plan) -> Places {
        let mut places = Places::new(plan);
        let stay = |numbers: &mut [usize], kept: &[Option<usize>], before: &[usize]| {
            for (number, kept) in numbers.iter_mut().zip(kept) {
                *number = kept.and_then(|at| before.get(at).copied()).unwrap_or(*number);
            }
        };
        stay(&mut places.piles, &self.piles, &old.places.piles);
        stay(&mut places.incinerators, &self.incinerators, &old.places.incinerators);
        for (number, crew) in places.crews.iter_mut().zip(&plan.crews) {
            // With its pile, as far as that stays.
            *number = self.piles[crew.from].map_or(*number, |at| old.places.piles[at]);
        }
        stay(&mut places.crews, &self.crews, &old.places.crews);
        places
    }
}

/// Places of nodes by name.
pub(super) fn names<'a, T>(
    all: &'a [Arc<T>],
    name: impl Fn(&'a T) -> &'a String,
) -> BTreeMap<&'a str, usize> {
    all.iter().enumerate().map(|(at, one)| (name(one).as_str(), at)).collect()
}
