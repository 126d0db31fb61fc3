//! Creates the actors of a plan.

use std::sync::{Arc, OnceLock};

use actix_rt::System;
use gopherworks_pipeline::__private::{Custody, FeederCore, Opened, PileKey, PipelineContext};
use gopherworks_supervision::clock::{Clock, Seed};
#[cfg(feature = "http")]
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{
    Child, Fuzz, Port, RestartPolicy, Setup, Supervisor, SupervisorOutcome,
};
use tokio::sync::Notify;

#[cfg(feature = "http")]
use super::TopologyLink;
use super::account;
use super::balancers::PreparedBalancers;
use super::children::Placing;
use super::cores::{Builder, bound, connect, retry, tell_loads};
use super::crews::NodeNumbers;
use super::faults::Reach;
use super::inner::Inner;
use super::made::{Made, Needs, Sites};
use super::node_set::PilesByKey;
use super::owners;
use super::placement::Places;
use super::reread;
use super::running::RunningTopology;
use super::store::{self, Shared};
use super::supervision_events::react;
use super::{Options, StartError};
use crate::catalog::{Halt, RunId, RunState, Site, resolved};
#[cfg(feature = "http")]
use crate::http::OperationsListener;
use crate::plan::Plan;

/// Starts a life of the process; without `shared`, the only one.
pub(super) async fn start(
    plan: &Arc<Plan>,
    options: &Options,
    shared: Option<&Shared>,
) -> Result<RunningTopology, StartError> {
    if !System::is_registered() {
        return Err(StartError::NoSystem);
    }
    let clock = options.clock.clone().unwrap_or_else(Clock::real);
    let outside = plan.outside.iter().find(|_| clock.is_simulated());
    if let Some(why) = outside.filter(|_| !options.dry) {
        return Err(StartError::Outside(why.clone()));
    }
    let run = match &options.run_id {
        Some(run) => run.clone(),
        None if clock.is_simulated() => RunId::of_seed(plan.execution.seed),
        None => RunId::new(),
    };
    let sites = Sites {
        plan: plan.clone(),
        options: options.clone(),
        run,
        state: if options.dry { RunState::dry() } else { RunState::default() },
        halt: Halt::default(),
        store: None,
    };
    for path in options.dead.iter().flat_map(|sink| sink.paths()) {
        sites.state.keep_apart(resolved(&path));
    }
    #[cfg(feature = "http")]
    let operations = bind_operations(plan, options, &clock)?;
    let shared = shared.cloned().unwrap_or_else(|| Shared::of_one_life(plan, options, &clock));
    sites.check(&clock).await?;
    let opened = store::open(plan, options, &clock, (&sites.run, &shared)).await?;
    let sites = Sites { store: opened.as_ref().map(|opened| opened.store.clone()), ..sites };
    let made = sites.make(&clock, Needs::all(plan)).await?;
    #[cfg(feature = "http")]
    let link = TopologyLink::new(&plan.name);
    let build = Build {
        plan,
        options,
        sites,
        places: Places::new(plan),
        clock,
        #[cfg(feature = "http")]
        link: &link,
    };
    let (inner, children) = build.cores(made, opened)?;
    inner.context.custody.start_keeper(store::hooks(&inner))?;
    let faults = shared.faults;
    if let Some(faults) = &faults {
        inner.context.disturb(faults.clone());
    }
    let closing = Arc::downgrade(&inner);
    inner.context.on_closed_sink(move || {
        if let Some(inner) = closing.upgrade() {
            inner.close_sources();
        }
    });
    let fuzz = (options.schedule).map(|number| Fuzz::new(inner.context.seed, number));
    let hearing = Arc::downgrade(&inner);
    let setup = Setup {
        fuzz,
        // Called directly, so that a hung life is revoked before the next one starts and no backlog
        // of events delays it.
        listener: Some(Arc::new(move |event| {
            if let Some(inner) = hearing.upgrade() {
                react(&inner, event);
            }
        })),
        ..Setup::new(policy(plan), inner.context.clock.clone(), inner.context.seed)
    };
    let supervisor = Supervisor::start_with(setup, children);
    let handle = Arc::<OnceLock<_>>::default();
    if let Some(faults) = &faults {
        faults.set_injector(Arc::new(Reach {
            inner: Arc::downgrade(&inner),
            supervisor: supervisor.clone(),
            handle: handle.clone(),
        }));
    }
    let running = RunningTopology::new(inner, supervisor.clone());
    let _ = handle.set(Arc::downgrade(&running.shared));
    #[cfg(feature = "http")]
    link.connect(&running);
    match supervisor.wait_started().await {
        Ok(()) => {
            log::info!("all {} actors have started", supervisor.children().len());
            #[cfg(feature = "http")]
            if let Some(operations) = operations {
                running.serve_operations(operations, &link)?;
            }
            let nodes = running.inner().nodes();
            nodes.feeders.iter().for_each(|feeder| feeder.open());
            owners::start(running.inner(), store::lease(plan));
            if let Some(reread) = options.reread.clone() {
                let (orders, taken) = reread::orders();
                let _ = running.inner().orders.set(orders);
                let topology = Arc::downgrade(&running.shared);
                actix_rt::spawn(reread::serve(topology, reread, taken));
            }
            if let Some(faults) = faults {
                actix_rt::spawn(faults.drive());
            }
            Ok(running)
        }
        Err(outcome) => {
            running.abandon().await;
            Err(StartError::Escalated(match outcome {
                SupervisorOutcome::Escalated { reason } => reason,
                SupervisorOutcome::Stopped => "it was stopped".to_owned(),
            }))
        }
    }
}

/// Binds the server for operators, unless the run is a simulation or a dry one.
#[cfg(feature = "http")]
fn bind_operations(
    plan: &Plan,
    options: &Options,
    clock: &Clock,
) -> Result<Option<OperationsListener>, StartError> {
    let config = plan.operations.as_ref().filter(|_| !clock.is_simulated() && !options.dry);
    let bound = config.map(|config| {
        OperationsListener::bind(config).map_err(|error| StartError::Node {
            node: "operations".to_owned(),
            failure: Failure::io(format_args!("listening at {}", config.listen), &error),
        })
    });
    bound.transpose()
}

fn policy(plan: &Plan) -> RestartPolicy {
    let said = plan.supervision;
    RestartPolicy {
        strategy: said.strategy,
        intensity: said.intensity,
        period: said.period,
        in_a_row: said.in_a_row,
        backoff: said.backoff,
        kill_deadline: said.shutdown,
    }
}

struct Build<'a> {
    plan: &'a Arc<Plan>,
    options: &'a Options,
    places: Places,
    clock: Clock,
    sites: Sites,
    #[cfg(feature = "http")]
    link: &'a Arc<TopologyLink>,
}

impl Build<'_> {
    fn site(&self, node: &str) -> Site {
        self.sites.site(node)
    }

    fn cores(
        self,
        mut made: Made,
        opened: Option<Opened>,
    ) -> Result<(Arc<Inner>, Vec<Child>), StartError> {
        let plan = self.plan;
        let found = opened.as_ref().map(|opened| store::found(plan, opened));
        let is_shared = opened.as_ref().filter(|opened| opened.promises().shared);
        let shares_store = is_shared.is_some();
        // Everything that can fail comes first: nothing runs yet.
        let mut feeders = Vec::new();
        let mut receipts: Vec<_> = self.options.receipts.iter().cloned().collect();
        let sources = std::mem::take(&mut made.sources).into_iter().flatten();
        for (source, made) in plan.sources.iter().zip(sources) {
            receipts.extend(made.receipts().filter(|_| !self.options.dry));
            let name = format!("{}.source", source.name);
            let durable = source.piles.iter().all(|pile| !plan.piles[*pile].in_memory);
            let stored = opened.as_ref().filter(|_| durable).map(|opened| &*opened.positions);
            let make = is_shared.filter(|_| durable).map(|_| self.sites.maker(source));
            let feeder = FeederCore::new(name.as_str(), made, source.piles.len(), stored, make);
            feeders.push(feeder.map_err(|failure| StartError::Node { node: name, failure })?);
        }

        let prepared =
            PreparedBalancers::new(plan, self.clock.is_simulated(), |node| self.site(node))?;

        let by_key = Arc::new(PilesByKey::default());
        plan.piles.iter().for_each(|pile| by_key.push(&pile.name, Port::new()));
        let kept = plan.piles.iter().map(|pile| (bound(pile.capacity), pile.max_attempts));
        let bells = by_key.clone();
        let bell: Arc<dyn Fn(PileKey) + Send + Sync> = Arc::new(move |pile| bells.wake(pile));
        let custody = match opened {
            Some(opened) => Custody::kept(kept, self.clock.clone(), bell, opened),
            None => Custody::new(kept, self.clock.clone(), bell),
        };
        let seed = Seed(plan.execution.seed);
        for (key, pile) in (0..).map(PileKey).zip(&plan.piles) {
            custody.retry_after(key, retry(pile, seed));
        }
        let pool = Pool::new(self.clock.clone(), plan.execution.cores)?;
        let arbiters = Some(self.places.arbiters(plan, &self.clock));
        let context = PipelineContext::new(
            self.clock.clone(),
            seed,
            pool,
            custody,
            receipts,
            self.options.tracer.clone(),
        );

        let reasons = (context.reasons.clone(), self.clock.clone());
        context.custody.tell_charges(account::charges(by_key.clone(), reasons));
        context.halts_by(self.sites.halt.clone());
        let scale = self.options.time_scale.unwrap_or(1.0);
        let balancers = prepared.build(
            plan,
            &context,
            scale,
            #[cfg(feature = "http")]
            self.link,
        );
        feeders.iter().for_each(|feeder| feeder.belongs_to(&context));
        let (numbers, resized) = (NodeNumbers::after(0), Arc::new(Notify::new()));
        let placing = Placing { arbiters: &arbiters, within: plan.supervision.shutdown };
        let builder = Builder {
            sites: &self.sites,
            context: &context,
            balancers: &balancers,
            by_key: &by_key,
            numbers: &numbers,
            resized: &resized,
            placing: &placing,
            shares_store,
            sealed: false,
            present: None,
        };
        let set = builder.build(feeders, made, self.places);
        connect(&set, true);
        tell_loads(&set);
        let mut children = placing.children(&set, None, &context);
        children.splice(0..0, balancers.children(|at| placing.at(at), plan.supervision.shutdown));
        children
            .extend(balancers.requester_children(|at| placing.at(at), plan.supervision.shutdown));
        let inner = Arc::new(Inner::new(
            set,
            context,
            (by_key, numbers, resized),
            (balancers, arbiters),
            (self.options.dead.clone(), found),
            self.sites,
        ));
        if inner.context.clock.is_simulated() {
            // Starting takes no virtual time.
            inner.nodes().feeders.iter().for_each(|feeder| feeder.open());
        }
        Ok((inner, children))
    }
}
