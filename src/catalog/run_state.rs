//! What the sources and burns of one run know of each other: who writes where, what was written,
//! and what is an input.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::own::Own;

/// Device and number of a file: what it is, whatever it is called.
pub(super) type FileId = (u64, u64);

/// State that all products of one run share. A run has one; clones are the same one.
#[derive(Clone, Default)]
pub struct RunState(Arc<State>);

#[derive(Default)]
struct State {
    dry: bool,
    own: Mutex<HashMap<FileId, Arc<Own>>>,
    inputs: Mutex<Vec<Arc<dyn Inputs>>>,
    roots: Mutex<Vec<PathBuf>>,
    kept_apart: Mutex<Vec<PathBuf>>,
    placed: Mutex<Placed>,
    outputs: Mutex<HashMap<u64, Output>>,
}

impl fmt::Debug for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunState")
    }
}

/// What a burn has made of one book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    /// The file, its folder resolved.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub mtime: i64,
}

/// The files that a source reads, and what it remembers of earlier runs.
pub(super) trait Inputs: Send + Sync {
    /// The folder, with links resolved.
    fn root(&self) -> &Path;
    /// True if the source lists what is at `path`, an absolute path without links.
    fn lists(&self, path: &Path) -> bool;
    /// The input, still there, of which an earlier run has made the file at `path`.
    fn origin_of(&self, path: &Path) -> Option<PathBuf>;
}

/// The files that burns of this run have placed, and the book of each. About 50 bytes a file.
#[derive(Debug, Default)]
pub(super) struct Placed {
    books: HashMap<FileId, u64>,
    // By the path that several books have wanted.
    suffixes: HashMap<PathBuf, Suffixes>,
}

#[derive(Debug, Default)]
struct Suffixes {
    last: u32,
    of_books: HashMap<u64, u32>,
}

impl Placed {
    /// The book of a file that this run has placed.
    pub(super) fn book_of(&self, file: FileId) -> Option<u64> {
        self.books.get(&file).copied()
    }

    /// The file is of `book`; gives whose it was.
    pub(super) fn insert(&mut self, file: FileId, book: u64) -> Option<u64> {
        self.books.insert(file, book)
    }

    /// The file is of the book that it was of before, or of none.
    pub(super) fn restore(&mut self, file: FileId, before: Option<u64>) {
        match before {
            Some(book) => self.books.insert(file, book),
            None => self.books.remove(&file),
        };
    }

    /// The number that `book` was given where it wanted `path`.
    pub(super) fn suffix(&self, path: &Path, book: u64) -> Option<u32> {
        self.suffixes.get(path)?.of_books.get(&book).copied()
    }

    /// Gives `book`, which wants `path`, the next number, from 2.
    pub(super) fn next_suffix(&mut self, path: &Path, book: u64) -> u32 {
        let suffixes = self.suffixes.entry(path.to_owned()).or_default();
        suffixes.last = suffixes.last.max(1) + 1;
        suffixes.of_books.insert(book, suffixes.last);
        suffixes.last
    }
}

impl RunState {
    /// State of a run that leaves no trace: nothing is locked, and nothing made.
    #[must_use]
    pub fn dry() -> Self {
        Self(Arc::new(State {
            dry: true,
            ..State::default()
        }))
    }

    /// True if the run leaves no trace.
    pub(super) fn is_dry(&self) -> bool {
        self.0.dry
    }

    /// The folder `.gopherworks` below `root`, locked for this run until `node` and all others
    /// have released it.
    pub(super) fn own(&self, root: &Path, node: &str) -> io::Result<Arc<Own>> {
        let mut made = Own::make(root)?;
        let mut known = lock(&self.0.own);
        let own = match known.get(&made.identity()) {
            Some(own) => own.clone(),
            None => {
                made.hold()?;
                let own = Arc::new(made);
                known.insert(own.identity(), own.clone());
                own
            }
        };
        own.enter(node);
        Ok(own)
    }

    /// Makes a source's files known.
    pub(super) fn reads(&self, inputs: Arc<dyn Inputs>) {
        lock(&self.0.inputs).push(inputs);
    }

    /// All sources' files.
    pub(super) fn inputs(&self) -> Vec<Arc<dyn Inputs>> {
        lock(&self.0.inputs).clone()
    }

    /// Makes known that a burn writes below `root`, a path without links.
    pub(super) fn writes(&self, root: &Path) {
        let mut roots = lock(&self.0.roots);
        if !roots.iter().any(|known| known == root) {
            roots.push(root.to_owned());
        }
    }

    /// Makes known a file or folder of ours, which no source lists.
    pub(super) fn keep_apart(&self, path: PathBuf) {
        let mut apart = lock(&self.0.kept_apart);
        if !apart.contains(&path) {
            apart.push(path);
        }
    }

    /// All files and folders of ours that were made known.
    pub(super) fn kept_apart(&self) -> Vec<PathBuf> {
        lock(&self.0.kept_apart).clone()
    }

    /// Makes the folder `path`, where it is missing, and resolves it. A new folder is no wider
    /// open than the folders that the run reads, and than `input`, since it shows the names of
    /// what is in them.
    pub(super) fn folder(&self, path: &Path, input: Option<&Path>) -> io::Result<PathBuf> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let inputs = self.inputs();
        let mode = (inputs.iter().map(|inputs| inputs.root()).chain(input))
            .filter_map(|input| input.metadata().ok())
            .fold(0o777, |mode, found| mode & found.mode());
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode | 0o700)
            .create(path)?;
        path.canonicalize()
    }

    /// True if a burn of this run writes below a folder above `path`.
    pub(super) fn is_written_below(&self, path: &Path) -> bool {
        lock(&self.0.roots)
            .iter()
            .any(|root| path.starts_with(root))
    }

    /// True if a burn of this run could write below `folder`.
    pub(super) fn may_write_below(&self, folder: &Path) -> bool {
        lock(&self.0.roots)
            .iter()
            .any(|root| root.starts_with(folder) || folder.starts_with(root))
    }

    /// The files that were placed.
    pub(super) fn placed(&self) -> MutexGuard<'_, Placed> {
        lock(&self.0.placed)
    }

    /// Keeps, for the source that remembers it, what was made of the book of this number.
    pub(super) fn keep_outputs(&self, made: impl IntoIterator<Item = (u64, Output)>) {
        lock(&self.0.outputs).extend(made);
    }

    /// What was made of the book of this number; it is asked for once.
    pub(super) fn take_outputs(&self, books: impl Iterator<Item = u64>) -> Vec<Option<Output>> {
        let mut outputs = lock(&self.0.outputs);
        books.map(|book| outputs.remove(&book)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
