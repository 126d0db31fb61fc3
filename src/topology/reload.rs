//! Puts another plan in the place of the running one, step by step; what fails before the last step
//! leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gopherworks_pipeline::__private::{FeederCore, IncineratorCore};
use gopherworks_pipeline::Event;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::{ChildId, SupervisorHandle, Which};

use super::children::{Placing, has};
use super::cores::{Builder, Kept, bound, connect, retry, tell_loads};
use super::crews::RunningCrew;
use super::inner::Inner;
use super::kept::names;
use super::made::{Made, Sites};
use super::node_set::NodeSet;
use super::running::RunningTopology;
use crate::config::Diagnostics;
use crate::plan::changes::{Books, Change, Changes, Moves};
use crate::plan::{Plan, Target};

/// Time for the carts of crews to come back, for removed piles to be emptied, and for new actors to
/// start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at carts and piles.
const LOOK: Duration = Duration::from_millis(2);

/// Largest number of a node: holders of carts have 20 bits for it.
const MOST_NODES: u32 = 0xf_0000;

/// Why a running topology was not changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReloadError {
    /// All mistakes of the file.
    Invalid(Diagnostics),
    /// The run was not started from a file that can be read again.
    NoFile,
    /// Changes that need a restart, each with its reason.
    Refused(Vec<String>),
    /// A step failed, and everything is as it was before.
    Failed(String),
    /// Another reload is under way.
    Busy,
    /// The run is being drained, or has ended.
    Ended,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReloadError::Invalid(found) => {
                write!(f, "the file has mistakes; nothing is changed\n{}", found.render(false))
            }
            ReloadError::NoFile => {
                f.write_str("the run was not started from a file that can be read again")
            }
            ReloadError::Refused(why) => {
                write!(f, "restart the run to change it: {}", why.join("; "))
            }
            ReloadError::Failed(why) => write!(f, "{why}; everything is as it was before"),
            ReloadError::Busy => f.write_str("another reload is under way"),
            ReloadError::Ended => f.write_str("the run is being drained, or has ended"),
        }
    }
}

impl std::error::Error for ReloadError {}

impl RunningTopology {
    /// What [`RunningTopology::reload`] would do now.
    ///
    /// # Errors
    /// [`ReloadError::Refused`], also for moves that are not possible.
    pub fn changes(&self, plan: &Plan, moves: &Moves) -> Result<Changes, ReloadError> {
        let nodes = self.inner().nodes();
        let found = Changes::between(&nodes.plan, plan, moves);
        let changes = found.map_err(|why| ReloadError::Refused(vec![why]))?;
        let mut refusals = changes.refusals();
        refusals.extend(now_impossible(self.inner(), &nodes, plan));
        match refusals.is_empty() {
            true => Ok(changes),
            false => Err(ReloadError::Refused(refusals)),
        }
    }

    /// Goes on with another plan. Crews that change load nothing more, and their carts deliver what
    /// they carry; removed piles are emptied; new actors are started; then the new nodes take the
    /// place of the present ones at one moment. Nodes that stay go on meanwhile.
    ///
    /// A failure before that moment, or dropping the future, leaves the plan as it was: books that
    /// were burned meanwhile stay burned, and all others stay on their piles. Burns of removed
    /// incinerators are finished afterwards.
    ///
    /// # Errors
    /// [`ReloadError`], and the plan is as before.
    pub async fn reload(&self, plan: Plan, moves: &Moves) -> Result<Changes, ReloadError> {
        let inner = self.inner();
        let Ok(_turn) = inner.reloading.try_lock() else {
            return Err(ReloadError::Busy);
        };
        self.goes_on()?;
        let changes = self.changes(&plan, moves)?;
        if changes.is_empty() {
            return Ok(changes);
        }
        let done = self.replace(&Arc::new(plan), &changes).await;
        match &done {
            Ok(()) => {
                log::info!("reloaded: {} changes", changes.len());
                inner.context.tell(Event::Reloaded { changes: changes.len() });
            }
            Err(why) => {
                log::warn!("not reloaded: {why}");
                inner.context.tell(Event::ReloadFailed { reason: why.to_string() });
            }
        }
        done.map(|()| changes)
    }

    fn goes_on(&self) -> Result<(), ReloadError> {
        match self.is_running() && !self.inner().context.is_draining() {
            true => Ok(()),
            false => Err(ReloadError::Ended),
        }
    }

    async fn replace(&self, plan: &Arc<Plan>, changes: &Changes) -> Result<(), ReloadError> {
        let (inner, supervisor) = (self.inner(), &self.shared.supervisor);
        let (context, old) = (&inner.context, inner.nodes());
        let kept = Kept::of(&old, plan, changes);
        let sites = Sites { plan: plan.clone(), ..inner.sites.clone() };
        let failed = |why: &dyn fmt::Display| ReloadError::Failed(why.to_string());
        let made = sites.make(&context.clock, kept.needs()).await.map_err(|why| failed(&why))?;
        let deadline = context.clock.now() + PATIENCE;
        let mut rollback = Rollback::new(inner.clone(), supervisor.clone());
        self.bring_back(&old, &kept, changes, (&mut rollback, deadline)).await?;

        let mut feeders: Vec<Arc<FeederCore>> = Vec::new();
        let sources = plan.sources.iter().zip(made.sources);
        for ((source, made), kept) in sources.zip(&kept.feeders) {
            feeders.push(match (kept, made) {
                (Some(at), _) => old.feeders[*at].clone(),
                (None, Some(made)) if made.receipts().is_some() => {
                    return Err(failed(&format_args!(
                        "the new source of `{}` keeps a state, for which a run must begin with it",
                        source.name
                    )));
                }
                (None, Some(made)) => {
                    let name = format!("{}.source", source.name);
                    let feeder = FeederCore::new(name, made, source.piles.len(), None, None);
                    let feeder = feeder.map_err(|why| failed(&why))?;
                    feeder.belongs_to(context);
                    feeder
                }
                // A topology without sources has none to add.
                (None, None) => continue,
            });
        }
        let placing = Placing { arbiters: &inner.arbiters, within: inner.shutdown };
        let builder = Builder {
            sites: &sites,
            context,
            balancers: &inner.balancers,
            by_key: &inner.by_key,
            numbers: &inner.numbers,
            resized: &inner.resized,
            placing: &placing,
            shares_store: false,
            sealed: inner.sealed.load(Ordering::Acquire),
            present: Some((&old, &kept)),
        };
        let made = Made { sources: Vec::new(), burns: made.burns, works: made.works };
        let set = builder.build(feeders, made, kept.places(&old, plan));
        let new: Vec<Arc<RunningCrew>> =
            set.crews.iter().filter(|crew| !has(&old.crews, crew)).cloned().collect();
        new.iter().for_each(|crew| _ = crew.core.hold());
        let leaving = leaving(&old, &set, supervisor);
        for child in placing.children(&set, Some(&old), context) {
            let name = child.name().to_owned();
            let late = context.clock.sleep_until(deadline);
            tokio::select! {
                biased;
                started = supervisor.start_child(child) => started.map_err(|why| failed(&why))?,
                () = late => return Err(failed(&format_args!("{name} does not start"))),
            };
        }
        let opened: Vec<Arc<FeederCore>> =
            set.feeders.iter().filter(|feeder| !has(&old.feeders, feeder)).cloned().collect();
        self.commit(&old, set, changes)?;
        rollback.forget();

        for child in leaving {
            supervisor.stop_child(Which::Id(child)).await;
        }
        self.finish_burns(&old).await;
        let paused = inner.paused();
        for crew in new.iter().filter(|crew| !paused.contains_key(&crew.name)) {
            crew.core.resume();
        }
        opened.iter().for_each(|feeder| feeder.open());
        inner.nodes().piles.iter().for_each(|pile| pile.ring());
        context.change();
        Ok(())
    }

    /// Holds the crews that don't stay until their carts are back, and empties removed piles.
    async fn bring_back(
        &self,
        old: &Arc<NodeSet>,
        kept: &Kept,
        changes: &Changes,
        (rollback, deadline): (&mut Rollback, Time),
    ) -> Result<(), ReloadError> {
        let drained = changes.steps.iter().filter(|step| step.books == Some(Books::Drained));
        let drained: BTreeSet<&str> = drained.map(|step| step.node.as_str()).collect();
        // Upstream before downstream, each crew by itself: a loaded cart may wait for the space
        // that a crew behind it has to make.
        for (at, crew) in old.crews.iter().enumerate() {
            if kept.crews.contains(&Some(at)) {
                continue;
            }
            let from = &crew.core.from;
            if drained.contains(from.name.as_str()) {
                let left = || {
                    let counts = from.counts();
                    let books = counts.ready + counts.leased + counts.inbox;
                    (!counts.is_drained())
                        .then(|| format!("{books} books of {} would be orphaned", from.name))
                };
                self.until(deadline, left).await?;
            }
            rollback.hold(crew);
            let out = || {
                (!crew.core.queue.is_home())
                    .then(|| format!("the carts of crew {} are not back", crew.name))
            };
            self.until(deadline, out).await?;
        }
        Ok(())
    }

    /// Waits until nothing is `missing`.
    async fn until(
        &self,
        deadline: Time,
        missing: impl Fn() -> Option<String>,
    ) -> Result<(), ReloadError> {
        let clock = &self.inner().context.clock;
        while let Some(missing) = missing() {
            self.goes_on()?;
            if clock.now() >= deadline {
                return Err(ReloadError::Failed(format!("{missing} after {PATIENCE:?}")));
            }
            clock.sleep(LOOK).await;
        }
        self.goes_on()
    }

    /// Puts the new nodes in the place of the present ones.
    fn commit(&self, old: &NodeSet, set: NodeSet, changes: &Changes) -> Result<(), ReloadError> {
        let inner = self.inner();
        inner.unless_draining(|paused| {
            self.goes_on()?;
            let mut closed = Vec::new();
            for step in changes.steps.iter().filter(|step| step.change == Change::Removed) {
                paused.remove(&step.node);
                let Some(pile) = old.pile(&step.node) else {
                    continue;
                };
                if let Some(Books::Moved(to)) = &step.books
                    && let Some(to) = set.pile(to)
                {
                    while inner.context.custody.move_all(pile.key, to.key) > 0 {}
                }
                if pile.close_empty() {
                    closed.push(pile);
                } else {
                    closed.iter().for_each(|pile| pile.reopen());
                    let counts = pile.counts();
                    let books = counts.ready + counts.leased + counts.inbox;
                    let why = format!("{books} books of {} would be orphaned", pile.name);
                    return Err(ReloadError::Failed(why));
                }
            }
            let was: BTreeMap<&str, usize> = names(&old.piles, |pile| &pile.name);
            for (pile, now) in set.piles.iter().zip(&set.plan.piles) {
                let Some(before) = was.get(pile.name.as_str()).map(|at| &old.plan.piles[*at])
                else {
                    continue;
                };
                if before.capacity != now.capacity || before.max_attempts != now.max_attempts {
                    pile.rebound(bound(now.capacity), now.max_attempts);
                }
                if before.retry != now.retry {
                    let delays = retry(now, inner.context.seed);
                    inner.context.custody.retry_after(pile.key, delays);
                }
            }
            connect(&set, false);
            tell_loads(&set);
            for feeder in old.feeders.iter().filter(|feeder| !has(&set.feeders, feeder)) {
                feeder.end();
            }
            inner.set_nodes(Arc::new(set));
            Ok(())
        })
    }

    /// Finishes the burns of incinerators that are gone.
    async fn finish_burns(&self, old: &NodeSet) {
        let inner = self.inner();
        let nodes = inner.nodes();
        let gone: Vec<Arc<IncineratorCore>> = (old.incinerators.iter())
            .filter(|fire| !has(&nodes.incinerators, fire))
            .cloned()
            .collect();
        for fire in gone {
            let name = fire.name.clone();
            let finished = inner.context.pool.wait_for(move || fire.finish()).await;
            if let Ok(Err(failure)) = finished {
                inner.context.fail(format!("{name}: {failure}"));
            }
        }
    }
}

/// What can't change at present, besides what never can.
fn now_impossible(inner: &Inner, old: &NodeSet, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    if old.plan.piles.iter().any(|pile| pile.elsewhere.is_some()) {
        found.push("the run has a part of the nodes (`--only`)".to_owned());
    }
    if inner.numbers.last() > MOST_NODES {
        found.push("the run has had too many nodes".to_owned());
    }
    let sources: BTreeMap<&str, Vec<&str>> = (plan.sources.iter())
        .map(|source| (source.name.as_str(), piles_of(plan, &source.piles)))
        .collect();
    for (source, feeder) in old.plan.sources.iter().zip(&old.feeders) {
        let was = piles_of(&old.plan, &source.piles);
        match sources.get(source.name.as_str()) {
            Some(now) if *now != was => {
                let name = &source.name;
                found
                    .push(format!("pile {name}: its copies share one source, which is being read"));
            }
            None if !feeder.has_ended() => {
                found.push(format!("pile {}: its source is being read", source.name));
            }
            _ => {}
        }
    }
    for crew in &plan.crews {
        let Target::Dump(to) = crew.to else {
            continue;
        };
        let is_closed =
            |pile: usize| old.pile(&plan.piles[pile].name).is_some_and(|pile| pile.is_closed());
        if is_closed(to) && !is_closed(crew.from) {
            let (dump, crew) = (&plan.piles[to].name, &crew.name);
            found.push(format!("crew {crew}: the dump `{dump}` is closed, as all before it ended"));
        }
    }
    found
}

fn piles_of<'a>(plan: &'a Plan, piles: &[usize]) -> Vec<&'a str> {
    piles.iter().map(|pile| plan.piles[*pile].name.as_str()).collect()
}

/// The actors of nodes that are not in `set`.
fn leaving(old: &NodeSet, set: &NodeSet, supervisor: &SupervisorHandle) -> Vec<ChildId> {
    let crews = old.crews.iter().filter(|crew| !has(&set.crews, crew));
    let gophers = crews.flat_map(|crew| crew.present()).map(|gopher| gopher.core.name.clone());
    let feeders = old.feeders.iter().filter(|one| !has(&set.feeders, one));
    let piles = old.piles.iter().filter(|one| !has(&set.piles, one));
    let fires = old.incinerators.iter().filter(|one| !has(&set.incinerators, one));
    let names: BTreeSet<String> = gophers
        .chain(feeders.map(|one| one.name.clone()))
        .chain(piles.map(|one| one.name.clone()))
        .chain(fires.map(|one| one.name.clone()))
        .collect();
    let children = supervisor.children().into_iter();
    // Sources of books first.
    let mut leaving: Vec<ChildId> =
        children.filter(|(_, name)| names.contains(&**name)).map(|(id, _)| id).collect();
    leaving.reverse();
    leaving
}

/// Undoes a reload that has not replaced the nodes, when dropped.
struct Rollback {
    inner: Arc<Inner>,
    supervisor: SupervisorHandle,
    crews: Vec<Arc<RunningCrew>>,
    /// The children before any was added.
    children: BTreeSet<ChildId>,
    is_done: bool,
}

impl Rollback {
    fn new(inner: Arc<Inner>, supervisor: SupervisorHandle) -> Self {
        let children = supervisor.children().into_iter().map(|(id, _)| id).collect();
        Self { inner, supervisor, crews: Vec::new(), children, is_done: false }
    }

    fn hold(&mut self, crew: &Arc<RunningCrew>) {
        crew.core.hold();
        self.crews.push(crew.clone());
    }

    /// The nodes are replaced: there is nothing to undo.
    fn forget(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Rollback {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        for (child, _) in self.supervisor.children() {
            if !self.children.contains(&child) {
                drop(self.supervisor.stop_child(Which::Id(child)));
            }
        }
        let paused = self.inner.paused();
        for crew in self.crews.iter().filter(|crew| !paused.contains_key(&crew.name)) {
            crew.core.resume();
        }
    }
}
