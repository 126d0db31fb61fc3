//! The thread pools for blocking work, which must never run on an arbiter.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::clock::Clock;

/// The pool of blocking threads: `cores` threads for CPU-bound work, and separate threads for work
/// that mostly waits.
pub struct Pool {
    clock: Clock,
    cores: usize,
    cpu: Arc<Semaphore>,
    compute: Option<Runtime>,
    // Separate from `waiting`: hanging burns must not prevent a source from being read.
    burning: Option<Runtime>,
    waiting: Option<Runtime>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("cores", &self.cores).finish()
    }
}

/// Default maximum of threads for work that mostly waits.
const MOST_WAITING: usize = 512;

/// Default maximum of carts that one incinerator burns concurrently when a burn mostly waits;
/// further carts are queued.
pub const MOST_WAITING_BURNS: usize = 64;

/// Maximum of threads for burns that mostly wait, over all incinerators; they are started on
/// demand.
pub const MOST_BURNING_THREADS: usize = 4096;

/// The pool was shut down before the work was done; the guards in the work have already been
/// dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

fn threads(name: &str, most: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(most)
        .thread_name(name)
        .build()
}

impl Pool {
    /// A pool of `cores` (at least 1) threads for CPU-bound work. With a simulated clock there are
    /// no threads: work runs inline, and core time is simulated.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(clock: Clock, cores: usize) -> std::io::Result<Self> {
        Self::with_waiting(clock, cores, MOST_WAITING)
    }

    /// Like [`Pool::new`], with at most `waiting` (>= 1) threads for work that mostly waits; they
    /// are started on demand.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn with_waiting(clock: Clock, cores: usize, waiting: usize) -> std::io::Result<Self> {
        let cores = cores.max(1);
        let real = !clock.is_simulated();
        Ok(Self {
            clock,
            cores,
            cpu: Arc::new(Semaphore::new(cores)),
            compute: real.then(|| threads("gopherworks-pool", cores)).transpose()?,
            burning: real.then(|| threads("gopherworks-burn", MOST_BURNING_THREADS)).transpose()?,
            waiting: real.then(|| threads("gopherworks-wait", waiting)).transpose()?,
        })
    }

    /// A pool without threads: work runs inline.
    #[doc(hidden)]
    pub fn none() -> Self {
        Self {
            clock: Clock::stopped(),
            cores: 1,
            cpu: Arc::new(Semaphore::new(1)),
            compute: None,
            burning: None,
            waiting: None,
        }
    }

    /// Number of threads for CPU-bound work.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Runs `work` on one of the `cores` threads, in order of submission. Dropping the future does
    /// not cancel the work.
    ///
    /// # Errors
    /// [`Cancelled`] if the pool is shut down first; `work` is then dropped.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Cancelled>> + Send + 'static {
        Self::on(self.compute.as_ref(), work)
    }

    /// Runs `work` that mostly waits (such as a read from a pipe) on a thread of its own. Dropping
    /// the future does not cancel the work.
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
                    // The caller panics as well, instead of waiting forever.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Cancelled,
                }),
                Err(done) => Ok(done),
            }
        }
    }

    /// Starts `work` on one of the `cores` threads without waiting for it.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) {
        Self::start_on(self.compute.as_ref(), work);
    }

    /// Starts a burn that mostly waits, without waiting for it. It uses none of the `cores` threads
    /// but one of up to [`MOST_BURNING_THREADS`] others, in order of submission.
    pub fn start_waiting(&self, work: impl FnOnce() + Send + 'static) {
        Self::start_on(self.burning.as_ref(), work);
    }

    fn start_on(runtime: Option<&Runtime>, work: impl FnOnce() + Send + 'static) {
        match runtime {
            Some(runtime) => drop(runtime.spawn_blocking(work)),
            None => work(),
        }
    }

    /// Occupies a core for `span`, in order of arrival; at most `cores` are occupied at once.
    /// Dropping the future after its first poll does not cancel this: the core stays occupied for
    /// `span` even if the actor is gone.
    pub fn use_core(&self, span: Duration) -> impl Future<Output = ()> + 'static {
        let clock = self.clock.clone();
        let spin = self.compute.as_ref().map(|runtime| runtime.handle().clone());
        let cpu = self.cpu.clone();
        async move {
            match spin {
                None => {
                    // A task of its own: a blocked actor would otherwise never release its permit.
                    let (say, done) = tokio::sync::oneshot::channel();
                    actix_rt::spawn(async move {
                        let _turn = cpu.acquire().await;
                        clock.sleep(span).await;
                        let _ = say.send(());
                    });
                    let _ = done.await;
                }
                // The runtime has one thread per core.
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
        // Dropping the pool must not block on a thread that hangs in user code.
        let all = [&mut self.compute, &mut self.burning, &mut self.waiting];
        for runtime in all.into_iter().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}
