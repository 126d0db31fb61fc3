//! The keeper's thread, which does what the `core` decides.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::answer::Answer;
use super::batch::Batch;
use super::core::Setback;
use super::journal::{Journal, Work};
use crate::book::BookId;
use crate::custody::{Custody, PileKey};
use crate::store::{Append, Arrival, Checkpoint, Commit, Committed, Receipt, Reply, StoreError};
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::failure::Failure;

/// Pauses of a store that can't be reached, as it says itself, are no longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Pause after books could not be fetched.
const LATER: Duration = Duration::from_secs(1);

/// Pause after a pile of a shared store had no books.
const POLL: Duration = Duration::from_millis(100);

/// How often the keeper looks how many books are on a bounded pile that processes share.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Called with a reason, and the time until the next attempt.
pub type DownHook = dyn Fn(&str, Option<Duration>) + Send;

/// What the keeper calls in the rest of a run.
pub struct KeeperHooks {
    /// Makes all that sinks have burned durable. Called before acks are stored; may block.
    pub sync: Box<dyn Fn() -> Result<(), Failure> + Send>,
    /// Called when the store fails, with the reason and the time until the next attempt; `None` for
    /// no attempt.
    pub down: Box<DownHook>,
    /// Called when the store, reported down before, works again after this time.
    pub up: Box<dyn Fn(Duration) + Send>,
    /// Called when the leases of this number of books were lost: other processes may work on them.
    pub lost: Box<dyn Fn(usize) + Send>,
    /// Called with the position behind books that were not stored, since another process owns their
    /// source now; the books are dropped after the call.
    pub disowned: Box<dyn Fn(&Checkpoint) + Send>,
}

impl std::fmt::Debug for KeeperHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeeperHooks")
    }
}

/// Starts the keeper of a store.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn start(
    journal: Arc<Journal>,
    custody: Weak<Custody>,
    hooks: KeeperHooks,
) -> std::io::Result<()> {
    let keeper = Keeper { journal: journal.clone(), custody, hooks };
    let over = Over(journal.clone());
    if journal.is_simulated() {
        let task = actix_rt::spawn(async move {
            let _over = over;
            keeper.run().await;
        });
        journal.runs_as(task.abort_handle());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("gopherworks-keeper".to_owned()).spawn(move || {
        let _over = over;
        if let Err(text) = guarded(|| runtime.block_on(keeper.run())) {
            (keeper.hooks.down)(&format!("the keeper panicked: {text}"), None);
        }
    })?;
    Ok(())
}

/// Reports the end of the keeper when dropped.
struct Over(Arc<Journal>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over();
    }
}

struct Keeper {
    journal: Arc<Journal>,
    custody: Weak<Custody>,
    hooks: KeeperHooks,
}

impl Keeper {
    async fn run(&self) {
        loop {
            let work = match self.journal.is_simulated() {
                true => self.journal.next_simulated().await,
                false => self.journal.next(),
            };
            let batch = match work {
                Work::Commit(batch) => batch,
                Work::Fetch(pile) => {
                    self.fetch(pile).await;
                    continue;
                }
                Work::Look(pile) => {
                    self.look(pile).await;
                    continue;
                }
                Work::Extend(books, by) => {
                    self.extend(books, by).await;
                    continue;
                }
                Work::Fence => {
                    self.fence();
                    continue;
                }
                Work::Verify(pile) => {
                    self.verify(pile).await;
                    continue;
                }
                Work::End => break,
            };
            let synced = match batch.burned && !planted::has(Defect::KeeperAcksUnsynced) {
                true => (self.hooks.sync)().map_err(|failure| {
                    StoreError::unavailable(format!("a sink: {failure}"), Duration::ZERO)
                }),
                false => Ok(()),
            };
            let committed = match synced {
                Ok(()) if batch.is_empty() => Ok(Committed::default()),
                Ok(()) => self.commit(&batch).await,
                Err(error) => Err(error),
            };
            let answer = match committed {
                Ok(answers) => batch.answered(answers).map_err(|failed| *failed),
                Err(error) => Err((batch, error)),
            };
            match answer {
                Ok(answer) => self.stored(answer),
                Err((batch, StoreError::Unknown(_))) if planted::has(Defect::KeeperForgets) => {
                    self.journal.stored(batch.size, Vec::new(), false);
                }
                Err((batch, error)) => {
                    let (pause, first) = self.journal.failed(batch, setback(&error));
                    if first || pause.is_none() {
                        (self.hooks.down)(&error.to_string(), pause);
                    }
                }
            }
        }
        // Engines that keep none say so.
        if let Ok(account) = self.on(self.journal.backend().account()).await {
            self.journal.set_account(account);
        }
        if let Err(error) = self.on(self.journal.backend().close()).await {
            log::warn!("closing the store: {error}");
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let (backend, began) = (self.journal.backend(), self.journal.now());
        let apart = planted::has(Defect::KeeperSplitsPositions).then(|| split(&batch.commit));
        let commit = apart.as_ref().map_or(&batch.commit, |(books, _)| books);
        let committed = self.on(backend.commit(commit.clone())).await;
        if let Some((_, positions)) = apart {
            self.journal.sleep_until(began + LATER / 50).await;
            self.on(backend.commit(positions)).await?;
        }
        self.journal.commits().took(self.journal.now() - began);
        committed
    }

    /// Waits for an answer of the store; meanwhile fences books whose leases are about to expire.
    async fn on<T>(&self, mut reply: Reply<'_, T>) -> T {
        loop {
            let Some(at) = self.journal.fence_at() else {
                return reply.await;
            };
            tokio::select! {
                biased;
                answer = &mut reply => return answer,
                () = self.journal.sleep_until(at) => self.fence(),
            }
        }
    }

    async fn extend(&self, books: Vec<(BookId, Receipt)>, by: Duration) {
        let called = self.journal.now();
        let receipts: Vec<Receipt> = books.iter().map(|(_, receipt)| receipt.clone()).collect();
        let answers = self.on(self.journal.backend().extend(&receipts, by)).await;
        let lost = self.journal.extended((books, by), answers, called);
        self.give_up(&lost);
        if let Some(custody) = self.custody.upgrade() {
            self.journal.starved().for_each(|pile| custody.ring(pile));
        }
    }

    /// Fences books whose leases are about to expire and could not be extended.
    fn fence(&self) {
        let ending = self.journal.fence();
        if planted::has(Defect::KeeperFencesNothing) {
            return;
        }
        self.give_up(&ending);
    }

    fn give_up(&self, lost: &[BookId]) {
        if lost.is_empty() {
            return;
        }
        if let Some(custody) = self.custody.upgrade() {
            custody.fence(lost);
        }
        (self.hooks.lost)(lost.len());
    }

    /// Closes a pile if no process has books of it.
    async fn verify(&self, pile: PileKey) {
        let depth = self.on(self.journal.backend().depth(self.journal.name(pile))).await;
        match (depth, self.custody.upgrade()) {
            (Ok(depth), Some(custody)) if depth.exact && depth.books == 0 => custody.is_over(pile),
            _ => self.journal.ask(pile, LATER),
        }
    }

    /// Tells a bounded pile how many books the store has, and looks again while there are some.
    async fn look(&self, pile: PileKey) {
        let began = self.journal.now();
        let depth = self.on(self.journal.backend().depth(self.journal.name(pile))).await;
        let Some(custody) = self.custody.upgrade() else {
            return;
        };
        let again = match depth {
            Ok(depth) => {
                let (books, bytes) = depth.ready();
                custody.found_outside(pile, books, bytes)
            }
            Err(_) => true,
        };
        if again {
            // A store that counts slowly is not kept busy with it.
            self.journal.look(pile, LOOK.max((self.journal.now() - began) * 20));
        }
    }

    /// Takes over books that are behind, as far as there is space in the window.
    async fn fetch(&self, pile: PileKey) {
        let Some(custody) = self.custody.upgrade() else {
            return;
        };
        let Some(want) = custody.fetchable(pile) else {
            if self.journal.is_shared() {
                // It may be over by now.
                custody.ring(pile);
            }
            return;
        };
        let (backend, name) = (self.journal.backend(), self.journal.name(pile));
        let called = self.journal.now();
        match self.on(backend.fetch(name, want, Duration::ZERO)).await {
            Ok(books) => {
                let books = self.journal.admit(books, called);
                let rests = books.is_empty();
                custody.fetched(pile, books);
                if rests && self.journal.is_shared() {
                    self.journal.ask(pile, POLL);
                } else if rests {
                    let depth = self.on(backend.depth(name)).await.ok();
                    let due = depth.and_then(|depth| depth.next_due);
                    self.journal.ask(pile, due.unwrap_or(LATER));
                }
            }
            Err(error) if setback(&error) == Setback::Broken => self.broken(&error),
            Err(error) => {
                log::warn!("the store: {error}");
                self.journal.ask(pile, LATER);
            }
        }
    }

    fn broken(&self, error: &StoreError) {
        self.journal.give_up();
        (self.hooks.down)(&error.to_string(), None);
    }

    fn stored(&self, answer: Answer) {
        let custody = self.custody.upgrade();
        // What was passed on or returned under a lost lease leaves this process.
        self.give_up(&self.journal.settled(&answer));
        if let Some(why) = &answer.unstored {
            log::warn!("passed books stay stored where they were: {why}");
            self.journal.is_unstored();
        }
        for (.., at) in &answer.stored.disowned {
            (self.hooks.disowned)(at);
        }
        if let Some(custody) = &custody {
            custody.stored(answer.stored);
        }
        if let Some(error) = &answer.broken {
            return self.broken(error);
        }
        let (after, fails) = self.journal.stored(answer.size, answer.refused, answer.full);
        if fails {
            (self.hooks.down)(&StoreError::Full.to_string(), Some(Duration::ZERO));
        }
        if let Some(after) = after {
            (self.hooks.up)(after);
        }
        if let Some(custody) = &custody {
            self.journal.starved().for_each(|pile| custody.ring(pile));
        }
    }
}

/// Whether a failed commit is repeated.
fn setback(error: &StoreError) -> Setback {
    match error {
        StoreError::Unavailable { retry_after, .. } => Setback::Again((*retry_after).min(LONGEST)),
        StoreError::Full | StoreError::Unknown(_) => Setback::Again(Duration::ZERO),
        _ => Setback::Broken,
    }
}

/// Splits a commit for a planted defect: without the positions of sources, and these alone.
fn split(commit: &Commit) -> (Arc<Commit>, Arc<Commit>) {
    let (mut books, mut positions) = (commit.clone(), Commit::default());
    for arrival in &mut books.arrivals {
        if let Arrival::Append(append) = arrival
            && let Some(checkpoint) = append.checkpoint.take()
        {
            let bare = Append { books: Vec::new(), checkpoint: Some(checkpoint), ..append.clone() };
            positions.arrivals.push(Arrival::Append(bare));
        }
    }
    (Arc::new(books), Arc::new(positions))
}
