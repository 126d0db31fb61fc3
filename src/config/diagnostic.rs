//! Mistakes with their places, and their rendering.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::limits::grouped;

mod code;
#[cfg(not(feature = "cli"))]
mod plain;
#[cfg(feature = "cli")]
mod snippet;
#[cfg(feature = "expressions")]
mod within;

pub use code::Code;
#[cfg(not(feature = "cli"))]
use plain::render;
#[cfg(feature = "cli")]
use snippet::render;

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 1000;

/// Maximum number of diagnostics shown, so that a broken file does not flood the terminal.
const SHOWN: usize = 100;

/// Maximum number of diagnostics in JSON.
const LISTED: usize = 1000;

/// A file that was read, kept to show its lines.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    text: String,
    lines: Vec<usize>,
    /// True for a pipe: relative paths in it start at the current folder.
    apart: bool,
    extended_by: Option<Box<Origin>>,
}

impl SourceFile {
    /// Keeps `text` as the content of `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            path: path.into(),
            lines: std::iter::once(0).chain(ends).collect(),
            text,
            apart: false,
            extended_by: None,
        }
    }

    /// Marks it as read from a pipe: its relative paths start at the current folder.
    #[must_use]
    pub(crate) fn apart(mut self, apart: bool) -> Self {
        self.apart = apart;
        self
    }

    /// True if it came out of a pipe, so that it is in no folder.
    pub(crate) fn is_apart(&self) -> bool {
        self.apart
    }

    /// The folder where its relative paths start; empty for the current one.
    pub(crate) fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|_| !self.apart);
        folder.unwrap_or(Path::new(""))
    }

    /// Sets the `extends` by which it was read.
    #[must_use]
    pub(crate) fn extended_by(mut self, origin: Origin) -> Self {
        self.extended_by = Some(Box::new(origin));
        self
    }

    /// The places of all `extends` that led to this file, nearest first.
    fn chain(&self) -> impl Iterator<Item = &Origin> {
        std::iter::successors(self.extended_by.as_deref(), |origin| match *origin {
            Origin::File { file, .. } => file.extended_by.as_deref(),
            _ => None,
        })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Content of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines[line - 1];
        let column =
            self.text[start..].char_indices().take_while(|(at, _)| start + at < byte).count();
        (line, column + 1)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A config file.
    File {
        /// The file that was read.
        file: Arc<SourceFile>,
        /// Bytes of the key, or of the value if there is no key.
        key: Range<usize>,
        /// Bytes of the value.
        value: Range<usize>,
        /// The environment variable of `${env.NAME}`.
        variable: Option<String>,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A `--set` flag, by the key it sets.
    Flag(String),
    /// Code: the path of a value in a config made in code, or a built-in default.
    Code(String),
}

impl Origin {
    /// Narrows the value's bytes to `word`, if the file contains it literally.
    #[must_use]
    pub fn narrowed(mut self, word: &str) -> Self {
        if let Origin::File { file, value, .. } = &mut self
            && let Some(text) = file.text.get(value.clone())
        {
            let whole = |at: usize| {
                let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
                edge(text[..at].chars().next_back()) && edge(text[at + word.len()..].chars().next())
            };
            let found = text.match_indices(word).find(|(at, _)| whole(*at));
            if let Some((at, _)) = found {
                *value = value.start + at..value.start + at + word.len();
            }
        }
        self
    }
}

/// Severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The design can't run.
    Error,
    /// The config can be run, but may not do what was intended.
    Warning,
}

/// A mistake or a warning.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The rule that is violated.
    pub code: Code,
    /// Describes the mistake.
    pub message: String,
    /// The config path, e.g. `crews.near.to`; empty for the whole config.
    pub path: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// True to underline the key instead of the value.
    pub at_key: bool,
    /// Text beside the underline.
    pub label: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// A related place, and its relation.
    pub related: Option<(Origin, String)>,
}

impl Diagnostic {
    /// Creates an error about the value at `path`.
    pub fn error(
        code: Code,
        path: impl Into<String>,
        origin: Origin,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            path: path.into(),
            origin,
            at_key: false,
            label: None,
            help: None,
            related: None,
        }
    }

    /// Creates a warning about the value at `path`.
    pub fn warning(
        code: Code,
        path: impl Into<String>,
        origin: Origin,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, origin, message) }
    }

    /// Underlines the key instead of the value.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// Sets the text beside the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds `did you mean` if there is a similar word.
    #[must_use]
    pub fn suggest(mut self, near: Option<&str>) -> Self {
        if let Some(near) = near {
            self.help = Some(format!("did you mean `{near}`?"));
        }
        self
    }

    /// Adds a related place.
    #[must_use]
    pub fn related(mut self, origin: Origin, label: impl Into<String>) -> Self {
        self.related = Some((origin, label.into()));
        self
    }

    /// `file:line:column`, the variable, the flag, or the config path.
    pub fn place(&self) -> String {
        place(&self.origin, self.at_key)
    }

    /// True if both point at the same thing.
    fn same_place(&self, other: &Self) -> bool {
        match (&self.origin, &other.origin) {
            (Origin::File { file: a, .. }, Origin::File { file: b, .. }) => {
                let start = |of: &Self| span(&of.origin, of.at_key).start;
                Arc::ptr_eq(a, b) && start(self) == start(other)
            }
            _ => self.place() == other.place(),
        }
    }

    /// Files in the order of `extends`, then origins outside files.
    fn sort_key(&self) -> (usize, usize, usize, String) {
        match &self.origin {
            Origin::File { file, .. } => {
                let start = span(&self.origin, self.at_key).start;
                (0, file.chain().count(), start, String::new())
            }
            Origin::Variable(name) => (1, 0, 0, name.clone()),
            Origin::Flag(key) => (2, 0, 0, key.clone()),
            Origin::Code(path) => (3, 0, 0, path.clone()),
        }
    }

    fn to_json(&self) -> Value {
        let mut out = json!({
            "severity": match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "code": self.code.name(),
            "message": self.message,
            "path": self.path,
        });
        match &self.origin {
            Origin::File { file, variable, .. } => {
                let bytes = span(&self.origin, self.at_key);
                let (line, column) = file.position(bytes.start);
                let (end_line, end_column) = file.position(bytes.end);
                out["file"] = json!(file.path.to_string_lossy());
                out["line"] = json!(line);
                out["column"] = json!(column);
                out["end_line"] = json!(end_line);
                out["end_column"] = json!(end_column);
                if let Some(variable) = variable {
                    out["variable"] = json!(variable);
                }
                let chain: Vec<String> = file.chain().map(|by| place(by, false)).collect();
                if !chain.is_empty() {
                    out["extended_by"] = json!(chain);
                }
            }
            Origin::Variable(name) => out["variable"] = json!(name),
            Origin::Flag(key) => out["flag"] = json!(format!("--set {key}")),
            Origin::Code(_) => {}
        }
        if let Some(help) = &self.help {
            out["help"] = json!(help);
        }
        out
    }

    fn title(&self) -> String {
        match self.message.char_indices().nth(LONGEST_MESSAGE) {
            Some((at, _)) => format!("{}...", &self.message[..at]),
            None => self.message.clone(),
        }
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let (file, variable) = match &self.origin {
            Origin::File { file, variable, .. } => (Some(file), variable.as_deref()),
            _ => (None, None),
        };
        let from = variable
            .map(|variable| format!("the value comes from the environment variable `{variable}`"));
        let chain = file.into_iter().flat_map(|file| file.chain());
        from.into_iter().chain(chain.map(|by| format!("extended by {}", place(by, false))))
    }
}

fn span(origin: &Origin, at_key: bool) -> Range<usize> {
    match origin {
        Origin::File { key, .. } if at_key => key.clone(),
        Origin::File { value, .. } => value.clone(),
        _ => 0..0,
    }
}

fn place(origin: &Origin, at_key: bool) -> String {
    match origin {
        Origin::File { file, .. } => {
            let (line, column) = file.position(span(origin, at_key).start);
            format!("{}:{line}:{column}", file.path.display())
        }
        Origin::Variable(name) => format!("environment variable {name}"),
        Origin::Flag(key) => format!("--set {key}"),
        Origin::Code(path) if path.is_empty() => "the config".into(),
        Origin::Code(path) => path.clone(),
    }
}

/// All mistakes and warnings of a config, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// All diagnostics.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// Number of diagnostics.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True if there is an error, so that the config can't run.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// In the order of the file without duplicates, since an entry for several gophers is checked
    /// for each.
    pub(crate) fn sorted(mut self) -> Self {
        self.items.sort_by_cached_key(Diagnostic::sort_key);
        self.items.dedup_by(|b, a| a.message == b.message && a.same_place(b));
        self
    }

    /// Renders them in the style of rustc, with `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let shown = self.items.iter().take(SHOWN);
        let mut blocks: Vec<String> = shown.map(|diagnostic| render(diagnostic, color)).collect();
        if self.items.len() > SHOWN {
            let more = grouped((self.items.len() - SHOWN) as u64);
            blocks.push(format!("and {more} more"));
        }
        blocks.join("\n\n")
    }

    /// A JSON array with severity, code, message, path, and file, line and column, or the variable,
    /// or the flag. Beyond 1,000 diagnostics, the last element only gives the number of further
    /// ones and has no code.
    pub fn to_json(&self) -> Value {
        let items = self.items.iter().take(LISTED).map(Diagnostic::to_json);
        let more = (self.items.len() > LISTED).then(|| {
            let more = grouped((self.items.len() - LISTED) as u64);
            let severity = if self.has_errors() { "error" } else { "warning" };
            json!({ "severity": severity, "message": format!("and {more} more"), "path": "" })
        });
        items.chain(more).collect()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, items: I) {
        self.items.extend(items);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
