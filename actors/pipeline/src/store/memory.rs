//! A reference engine in memory: for simulations, and for tests of keepers and of the conformance
//! suite.
//!
//! A [`MemoryStore`] stands for a server that many processes use, or for a disk that one process
//! uses at a time; each [`MemoryBackend`] stands for one of the processes. What is stored survives
//! the backends, not the store. Time stands still until [`MemoryStore::elapse`], and errors can be
//! queued by [`MemoryBackend::fail`]; or time and faults are those of a [`Simulation`].

mod simulation;
mod sources;
mod state;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Account, Act, Append, Appended, Arrival, Arrived, Backend, Commit, Committed, Cursor, DeadBook,
    Delivery, Depth, Holder, Ownership, Pass, Passed, Peeked, PileName, PileSpec, Promises,
    Receipt, Recovered, Reply, SourceState, StoreError, Survey, Want,
};
use crate::book::BookId;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::fault::Point;
pub use simulation::{STORE, Simulation};
use state::State;

/// Promises of a shared [`MemoryStore`].
const SHARED: Promises = Promises {
    actor_death: true,
    kill: true,
    power_loss: true,
    shared: true,
    atomic_pass: true,
    atomic_commit: true,
    fenced_ack: true,
    ordered: true,
    delay: true,
    checkpoints: true,
    begun_marks: true,
    dedupe: Some(Duration::MAX),
};

const EXCLUSIVE: Promises = Promises { shared: false, ..SHARED };

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Disk {
    state: State,
    /// The state that a crash restores; `None` if all changes are synced.
    synced: Option<Box<State>>,
    /// Processes up to this number were killed.
    killed: u64,
}

/// A store in memory, for one process or for many.
#[derive(Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    simulation: Option<Arc<Simulation>>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store that processes share.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store of one process at a time.
    pub fn exclusive() -> Self {
        let store = Self::default();
        lock(&store.disk).state.exclusive = true;
        store
    }

    /// Makes calls take simulated time and meet injected faults.
    #[must_use]
    pub fn simulated(mut self, simulation: Simulation) -> Self {
        self.simulation = Some(Arc::new(simulation));
        self
    }

    /// A backend for one more process. Dropping it simulates the death of the process: its leases
    /// are not released, but expire, and an exclusive store is free.
    pub fn process(&self) -> MemoryBackend {
        let process = self.now().state.start();
        MemoryBackend { store: self.clone(), process, mine: Mutex::default() }
    }

    /// Lets time pass, unless it is simulated.
    pub fn elapse(&self, by: Duration) {
        lock(&self.disk).state.now += by;
    }

    /// Simulates a crash of the machine: changes that are not synced are lost, all processes are
    /// dead, and an exclusive store is free.
    pub fn crash(&self) {
        let mut disk = lock(&self.disk);
        if let Some(synced) = disk.synced.take() {
            disk.state = *synced;
        }
        disk.state.opener = None;
        disk.killed = disk.state.processes;
    }

    /// The store at this time.
    fn now(&self) -> MutexGuard<'_, Disk> {
        let mut disk = lock(&self.disk);
        if let Some(simulation) = &self.simulation {
            disk.state.now = simulation.now();
        }
        disk
    }
}

/// An error to be answered instead of the result of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call takes no effect.
    Before(StoreError),
    /// The call takes effect, and the answer is lost; fit for [`StoreError::Unknown`].
    After(StoreError),
}

/// What a process knows of itself.
#[derive(Default)]
struct Mine {
    open: bool,
    closed: bool,
    faults: VecDeque<Fault>,
}

/// One process that uses a [`MemoryStore`].
pub struct MemoryBackend {
    store: MemoryStore,
    process: u64,
    mine: Mutex<Mine>,
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackend").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        let mut disk = lock(&self.store.disk);
        disk.state.opener = disk.state.opener.filter(|opener| *opener != self.process);
    }
}

impl MemoryBackend {
    /// Queues a fault: the next call that changes the store, and has none before it in the queue,
    /// meets it.
    pub fn fail(&self, fault: Fault) {
        lock(&self.mine).faults.push_back(fault);
    }

    /// Ends the leases of all books that this process holds, before their time.
    pub fn lose_leases(&self) {
        lock(&self.store.disk).state.lose_leases(self.process);
    }

    /// The store, if this process has it open.
    fn opened(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let is_open = {
            let mine = lock(&self.mine);
            mine.open && !mine.closed
        };
        let disk = self.store.now();
        let is_open = is_open && self.process > disk.killed;
        match is_open && (!disk.state.exclusive || disk.state.opener == Some(self.process)) {
            true => Ok(disk),
            false => Err(StoreError::Closed),
        }
    }

    fn read<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        act(&mut self.opened()?.state)
    }

    /// Changes the store, unless a fault prevents it. Applies the faults at `point`.
    async fn write<T>(
        &self,
        point: Option<Point>,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_or_tear(point, act, |_, _| {}).await
    }

    /// Like `write`; `tear` makes a share of the change, after which the process is killed.
    async fn write_or_tear<T>(
        &self,
        point: Option<Point>,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
        tear: impl FnOnce(&mut State, f64),
    ) -> Result<T, StoreError> {
        drop(self.opened()?);
        let fault = lock(&self.mine).faults.pop_front();
        if let Some(Fault::Before(error)) = fault {
            return Err(error);
        }
        let Some(simulation) = &self.store.simulation else {
            let answer = act(&mut self.opened()?.state);
            return match fault {
                Some(Fault::After(error)) => Err(error),
                _ => answer,
            };
        };
        let call = simulation.begin(point).await?;
        let answer = match call.takes_effect {
            true => {
                let mut disk = self.opened()?;
                if call.is_synced {
                    disk.synced = None;
                } else if disk.synced.is_none() {
                    disk.synced = Some(Box::new(disk.state.clone()));
                }
                disk.state.full = simulation.is_full();
                if call.loses_leases {
                    disk.state.lose_leases(self.process);
                }
                disk.state.redelivers = call.redelivers;
                act(&mut disk.state)
            }
            false => {
                // A torn commit is recognised when the store is opened next, and undone.
                if let Some(share) = call.torn.filter(|_| planted::has(Defect::StoreKeepsTorn)) {
                    tear(&mut self.opened()?.state, share);
                }
                Err(StoreError::Unknown("it was cut off".into()))
            }
        };
        simulation.end(call).await?;
        answer
    }

    /// Like `write`, for calls with one answer an item.
    async fn write_each<T>(
        &self,
        items: usize,
        act: impl FnOnce(&mut State) -> Vec<Result<T, StoreError>>,
    ) -> Vec<Result<T, StoreError>> {
        let answers = self.write(Some(Point::Commit), |state| Ok(act(state))).await;
        answers.unwrap_or_else(|error| (0..items).map(|_| Err(error.clone())).collect())
    }
}

impl Backend for MemoryBackend {
    fn promises(&self) -> Promises {
        match lock(&self.store.disk).state.exclusive {
            true => EXCLUSIVE,
            false => SHARED,
        }
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        Box::pin(async move {
            if lock(&self.mine).open {
                return Err(StoreError::Other("the store is open already".into()));
            }
            if let Some(simulation) = &self.store.simulation {
                simulation.begin(None).await?;
            }
            let recovered = self.store.now().state.open(piles, self.process)?;
            lock(&self.mine).open = true;
            Ok(recovered)
        })
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        Box::pin(async move {
            let reserve = |state: &mut State| {
                let first = state.next_id;
                state.next_id += count;
                Ok(first..state.next_id)
            };
            self.write(None, reserve).await
        })
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        Box::pin(async move {
            self.write(Some(Point::Commit), |state| state.append(books, self.process)).await
        })
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        _wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        Box::pin(async move {
            self.write(Some(Point::Fetch), |state| state.fetch(pile, want, self.process)).await
        })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move { self.write_each(acts.len(), |state| state.settle(acts)).await })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        Box::pin(async move {
            self.write_each(books.books.len(), |state| state.pass(books, self.process)).await
        })
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let answers = self.write(None, |state| Ok(state.extend(receipts, by))).await;
            answers.unwrap_or_else(|error| vec![Err(error); receipts.len()])
        })
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        Box::pin(async move { self.read(|state| state.depth(pile).ok_or(StoreError::Gone)) })
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let process = self.process;
            self.write(None, |state| {
                state.release(process);
                Ok(())
            })
            .await?;
            lock(&self.mine).closed = true;
            Ok(())
        })
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            let play = |state: &mut State| {
                let arrivals = commit.arrivals.iter().map(|arrival| match arrival {
                    Arrival::Append(books) => Arrived::Appended(state.append(books, self.process)),
                    Arrival::Pass(books) => Arrived::Passed(state.pass(books, self.process)),
                });
                let arrivals = arrivals.collect();
                Ok(Committed { arrivals, acts: state.settle(&commit.acts) })
            };
            let tear = |state: &mut State, share| state.tear(&commit, share, self.process);
            let done = self.write_or_tear(Some(Point::Commit), play, tear).await?;
            if let Some(simulation) = &self.store.simulation {
                simulation.trace(&commit, &done);
            }
            Ok(done)
        })
    }

    fn resolve<'a>(&'a self, ids: &'a [BookId]) -> Reply<'a, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            self.read(|state| Ok(ids.iter().map(|id| state.accepted.contains(id)).collect()))
        })
    }

    fn begin(&self, receipts: &[Receipt]) {
        if let Ok(mut disk) = self.opened() {
            disk.state.begin(receipts);
        }
    }

    fn end(&self, receipts: &[Receipt]) {
        if let Ok(mut disk) = self.opened() {
            disk.state.end(receipts);
        }
    }

    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        let call = move |state: &mut State| {
            let (key, next, now) = ((source, share), state.number(), state.now);
            state.sources.own(key, (token, next, self.process), (now, lease))
        };
        Box::pin(self.write(None, call))
    }

    fn disown<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Reply<'a, Result<(), StoreError>> {
        let call = move |state: &mut State| state.sources.disown((source, share), token, ended);
        Box::pin(self.write(None, call))
    }

    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.sources.states(state.now))) })
    }

    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.write(None, |state| {
                let next = state.number();
                state.sources.rewind(source, next);
                Ok(())
            })
            .await
        })
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        Box::pin(async move {
            let is_new = !lock(&self.mine).open;
            let read = |state: &mut State| {
                let after = state.dead.range(from.0 + 1..);
                Ok(after.take(most).map(|(_, dead)| dead.clone()).collect())
            };
            if is_new { read(&mut self.store.now().state) } else { self.read(read) }
        })
    }

    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(None, |state| Ok(state.forget_dead(letters))).await })
    }

    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(None, |state| Ok(state.replay(letters))).await })
    }

    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(None, |state| state.move_pile(from, to)).await })
    }

    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(None, |state| state.drop_pile(pile)).await })
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.account())) })
    }

    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.holders())) })
    }

    fn survey(&self) -> Reply<'_, Result<Survey, StoreError>> {
        Box::pin(async move { Ok(self.store.now().state.survey()) })
    }

    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        Box::pin(async move { self.store.now().state.peek(pile, most) })
    }
}
