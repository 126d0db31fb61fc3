//! The actors of nodes, as children for the supervisor.

use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::__private::{
    Feeder, FeederCore, Incinerator, IncineratorCore, Pile, PileCore, PipelineContext,
};
use gopherworks_supervision::{Arbiters, Child, ChildThread};

use super::node_set::NodeSet;

/// Where actors run, and how long each has to stop.
pub(super) struct Placing<'a> {
    pub(super) arbiters: &'a Option<Arbiters>,
    pub(super) within: Duration,
}

impl Placing<'_> {
    pub(super) fn at(&self, number: usize) -> ChildThread {
        let slot = self.arbiters.as_ref().and_then(|arbiters| arbiters.slot(number));
        slot.map_or(ChildThread::Here, |slot| ChildThread::Slot(slot.clone()))
    }

    fn place(&self, child: Child, number: usize) -> Child {
        child.place(self.at(number)).shutdown(self.within)
    }

    fn incinerator(&self, fire: &Arc<IncineratorCore>, number: usize) -> Child {
        let core = fire.clone();
        let child = Child::new(fire.name.clone(), &fire.port, move |birth| {
            Incinerator::new(core.clone(), birth.epoch).map_err(|failure| failure.to_string())
        });
        self.place(child, number)
    }

    fn pile(&self, pile: &Arc<PileCore>, number: usize) -> Child {
        let core = pile.clone();
        let child = Child::new(pile.name.clone(), &pile.port, move |_| Ok(Pile::new(core.clone())));
        self.place(child, number)
    }

    fn feeder(
        &self,
        feeder: &Arc<FeederCore>,
        context: &Arc<PipelineContext>,
        number: usize,
    ) -> Child {
        let (core, context) = (feeder.clone(), context.clone());
        let child = Child::new(feeder.name.clone(), &feeder.port, move |_| {
            Ok(Feeder::new(core.clone(), context.clone()))
        });
        self.place(child, number)
    }

    /// The actors of the nodes of `set` that are not in `old`. Sinks first, so that every actor
    /// finds its receivers when it starts.
    pub(super) fn children(
        &self,
        set: &NodeSet,
        old: Option<&NodeSet>,
        context: &Arc<PipelineContext>,
    ) -> Vec<Child> {
        let mut children = Vec::new();
        let places = &set.places;
        for (fire, number) in set.incinerators.iter().zip(&places.incinerators) {
            if !old.is_some_and(|old| has(&old.incinerators, fire)) {
                children.push(self.incinerator(fire, *number));
            }
        }
        for (pile, number) in set.piles.iter().zip(&places.piles).rev() {
            if !old.is_some_and(|old| has(&old.piles, pile)) {
                children.push(self.pile(pile, *number));
            }
        }
        for crew in set.crews.iter().rev() {
            if !old.is_some_and(|old| has(&old.crews, crew)) {
                children.extend(crew.children());
            }
        }
        for (feeder, source) in set.feeders.iter().zip(&set.plan.sources) {
            if !old.is_some_and(|old| has(&old.feeders, feeder)) {
                let number = source.piles.first().map_or(0, |pile| places.piles[*pile]);
                children.push(self.feeder(feeder, context, number));
            }
        }
        children
    }
}

/// True if `one` is in `all`.
pub(super) fn has<T>(all: &[Arc<T>], one: &Arc<T>) -> bool {
    all.iter().any(|other| Arc::ptr_eq(other, one))
}
