//! Values that no output shows.

use std::fmt;

/// A text that may contain a password or a token: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for a driver or a comparison.
    #[cfg_attr(
        not(any(feature = "jetstream", feature = "postgres", feature = "http")),
        allow(dead_code, reason = "only drivers and servers need it")
    )]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Its number of characters.
    pub(crate) fn length(&self) -> usize {
        self.0.chars().count()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}
