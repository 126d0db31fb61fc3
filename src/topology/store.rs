//! The store of durable piles: which piles it keeps, opening it, and what its keeper needs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gopherworks_pipeline::__private::{FeederCore, IncineratorCore, KeeperHooks, Kept, Opened};
use gopherworks_pipeline::Promises;
#[cfg(feature = "simulate")]
use gopherworks_pipeline::store::memory::{MemoryStore, Simulation};
use gopherworks_pipeline::store::{Account, Backend, PileName, StoreError};
use gopherworks_pipeline::trace::Act;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::fault::FaultEngine;
use tokio::sync::oneshot;

use super::inner::Inner;
use super::{Faulting, Options, StartError, faults};
use crate::catalog::RunId;
use crate::config::elements::StoreConfig;
use crate::plan::{Plan, Target};

/// What a run found in its store.
#[derive(Debug, Clone)]
pub struct FoundStore {
    /// What the books of the durable piles survive.
    pub promises: Promises,
    /// What to know beside that.
    pub notes: &'static [&'static str],
    /// Names of the durable piles.
    pub piles: Vec<String>,
    /// Number of books that were on them.
    pub books: usize,
    /// Piles that the store has and the topology has not, with their books. They are kept.
    pub orphans: Vec<(String, u64)>,
    /// The account over all runs before this one, if the store keeps it.
    pub account: Option<Account>,
}

const REPEATS: &str = "books come more than once if a process or a server is killed, or a process \
     stops for longer than a lease; the server takes a late ack for one in time";

const UNSYNCED: &str = "a NATS server syncs its files every 2 minutes by default, and confirms \
     before: a loss of power may lose confirmed books; set `sync_interval: always` on all servers, \
     and then `synced = true`";

/// The engine of a plan's store, not opened; for a run, if that is given.
///
/// # Errors
/// `Unsupported` if it is not in this build.
fn engine(
    config: &StoreConfig,
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables))] run: Option<&RunId>,
) -> Result<Arc<dyn Backend>, StoreError> {
    match config {
        #[cfg(feature = "sqlite")]
        StoreConfig::Sqlite { path } => Ok(Arc::new(gopherworks_sqlite::Sqlite::new(path))),
        #[cfg(not(feature = "sqlite"))]
        StoreConfig::Sqlite { .. } => {
            Err(StoreError::Unsupported("this build has no `sqlite`".into()))
        }
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres { url, schema, .. } => {
            let store = gopherworks_postgres::Postgres::new(url.reveal()).schema(schema);
            Ok(Arc::new(match run {
                Some(run) => store.run(run.as_str()),
                None => store,
            }))
        }
        #[cfg(not(feature = "postgres"))]
        StoreConfig::Postgres { .. } => {
            Err(StoreError::Unsupported("this build has no `postgres`".into()))
        }
        #[cfg(feature = "jetstream")]
        StoreConfig::Jetstream { url, replicas, lease, synced, works } => {
            let mut store = gopherworks_jetstream::Jetstream::new(url.reveal(), works);
            store = store.lease(*lease);
            if let Some(replicas) = replicas {
                store = store.replicas(*replicas);
            }
            Ok(Arc::new(if *synced { store.synced() } else { store }))
        }
        #[cfg(not(feature = "jetstream"))]
        StoreConfig::Jetstream { .. } => {
            Err(StoreError::Unsupported("this build has no `jetstream`".into()))
        }
    }
}

impl Plan {
    /// The engine of the store, not opened; `None` if piles are in memory.
    ///
    /// # Errors
    /// `Unsupported` if it is not in this build.
    pub fn store_engine(&self) -> Result<Option<Arc<dyn Backend>>, StoreError> {
        self.store.as_ref().map(|config| engine(config, None)).transpose()
    }

    /// Where the store is, in words, for messages.
    pub fn store_place(&self) -> String {
        match &self.store {
            Some(StoreConfig::Sqlite { path }) => path.display().to_string(),
            Some(StoreConfig::Postgres { schema, works, .. }) => {
                format!("the works `{works}` in the schema `{schema}` of PostgreSQL")
            }
            Some(StoreConfig::Jetstream { works, .. }) => {
                format!("the works `{works}` in NATS JetStream")
            }
            None => "memory".to_owned(),
        }
    }

    /// The name of a pile in the store.
    pub fn name_in_store(&self, pile: &str) -> PileName {
        match &self.store {
            Some(StoreConfig::Postgres { works, .. } | StoreConfig::Jetstream { works, .. }) => {
                PileName::new(works.as_str(), pile)
            }
            _ => PileName::new("", pile),
        }
    }

    /// Names of the piles that are durable, and what their books survive; those of all other piles
    /// are in memory. Opens nothing.
    pub fn durable_piles(&self) -> Option<(Vec<&str>, Promises)> {
        let promises = engine(self.store.as_ref()?, None).ok()?.promises();
        let piles: Vec<&str> =
            self.piles.iter().filter(|pile| !pile.in_memory).map(|pile| &*pile.name).collect();
        (!piles.is_empty()).then_some((piles, promises))
    }
}

impl Plan {
    /// What to know beside the promises of the store.
    pub fn store_notes(&self) -> &'static [&'static str] {
        match self.store {
            Some(StoreConfig::Jetstream { synced: false, .. }) => &[REPEATS, UNSYNCED],
            Some(StoreConfig::Jetstream { .. }) => &[REPEATS],
            _ => &[],
        }
    }

    /// Names of the piles whose dead letters the store keeps: the durable ones, and dumps in memory
    /// that get all their books from such piles.
    pub fn piles_with_stored_letters(&self) -> Vec<&str> {
        let durable = self.durable_piles().is_some();
        let mut stored: Vec<bool> = Vec::new();
        // Upstream before downstream.
        for (key, pile) in self.piles.iter().enumerate() {
            let mut above = self.crews.iter().filter(|crew| crew.to == Target::Dump(key));
            stored.push(durable && (!pile.in_memory || pile.dump && above.all(|c| stored[c.from])));
        }
        let named = self.piles.iter().zip(stored).filter(|(_, stored)| *stored);
        named.map(|(pile, _)| &*pile.name).collect()
    }
}

/// How each pile is kept, by key, if there is a store.
fn kept(plan: &Plan) -> Vec<Kept> {
    let mut kept: Vec<Kept> = Vec::new();
    // Upstream before downstream.
    for (key, pile) in plan.piles.iter().enumerate() {
        let comes = |from: usize| kept[from] != Kept::Memory;
        let above = plan.crews.iter().filter(|crew| crew.to == Target::Dump(key));
        kept.push(match pile.in_memory {
            false => Kept::Durable,
            true if above.clone().any(|crew| comes(crew.from)) => Kept::Below,
            true => Kept::Memory,
        });
    }
    kept
}

/// By pile: two loads for each cart that takes books from it.
fn loads(plan: &Plan) -> Vec<usize> {
    let load = |pile: usize| {
        let takers = plan.crews.iter().filter(|crew| crew.from == pile);
        takers.map(|crew| 2 * crew.carts as usize * crew.cart_books).sum()
    };
    (0..plan.piles.len()).map(load).collect()
}

/// Lease time of books and sources: how long they are held for a process that has stopped.
pub(super) fn lease(plan: &Plan) -> Duration {
    match plan.store {
        Some(StoreConfig::Postgres { lease, .. } | StoreConfig::Jetstream { lease, .. }) => lease,
        _ => Duration::from_secs(30),
    }
}

/// State shared by the lives of one process: its faults, and in a simulation the store.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(super) faults: Option<Arc<FaultEngine>>,
    #[cfg(feature = "simulate")]
    pub(crate) store: Option<MemoryStore>,
}

impl Shared {
    pub(super) fn new(plan: &Plan, options: &Options, clock: &Clock) -> Self {
        let seed = Seed(plan.execution.seed);
        let rules = faults::rules(plan, &options.faults);
        let faults = (!rules.is_empty()).then(|| FaultEngine::new(clock.clone(), seed, rules));
        Self {
            #[cfg(feature = "simulate")]
            store: stand_in(plan, options, clock, faults.clone()),
            faults,
        }
    }

    /// State of a process with one life: without faults that kill it.
    pub(super) fn of_one_life(plan: &Plan, options: &Options, clock: &Clock) -> Self {
        let mut options = options.clone();
        if let Faulting::Planned { .. } | Faulting::Exactly(_) = options.faults {
            let mut rules = faults::rules(plan, &options.faults);
            rules.retain(|rule| !rule.kills_the_process());
            options.faults = Faulting::Exactly(rules);
        }
        Self::new(plan, &options, clock)
    }

    /// The store that stands in for that of the plan.
    fn backend(&self) -> Option<Arc<dyn Backend>> {
        #[cfg(feature = "simulate")]
        if let Some(store) = &self.store {
            return Some(Arc::new(store.process()));
        }
        None
    }
}

/// The simulated store, if there is a store and it is simulated.
#[cfg(feature = "simulate")]
fn stand_in(
    plan: &Plan,
    options: &Options,
    clock: &Clock,
    faults: Option<Arc<FaultEngine>>,
) -> Option<MemoryStore> {
    if !options.stand_in && !clock.is_simulated() {
        return None;
    }
    let is_shared = match (&options.store, &plan.store) {
        (Some(given), _) => given.promises().shared,
        (None, Some(config)) => config.is_shared(),
        (None, None) => return None,
    };
    let store = if is_shared { MemoryStore::new() } else { MemoryStore::exclusive() };
    let simulation = Simulation::new(clock.clone(), Seed(plan.execution.seed), faults);
    Some(store.simulated(simulation.traced(options.tracer.clone())))
}

/// Opens the store, if there is one, and reads its piles: a real one on a thread of its own. Dry
/// runs have none.
pub(super) async fn open(
    plan: &Plan,
    options: &Options,
    clock: &Clock,
    (run, shared): (&RunId, &Shared),
) -> Result<Option<Opened>, StartError> {
    if options.dry {
        return Ok(None);
    }
    let backend = match (shared.backend(), &options.store, &plan.store) {
        (Some(simulated), ..) => simulated,
        (None, Some(given), _) => given.clone(),
        (None, None, Some(config)) => engine(config, Some(run)).map_err(StartError::Store)?,
        (None, None, None) => return Ok(None),
    };
    let kept = kept(plan);
    if kept.iter().all(|kept| *kept != Kept::Durable) {
        return Ok(None);
    }
    let (loads, lease) = (loads(plan), lease(plan));
    let names = plan.piles.iter().map(|pile| plan.name_in_store(&pile.name));
    let piles = names.zip(kept).collect();
    let rewound: Vec<String> = match options.again {
        true => plan.sources.iter().map(|source| format!("{}.source", source.name)).collect(),
        false => Vec::new(),
    };
    let open = async move {
        let mut opened = Opened::open(backend, piles, &loads, lease).await?;
        for source in &rewound {
            opened.rewind(source).await?;
        }
        Ok(opened)
    };
    if clock.is_simulated() {
        return open.await.map(Some).map_err(StartError::Store);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, opened) = oneshot::channel();
    std::thread::Builder::new().name("gopherworks-store".to_owned()).spawn(move || {
        // A start that was given up meanwhile drops the store.
        let _ = done.send(guarded(|| runtime.block_on(open)));
    })?;
    let failed = |text: &str| StartError::Store(StoreError::Other(text.into()));
    match opened.await {
        Ok(Ok(opened)) => opened.map(Some).map_err(StartError::Store),
        Ok(Err(text)) => Err(failed(&format!("panicked: {text}"))),
        Err(_) => Err(failed("its thread is gone")),
    }
}

/// The facts about an opened store that a run reports.
pub(super) fn found(plan: &Plan, opened: &Opened) -> FoundStore {
    let orphans = opened.orphans.iter().map(|(name, depth)| (name.to_string(), depth.books));
    let durable = plan.piles.iter().filter(|pile| !pile.in_memory);
    FoundStore {
        promises: opened.promises(),
        notes: plan.store_notes(),
        piles: durable.map(|pile| pile.name.clone()).collect(),
        books: opened.len(),
        orphans: orphans.collect(),
        account: opened.account,
    }
}

/// The keeper's callbacks into the run.
pub(super) fn hooks(inner: &Inner) -> KeeperHooks {
    let (context, nodes) = (&inner.context, inner.nodes());
    let fires: Vec<Weak<IncineratorCore>> = nodes.incinerators.iter().map(Arc::downgrade).collect();
    let feeders: Vec<Weak<FeederCore>> = nodes.feeders.iter().map(Arc::downgrade).collect();
    let [sync, down, up, lost] = [(); 4].map(|()| Arc::downgrade(context));
    KeeperHooks {
        sync: Box::new(move || {
            let mut fires = fires.iter().filter_map(Weak::upgrade);
            fires.try_for_each(|fire| {
                fire.sync().map_err(|failure| failure.at(&fire.name))?;
                if let Some(context) = sync.upgrade() {
                    context.record(&fire.name, &Act::Sync);
                }
                Ok(())
            })
        }),
        down: Box::new(move |reason, retry| {
            if let Some(context) = down.upgrade() {
                context.store_fails(reason, retry);
            }
        }),
        up: Box::new(move |after| {
            if let Some(context) = up.upgrade() {
                context.store_works(after);
            }
        }),
        lost: Box::new(move |books| {
            if let Some(context) = lost.upgrade() {
                context.leases_lost(books);
            }
        }),
        disowned: Box::new(move |at| {
            let mut feeders = feeders.iter().filter_map(Weak::upgrade);
            if let Some(feeder) = feeders.find(|feeder| feeder.name == *at.source) {
                feeder.disowned(at);
            }
        }),
    }
}
