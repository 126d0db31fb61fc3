//! Collects dead letters.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gopherworks_pipeline::book::Book;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;

use crate::catalog::names::key_of;

/// A dead letter for the application.
#[derive(Debug, Clone)]
pub struct DeadBook {
    /// The book as it was put on the pile where it died.
    pub book: Book,
    /// Its key outside the process, see [`crate::catalog::names::key_of`]: with a store, the same
    /// in all runs.
    pub key: String,
    /// Name of that pile.
    pub pile: String,
    /// The crew or incinerator where it last failed, if known.
    pub node: Option<String>,
    /// Why it died.
    pub reason: String,
    /// Attempts that were charged.
    pub attempts: u32,
}

/// Keeps dead letters. Called outside the arbiters, by one thread at a time, in the order of their
/// deaths.
pub trait DeadSink: Send + Sync + 'static {
    /// Keeps these letters.
    ///
    /// # Errors
    /// An error makes the run fail in the end; the books stay dead letters.
    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure>;

    /// Files and folders that hold the letters; no source reads them.
    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// Maximum number of dead letters kept in memory, with or without a sink; older ones are dropped.
const KEPT: usize = 1_000;

/// The last dead letters of a run.
#[derive(Debug, Default)]
pub(super) struct RecentLetters {
    last: Mutex<VecDeque<DeadBook>>,
}

impl RecentLetters {
    pub(super) fn add(&self, dead: Vec<DeadBook>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend(dead);
        let over = last.len().saturating_sub(KEPT);
        let forgotten: Vec<DeadBook> = last.drain(..over).collect();
        drop(last);
        drop(forgotten);
    }

    pub(super) fn all(&self) -> Vec<DeadBook> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect()
    }
}

/// Moves new dead letters from custody to the sink, the events and the last letters in memory.
pub(super) fn collect(inner: &Arc<super::inner::Inner>) {
    let _turn = inner.dead_letter_lock.lock().unwrap_or_else(PoisonError::into_inner);
    let (dead, forgotten) = inner.context.custody.take_dead();
    if forgotten > 0 {
        inner.context.fail(format!(
            "{forgotten} dead letters came faster than they could be kept and were forgotten"
        ));
    }
    if dead.is_empty() {
        return;
    }
    let dead: Vec<DeadBook> = dead
        .into_iter()
        .map(|letter| DeadBook {
            pile: inner.by_key.name(letter.pile),
            key: key_of(&letter.book, &inner.books),
            book: letter.book,
            node: letter.node.map(|node| node.to_string()),
            reason: letter.reason,
            attempts: letter.attempts,
        })
        .collect();
    for letter in &dead {
        inner.context.tell(super::Event::Dead {
            book: letter.book.id,
            pile: letter.pile.clone(),
            reason: letter.reason.clone(),
        });
    }
    if let Some(sink) = &inner.sink
        && let Err(failure) = guarded(|| sink.keep(&dead))
            .unwrap_or_else(|text| Err(Failure::permanent(format!("panicked: {text}"))))
    {
        let reason = format!("dead letters could not be kept: {failure}");
        inner.context.fail(reason);
    }
    inner.dead.add(dead);
}
