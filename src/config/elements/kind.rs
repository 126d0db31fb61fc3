//! A kind of the catalog with its options, such as `{ kind = "gzip", level = 6 }`.

/// A kind by name with its options.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KindConfig {
    /// The kind's name in the catalog; empty if it could not be read.
    pub kind: String,
    /// Its options, all keys but `kind`. Relative paths are resolved already.
    pub options: toml::Table,
}

impl KindConfig {
    /// Sets an option.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<toml::Value>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }
}

impl From<&str> for KindConfig {
    fn from(name: &str) -> Self {
        Self { kind: name.to_owned(), options: toml::Table::new() }
    }
}
