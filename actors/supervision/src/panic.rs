//! Catches panics of user code, and ends an actor by one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The message of a panic payload, or a fixed phrase if it is not text.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Runs user code and converts a panic into its message.
#[inline]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = panic_text(&*payload);
        // The payload is a user value: its drop may panic as well.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
        text
    })
}

/// Ends the calling actor by a panic that bypasses the panic hook: the panic was printed before, or
/// serves only as a reason.
pub fn die(text: String) -> ! {
    resume_unwind(Box::new(text))
}
