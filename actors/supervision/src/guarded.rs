//! A user's value whose `Drop` can do no harm.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::catch::{drop_caught, install_hook};

/// Owns a user's value and drops it under a catch of its own.
///
/// Rust aborts the process where a `Drop` panics while another panic unwinds. An actor that keeps user values in `Guarded`
/// can't be the cause: the panic is logged and ends here. Two values of one struct may both panic.
///
/// The limits: it can't help where `panic = "abort"`, nor a value whose `Drop` aborts, overflows the stack or never returns;
/// of a value that panics halfway through its `Drop` only what Rust's own unwinding frees is freed.
pub struct Guarded<T> {
    // An `Option`, so that the value can be taken out both by `into_inner` and by the drop.
    value: Option<T>,
}

impl<T> Guarded<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        install_hook();
        Self { value: Some(value) }
    }

    /// Gives the value back, unguarded.
    pub fn into_inner(mut self) -> T {
        match self.value.take() {
            Some(value) => value,
            None => {
                unreachable!("only `into_inner` and `drop` take the value, and both end its guard")
            }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.value.as_ref() {
            Some(value) => value,
            None => unreachable!("a guard without a value can't be borrowed"),
        }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self.value.as_mut() {
            Some(value) => value,
            None => unreachable!("a guard without a value can't be borrowed"),
        }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            // Logged there; nobody can act on it here.
            let _ = drop_caught(std::any::type_name::<T>(), value);
        }
    }
}

impl<T> From<T> for Guarded<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for Guarded<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
