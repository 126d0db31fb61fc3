//! The parts of a running topology, apart from its actors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use gopherworks_pipeline::__private::{HolderId, PipelineContext};
use gopherworks_supervision::Arbiters;
use gopherworks_supervision::clock::{Stopwatch, Time};
use tokio::sync::{Notify, OnceCell};

use super::balancers::Balancers;
use super::control::Control;
use super::crews::NodeNumbers;
use super::dead::{DeadSink, RecentLetters};
use super::look::Looks;
use super::made::Sites;
use super::node_set::{NodeSet, PilesByKey};
use super::reread::Orders;
use super::store::FoundStore;
use crate::catalog::RunId;
use crate::report::RunOutcome;

/// What a running topology consists of, apart from its actors.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) cores: usize,
    pub(super) shutdown: Duration,
    pub(super) context: Arc<PipelineContext>,
    nodes: RwLock<Arc<NodeSet>>,
    pub(super) by_key: Arc<PilesByKey>,
    /// Numbers of the nodes that are added.
    pub(super) numbers: NodeNumbers,
    /// Rung when the size of a crew changes, or a surplus gopher has nothing in hand.
    pub(super) resized: Arc<Notify>,
    /// True if the application offers no more books.
    pub(super) sealed: AtomicBool,
    /// Where reloads of the run's file are ordered, if it has one.
    pub(super) orders: OnceLock<Orders>,
    /// Held by a reload.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// What nodes are made with.
    pub(super) sites: Sites,
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
    /// True from the signal for a drain on.
    pub(super) leaving: AtomicBool,
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
    /// What operators have changed.
    pub(super) control: Mutex<Control>,
    /// Samples of the states that no counter records.
    pub(super) looks: Mutex<Looks>,
}

impl Inner {
    pub(super) fn new(
        set: NodeSet,
        context: Arc<PipelineContext>,
        (by_key, numbers, resized): (Arc<PilesByKey>, NodeNumbers, Arc<Notify>),
        (balancers, arbiters): (Balancers, Option<Arbiters>),
        (sink, found): (Option<Arc<dyn DeadSink>>, Option<FoundStore>),
        sites: Sites,
    ) -> Self {
        let plan = set.plan.clone();
        Self {
            name: plan.name.clone(),
            seed: plan.execution.seed,
            cores: plan.execution.cores,
            shutdown: plan.supervision.shutdown,
            started: context.clock.now(),
            stopwatch: Stopwatch::start(),
            control: Mutex::default(),
            looks: Mutex::default(),
            context,
            nodes: RwLock::new(Arc::new(set)),
            by_key,
            numbers,
            resized,
            sealed: AtomicBool::new(false),
            orders: OnceLock::new(),
            reloading: tokio::sync::Mutex::new(()),
            balancers,
            arbiters,
            sink,
            found,
            dead: RecentLetters::default(),
            books: sites.books(),
            run: sites.run.clone(),
            sites,
            leaving: AtomicBool::new(false),
            over: AtomicBool::new(false),
            dead_letter_lock: Mutex::new(()),
            crash: (OnceLock::new(), Notify::new()),
            end: OnceCell::new(),
        }
    }

    /// The present nodes.
    pub(super) fn nodes(&self) -> Arc<NodeSet> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other nodes in the place of the present ones.
    pub(super) fn set_nodes(&self, set: Arc<NodeSet>) {
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = set;
    }

    /// Stops offers by the application; waiting offers are refused.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        self.nodes().piles.iter().for_each(|pile| pile.seal());
    }

    /// Ends the sources, and stops offers by the application.
    pub(super) fn close_sources(&self) {
        self.nodes().feeders.iter().for_each(|feeder| feeder.end());
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
        let nodes = self.nodes();
        let gophers = nodes.crews.iter().flat_map(|crew| crew.all());
        let gopher = gophers.filter(|gopher| gopher.core.name == node).map(|gopher| gopher.node);
        let fires = nodes.incinerators.iter().filter(|fire| fire.name == node);
        let piles = nodes.piles.iter().filter(|pile| pile.name == node);
        let lost = gopher.chain(fires.map(|fire| fire.node)).chain(piles.map(|pile| pile.node));
        for lost in lost.map(|node| HolderId::new(node, epoch)) {
            for pile in &nodes.piles {
                self.context.custody.revoke(pile.key, &|held| held == lost);
            }
            for crew in &nodes.crews {
                crew.core.queue.reclaim(lost);
            }
        }
    }

    /// True if all piles are closed and all requests are over.
    pub(super) fn all_closed(&self) -> bool {
        self.nodes().piles.iter().all(|pile| pile.is_closed()) && self.balancers.are_done()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_arbiters();
    }
}
