//! The keeper's thread, which does what the `core` decides.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::batch::Answer;
use super::core::Setback;
use super::journal::{Journal, Work};
use super::open::{Late, Wait, fetch};
use crate::custody::{Custody, PileKey};
use crate::store::StoreError;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;

/// Pauses of a store that can't be reached, as it says itself, are no longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Pause after books that rest could not be fetched.
const LATER: Duration = Duration::from_secs(1);

/// Called with a reason, and the time until the next attempt.
pub type DownHook = dyn Fn(&str, Option<Duration>) + Send;

/// What the keeper calls in the rest of a run.
pub struct KeeperHooks {
    /// Makes all that sinks have burned durable. Called before acks are stored; may block.
    pub sync: Box<dyn Fn() -> Result<(), Failure> + Send>,
    /// The store fails, with the reason and the time until the next attempt; `None`: no attempt.
    pub down: Box<DownHook>,
    /// The store, reported down before, works again after this time.
    pub up: Box<dyn Fn(Duration) + Send>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keeper = Keeper { journal, custody, hooks, runtime };
    std::thread::Builder::new().name("gopherworks-keeper".to_owned()).spawn(move || {
        let over = Over(keeper.journal.clone());
        if let Err(text) = guarded(|| keeper.run()) {
            (keeper.hooks.down)(&format!("the keeper panicked: {text}"), None);
        }
        drop(over);
    })?;
    Ok(())
}

/// Reports the end of the thread.
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
    runtime: tokio::runtime::Runtime,
}

impl Keeper {
    fn run(&self) {
        loop {
            let batch = match self.journal.next() {
                Work::Commit(batch) => batch,
                Work::Fetch(pile) => {
                    self.fetch(pile);
                    continue;
                }
                Work::End => break,
            };
            let synced = match batch.burned {
                true => (self.hooks.sync)().map_err(|failure| {
                    StoreError::unavailable(format!("a sink: {failure}"), Duration::ZERO)
                }),
                false => Ok(()),
            };
            let committed = synced
                .and_then(|()| self.wait().on(self.journal.backend().commit(batch.commit.clone())));
            let answer = match committed {
                Ok(answers) => batch.answered(answers).map_err(|failed| *failed),
                Err(error) => Err((batch, error)),
            };
            match answer {
                Ok(answer) => self.stored(answer),
                Err((batch, error)) => {
                    let (pause, first) = self.journal.failed(batch, setback(&error));
                    if first || pause.is_none() {
                        (self.hooks.down)(&error.to_string(), pause);
                    }
                }
            }
        }
        if let Err(error) = self.wait().on(self.journal.backend().close()) {
            log::warn!("closing the store: {error}");
        }
    }

    fn wait(&self) -> Wait<'_> {
        Wait(&self.runtime)
    }

    /// Takes over books that rested when the store was opened.
    fn fetch(&self, pile: PileKey) {
        let mut books = Vec::new();
        let name = (pile, self.journal.name(pile));
        let left = fetch(&self.wait(), &**self.journal.backend(), name, &mut books);
        let left = left.unwrap_or_else(|error| {
            log::warn!("the store: {error}");
            // The number does not matter, as long as there are some.
            Some(Late { pile, books: 1, after: LATER })
        });
        if let Some(custody) = self.custody.upgrade() {
            custody.recover_late(pile, books, left.map_or(0, |late| late.books));
        }
        if let Some(left) = left {
            self.journal.await_late(left);
        }
    }

    fn stored(&self, answer: Answer) {
        let custody = self.custody.upgrade();
        if let Some(custody) = &custody {
            custody.stored(answer.stored);
        }
        if let Some(error) = answer.why.as_ref().filter(|why| !matches!(why, StoreError::Full)) {
            self.journal.give_up();
            (self.hooks.down)(&error.to_string(), None);
            return;
        }
        let full = matches!(answer.why, Some(StoreError::Full));
        let why = answer.why.map(|error| error.to_string()).unwrap_or_default();
        let (after, fails) = self.journal.stored(answer.size, answer.refused, full);
        if fails {
            (self.hooks.down)(&why, Some(Duration::ZERO));
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
