//! The thread of a store: the connection lives there, whatever runtime its callers have.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use gopherworks_pipeline::store::{PileSpec, Recovered, Reply, StoreError};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::Settings;
use crate::engine::{Engine, look, open};

/// The thread; ends when this is dropped, with all calls that are not answered.
#[derive(Default)]
pub(crate) struct Thread {
    running: OnceLock<Running>,
    engine: OnceLock<Arc<Engine>>,
}

struct Running {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

fn start() -> std::io::Result<Running> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name("gopherworks-nats".to_owned()).spawn(move || {
        // Its sender is dropped, never used.
        let _ = runtime.block_on(stopped);
    })?;
    Ok(Running { handle, _stop: stop })
}

/// A number that no other opener has.
fn nonce() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

impl Thread {
    pub async fn open(
        &self,
        settings: Settings,
        piles: Vec<PileSpec>,
    ) -> Result<Recovered, StoreError> {
        let other = |error: &dyn std::fmt::Display| StoreError::Other(error.to_string().into());
        let running = start().map_err(|error| other(&error))?;
        let handle = running.handle.clone();
        if self.running.set(running).is_err() {
            return Err(other(&"the store is open already"));
        }
        let opened = handle.spawn(async move { open(settings, nonce(), &piles).await }).await;
        let (engine, recovered) = opened.map_err(|error| other(&error))??;
        let _ = self.engine.set(Arc::new(engine));
        Ok(recovered)
    }

    /// Runs a call that only reads, on a store that may not be open.
    pub fn read<'a, T: Send + 'static, F>(
        &'a self,
        settings: &Settings,
        call: impl FnOnce(Arc<Engine>) -> F + Send + 'static,
    ) -> Reply<'a, Result<T, StoreError>>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        if self.engine.get().is_some() {
            return self.ask(call);
        }
        let settings = settings.clone();
        Box::pin(async move {
            let other = |error: &dyn std::fmt::Display| StoreError::Other(error.to_string().into());
            let running = start().map_err(|error| other(&error))?;
            let reading = async move { call(Arc::new(look(settings, nonce()).await?)).await };
            running.handle.spawn(reading).await.map_err(|error| other(&error))?
        })
    }

    /// Runs a call on the thread, to its end even if the caller does not wait for it.
    pub fn ask<'a, T: Send + 'static, F>(
        &'a self,
        call: impl FnOnce(Arc<Engine>) -> F + Send + 'static,
    ) -> Reply<'a, Result<T, StoreError>>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            let (Some(running), Some(engine)) = (self.running.get(), self.engine.get()) else {
                return Err(StoreError::Closed);
            };
            let answer = running.handle.spawn(call(engine.clone())).await;
            let failed = |error: tokio::task::JoinError| match error.is_cancelled() {
                true => StoreError::Closed,
                false => StoreError::Unknown(error.to_string().into()),
            };
            answer.unwrap_or_else(|error| Err(failed(error)))
        })
    }
}
