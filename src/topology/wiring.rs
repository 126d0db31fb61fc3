//! Creates the actors of a plan.

use std::sync::Arc;

use actix_rt::System;
use gopherworks_pipeline::__private::{
    Bound, CrewCore, CrewMember, CrewQueue, Custody, Destination, Feeder, FeederCore, Gopher,
    Incinerator, IncineratorCore, Look, MakeBurn, MakeWork, Opened, Pile, PileCore, PileKey,
    PileParts, PipelineContext, Retry, Slots, Want,
};
use gopherworks_pipeline::steps::{Step, StepTime, StepTimes};
use gopherworks_supervision::clock::{Clock, Seed};
#[cfg(feature = "http")]
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{
    Backoff, Child, ChildThread, Fuzz, Port, RestartPolicy, Setup, Supervisor, SupervisorOutcome,
};

#[cfg(feature = "http")]
use super::TopologyLink;
use super::account;
use super::balancers::PreparedBalancers;
use super::crews::RunningCrew;
use super::faults::Reach;
use super::inner::Inner;
use super::made::{Made, Sites};
use super::owners;
use super::placement::Places;
use super::running::RunningTopology;
use super::store::{self, Shared};
use super::supervision_events::react;
use super::{Options, StartError};
use crate::catalog::burn::count::Count;
use crate::catalog::{Halt, RunId, RunState, Site, resolved};
use crate::config::elements::{Capacity, RetryConfig};
#[cfg(feature = "http")]
use crate::http::OperationsListener;
use crate::plan::{Plan, Target};

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
    let made = sites.make(&clock).await?;
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
    if let Some(faults) = &faults {
        faults.set_injector(Arc::new(Reach {
            inner: Arc::downgrade(&inner),
            supervisor: supervisor.clone(),
        }));
    }
    let running = RunningTopology::new(inner, supervisor.clone());
    #[cfg(feature = "http")]
    link.connect(&running);
    match supervisor.wait_started().await {
        Ok(()) => {
            log::info!("all {} actors have started", supervisor.children().len());
            #[cfg(feature = "http")]
            if let Some(operations) = operations {
                running.serve_operations(operations, &link)?;
            }
            let feeders = &running.inner().feeders;
            feeders.iter().for_each(|feeder| feeder.open());
            owners::start(running.inner(), store::lease(plan));
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
        mut self,
        made: Made,
        opened: Option<Opened>,
    ) -> Result<(Arc<Inner>, Vec<Child>), StartError> {
        let plan = self.plan;
        let found = opened.as_ref().map(|opened| store::found(plan, opened));
        let is_shared = opened.as_ref().filter(|opened| opened.promises().shared);
        let shares_store = is_shared.is_some();
        // Everything that can fail comes first: nothing runs yet.
        let mut feeders = Vec::new();
        let mut receipts: Vec<_> = self.options.receipts.iter().cloned().collect();
        for (source, made) in plan.sources.iter().zip(made.sources) {
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

        let ports: Arc<Vec<Port<Pile>>> =
            Arc::new(plan.piles.iter().map(|_| Port::new()).collect());
        let bells = ports.clone();
        let kept = plan.piles.iter().map(|pile| (bound(pile.capacity), pile.max_attempts));
        let bell: Arc<dyn Fn(PileKey) + Send + Sync> = Arc::new(move |pile: PileKey| {
            let _ = bells[pile.index()].send(Look);
        });
        let custody = match opened {
            Some(opened) => Custody::kept(kept, self.clock.clone(), bell, opened),
            None => Custody::new(kept, self.clock.clone(), bell),
        };
        let seed = Seed(plan.execution.seed);
        for (key, pile) in (0..).map(PileKey).zip(&plan.piles) {
            if let Some(RetryConfig { min, max, jitter }) = pile.retry {
                let backoff = Backoff { min, max, jitter, ..Backoff::default() };
                custody.retry_after(key, Retry { backoff, seed });
            }
        }
        let pool = Pool::new(self.clock.clone(), plan.execution.cores)?;
        self.places.make_arbiters(plan, &self.clock);
        let context = PipelineContext::new(
            self.clock.clone(),
            seed,
            pool,
            custody,
            receipts,
            self.options.tracer.clone(),
        );

        let reasons = (context.reasons.clone(), self.clock.clone());
        context.custody.tell_charges(account::charges(plan, reasons));
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
        let mut nodes = 0u32;
        let mut node = || {
            nodes += 1;
            nodes
        };
        let mut piles: Vec<Arc<PileCore>> = Vec::new();
        for (key, pile) in plan.piles.iter().enumerate() {
            let elsewhere = pile.elsewhere.as_ref();
            let others = elsewhere.filter(|_| shares_store);
            let above = plan
                .crews
                .iter()
                .filter(|crew| crew.to == Target::Dump(key))
                .map(|crew| crew.from)
                .chain(others.iter().flat_map(|others| others.above.iter().copied()));
            let upstream = above.map(|above| piles[above].clone()).collect();
            let share = |source: usize| plan.sources[source].piles.iter().position(|at| *at == key);
            let feeder = (pile.source)
                .and_then(|source| Some((feeders.get(source)?.clone(), share(source)?)));
            piles.push(PileCore::new(
                &context,
                PileParts {
                    name: pile.name.clone(),
                    key: PileKey(key as u32),
                    node: node(),
                    dump: pile.dump,
                    sealed: pile.dump && !self.options.without_sources,
                    capacity_books: pile.capacity.books,
                    capacity_bytes: pile.capacity.bytes,
                    port: ports[key].clone(),
                    feeder,
                    upstream,
                    left_alone: elsewhere
                        .is_some_and(|at| at.emptied && !(shares_store && at.awaited)),
                    fed_elsewhere: others.is_some_and(|at| at.awaited && at.source.is_some()),
                },
            ));
        }
        let mut incinerators = Vec::new();
        for (key, (fire, first)) in plan.incinerators.iter().zip(made.burns).enumerate() {
            let upstream = plan
                .crews
                .iter()
                .filter(|crew| crew.to == Target::Incinerator(key))
                .map(|crew| piles[crew.from].clone())
                .collect();
            let (factory, site) = (fire.burn.clone(), self.site(&fire.name));
            let make: MakeBurn = if self.options.dry {
                Arc::new(|| Ok(Box::new(Count)))
            } else {
                Arc::new(move || factory.make(&site))
            };
            let core =
                IncineratorCore::new(&context, fire.name.clone(), node(), upstream, first, make);
            if let Some(to) = fire.ask.filter(|_| !self.options.dry) {
                core.ask(balancers.asking(to, &fire.name));
            }
            incinerators.push(core);
        }
        let slots = |count: Option<u32>| count.map(Slots::new);
        let pile_slots: Vec<_> = plan
            .piles
            .iter()
            .map(|pile| (slots(pile.exclusive.load), slots(pile.exclusive.unload)))
            .collect();
        let fire_slots: Vec<_> =
            plan.incinerators.iter().map(|fire| slots(fire.exclusive.unload)).collect();

        let mut crews = Vec::new();
        for crew in &plan.crews {
            let steps = scaled(crew.steps, self.options.time_scale.unwrap_or(1.0));
            let (to, unload_slots) = match crew.to {
                Target::Dump(pile) => {
                    (Destination::Dump(piles[pile].clone()), pile_slots[pile].1.clone())
                }
                Target::Incinerator(fire) => {
                    (Destination::Incinerator(incinerators[fire].clone()), fire_slots[fire].clone())
                }
            };
            let ports: Vec<Port<Gopher>> = crew.gophers.iter().map(|_| Port::new()).collect();
            let members = crew.gophers.iter().zip(&ports).map(|(duties, port)| CrewMember {
                duties: *duties,
                port: Arc::new(port.clone()),
                node: node(),
            });
            let members: Vec<CrewMember> = members.collect();
            let timed_unload = !steps.of(Step::Unload).is_zero() || unload_slots.is_some();
            let queue = CrewQueue::new(
                self.clock.clone(),
                crew.name.clone(),
                Want { books: crew.cart_books, bytes: crew.cart_bytes },
                crew.carts as usize,
                members.clone(),
                pile_slots[crew.from].0.clone(),
                unload_slots,
                timed_unload,
            );
            let work = crew.work.clone().filter(|_| !self.options.dry).map(|factory| -> MakeWork {
                let site = self.site(&crew.name);
                Arc::new(move || factory.make(&site))
            });
            let ask =
                (crew.ask.filter(|_| !self.options.dry)).map(|to| balancers.asking(to, &crew.name));
            let ends = (piles[crew.from].clone(), to);
            let core = CrewCore::new(queue, ends, steps, (work, ask), context.clone());
            let place = self.places.at(self.places.crews[crews.len()]);
            let gophers = members.into_iter().zip(ports).collect();
            let end = (place, plan.supervision.shutdown);
            crews.push(RunningCrew::new(crew, Arc::new(core), gophers, end));
        }
        for (feeder, source) in feeders.iter().zip(&plan.sources) {
            let crews = plan.crews.iter().zip(&crews);
            let loaders = crews.filter(|(crew, _)| source.piles.contains(&crew.from));
            let load = loaders.map(|(_, crew)| crew.core.load()).max();
            feeder.loads(load.unwrap_or(1));
        }
        for (key, pile) in piles.iter().enumerate() {
            let below = plan.crews.iter().filter(|crew| crew.from == key).filter_map(|crew| {
                match crew.to {
                    Target::Dump(dump) => Some(Arc::downgrade(&piles[dump])),
                    Target::Incinerator(_) => None,
                }
            });
            let elsewhere = plan.piles.iter().zip(&piles).filter(|(below, _)| {
                below.elsewhere.as_ref().is_some_and(|below| below.above.contains(&key))
            });
            let elsewhere = elsewhere.map(|(_, below)| Arc::downgrade(below));
            pile.leads_to(below.chain(elsewhere).collect());
        }
        let mut children = self.children(&context, &feeders, &piles, &incinerators, &crews);
        children
            .splice(0..0, balancers.children(|at| self.places.at(at), plan.supervision.shutdown));
        children.extend(
            balancers.requester_children(|at| self.places.at(at), plan.supervision.shutdown),
        );
        let inner = Arc::new(Inner::new(
            (plan, self.options.time_scale.unwrap_or(1.0)),
            context,
            (feeders, piles),
            (crews, incinerators, nodes),
            (balancers, self.places.arbiters),
            (self.options.dead.clone(), found),
            (self.sites.books(), self.sites.run.clone()),
        ));
        if inner.context.clock.is_simulated() {
            // Starting takes no virtual time.
            inner.feeders.iter().for_each(|feeder| feeder.open());
        }
        Ok((inner, children))
    }

    /// Sinks first, so that every actor finds its receivers when it starts.
    fn children(
        &self,
        context: &Arc<PipelineContext>,
        feeders: &[Arc<FeederCore>],
        piles: &[Arc<PileCore>],
        incinerators: &[Arc<IncineratorCore>],
        crews: &[RunningCrew],
    ) -> Vec<Child> {
        let mut children = Vec::new();
        let within = self.plan.supervision.shutdown;
        let mut add =
            |child: Child, place: ChildThread| children.push(child.place(place).shutdown(within));
        for (fire, place) in incinerators.iter().zip(&self.places.incinerators) {
            let core = fire.clone();
            let child = Child::new(fire.name.clone(), &fire.port, move |birth| {
                Incinerator::new(core.clone(), birth.epoch).map_err(|failure| failure.to_string())
            });
            add(child, self.places.at(*place));
        }
        for (pile, place) in piles.iter().zip(&self.places.piles).rev() {
            let core = pile.clone();
            let child =
                Child::new(pile.name.clone(), &pile.port, move |_| Ok(Pile::new(core.clone())));
            add(child, self.places.at(*place));
        }
        children.extend(crews.iter().rev().flat_map(RunningCrew::children));
        let mut add =
            |child: Child, place: ChildThread| children.push(child.place(place).shutdown(within));
        for (feeder, source) in feeders.iter().zip(&self.plan.sources) {
            let place = source.piles.first().map_or(0, |pile| self.places.piles[*pile]);
            let (core, context) = (feeder.clone(), context.clone());
            let child = Child::new(feeder.name.clone(), &feeder.port, move |_| {
                Ok(Feeder::new(core.clone(), context.clone()))
            });
            add(child, self.places.at(place));
        }
        children
    }
}

fn bound(capacity: Capacity) -> Bound {
    Bound { books: capacity.books, bytes: capacity.bytes }
}

fn scaled(steps: StepTimes, factor: f64) -> StepTimes {
    StepTimes(
        steps
            .0
            .map(|step| StepTime { wait: step.wait.scaled(factor), cpu: step.cpu.scaled(factor) }),
    )
}
