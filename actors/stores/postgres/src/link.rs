//! The engine's thread with its connections, and transactions on them.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::future::{Either, select};
use gopherworks_pipeline::store::{Commit, Receipt, Reply, StoreError};
use gopherworks_supervision::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::core::Core;
use crate::error::{Failed, Stage, meaning, unavailable};
use crate::schema::look;
use crate::settings::Settings;

/// How long the work on a book waits at most until its attempt is charged.
const CHARGING: Duration = Duration::from_secs(1);

/// Maximum number of connections of an opener.
const CONNECTIONS: usize = 8;

/// Repeats a transaction that loses against others, some times.
macro_rules! retried {
    ($transaction:expr) => {{
        let mut tries = 0;
        loop {
            match $transaction {
                Err($crate::error::Failed::Again) if tries < 5 => tries += 1,
                Err($crate::error::Failed::Again) => break Err($crate::error::contended()),
                Err($crate::error::Failed::Store(error)) => break Err(error),
                Ok(done) => break Ok(done),
            }
        }
    }};
}
pub(crate) use retried;

/// A parameter of a statement, with its type: the server prepares nothing beforehand, so that a
/// transaction pooler may stand between.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

pub(crate) type Params<'a> = &'a [Param<'a>];

/// A thread on which connections live. Dropping it ends them.
pub(crate) struct Thread {
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // Its panics are of calls, which have answered.
            let _ = thread.join();
        }
    }
}

impl Thread {
    pub fn start() -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(unavailable)?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel());
        let thread = std::thread::Builder::new().name("gopherworks-postgres".to_owned());
        let thread = thread.spawn(move || {
            // Ends when the sender is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        let thread = thread.map_err(unavailable)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

pub(crate) enum State {
    New,
    Opening(Thread),
    Open(Arc<Core>, Thread),
    Closed,
}

/// An opener's connections, once it is open.
#[derive(Clone)]
pub(crate) struct Link(Arc<Mutex<State>>);

impl Link {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State::New)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn core(&self) -> Result<(Arc<Core>, Handle), StoreError> {
        match &*self.state() {
            State::Open(core, thread) => Ok((core.clone(), thread.handle.clone())),
            _ => Err(StoreError::Closed),
        }
    }

    /// Runs a call on the thread, from the first time that the answer is polled on. It runs to its
    /// end if the answer is dropped.
    pub fn ask<'a, T, F>(
        &'a self,
        call: impl FnOnce(Arc<Core>) -> F + Send + 'a,
    ) -> Reply<'a, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            let (core, handle) = self.core()?;
            let lost = |_| StoreError::Unknown("the store was closed meanwhile".into());
            handle.spawn(call(core)).await.map_err(lost)?
        })
    }
}

impl Link {
    /// Charges an attempt in advance to those of these books that an earlier holder did not settle,
    /// and waits until that is stored.
    pub fn begin(&self, receipts: &[Receipt]) {
        let Ok((core, handle)) = self.core() else { return };
        let acts = core.charges(receipts);
        if acts.is_empty() {
            return;
        }
        let (done, charged) = std::sync::mpsc::sync_channel(1);
        handle.spawn(async move {
            let _ = done.send(core.commit(Commit { arrivals: vec![], acts }.into()).await);
        });
        let why = match charged.recv_timeout(CHARGING) {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the server does not answer".to_owned(),
        };
        log::warn!("a crash may charge no attempt to books that were lost before: {why}");
    }

    /// Runs a call that only looks at the store, which need not be open.
    pub fn look<'a, T, F>(
        &'a self,
        settings: &'a Settings,
        call: impl FnOnce(Arc<Core>) -> F + Send + 'a,
    ) -> Reply<'a, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            if !matches!(*self.state(), State::New) {
                return self.ask(call).await;
            }
            let thread = Thread::start()?;
            let settings = settings.clone();
            let core = thread.handle.spawn(async move { look(&settings).await }).await;
            let core = Arc::new(core.map_err(unavailable)??);
            thread.handle.spawn(call(core)).await.map_err(unavailable)?
        })
    }
}

/// A pool of connections; makes none yet.
pub(crate) fn pool(settings: &Settings) -> Result<Pool, StoreError> {
    let config = settings.config()?;
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    #[cfg(feature = "tls")]
    let manager = Manager::from_config(config, crate::tls::Tls::new()?, fast);
    #[cfg(not(feature = "tls"))]
    let manager = Manager::from_config(config, tokio_postgres::NoTls, fast);
    let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(Runtime::Tokio1);
    let limit = Some(settings.timeout);
    let pool = pool.create_timeout(limit).recycle_timeout(limit);
    pool.build().map_err(unavailable)
}

/// A connection. It is given back when a transaction has ended, and closed otherwise, which undoes
/// the transaction.
pub(crate) struct Tx<'a> {
    client: Option<Object>,
    core: &'a Core,
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Core {
    /// A connection that no transaction uses.
    pub async fn connect(&self) -> Result<Tx<'_>, Failed> {
        match self.pool.get().await {
            Ok(client) => Ok(Tx { client: Some(client), core: self }),
            Err(PoolError::Backend(error)) => Err(meaning(&error, Stage::Before)),
            Err(error) => Err(Failed::Store(unavailable(error))),
        }
    }

    /// A transaction of one statement, with one round trip.
    pub async fn run(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        retried!(self.try_run(sql, params).await)
    }

    async fn try_run(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failed> {
        let sql = self.sql(sql);
        let mut tx = self.connect().await?;
        let client = tx.client()?;
        let all = async {
            // Sent together: a failed statement turns the commit into a rollback.
            let (began, rows, ended) = tokio::join!(
                client.batch_execute(&self.begin),
                client.query_typed(&sql, params),
                client.batch_execute("commit"),
            );
            began.map_err(|error| meaning(&error, Stage::Before))?;
            // The commit was on its way when a connection was lost.
            let rows = rows.map_err(|error| meaning(&error, Stage::Commit));
            match (rows, ended) {
                (rows @ Err(Failed::Store(StoreError::Unknown(_))), _) => rows,
                (rows, Ok(())) => rows,
                (rows, Err(error)) => rows.and(Err(meaning(&error, Stage::Commit))),
            }
        };
        let rows = tx.core.limited(Stage::Commit, all).await;
        // Only a statement's own error leaves the connection as it was.
        if !matches!(rows, Err(Failed::Store(StoreError::Unknown(_)))) {
            tx.client.take();
        }
        rows
    }

    /// Gives up when the server takes too long.
    async fn limited<T>(
        &self,
        stage: Stage,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        // The server ends the statement first, if it still works.
        let limit = Clock::real().sleep(self.timeout + Duration::from_secs(5));
        match select(std::pin::pin!(call), limit).await {
            Either::Left((done, _)) => done,
            Either::Right(_) if stage == Stage::Commit => {
                Err(Failed::Store(StoreError::Unknown("the server does not answer".into())))
            }
            Either::Right(_) => Err(Failed::Store(unavailable("the server does not answer"))),
        }
    }
}

impl Tx<'_> {
    fn client(&self) -> Result<&Object, Failed> {
        self.client.as_ref().ok_or(Failed::Store(StoreError::Closed))
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<(), Failed> {
        self.batch(&self.core.begin).await
    }

    /// Statements without parameters and answers.
    pub async fn batch(&self, sql: &str) -> Result<(), Failed> {
        let client = self.client()?;
        let call = async {
            client.batch_execute(sql).await.map_err(|error| meaning(&error, Stage::Before))
        };
        self.core.limited(Stage::Before, call).await
    }

    /// A statement in a transaction.
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failed> {
        let (client, sql) = (self.client()?, self.core.sql(sql));
        let call = async {
            let rows = client.query_typed(&sql, params).await;
            rows.map_err(|error| meaning(&error, Stage::Before))
        };
        self.core.limited(Stage::Before, call).await
    }

    /// A statement in a transaction whose number of rows matters only.
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Failed> {
        let (client, sql) = (self.client()?, self.core.sql(sql));
        let call = async {
            let count = client.execute_typed(&sql, params).await;
            count.map_err(|error| meaning(&error, Stage::Before))
        };
        self.core.limited(Stage::Before, call).await
    }

    /// Commits, and gives the connection back.
    pub async fn commit(mut self) -> Result<(), Failed> {
        let client = self.client()?;
        let call = async {
            client.batch_execute("commit").await.map_err(|error| meaning(&error, Stage::Commit))
        };
        let done = self.core.limited(Stage::Commit, call).await;
        if done.is_ok() {
            self.client.take();
        }
        done
    }
}
