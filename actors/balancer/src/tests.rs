//! Tests of running balancers.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::*;
use crate::worker::Work;
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;

mod bounds;
mod cancel;
mod closures;
mod deadlines;
mod deaths;
mod inline;
mod kills;
mod misuse;
mod nested;
mod order;
mod sizes;
mod spread;

const MS: Duration = Duration::from_millis(1);

/// Runs `body` in virtual time.
fn virtually<F: Future>(body: impl FnOnce(Clock) -> F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    // Boxed: a runtime is compiled for each type of future.
    let body: Pin<Box<dyn Future<Output = F::Output> + '_>> = Box::pin(async move {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        body(clock).await
    });
    system.block_on(body)
}

/// Runs `body` in real time.
fn real<T>(body: impl Future<Output = T>) -> T {
    let body: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(body);
    actix_rt::System::new().block_on(body)
}

/// Lets all other ready tasks run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// An async closure of any type.
trait Closure<Q, R>: Send {
    fn call(&mut self, request: Q) -> Pin<Box<dyn Future<Output = R> + '_>>;
}

impl<F: AsyncFnMut(Q) -> R + Send, Q: 'static, R> Closure<Q, R> for F {
    fn call(&mut self, request: Q) -> Pin<Box<dyn Future<Output = R> + '_>> {
        Box::pin(self(request))
    }
}

/// Work from a closure. One type for all closures: a balancer is compiled for each type of work.
struct Erased<Q, R> {
    closure: Box<dyn Closure<Q, R>>,
    blocks: bool,
}

fn from_fn<Q, R>(work: impl AsyncFnMut(Q) -> R + Send + 'static) -> Erased<Q, R>
where
    Q: 'static,
{
    Erased { closure: Box::new(work), blocks: false }
}

fn blocking<Q, R>(mut work: impl FnMut(Q) -> R + Send + 'static) -> Erased<Q, R>
where
    Q: 'static,
{
    Erased { blocks: true, ..from_fn(async move |request| work(request)) }
}

impl<Q: Send + 'static, R: Send + 'static> Work for Erased<Q, R> {
    type Request = Q;
    type Reply = R;

    async fn work(&mut self, request: Q) -> R {
        self.closure.call(request).await
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

/// Work that takes the requested time, and counts futures begun, dropped and done.
#[derive(Clone, Default)]
struct Counted {
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

impl Counted {
    fn read(&self) -> (usize, usize, usize) {
        let at = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (at(&self.begun), at(&self.dropped), at(&self.done))
    }
}

struct Sleeper {
    clock: Clock,
    counted: Counted,
}

struct Running(Counted);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Work for Sleeper {
    type Request = Duration;
    type Reply = Duration;

    async fn work(&mut self, request: Duration) -> Duration {
        self.counted.begun.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.counted.clone());
        self.clock.sleep(request).await;
        std::mem::forget(running);
        self.counted.done.fetch_add(1, Ordering::SeqCst);
        request
    }
}

fn sleepers(clock: &Clock, counted: &Counted) -> Builder<Sleeper> {
    let (own, counted) = (clock.clone(), counted.clone());
    Balancer::of(move |_| Sleeper { clock: own.clone(), counted: counted.clone() })
        .clock(clock.clone())
}
