//! Creates sources and burns before anything runs, on a thread of their own: opening a file may
//! block forever.

use std::sync::Arc;

use gopherworks_pipeline::__private::MakeSource;
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::source::Source;
use gopherworks_pipeline::transform::Transform;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;
use tokio::sync::oneshot;

use super::{Options, StartError, overlap};
use crate::catalog::burn::count::Count;
use crate::catalog::{Halt, RunId, RunState, Site};
use crate::plan::{IncineratorPlan, Plan, SourcePlan};

/// A body up to this many bytes stays in memory; a larger one streams through a file.
const SPILL_ABOVE: u64 = 256 * 1024;

/// Context for creating sources, works and burns.
#[derive(Clone)]
pub(super) struct Sites {
    pub(super) plan: Arc<Plan>,
    pub(super) options: Options,
    pub(super) run: RunId,
    pub(super) state: RunState,
    pub(super) halt: Halt,
    /// Identity of the store, if piles are durable.
    pub(super) store: Option<Arc<str>>,
}

/// The created sources and burns.
#[derive(Default)]
pub(super) struct Made {
    /// By source of the plan; `None` if it was not needed.
    pub(super) sources: Vec<Option<Box<dyn Source>>>,
    /// By incinerator, likewise.
    pub(super) burns: Vec<Option<Box<dyn Burn>>>,
    /// By crew: a work for the first life of each gopher, if that was needed.
    pub(super) works: Vec<Vec<Guarded<Box<dyn Transform>>>>,
}

/// What has to be made, by the order of the plan.
pub(super) struct Needs {
    pub(super) sources: Vec<bool>,
    pub(super) burns: Vec<bool>,
    pub(super) works: Vec<bool>,
    /// True to keep the works; otherwise one of each is made to see whether that fails.
    pub(super) keeps_works: bool,
}

impl Needs {
    /// What a start needs.
    pub(super) fn all(plan: &Plan) -> Self {
        Self {
            sources: vec![true; plan.sources.len()],
            burns: vec![true; plan.incinerators.len()],
            works: vec![true; plan.crews.len()],
            keeps_works: false,
        }
    }
}

impl Sites {
    pub(super) fn site(&self, node: &str) -> Site {
        let execution = &self.plan.execution;
        Site {
            node: node.to_owned(),
            seed: execution.seed,
            run: self.run.clone(),
            books: self.books(),
            durable: self.store.is_some(),
            state: self.state.clone(),
            scratch: execution.scratch.clone(),
            spill_above: SPILL_ABOVE,
            halt: self.halt.clone(),
            endless: self.options.endless,
        }
    }

    /// Identity by which book ids are unique outside the process.
    pub(super) fn books(&self) -> RunId {
        self.store.as_deref().map_or_else(|| self.run.clone(), RunId::of_store)
    }

    /// Creates a source from its beginning.
    pub(super) fn maker(&self, source: &SourcePlan) -> MakeSource {
        let stored = source.piles.iter().all(|pile| !self.plan.piles[*pile].in_memory);
        let site = self.site(&source.name);
        let site = Site { durable: site.durable && stored, ..site };
        let factory = source.factory.clone();
        Box::new(move || factory.make(&site))
    }

    fn burn(&self, fire: &IncineratorPlan) -> Result<Box<dyn Burn>, Failure> {
        if self.options.dry {
            return Ok(Box::new(Count));
        }
        fire.burn.make(&self.site(&fire.name))
    }

    /// Rejects a plan whose nodes share files, before the store or an output is opened.
    pub(super) async fn check(&self, clock: &Clock) -> Result<(), StartError> {
        match self.options.dry {
            true => Ok(()),
            false => {
                let check = |sites: &Self| overlap::check(&sites.plan).map_err(StartError::Overlap);
                self.apart(clock, check).await
            }
        }
    }

    /// Creates everything that can fail and is needed.
    pub(super) async fn make(&self, clock: &Clock, needs: Needs) -> Result<Made, StartError> {
        self.apart(clock, move |sites| sites.make_here(&needs)).await
    }

    /// Calls `step` without blocking the caller; a simulation, which has a single thread, calls it
    /// inline.
    async fn apart<T: Send + 'static>(
        &self,
        clock: &Clock,
        step: impl FnOnce(&Self) -> Result<T, StartError> + Send + 'static,
    ) -> Result<T, StartError> {
        if clock.is_simulated() {
            return step(self);
        }
        let (done, made) = oneshot::channel();
        let sites = self.clone();
        // Not in the runtime's pool, whose shutdown waits for its threads.
        std::thread::Builder::new()
            .name("gopherworks-start".to_owned())
            .spawn(move || done.send(guarded(|| step(&sites))))?;
        let failed = |text: String| StartError::Node {
            node: "the start".to_owned(),
            failure: Failure::permanent(format!("panicked: {text}")),
        };
        match made.await {
            Ok(made) => made.map_err(failed)?,
            Err(_) => Err(failed("its thread is gone".to_owned())),
        }
    }

    fn make_here(&self, needs: &Needs) -> Result<Made, StartError> {
        let failed = |node: &str| {
            let node = node.to_owned();
            move |failure| StartError::Node { node, failure }
        };
        let (mut made, plan) = (Made::default(), &self.plan);
        for (source, needed) in plan.sources.iter().zip(&needs.sources) {
            let needed = *needed && !self.options.without_sources;
            let source = needed.then(|| self.maker(source)().map_err(failed(&source.name)));
            made.sources.push(source.transpose()?);
        }
        for (fire, needed) in plan.incinerators.iter().zip(&needs.burns) {
            let burn = needed.then(|| self.burn(fire).map_err(failed(&fire.name)));
            made.burns.push(burn.transpose()?);
        }
        for (crew, needed) in plan.crews.iter().zip(&needs.works) {
            let mut works = Vec::new();
            if let Some(work) = crew.work.as_ref().filter(|_| *needed && !self.options.dry) {
                let site = self.site(&crew.name);
                let gophers = if needs.keeps_works { crew.gophers.len() } else { 1 };
                for _ in 0..gophers {
                    // Drops of user code are guarded.
                    let work = work.make(&site).map(Guarded::new).map_err(failed(&crew.name))?;
                    works.push(work);
                }
            }
            if !needs.keeps_works {
                // Only a check: each gopher creates its own later.
                works.clear();
            }
            made.works.push(works);
        }
        Ok(made)
    }
}
