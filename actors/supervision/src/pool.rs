//! Where blocking work runs: never on an arbiter.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::clock::Clock;

/// The works' blocking pool: `cores` threads for work, and others for what only waits.
pub struct Pool {
    clock: Clock,
    cores: usize,
    cpu: Arc<Semaphore>,
    compute: Option<Runtime>,
    // Apart from `waiting`: burns that hang must not keep a source from being read.
    burning: Option<Runtime>,
    waiting: Option<Runtime>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("cores", &self.cores).finish()
    }
}

/// Threads for what only waits, where nothing else is said.
const MOST_WAITING: usize = 512;

/// Carts of one incinerator that burn at once where burning waits, unless the burn says another number; carts beyond wait their turn.
pub const MOST_WAITING_BURNS: usize = 64;

/// Threads for burns that wait, in all the works; they are started when needed.
pub const MOST_BURNING_THREADS: usize = 4096;

/// The pool was shut down before the work was done; what the work held has gone home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// The text of a panic.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Runs user code; a panic becomes its text.
#[inline]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = panic_text(&*payload);
        // The payload is the user's: its drop may panic as well.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
        text
    })
}

/// Ends the calling actor by a panic that was caught (and printed) before, or that is only a reason: the hook stays quiet.
#[doc(hidden)]
pub fn die(text: String) -> ! {
    std::panic::resume_unwind(Box::new(text))
}

fn threads(name: &str, most: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(most)
        .thread_name(name)
        .build()
}

impl Pool {
    /// A pool of `cores` (>= 1) threads. With a simulated clock there are none: work runs inline, and time on a core is simulated.
    ///
    /// # Errors
    /// Those of the operating system refusing threads.
    pub fn new(clock: Clock, cores: usize) -> std::io::Result<Self> {
        Self::with_waiting(clock, cores, MOST_WAITING)
    }

    /// The same, with at most `waiting` (>= 1) threads for what only waits; they are started when needed.
    ///
    /// # Errors
    /// Those of the operating system refusing threads.
    pub fn with_waiting(clock: Clock, cores: usize, waiting: usize) -> std::io::Result<Self> {
        let cores = cores.max(1);
        let real = !clock.is_simulated();
        Ok(Self {
            clock,
            cores,
            cpu: Arc::new(Semaphore::new(cores)),
            compute: real
                .then(|| threads("gopherworks-pool", cores))
                .transpose()?,
            burning: real
                .then(|| threads("gopherworks-burn", MOST_BURNING_THREADS))
                .transpose()?,
            waiting: real
                .then(|| threads("gopherworks-wait", waiting))
                .transpose()?,
        })
    }

    /// A pool without threads: work runs inline.
    #[doc(hidden)]
    pub fn none() -> Self {
        Self {
            clock: Clock::simulated(),
            cores: 1,
            cpu: Arc::new(Semaphore::new(1)),
            compute: None,
            burning: None,
            waiting: None,
        }
    }

    /// Threads for work.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Runs `work` on one of the `cores` threads; work waits its turn.
    ///
    /// # Errors
    /// [`Cancelled`] if the pool is shut down first; `work` is then dropped.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Cancelled>> + Send + 'static {
        Self::on(self.compute.as_ref(), work)
    }

    /// Runs `work` that mostly waits (a read from a pipe) on a thread of its own.
    ///
    /// # Errors
    /// [`Cancelled`] if the pool is shut down first; `work` is then dropped.
    pub fn wait_for<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Cancelled>> + Send + 'static {
        Self::on(self.waiting.as_ref(), work)
    }

    fn on<T: Send + 'static>(
        runtime: Option<&Runtime>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Cancelled>> + Send + 'static {
        let started = match runtime {
            Some(runtime) => Ok(runtime.spawn_blocking(work)),
            None => Err(work()),
        };
        async move {
            match started {
                Ok(running) => running.await.map_err(|error| match error.try_into_panic() {
                    // Whoever waits for it dies of it, instead of waiting for ever.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Cancelled,
                }),
                Err(done) => Ok(done),
            }
        }
    }

    /// Starts `work` on one of the `cores` threads and does not wait for it.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) {
        Self::start_on(self.compute.as_ref(), work);
    }

    /// Starts a burn that mostly waits, and does not wait for it: it takes none of the `cores` threads but one of up to
    /// [`MOST_BURNING_THREADS`] others, first come, first served.
    pub fn start_waiting(&self, work: impl FnOnce() + Send + 'static) {
        Self::start_on(self.burning.as_ref(), work);
    }

    fn start_on(runtime: Option<&Runtime>, work: impl FnOnce() + Send + 'static) {
        match runtime {
            Some(runtime) => drop(runtime.spawn_blocking(work)),
            None => work(),
        }
    }

    /// Uses a core for `span`: at most `cores` of these at once, first come, first served. Whoever is gone before its turn or its end still
    /// has both: a core is busy until the work is done, and is free then, whatever has become of the actor.
    pub fn use_core(&self, span: Duration) -> impl Future<Output = ()> + 'static {
        let clock = self.clock.clone();
        let spin = self
            .compute
            .as_ref()
            .map(|runtime| runtime.handle().clone());
        let cpu = self.cpu.clone();
        async move {
            match spin {
                None => {
                    // A task of its own: an actor that stands still for ever would keep its turn for ever.
                    let (say, done) = tokio::sync::oneshot::channel();
                    actix_rt::spawn(async move {
                        let _turn = cpu.acquire().await;
                        clock.sleep(span).await;
                        let _ = say.send(());
                    });
                    let _ = done.await;
                }
                // There are as many threads as cores.
                Some(pool) => {
                    let _ = pool
                        .spawn_blocking(move || {
                            let until = clock.now() + span;
                            while clock.now() < until {
                                std::hint::spin_loop();
                            }
                        })
                        .await;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A thread that hangs in user work must not hang whoever drops the works.
        let all = [&mut self.compute, &mut self.burning, &mut self.waiting];
        for runtime in all.into_iter().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}
