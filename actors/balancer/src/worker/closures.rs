//! Work made of closures, and requests that are closures.

use std::fmt;
use std::marker::PhantomData;

use super::Work;

/// Work from an async closure. See [`from_fn`].
pub struct FnWork<F, Q, R>(F, PhantomData<fn(Q) -> R>);

impl<F, Q, R> fmt::Debug for FnWork<F, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnWork(..)")
    }
}

/// Makes work from an async closure: `Balancer::of(|_| from_fn(async |n: u64| n + 1))`.
pub fn from_fn<F, Q, R>(work: F) -> FnWork<F, Q, R>
where
    F: AsyncFnMut(Q) -> R + Send + 'static,
    Q: Send + 'static,
    R: Send + 'static,
{
    FnWork(work, PhantomData)
}

impl<F, Q, R> Work for FnWork<F, Q, R>
where
    F: AsyncFnMut(Q) -> R + Send + 'static,
    Q: Send + 'static,
    R: Send + 'static,
{
    type Request = Q;
    type Reply = R;

    async fn work(&mut self, request: Q) -> R {
        (self.0)(request).await
    }
}

/// Work from a blocking closure. See [`blocking`].
pub struct BlockingFn<F, Q>(F, PhantomData<fn(Q)>);

impl<F, Q> fmt::Debug for BlockingFn<F, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingFn(..)")
    }
}

/// Makes work from a plain closure that may block: it runs in the thread pool.
pub fn blocking<F, Q, R>(work: F) -> BlockingFn<F, Q>
where
    F: FnMut(Q) -> R + Send + 'static,
    Q: Send + 'static,
    R: Send + 'static,
{
    BlockingFn(work, PhantomData)
}

impl<F, Q, R> Work for BlockingFn<F, Q>
where
    F: FnMut(Q) -> R + Send + 'static,
    Q: Send + 'static,
    R: Send + 'static,
{
    type Request = Q;
    type Reply = R;

    async fn work(&mut self, request: Q) -> R {
        (self.0)(request)
    }

    fn blocks(&self) -> bool {
        true
    }
}

/// A request that is a function to call.
pub type Function<R> = Box<dyn FnOnce() -> R + Send>;

/// Work that calls the functions it gets as requests. By default they may block.
///
/// ```
/// use gopherworks_balancer::Balancer;
/// use gopherworks_balancer::worker::Functions;
///
/// actix_rt::System::new().block_on(async {
///     let balancer = Balancer::of(|_| Functions::new()).workers(2).start().await?;
///     assert_eq!(balancer.call(Box::new(|| 6 * 7)).await, Ok(42));
///     Ok::<(), gopherworks_supervision::failure::Failure>(())
/// })?;
/// # Ok::<(), gopherworks_supervision::failure::Failure>(())
/// ```
pub struct Functions<R> {
    blocks: bool,
    _reply: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Functions<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").field("blocks", &self.blocks).finish()
    }
}

impl<R> Functions<R> {
    /// For functions that may block: they run in the thread pool.
    pub fn new() -> Self {
        Self { blocks: true, _reply: PhantomData }
    }

    /// For functions that take a few microseconds at most: they run on the worker's arbiter.
    pub fn quick() -> Self {
        Self { blocks: false, _reply: PhantomData }
    }
}

impl<R> Default for Functions<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Send + 'static> Work for Functions<R> {
    type Request = Function<R>;
    type Reply = R;

    async fn work(&mut self, request: Function<R>) -> R {
        request()
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}
