//! Catches panics together with their message and source position.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::Exit;

/// A caught panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) text: String,
    pub(super) place: String,
    /// Present if the environment requests backtraces.
    pub(super) backtrace: Option<String>,
}

impl From<Caught> for Exit {
    fn from(caught: Caught) -> Self {
        Exit::Panic { text: caught.text, place: caught.place }
    }
}

thread_local! {
    /// The nesting depth of `catch` on this thread, and the flag [`ANY`], so that most calls need
    /// not look at `SEEN`.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Recorded panics with the depth of their `catch`, so that one caught inside is not taken for
    /// one outside.
    static SEEN: RefCell<Vec<(usize, Caught)>> = const { RefCell::new(Vec::new()) };
}

/// A flag in `DEPTH`: panics were recorded.
const ANY: usize = 1 << (usize::BITS - 1);

/// Runs `f` and returns a panic as its message and source position.
///
/// While `f` runs, panics on this thread are not printed if the logger accepts errors, since the
/// caller logs them.
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    catch_boxed(f).map_err(|caught| *caught)
}

/// Like `catch`, with a result that fits into registers: used for every poll of an actor.
#[inline(always)]
pub(super) fn catch_boxed<T>(f: impl FnOnce() -> T) -> Result<T, Box<Caught>> {
    let depth = DEPTH.get() + 1;
    DEPTH.set(depth);
    // After a panic the caller drops whatever `f` was changing, so no broken state is observed.
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let after = DEPTH.get();
    DEPTH.set(after - 1);
    match result {
        // `f` may have caught panics itself.
        Ok(value) if after & ANY == 0 => Ok(value),
        result => sort_out(result, depth & !ANY),
    }
}

#[cold]
fn sort_out<T>(result: std::thread::Result<T>, depth: usize) -> Result<T, Box<Caught>> {
    let seen: Vec<Caught> = SEEN.with_borrow_mut(|seen| {
        let from = seen.partition_point(|(at, _)| *at < depth);
        let mine = seen.drain(from..).map(|(_, caught)| caught).collect();
        if seen.is_empty() {
            DEPTH.set(DEPTH.get() & !ANY);
        }
        mine
    });
    result.map_err(|payload| {
        let text = text_of(&*payload);
        // The payload may be any user value: its drop may panic too.
        discard(payload);
        // `f` may have caught other panics itself before this one escaped.
        let found = seen.into_iter().rev().find(|caught| caught.text == text);
        Box::new(found.unwrap_or_else(|| Caught {
            text,
            place: Exit::UNKNOWN_PLACE.into(),
            backtrace: None,
        }))
    })
}

/// Drops `value`; a panic in its `Drop` is logged and returned, and never escapes.
pub(super) fn drop_caught<T>(what: &str, value: T) -> Result<(), Caught> {
    catch(|| drop(value)).inspect_err(|caught| {
        log::error!("dropping {what} panicked at {}: {}", caught.place, caught.text);
    })
}

fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The second panicking drop in a row: leaking its payload ends the chain.
        std::mem::forget(again);
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

/// Installs this crate's panic hook before the current one, once per process.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    // Changing the hook while unwinding would panic again.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !record(info) {
                previous(info);
            }
        }));
    });
}

/// Records the panic if a `catch` is running on this thread; true if it need not be printed.
fn record(info: &PanicHookInfo<'_>) -> bool {
    // A panic in the hook aborts the process, so borrowed or destroyed cells must be tolerated.
    let note = |caught: Caught| {
        let depth = DEPTH.try_with(Cell::get).unwrap_or(0) & !ANY;
        if depth == 0 {
            return None;
        }
        let noted = SEEN.try_with(|seen| {
            let mut seen = seen.try_borrow_mut().ok()?;
            seen.push((depth, caught));
            Some(())
        });
        noted.ok()??;
        DEPTH.try_with(|depth| depth.set(depth.get() | ANY)).ok()
    };
    // If errors are not logged, the previous hook prints the panic and its backtrace.
    let quiet = log::log_enabled!(log::Level::Error);
    let place = info.location().map_or_else(
        || Exit::UNKNOWN_PLACE.to_owned(),
        |at| format!("{}:{}", at.file(), at.line()),
    );
    let noted = note(Caught {
        text: text_of(info.payload()),
        place,
        backtrace: quiet.then(backtrace).flatten(),
    });
    noted.is_some() && quiet
}

fn backtrace() -> Option<String> {
    let backtrace = std::backtrace::Backtrace::capture();
    (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string())
}
