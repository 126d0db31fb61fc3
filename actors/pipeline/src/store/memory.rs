//! A reference engine in memory, for tests of keepers and of the conformance suite.
//!
//! A [`MemoryStore`] stands for a server that many processes use; each [`MemoryBackend`] stands for
//! one of the processes. What is stored survives the backends, not the store. Time stands still
//! until [`MemoryStore::elapse`]. Errors can be queued by [`MemoryBackend::fail`].

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
use state::State;

/// What a [`MemoryStore`] promises: all of it but begun marks, of the server that it stands for.
const PROMISES: Promises = Promises {
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
    begun_marks: false,
    dedupe: Some(Duration::MAX),
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store that its processes share.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend for one more process. Dropping it is the death of the process: its leases end by
    /// their time.
    pub fn process(&self) -> MemoryBackend {
        let process = lock(&self.0).start();
        MemoryBackend { store: self.clone(), process, mine: Mutex::default() }
    }

    /// Lets time pass.
    pub fn elapse(&self, by: Duration) {
        lock(&self.0).now += by;
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

impl MemoryBackend {
    /// Queues a fault: the next call that changes the store, and has none before it in the queue,
    /// meets it.
    pub fn fail(&self, fault: Fault) {
        lock(&self.mine).faults.push_back(fault);
    }

    fn is_open(&self) -> bool {
        let mine = lock(&self.mine);
        mine.open && !mine.closed
    }

    fn read<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.is_open() {
            return Err(StoreError::Closed);
        }
        act(&mut lock(&self.store.0))
    }

    /// Changes the store, unless a fault is queued.
    fn write<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.is_open() {
            return Err(StoreError::Closed);
        }
        let fault = lock(&self.mine).faults.pop_front();
        if let Some(Fault::Before(error)) = fault {
            return Err(error);
        }
        let answer = act(&mut lock(&self.store.0));
        match fault {
            Some(Fault::After(error)) => Err(error),
            _ => answer,
        }
    }

    /// Like `write`, for calls with one answer an item.
    fn write_each<T>(
        &self,
        items: usize,
        act: impl FnOnce(&mut State) -> Vec<Result<T, StoreError>>,
    ) -> Vec<Result<T, StoreError>> {
        let answers = self.write(|state| Ok(act(state)));
        answers.unwrap_or_else(|error| (0..items).map(|_| Err(error.clone())).collect())
    }
}

impl Backend for MemoryBackend {
    fn promises(&self) -> Promises {
        PROMISES
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        Box::pin(async move {
            let mut mine = lock(&self.mine);
            if mine.open {
                return Err(StoreError::Other("the store is open already".into()));
            }
            mine.open = true;
            Ok(lock(&self.store.0).open(piles))
        })
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        Box::pin(async move {
            self.write(|state| {
                let first = state.next_id;
                state.next_id += count;
                Ok(first..state.next_id)
            })
        })
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        Box::pin(async move { self.write(|state| state.append(books, self.process)) })
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        _wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        Box::pin(async move { self.write(|state| state.fetch(pile, want, self.process)) })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move { self.write_each(acts.len(), |state| state.settle(acts)) })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        Box::pin(async move {
            self.write_each(books.books.len(), |state| state.pass(books, self.process))
        })
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move { self.write_each(receipts.len(), |state| state.extend(receipts, by)) })
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        Box::pin(async move { self.read(|state| state.depth(pile).ok_or(StoreError::Gone)) })
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.write(|state| {
                state.release(self.process);
                Ok(())
            })?;
            lock(&self.mine).closed = true;
            Ok(())
        })
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            self.write(|state| {
                let arrivals = commit.arrivals.iter().map(|arrival| match arrival {
                    Arrival::Append(books) => Arrived::Appended(state.append(books, self.process)),
                    Arrival::Pass(books) => Arrived::Passed(state.pass(books, self.process)),
                });
                let arrivals = arrivals.collect();
                Ok(Committed { arrivals, acts: state.settle(&commit.acts) })
            })
        })
    }

    fn resolve<'a>(&'a self, ids: &'a [BookId]) -> Reply<'a, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            self.read(|state| Ok(ids.iter().map(|id| state.accepted.contains(id)).collect()))
        })
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
        Box::pin(async move { self.write(call) })
    }

    fn disown<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
    ) -> Reply<'a, Result<(), StoreError>> {
        let call = move |state: &mut State| state.sources.disown((source, share), token, false);
        Box::pin(async move { self.write(call) })
    }

    fn finish_source<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
    ) -> Reply<'a, Result<(), StoreError>> {
        let call = move |state: &mut State| state.sources.disown((source, share), token, true);
        Box::pin(async move { self.write(call) })
    }

    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.sources.states(state.now))) })
    }

    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.write(|state| {
                let next = state.number();
                state.sources.rewind(source, next);
                Ok(())
            })
        })
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        Box::pin(async move {
            let is_new = !lock(&self.mine).open;
            let read = |state: &mut State| {
                let after = state.dead.range(from.0 + 1..);
                Ok(after.take(most).map(|(_, dead)| dead.clone()).collect())
            };
            if is_new { read(&mut lock(&self.store.0)) } else { self.read(read) }
        })
    }

    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(|state| Ok(state.forget_dead(letters))) })
    }

    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(|state| Ok(state.replay(letters))) })
    }

    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(|state| state.move_pile(from, to)) })
    }

    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(|state| state.drop_pile(pile)) })
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.account())) })
    }

    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        Box::pin(async move { self.read(|state| Ok(state.holders())) })
    }

    fn survey(&self) -> Reply<'_, Result<Survey, StoreError>> {
        Box::pin(async move { Ok(lock(&self.store.0).survey()) })
    }

    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        Box::pin(async move { lock(&self.store.0).peek(pile, most) })
    }
}
