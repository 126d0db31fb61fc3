//! The parts of a running topology, apart from its actors.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gopherworks_pipeline::__private::{
    FeederCore, HolderId, IncineratorCore, PileCore, PipelineContext,
};
use gopherworks_supervision::Arbiters;
use gopherworks_supervision::clock::{Stopwatch, Time};
use tokio::sync::{Notify, OnceCell};

use super::balancers::Balancers;
use super::control::Control;
use super::crews::{NodeNumbers, RunningCrew};
use super::dead::{DeadSink, RecentLetters};
use super::look::Looks;
use super::store::FoundStore;
use crate::catalog::RunId;
use crate::plan::Plan;
use crate::plan::formula::Prediction;
use crate::report::RunOutcome;

/// What a running topology consists of, apart from its actors.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) cores: usize,
    pub(super) drain_deadline: Option<Duration>,
    pub(super) shutdown: Duration,
    pub(super) context: Arc<PipelineContext>,
    pub(super) feeders: Vec<Arc<FeederCore>>,
    pub(super) piles: Vec<Arc<PileCore>>,
    pub(super) incinerators: Vec<Arc<IncineratorCore>>,
    pub(super) crews: Vec<RunningCrew>,
    /// Numbers of the nodes of gophers that are added.
    pub(super) nodes: NodeNumbers,
    /// Rung when the size of a crew changes, or a surplus gopher has nothing in hand.
    pub(super) resized: Arc<Notify>,
    pub(super) balancers: Balancers,
    pub(super) arbiters: Option<Arbiters>,
    pub(super) sink: Option<Arc<dyn DeadSink>>,
    /// What was in the store at the start, if piles are durable.
    pub(super) found: Option<FoundStore>,
    pub(super) dead: RecentLetters,
    /// Identity by which book ids are unique outside the process.
    pub(super) books: RunId,
    /// Identity of this run, different from that of any other run.
    #[cfg_attr(not(feature = "actix-web"), allow(dead_code, reason = "only operators ask"))]
    pub(super) run: RunId,
    /// Set when no actor is left alive.
    pub(super) over: AtomicBool,
    /// Serialises the collection of dead letters, so that they are kept in order.
    pub(super) dead_letter_lock: Mutex<()>,
    /// Set when the process is killed in a simulation: the time until it is started again.
    pub(super) crash: (OnceLock<Duration>, Notify),
    /// The outcome, once it has ended.
    pub(super) end: OnceCell<RunOutcome>,
    pub(super) started: Time,
    pub(super) stopwatch: Stopwatch,
    pub(super) plan: Arc<Plan>,
    /// What operators have changed.
    pub(super) control: Mutex<Control>,
    /// Samples of the states that no counter records.
    pub(super) looks: Mutex<Looks>,
    time_scale: f64,
    /// Computed for the first report: a large design takes a moment.
    prediction: OnceLock<Prediction>,
}

impl Inner {
    pub(super) fn new(
        (plan, time_scale): (&Arc<Plan>, f64),
        context: Arc<PipelineContext>,
        (feeders, piles): (Vec<Arc<FeederCore>>, Vec<Arc<PileCore>>),
        (crews, incinerators, nodes): (Vec<RunningCrew>, Vec<Arc<IncineratorCore>>, u32),
        (balancers, arbiters): (Balancers, Option<Arbiters>),
        (sink, found): (Option<Arc<dyn DeadSink>>, Option<FoundStore>),
        (books, run): (RunId, RunId),
    ) -> Self {
        Self {
            name: plan.name.clone(),
            seed: plan.execution.seed,
            cores: plan.execution.cores,
            drain_deadline: plan.execution.drain_deadline,
            shutdown: plan.supervision.shutdown,
            started: context.clock.now(),
            stopwatch: Stopwatch::start(),
            plan: plan.clone(),
            control: Mutex::default(),
            looks: Mutex::default(),
            time_scale,
            prediction: OnceLock::new(),
            context,
            feeders,
            piles,
            incinerators,
            resized: crews_ring(&crews),
            nodes: NodeNumbers::after(nodes),
            crews,
            balancers,
            arbiters,
            sink,
            found,
            dead: RecentLetters::default(),
            books,
            run,
            over: AtomicBool::new(false),
            dead_letter_lock: Mutex::new(()),
            crash: (OnceLock::new(), Notify::new()),
            end: OnceCell::new(),
        }
    }

    pub(super) fn prediction(&self) -> &Prediction {
        self.prediction.get_or_init(|| self.plan.predict(self.time_scale))
    }

    /// Stops offers by the application; waiting offers are refused.
    pub(super) fn seal(&self) {
        self.piles.iter().for_each(|pile| pile.seal());
    }

    /// Ends the sources, and stops offers by the application.
    pub(super) fn close_sources(&self) {
        self.feeders.iter().for_each(|feeder| feeder.end());
        self.seal();
    }

    pub(super) fn stop_arbiters(&self) {
        if let Some(arbiters) = &self.arbiters {
            arbiters.stop();
        }
    }

    /// Revokes what an ended life holds, even if its thread still runs: leases, carts, slots,
    /// space, requests.
    pub(super) fn revoke(&self, node: &str, epoch: u64, guilty: bool) {
        self.balancers.give_up(node, epoch, guilty);
        let gophers = self.crews.iter().flat_map(|crew| crew.all());
        let gopher = gophers.filter(|gopher| gopher.core.name == node).map(|gopher| gopher.node);
        let fires =
            (self.incinerators.iter()).filter(|fire| fire.name == node).map(|fire| fire.node);
        let piles = (self.piles.iter()).filter(|pile| pile.name == node).map(|pile| pile.node);
        let lost = gopher.chain(fires).chain(piles);
        for lost in lost.map(|node| HolderId::new(node, epoch)) {
            for pile in &self.piles {
                self.context.custody.revoke(pile.key, &|held| held == lost);
            }
            for crew in &self.crews {
                crew.core.queue.reclaim(lost);
            }
        }
    }

    /// True if all piles are closed and all requests are over.
    pub(super) fn all_closed(&self) -> bool {
        self.piles.iter().all(|pile| pile.is_closed()) && self.balancers.are_done()
    }
}

/// What the crews ring when a surplus gopher has nothing in hand.
fn crews_ring(crews: &[RunningCrew]) -> Arc<Notify> {
    let resized = Arc::new(Notify::new());
    crews.iter().for_each(|crew| crew.core.queue.tells(resized.clone()));
    resized
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_arbiters();
    }
}
