//! The nodes of a running topology. A reload puts another set in the place of the present one.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use gopherworks_pipeline::__private::{
    FeederCore, IncineratorCore, Look, Pile, PileCore, PileKey, Slots,
};
use gopherworks_supervision::Port;

use super::crews::RunningCrew;
use super::placement::Places;
use crate::plan::Plan;
use crate::plan::formula::Prediction;

/// Slots for loads from a node, and for unloads into it.
pub(super) type SlotPair = (Option<Arc<Slots>>, Option<Arc<Slots>>);

/// The nodes of one plan, in its order.
pub(super) struct NodeSet {
    pub(super) plan: Arc<Plan>,
    pub(super) feeders: Vec<Arc<FeederCore>>,
    pub(super) piles: Vec<Arc<PileCore>>,
    pub(super) incinerators: Vec<Arc<IncineratorCore>>,
    pub(super) crews: Vec<Arc<RunningCrew>>,
    pub(super) pile_slots: Vec<SlotPair>,
    pub(super) fire_slots: Vec<Option<Arc<Slots>>>,
    /// Number of each node's arbiter.
    pub(super) places: Places,
    time_scale: f64,
    /// Computed for the first report: a large design takes a moment.
    prediction: OnceLock<Prediction>,
}

impl NodeSet {
    /// A set without nodes.
    pub(super) fn new(plan: &Arc<Plan>, time_scale: f64, places: Places) -> Self {
        Self {
            plan: plan.clone(),
            feeders: Vec::new(),
            piles: Vec::new(),
            incinerators: Vec::new(),
            crews: Vec::new(),
            pile_slots: Vec::new(),
            fire_slots: Vec::new(),
            places,
            time_scale,
            prediction: OnceLock::new(),
        }
    }

    pub(super) fn prediction(&self) -> &Prediction {
        self.prediction.get_or_init(|| self.plan.predict(self.time_scale))
    }

    /// The pile or dump of this name.
    pub(super) fn pile(&self, name: &str) -> Option<&Arc<PileCore>> {
        self.piles.iter().find(|pile| pile.name == name)
    }
}

/// Names and ports of all piles by key, removed ones included: their books may still be reported.
#[derive(Default)]
pub(super) struct PilesByKey(RwLock<Vec<(String, Port<Pile>)>>);

impl PilesByKey {
    /// Adds the pile of the next key.
    pub(super) fn push(&self, name: &str, port: Port<Pile>) {
        let mut piles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        piles.push((name.to_owned(), port));
    }

    pub(super) fn name(&self, key: PileKey) -> String {
        let piles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        piles.get(key.index()).map_or_else(String::new, |(name, _)| name.clone())
    }

    /// The port of a pile of the start.
    pub(super) fn port(&self, key: usize) -> Port<Pile> {
        let piles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        piles[key].1.clone()
    }

    /// Wakes a pile, to which a lease was returned.
    pub(super) fn wake(&self, key: PileKey) {
        let piles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, port)) = piles.get(key.index()) {
            let _ = port.send(Look);
        }
    }
}
