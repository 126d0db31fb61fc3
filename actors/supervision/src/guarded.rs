//! A wrapper for user values that contains panics of their `Drop`.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::catch::{drop_caught, install_hook};

/// Owns a user value and catches panics of its `Drop`.
///
/// Rust aborts the process if a `Drop` panics while another panic unwinds. A value in `Guarded`
/// cannot cause that: the panic is logged and does not propagate. Several values of one struct may
/// panic.
///
/// Limits: it has no effect with `panic = "abort"`, and cannot contain a `Drop` that aborts,
/// overflows the stack or never returns. If a `Drop` panics halfway, only what Rust's own unwinding
/// frees is freed.
pub struct Guarded<T> {
    // An `Option`, so that both `into_inner` and `drop` can take the value.
    value: Option<T>,
}

impl<T> Guarded<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        install_hook();
        Self { value: Some(value) }
    }

    /// Returns the value, no longer guarded.
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
            // Already logged by `drop_caught`.
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
