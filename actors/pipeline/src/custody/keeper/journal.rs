//! The journal: a bounded queue of changes from custody to the keeper's thread.

mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::batch::Batch;
use super::change::Change;
use super::core::{Core, Limits, Next, Setback};
use super::receipts::{Leases, Receipts};
use super::times::Times;
use crate::book::BookId;
use crate::custody::PileKey;
use crate::store::{Account, Backend, PileName, Promises, Receipt};
use gopherworks_supervision::clock::{Clock, Time};

/// Changes of custody that are not stored yet. Locked last, after shelves.
pub(crate) struct Journal {
    state: Mutex<State>,
    /// Wakes the keeper's thread.
    more: Condvar,
    /// Wakes the keeper's task, which replaces its thread in a simulation.
    stirred: Notify,
    task: OnceLock<AbortHandle>,
    /// Notified when changes were stored or given up.
    confirmed: Notify,
    /// Copy of [`Core::is_full`], read without the lock.
    full: AtomicBool,
    /// True if a pile was refused space or a lease since changes were stored last.
    starved: AtomicBool,
    /// True if durable piles keep their books for the next run, and hand out none.
    keeping: AtomicBool,
    /// True once a book was not stored as it was passed: from then on, passes include the content
    /// of books.
    unstored: AtomicBool,
    /// True if other processes use the store.
    shared: bool,
    /// True if the store refuses late acks.
    fences: bool,
    /// By pile: where its books are kept.
    kept: Vec<Kept>,
    /// By pile: its name in the store.
    names: Vec<PileName>,
    backend: Arc<dyn Backend>,
    commits: Times,
    clock: Clock,
}

#[derive(Default)]
struct State {
    core: Core,
    wakes: WakesFor,
    receipts: Receipts,
    /// Shared piles to be checked for books in any process.
    verify: BTreeSet<PileKey>,
    closing: bool,
    /// When books of a pile are to be fetched, and when to look how many there are.
    asks: BTreeMap<(PileKey, Ask), Time>,
    /// The account of the store at the end.
    account: Option<Account>,
    /// True once the keeper's thread has ended.
    over: bool,
}

/// Where the books of a pile are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In memory only.
    Memory,
    /// In memory, downstream of a durable pile: its books stay stored on the last durable pile.
    Below,
    /// In the store.
    Durable,
}

/// What the keeper's thread has to do.
pub(super) enum Work {
    Commit(Batch),
    /// Fetches books that are behind.
    Fetch(PileKey),
    /// Looks how many books of a bounded pile are in the store.
    Look(PileKey),
    /// Extends leases by this time.
    Extend(Vec<(BookId, Receipt)>, Duration),
    /// Fences books whose leases are about to expire.
    Fence,
    /// Asks whether any process has books of a pile.
    Verify(PileKey),
    End,
}

/// What the store is asked for, by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Fetch,
    Look,
}

/// Which changes wake the keeper's thread.
#[derive(Default, PartialEq, Eq)]
enum WakesFor {
    #[default]
    /// None: the thread is awake.
    Nothing,
    /// Changes that are not put off.
    Urgent,
    Any,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("unconfirmed", &self.unconfirmed()).finish()
    }
}

impl Journal {
    /// A journal for piles with these names, by key.
    pub(crate) fn new(
        piles: impl IntoIterator<Item = (PileName, Kept)>,
        backend: Arc<dyn Backend>,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        let (names, kept) = piles.into_iter().unzip();
        let Promises { shared, fenced_ack: fences, .. } = backend.promises();
        let receipts = match shared {
            true => Receipts::Leased(Leases::default()),
            false => Receipts::OfIds,
        };
        Self {
            state: Mutex::new(State { core: Core::new(limits), receipts, ..State::default() }),
            more: Condvar::new(),
            stirred: Notify::new(),
            task: OnceLock::new(),
            confirmed: Notify::new(),
            full: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            keeping: AtomicBool::new(false),
            unstored: AtomicBool::new(false),
            shared,
            fences,
            kept,
            names,
            backend,
            commits: Times::default(),
            clock,
        }
    }

    /// How long commits took.
    pub(crate) fn commits(&self) -> &Times {
        &self.commits
    }

    /// The store that changes are written to.
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// A pile's name in the store.
    pub(crate) fn name(&self, pile: PileKey) -> &PileName {
        &self.names[pile.index()]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if other processes use the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// True if passes have the content of all books.
    pub(crate) fn has_unstored(&self) -> bool {
        self.unstored.load(Ordering::Acquire)
    }

    /// A book is not stored as it was passed.
    pub(super) fn is_unstored(&self) {
        self.unstored.store(true, Ordering::Release);
    }

    /// True if the books of this pile are stored.
    pub(crate) fn is_durable(&self, pile: PileKey) -> bool {
        self.kept[pile.index()] == Kept::Durable
    }

    /// True if changes of books on this pile matter to the store.
    pub(crate) fn is_concerned(&self, pile: PileKey) -> bool {
        self.kept[pile.index()] != Kept::Memory
    }

    /// From now on durable piles hand out no books, but keep them.
    pub(crate) fn keep(&self) {
        self.keeping.store(true, Ordering::Release);
    }

    /// True if this pile keeps its books.
    pub(crate) fn keeps(&self, pile: PileKey) -> bool {
        self.is_durable(pile) && self.keeping.load(Ordering::Acquire)
    }

    /// True if this pile may hand out books.
    pub(crate) fn hands_out(&self, pile: PileKey) -> bool {
        !self.is_durable(pile)
            || !self.keeping.load(Ordering::Acquire) && !self.is_full() && self.is_safe()
    }

    /// Hands over a change. Called under the locks of the shelves concerned, so that the changes of
    /// a book are in order.
    pub(crate) fn push(&self, change: Change) {
        let mut state = self.lock();
        state.core.push(change);
        self.full.store(state.core.is_full(), Ordering::Relaxed);
        let wakes = match state.wakes {
            WakesFor::Nothing => false,
            WakesFor::Urgent => state.core.is_urgent(),
            WakesFor::Any => true,
        };
        if wakes {
            self.wake(&mut state);
        }
    }

    /// True if new books may be handed over now. If not, all durable piles are woken when changes
    /// were stored.
    pub(crate) fn has_room(&self, books: usize, bytes: u64) -> bool {
        let room = self.lock().core.has_room(books, bytes);
        if !room {
            self.starved.store(true, Ordering::Release);
        }
        room
    }

    /// True if no further book may be leased: too many outcomes are not stored yet. If so, all
    /// durable piles are woken when changes were stored.
    fn is_full(&self) -> bool {
        let full = self.full.load(Ordering::Relaxed);
        if full {
            self.starved.store(true, Ordering::Release);
        }
        full
    }

    /// Durable piles to wake after changes were stored.
    pub(super) fn starved(&self) -> impl Iterator<Item = PileKey> + '_ {
        let starved = self.starved.swap(false, Ordering::AcqRel);
        let keys = (0..self.kept.len() as u32).map(PileKey);
        keys.filter(move |pile| starved && self.is_durable(*pile))
    }

    /// Number of books whose changes are not stored yet.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.lock().core.unconfirmed()
    }

    /// True while the store fails.
    pub(crate) fn is_down(&self) -> bool {
        self.lock().core.is_down()
    }

    /// Waits until all changes are stored; false if that is given up, because the store is broken
    /// or the keeper has ended.
    pub(crate) async fn flush(&self) -> bool {
        loop {
            let confirmed = self.confirmed.notified();
            let mut confirmed = std::pin::pin!(confirmed);
            // Registers before looking, so that no notification is missed.
            confirmed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.core.is_idle() {
                    return true;
                }
                if state.over || state.core.is_broken() {
                    return false;
                }
                state.core.hurry();
                self.wake(&mut state);
            }
            confirmed.await;
        }
    }

    /// Lets the keeper's thread commit what it can without waiting, and end.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.core.hurry();
        self.wake(&mut state);
    }

    /// Waits for the end of the keeper's thread.
    pub(crate) async fn closed(&self) {
        loop {
            let confirmed = self.confirmed.notified();
            let mut confirmed = std::pin::pin!(confirmed);
            confirmed.as_mut().enable();
            if self.lock().over {
                return;
            }
            confirmed.await;
        }
    }

    fn wake(&self, state: &mut State) {
        state.wakes = WakesFor::Nothing;
        match self.is_simulated() {
            true => self.stirred.notify_one(),
            false => self.more.notify_one(),
        }
    }

    /// True if the keeper is a task in simulated time.
    pub(super) fn is_simulated(&self) -> bool {
        self.clock.is_simulated()
    }

    pub(super) fn runs_as(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Kills the keeper with its process in a simulation: pending changes are never stored.
    pub(crate) fn abandon(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.over();
    }

    /// Requests a fetch of books of a pile after this time.
    pub(crate) fn ask(&self, pile: PileKey, after: Duration) {
        self.ask_for((pile, Ask::Fetch), after);
    }

    /// Requests a look at the number of books of a pile after this time.
    pub(crate) fn look(&self, pile: PileKey, after: Duration) {
        self.ask_for((pile, Ask::Look), after);
    }

    fn ask_for(&self, ask: (PileKey, Ask), after: Duration) {
        let mut state = self.lock();
        let at = self.clock.now() + after;
        state.asks.entry(ask).and_modify(|due| *due = at.min(*due)).or_insert(at);
        self.wake(&mut state);
    }

    /// The account of the store at the end of the run.
    pub(crate) fn account(&self) -> Option<Account> {
        self.lock().account
    }

    pub(super) fn set_account(&self, account: Account) {
        self.lock().account = Some(account);
    }

    /// Blocks the keeper's thread until there is something to do.
    pub(super) fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            let until = match self.choose(&mut state) {
                Ok(work) => return work,
                Err(until) => until,
            };
            state = match until {
                None => self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.more.wait_timeout(state, until - self.clock.now());
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.wakes = WakesFor::Nothing;
        }
    }

    /// Waits in simulated time until there is something to do.
    pub(super) async fn next_simulated(&self) -> Work {
        loop {
            let chosen = self.choose(&mut self.lock());
            let until = match chosen {
                Ok(work) => return work,
                Err(until) => until.map(|until| until - self.clock.now()),
            };
            tokio::select! {
                biased;
                () = self.stirred.notified() => {}
                () = self.clock.sleep_if(until) => {}
            }
            self.lock().wakes = WakesFor::Nothing;
        }
    }

    /// The next work, or the time until which to wait for a change; `None` to wait without limit.
    fn choose(&self, state: &mut State) -> Result<Work, Option<Time>> {
        if state.closing && (state.core.is_idle() || state.core.is_down()) {
            return Ok(Work::End);
        }
        let now = self.clock.now();
        if let Some(work) = Self::lease_work(state, now) {
            return Ok(work);
        }
        if state.core.is_idle()
            && let Some(pile) = state.verify.pop_first()
        {
            return Ok(Work::Verify(pile));
        }
        // No fetch before the outcome of the last commit is known, as the fetched books depend on
        // it.
        let asks = state.asks.iter().filter(|_| !state.core.is_repeating());
        let first = asks.map(|(ask, due)| (*due, *ask)).min();
        if let Some((_, ask)) = first.filter(|(due, _)| *due <= now) {
            state.asks.remove(&ask);
            let (pile, ask) = ask;
            return Ok(if ask == Ask::Fetch { Work::Fetch(pile) } else { Work::Look(pile) });
        }
        let leases = state.receipts.leases().and_then(|leases| leases.due());
        let due = first.map(|(due, _)| due).into_iter().chain(leases).min();
        let until = match state.core.next(now) {
            Next::Commit { changes, room } => {
                let batch = Batch::of(changes, &self.names, &state.receipts, now, room);
                return Ok(Work::Commit(batch));
            }
            Next::Repeat(batch) => return Ok(Work::Commit(batch)),
            Next::Wait => due,
            Next::Until(until) => Some(due.map_or(until, |due| due.min(until))),
        };
        state.wakes = match state.core.has_no_news() {
            true => WakesFor::Any,
            false => WakesFor::Urgent,
        };
        Err(until)
    }

    /// What can be committed at once.
    #[cfg(test)]
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        state.core.hurry();
        let now = self.clock.now();
        match state.core.next(now) {
            Next::Commit { changes, room } => {
                Some(Batch::of(changes, &self.names, &state.receipts, now, room))
            }
            Next::Repeat(batch) => Some(batch),
            Next::Wait | Next::Until(_) => None,
        }
    }

    /// A commit is stored, see [`Core::stored`]. Returns how long the store had failed, if it did
    /// and does no longer, and whether it fails from now on.
    pub(super) fn stored(
        &self,
        size: (usize, u64),
        refused: Vec<Change>,
        full: bool,
    ) -> (Option<Duration>, bool) {
        let mut state = self.lock();
        let was_down = state.core.is_down();
        let after = state.core.stored(size, refused, full, self.clock.now());
        let fails = state.core.is_down() && !was_down;
        self.full.store(state.core.is_full(), Ordering::Relaxed);
        drop(state);
        self.confirmed.notify_waiters();
        (after, fails)
    }

    /// A commit failed. Returns the pause before the next attempt, `None` if there is none, and
    /// whether the store had not failed before.
    pub(super) fn failed(&self, batch: Batch, setback: Setback) -> (Option<Duration>, bool) {
        let mut state = self.lock();
        let first = !state.core.is_down();
        let pause = state.core.failed(batch, setback, self.clock.now());
        drop(state);
        self.confirmed.notify_waiters();
        (pause, first)
    }

    /// The store can't be used any more.
    pub(super) fn give_up(&self) {
        self.lock().core.give_up();
        self.confirmed.notify_waiters();
    }

    /// The keeper's thread ends.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.over = true;
        state.core.give_up();
        drop(state);
        self.confirmed.notify_waiters();
    }
}
