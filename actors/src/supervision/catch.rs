//! Catching panics together with their text and place.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::Exit;

/// A caught panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) text: String,
    pub(super) place: String,
    /// Present where the environment asks for backtraces.
    pub(super) backtrace: Option<String>,
}

impl From<Caught> for Exit {
    fn from(caught: Caught) -> Self {
        Exit::Panic {
            text: caught.text,
            place: caught.place,
        }
    }
}

thread_local! {
    // One list for each nested `catch` on this thread: a panic caught inside must not speak for one outside.
    static SCOPES: RefCell<Vec<Vec<Caught>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f`; a panic in it comes back as what was said and where.
///
/// While `f` runs, panics on this thread are not printed if the logger takes errors, since the caller logs them.
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    SCOPES.with_borrow_mut(|scopes| scopes.push(Vec::new()));
    // Whatever `f` was changing is dropped by the caller after a panic, so nobody sees it broken.
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let seen = SCOPES
        .with_borrow_mut(|scopes| scopes.pop())
        .unwrap_or_default();
    result.map_err(|payload| {
        let text = text_of(&*payload);
        // The payload may be any user value: its drop may panic too.
        discard(payload);
        // `f` may have caught other panics by itself before the one that got out.
        let found = seen.into_iter().rev().find(|caught| caught.text == text);
        found.unwrap_or_else(|| Caught {
            text,
            place: Exit::UNKNOWN_PLACE.into(),
            backtrace: None,
        })
    })
}

/// Drops `value`; a panic in its `Drop` is logged and given back, and never leaves this function.
pub(super) fn drop_caught<T>(what: &str, value: T) -> Result<(), Caught> {
    catch(|| drop(value)).inspect_err(|caught| {
        log::error!(
            "dropping {what} panicked at {}: {}",
            caught.place,
            caught.text
        );
    })
}

fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Two panicking drops in a row: leaking the second ends it.
        std::mem::forget(again);
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// Puts our hook before the one that is there, once a process.
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

/// Notes the panic if a `catch` is running here; true if it needs no printing.
fn record(info: &PanicHookInfo<'_>) -> bool {
    // A hook that panics aborts the process, so neither a busy nor a destroyed cell may matter.
    let note = |caught: Caught| {
        SCOPES.try_with(|scopes| {
            let mut scopes = scopes.try_borrow_mut().ok()?;
            scopes.last_mut().map(|scope| scope.push(caught))
        })
    };
    // Where errors are not logged, the hook before ours prints what there is to know, the backtrace too.
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
    matches!(noted, Ok(Some(()))) && quiet
}

fn backtrace() -> Option<String> {
    let backtrace = std::backtrace::Backtrace::capture();
    (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string())
}
