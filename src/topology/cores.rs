//! Makes the state of nodes that outlives their actors, and keeps what a reload leaves as it is.

use std::sync::{Arc, Mutex, PoisonError};

use gopherworks_pipeline::__private::{
    Bound, CrewCore, CrewMember, CrewQueue, Destination, FeederCore, Gopher, IncineratorCore,
    MakeBurn, MakeWork, PileCore, PileKey, PileParts, PipelineContext, Retry, Slots, Want,
};
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::steps::{Step, StepTime, StepTimes};
use gopherworks_pipeline::transform::Transform;
use gopherworks_supervision::clock::Seed;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::{Backoff, Guarded, Port};
use tokio::sync::Notify;

use super::balancers::Balancers;
use super::children::Placing;
use super::crews::{NodeNumbers, RunningCrew};
use super::made::{Made, Sites};
use super::node_set::{NodeSet, PilesByKey, SlotPair};
use super::placement::Places;
use crate::catalog::burn::count::Count;
use crate::config::elements::{Capacity, Exclusive, RetryConfig};
use crate::plan::{CrewPlan, IncineratorPlan, PilePlan, Target};

/// What nodes are made from, besides their plan.
pub(super) struct Builder<'a> {
    pub(super) sites: &'a Sites,
    pub(super) context: &'a Arc<PipelineContext>,
    pub(super) balancers: &'a Balancers,
    pub(super) by_key: &'a PilesByKey,
    pub(super) numbers: &'a NodeNumbers,
    /// Rung when a surplus gopher has nothing in hand.
    pub(super) resized: &'a Arc<Notify>,
    pub(super) placing: &'a Placing<'a>,
    /// True if the store is shared by processes.
    pub(super) shares_store: bool,
    /// True if the application offers no more books.
    pub(super) sealed: bool,
    /// The present nodes, with what of them stays; `None` at the start.
    pub(super) present: Option<(&'a NodeSet, &'a Kept)>,
}

/// Which nodes of the present set stay as they are, by their places in the new plan.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) feeders: Vec<Option<usize>>,
    pub(super) piles: Vec<Option<usize>>,
    pub(super) incinerators: Vec<Option<usize>>,
    pub(super) crews: Vec<Option<usize>>,
}

impl Builder<'_> {
    fn node(&self) -> u32 {
        self.numbers.next()
    }

    /// The kept node for place `at` of the plan.
    fn kept<T>(
        &self,
        nodes: impl Fn(&NodeSet) -> &Vec<T>,
        which: impl Fn(&Kept) -> &Vec<Option<usize>>,
        at: usize,
    ) -> Option<T>
    where
        T: Clone,
    {
        let (set, kept) = self.present?;
        let at = which(kept).get(at).copied().flatten()?;
        nodes(set).get(at).cloned()
    }

    /// Makes the nodes of the plan. Those that stay are connected by [`connect`].
    pub(super) fn build(
        &self,
        feeders: Vec<Arc<FeederCore>>,
        made: Made,
        places: Places,
    ) -> NodeSet {
        let plan = &self.sites.plan;
        let scale = self.sites.options.time_scale.unwrap_or(1.0);
        let mut set = NodeSet::new(plan, scale, places);
        set.feeders = feeders;
        for (at, pile) in plan.piles.iter().enumerate() {
            let kept = self.kept(|set| &set.piles, |kept| &kept.piles, at);
            let core = kept.unwrap_or_else(|| self.pile(&set, at, pile));
            set.piles.push(core);
            let slots = self.kept_slots(at, pile).unwrap_or_else(|| slots(pile.exclusive));
            set.pile_slots.push(slots);
        }
        for ((at, fire), burn) in plan.incinerators.iter().enumerate().zip(made.burns) {
            let kept = self.kept(|set| &set.incinerators, |kept| &kept.incinerators, at);
            let core = match (kept, burn) {
                (Some(kept), _) => kept,
                (None, Some(burn)) => self.incinerator(&set, at, (fire, burn)),
                (None, None) => self.incinerator(&set, at, (fire, Box::new(Count))),
            };
            set.incinerators.push(core);
            let kept = self.kept_fire_slots(at, fire);
            set.fire_slots.push(kept.unwrap_or_else(|| slots(fire.exclusive).1));
        }
        let mut works = made.works.into_iter();
        for (at, crew) in plan.crews.iter().enumerate() {
            let works = works.next().unwrap_or_default();
            let kept = self.kept(|set| &set.crews, |kept| &kept.crews, at);
            let crew = kept.unwrap_or_else(|| Arc::new(self.crew(&set, (at, crew), works)));
            set.crews.push(crew);
        }
        set
    }

    /// Slots of a kept pile that are as they were.
    fn kept_slots(&self, at: usize, pile: &PilePlan) -> Option<SlotPair> {
        let (set, kept) = self.present?;
        let at = kept.piles.get(at).copied().flatten()?;
        (set.plan.piles[at].exclusive == pile.exclusive).then(|| set.pile_slots[at].clone())
    }

    /// Slots of a kept incinerator that are as they were.
    fn kept_fire_slots(&self, at: usize, fire: &IncineratorPlan) -> Option<Option<Arc<Slots>>> {
        let (set, kept) = self.present?;
        let at = kept.incinerators.get(at).copied().flatten()?;
        let before = set.plan.incinerators[at].exclusive;
        (before == fire.exclusive).then(|| set.fire_slots[at].clone())
    }

    fn pile(&self, set: &NodeSet, at: usize, pile: &PilePlan) -> Arc<PileCore> {
        let plan = &self.sites.plan;
        let key = match self.present {
            None => PileKey(at as u32),
            Some(_) => {
                let bound = bound(pile.capacity);
                let custody = &self.context.custody;
                let key = custody.add_pile(bound, pile.max_attempts);
                custody.retry_after(key, retry(pile, self.context.seed));
                self.by_key.push(&pile.name, Port::new());
                key
            }
        };
        let elsewhere = pile.elsewhere.as_ref();
        let others = elsewhere.filter(|_| self.shares_store);
        let above = plan
            .crews
            .iter()
            .filter(|crew| crew.to == Target::Dump(at))
            .map(|crew| crew.from)
            .chain(others.iter().flat_map(|others| others.above.iter().copied()));
        let upstream = above.map(|above| set.piles[above].clone()).collect();
        let share = |source: usize| plan.sources[source].piles.iter().position(|pile| *pile == at);
        let feeder = (pile.source)
            .and_then(|source| Some((set.feeders.get(source)?.clone(), share(source)?)));
        PileCore::new(
            self.context,
            PileParts {
                name: pile.name.clone(),
                key,
                node: self.node(),
                dump: pile.dump,
                sealed: self.sealed || pile.dump && !self.sites.options.without_sources,
                capacity_books: pile.capacity.books,
                capacity_bytes: pile.capacity.bytes,
                port: self.by_key.port(key.index()),
                feeder,
                upstream,
                left_alone: elsewhere
                    .is_some_and(|at| at.emptied && !(self.shares_store && at.awaited)),
                fed_elsewhere: others.is_some_and(|at| at.awaited && at.source.is_some()),
            },
        )
    }

    fn incinerator(
        &self,
        set: &NodeSet,
        at: usize,
        (fire, first): (&IncineratorPlan, Box<dyn Burn>),
    ) -> Arc<IncineratorCore> {
        let crews = self.sites.plan.crews.iter();
        let above = crews.filter(|crew| crew.to == Target::Incinerator(at));
        let upstream = above.map(|crew| set.piles[crew.from].clone()).collect();
        let (factory, site) = (fire.burn.clone(), self.sites.site(&fire.name));
        let is_dry = self.sites.options.dry;
        let make: MakeBurn = match is_dry {
            true => Arc::new(|| Ok(Box::new(Count))),
            false => Arc::new(move || factory.make(&site)),
        };
        let name = fire.name.clone();
        let core = IncineratorCore::new(self.context, name, self.node(), upstream, first, make);
        if let Some(to) = fire.ask.filter(|_| !is_dry) {
            core.ask(self.balancers.asking(to, &fire.name));
        }
        let before = self
            .present
            .and_then(|(set, _)| set.incinerators.iter().find(|before| before.name == fire.name));
        if let Some(before) = before {
            core.stats.goes_on_from(&before.stats);
        }
        core
    }

    fn crew(
        &self,
        set: &NodeSet,
        (at, crew): (usize, &CrewPlan),
        works: Vec<Guarded<Box<dyn Transform>>>,
    ) -> RunningCrew {
        let context = self.context;
        let is_dry = self.sites.options.dry;
        let steps = scaled(crew.steps, self.sites.options.time_scale.unwrap_or(1.0));
        let (to, unload_slots) = match crew.to {
            Target::Dump(pile) => {
                (Destination::Dump(set.piles[pile].clone()), set.pile_slots[pile].1.clone())
            }
            Target::Incinerator(fire) => {
                let core = set.incinerators[fire].clone();
                (Destination::Incinerator(core), set.fire_slots[fire].clone())
            }
        };
        let ports: Vec<Port<Gopher>> = crew.gophers.iter().map(|_| Port::new()).collect();
        let members = crew.gophers.iter().zip(&ports).map(|(duties, port)| CrewMember {
            duties: *duties,
            port: Arc::new(port.clone()),
            node: self.node(),
        });
        let members: Vec<CrewMember> = members.collect();
        let timed_unload = !steps.of(Step::Unload).is_zero() || unload_slots.is_some();
        let queue = CrewQueue::new(
            context.clock.clone(),
            crew.name.clone(),
            Want { books: crew.cart_books, bytes: crew.cart_bytes },
            crew.carts as usize,
            members.clone(),
            set.pile_slots[crew.from].0.clone(),
            unload_slots,
            timed_unload,
        );
        let work = crew.work.clone().filter(|_| !is_dry).map(|factory| -> MakeWork {
            let site = self.sites.site(&crew.name);
            // Those of first lives are made already, so that a reload can't fail by them.
            let works = Mutex::new(works);
            Arc::new(move || -> Result<Box<dyn Transform>, Failure> {
                let made = works.lock().unwrap_or_else(PoisonError::into_inner).pop();
                made.map_or_else(|| factory.make(&site), |made| Ok(made.into_inner()))
            })
        });
        let ask = (crew.ask.filter(|_| !is_dry)).map(|to| self.balancers.asking(to, &crew.name));
        let ends = (set.piles[crew.from].clone(), to);
        let core = CrewCore::new(queue, ends, steps, (work, ask), context.clone());
        core.queue.tells(self.resized.clone());
        let place = self.placing.at(set.places.crews[at]);
        let gophers = members.into_iter().zip(ports).collect();
        let end = (place, self.placing.within);
        let made = RunningCrew::new(crew, Arc::new(core), gophers, end);
        let before = self
            .present
            .and_then(|(set, _)| set.crews.iter().find(|before| before.name == crew.name));
        if let Some(before) = before {
            made.goes_on_from(before);
        }
        made
    }
}

/// Tells each pile and incinerator which piles lead to it, and each pile where it leads.
pub(super) fn connect(set: &NodeSet, is_start: bool) {
    let crews = || set.plan.crews.iter();
    for (at, pile) in set.piles.iter().enumerate() {
        let below = crews().filter(|crew| crew.from == at).filter_map(|crew| match crew.to {
            Target::Dump(dump) => Some(Arc::downgrade(&set.piles[dump])),
            Target::Incinerator(_) => None,
        });
        let elsewhere = set.plan.piles.iter().zip(&set.piles).filter(|(below, _)| {
            below.elsewhere.as_ref().is_some_and(|below| below.above.contains(&at))
        });
        let elsewhere = elsewhere.map(|(_, below)| Arc::downgrade(below));
        pile.leads_to(below.chain(elsewhere).collect());
        if !is_start {
            let above = crews().filter(|crew| crew.to == Target::Dump(at));
            pile.comes_from(above.map(|crew| set.piles[crew.from].clone()).collect());
        }
    }
    if is_start {
        return;
    }
    for (at, fire) in set.incinerators.iter().enumerate() {
        let above = crews().filter(|crew| crew.to == Target::Incinerator(at));
        fire.comes_from(above.map(|crew| set.piles[crew.from].clone()).collect());
    }
}

/// Tells each source how many books are leased at once from its piles.
pub(super) fn tell_loads(set: &NodeSet) {
    for (feeder, source) in set.feeders.iter().zip(&set.plan.sources) {
        let crews = set.plan.crews.iter().zip(&set.crews);
        let loaders = crews.filter(|(crew, _)| source.piles.contains(&crew.from));
        feeder.loads(loaders.map(|(_, crew)| crew.core.load()).max().unwrap_or(1));
    }
}

fn slots(exclusive: Exclusive) -> SlotPair {
    (exclusive.load.map(Slots::new), exclusive.unload.map(Slots::new))
}

/// Delays between attempts at the books of a pile.
pub(super) fn retry(pile: &PilePlan, seed: Seed) -> Option<Retry> {
    let RetryConfig { min, max, jitter } = pile.retry?;
    let backoff = Backoff { min, max, jitter, ..Backoff::default() };
    Some(Retry { backoff, seed })
}

pub(super) fn bound(capacity: Capacity) -> Bound {
    Bound { books: capacity.books, bytes: capacity.bytes }
}

fn scaled(steps: StepTimes, factor: f64) -> StepTimes {
    StepTimes(
        steps
            .0
            .map(|step| StepTime { wait: step.wait.scaled(factor), cpu: step.cpu.scaled(factor) }),
    )
}
