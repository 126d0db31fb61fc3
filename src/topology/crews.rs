//! Crews of a running topology, and their sizes, which operators change.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use gopherworks_pipeline::__private::{CrewCore, CrewMember, Gopher, GopherCore, NodeStats};
use gopherworks_pipeline::steps::{Duties, Step};
use gopherworks_supervision::{Child, ChildThread, Port, SupervisorHandle, Which};

use super::inner::Inner;
use crate::config::limits::MOST_GOPHERS;
use crate::plan::CrewPlan;

/// A running crew.
pub(super) struct RunningCrew {
    pub(super) name: String,
    pub(super) relay: bool,
    pub(super) core: Arc<CrewCore>,
    /// Duties of the gophers of the plan; a larger crew repeats them.
    duties: Vec<Duties>,
    /// Every gopher that was ever made, in the order of their numbers.
    gophers: RwLock<Vec<Arc<RunningGopher>>>,
    /// Number of gophers that get carts.
    size: AtomicUsize,
    /// Restarts of gophers that were removed.
    pub(super) past_restarts: AtomicU64,
    busy: Mutex<MeanBusy>,
    place: ChildThread,
    shutdown: Duration,
}

/// A gopher, which may have been removed.
pub(super) struct RunningGopher {
    pub(super) core: Arc<GopherCore>,
    /// Number of its node in the pipeline.
    pub(super) node: u32,
    pub(super) port: Port<Gopher>,
    /// True if the supervisor has it as a child.
    present: AtomicBool,
}

/// Busy time of a crew as the mean of its gophers, over sizes that change.
struct MeanBusy {
    /// Seconds until the last change of the size, and the sum over all gophers then.
    until: (f64, f64),
    size: usize,
}

impl RunningCrew {
    /// Starts no actor: [`RunningCrew::children`] makes them.
    pub(super) fn new(
        plan: &CrewPlan,
        core: Arc<CrewCore>,
        members: Vec<(CrewMember, Port<Gopher>)>,
        (place, shutdown): (ChildThread, Duration),
    ) -> Self {
        let crew = Self {
            name: plan.name.clone(),
            relay: plan.relay,
            core,
            duties: plan.gophers.clone(),
            size: AtomicUsize::new(members.len()),
            past_restarts: AtomicU64::new(0),
            busy: Mutex::new(MeanBusy { until: (0.0, 0.0), size: members.len().max(1) }),
            gophers: RwLock::default(),
            place,
            shutdown,
        };
        for (member, port) in members {
            crew.push(&member, port, true);
        }
        crew
    }

    fn push(&self, member: &CrewMember, port: Port<Gopher>, present: bool) {
        let mut gophers = self.gophers.write().unwrap_or_else(PoisonError::into_inner);
        let index = gophers.len();
        let name = match self.relay {
            true => self.name.clone(),
            false => format!("{}/{}", self.name, index + 1),
        };
        let seed = self.core.context.seed;
        gophers.push(Arc::new(RunningGopher {
            core: Arc::new(GopherCore {
                chance: Mutex::new(seed.stream(&name, "steps")),
                name,
                index,
                counts: member.duties.iter().next().unwrap_or(Step::Load),
                stats: NodeStats::default(),
            }),
            node: member.node,
            port,
            present: AtomicBool::new(present),
        }));
    }

    /// Continues the counts of a crew that this one replaces.
    pub(super) fn goes_on_from(&self, before: &Self) {
        for (gopher, before) in self.all().iter().zip(before.all()) {
            gopher.core.stats.goes_on_from(&before.core.stats);
        }
    }

    /// Every gopher that was ever made.
    pub(super) fn all(&self) -> Vec<Arc<RunningGopher>> {
        self.gophers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The gophers that exist now, also those that are about to leave.
    pub(super) fn present(&self) -> Vec<Arc<RunningGopher>> {
        let mut gophers = self.all();
        gophers.retain(|gopher| gopher.present.load(Ordering::Acquire));
        gophers
    }

    /// Number of gophers that get carts.
    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Acquire)
    }

    /// Busy seconds of the crew as the mean of its gophers. `sum` is that of every gopher ever
    /// made.
    pub(super) fn busy(&self, sum: f64) -> f64 {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).at(sum)
    }

    /// True if its size was ever changed.
    pub(super) fn was_scaled(&self) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).until.1 > 0.0
    }

    /// Smallest size in which each step is done.
    pub(super) fn least(&self) -> usize {
        let does = |size: usize, step| self.duties[..size].iter().any(|duties| duties.has(step));
        let done = |size: &usize| Step::ALL.into_iter().all(|step| does(*size, step));
        (1..self.duties.len()).find(done).unwrap_or(self.duties.len())
    }

    /// Why the crew can't have `size` gophers, if so.
    pub(super) fn refuses(&self, size: usize) -> Option<String> {
        let (name, least) = (&self.name, self.least());
        if self.relay {
            return Some(format!("`{name}` is a relay: it has one gopher and one cart, for order"));
        }
        if size < least {
            let why = match least {
                1 => "a crew has at least one gopher".to_owned(),
                _ => format!("with fewer than {least} gophers, a step is done by none"),
            };
            return Some(format!("`{name}` can't have {size} gophers: {why}"));
        }
        (size > MOST_GOPHERS).then(|| {
            format!("`{name}` can't have {size} gophers: a crew has at most {MOST_GOPHERS}")
        })
    }

    /// Sets the size. `node` numbers the nodes of new gophers; [`keep_sizes`] starts their actors,
    /// and ends those of surplus ones once they have nothing in hand.
    pub(super) fn resize(&self, size: usize, node: impl Fn() -> u32) {
        let all = self.all();
        for index in all.len()..size {
            let port = Port::new();
            let duties = self.duties[index % self.duties.len()];
            let member = CrewMember { duties, port: Arc::new(port.clone()), node: node() };
            self.push(&member, port, false);
            self.core.queue.add(member);
        }
        let sum = all.iter().map(|gopher| gopher.core.stats.busy().as_secs_f64()).sum();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = MeanBusy { until: (busy.at(sum), sum), size };
        drop(busy);
        self.size.store(size, Ordering::Release);
        self.core.queue.resize(size);
    }

    pub(super) fn children(&self) -> impl Iterator<Item = Child> {
        self.all().into_iter().map(|gopher| self.child(&gopher))
    }

    fn child(&self, gopher: &RunningGopher) -> Child {
        let (shared, core) = (self.core.clone(), gopher.core.clone());
        let child = Child::new(core.name.clone(), &gopher.port, move |birth| {
            Gopher::new(shared.clone(), core.clone(), birth.epoch)
                .map_err(|failure| failure.to_string())
        });
        child.place(self.place.clone()).shutdown(self.shutdown)
    }

    /// Has the supervisor start the gophers that are missing, and stop those that have left.
    /// Returns those that stop.
    fn adjust(&self, supervisor: &SupervisorHandle) -> Vec<(Arc<RunningGopher>, Stopping)> {
        let all = self.all();
        for gopher in all.iter().take(self.size()) {
            if !gopher.present.swap(true, Ordering::AcqRel) {
                drop(supervisor.start_child(self.child(gopher)));
            }
        }
        let left = self.core.queue.left().into_iter();
        let stop = left.map(|index| {
            let gopher = all[index].clone();
            let name = Which::Name(&gopher.core.name);
            self.past_restarts.fetch_add(supervisor.restarts(name), Ordering::Relaxed);
            let stopping: Stopping = Box::pin(supervisor.stop_child(name));
            (gopher, stopping)
        });
        stop.collect()
    }
}

impl MeanBusy {
    fn at(&self, sum: f64) -> f64 {
        self.until.0 + (sum - self.until.1).max(0.0) / self.size as f64
    }
}

type Stopping = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Numbers nodes, those that are added at run time included.
pub(super) struct NodeNumbers(AtomicU32);

impl NodeNumbers {
    pub(super) fn after(last: u32) -> Self {
        Self(AtomicU32::new(last))
    }

    pub(super) fn last(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Starts and stops gophers after each change of a crew's size, until the topology ends.
pub(super) async fn keep_sizes(inner: Weak<Inner>, supervisor: SupervisorHandle) {
    loop {
        // Upgraded only for a moment, so that the waiting task keeps nothing alive.
        let Some(resized) = inner.upgrade().map(|inner| inner.resized.clone()) else {
            return;
        };
        resized.notified().await;
        let Some(now) = inner.upgrade() else {
            return;
        };
        if now.end.initialized() {
            return;
        }
        let nodes = now.nodes();
        let stop = nodes.crews.iter().flat_map(|crew| crew.adjust(&supervisor));
        let stop: Vec<_> = stop.collect();
        drop((now, nodes));
        // A child must be gone before another one may use its port.
        for (gopher, stopping) in stop {
            stopping.await;
            gopher.present.store(false, Ordering::Release);
            resized.notify_one();
        }
    }
}
