//! State shared by the sources and burns of one run: output folders, files written, and input
//! files.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::own::Own;

/// Device and inode number of a file.
pub(super) type FileId = (u64, u64);

#[allow(clippy::unnecessary_cast, reason = "the types depend on the system")]
pub(super) fn file_id(found: &rustix::fs::Stat) -> FileId {
    (found.st_dev as u64, found.st_ino as u64)
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// A hash that is equal in all processes.
pub(super) fn hash(value: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

/// State shared by all products of one run. Clones refer to the same state.
#[derive(Clone, Default)]
pub struct RunState(Arc<SharedState>);

#[derive(Default)]
struct SharedState {
    dry: bool,
    own: Mutex<HashMap<FileId, Arc<Own>>>,
    inputs: Mutex<Vec<Arc<dyn Inputs>>>,
    roots: Mutex<Vec<PathBuf>>,
    kept_apart: Mutex<Vec<PathBuf>>,
    placed: Mutex<Placed>,
    outputs: Mutex<HashMap<u64, WrittenFile>>,
}

impl fmt::Debug for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunState")
    }
}

/// The file that a burn has written for one book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenFile {
    /// Path of the file, with links in its folder resolved.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime: i64,
}

/// The files that a source reads, and its records of earlier runs.
pub(super) trait Inputs: Send + Sync {
    /// The source's folder, with links resolved.
    fn root(&self) -> &Path;
    /// True if the source lists the file at `path`, an absolute path without links.
    fn lists(&self, path: &Path) -> bool;
    /// The input from which an earlier run made the file at `path`, if that input still exists.
    fn origin_of(&self, path: &Path) -> Option<PathBuf>;
}

/// The files that this run's burns have written, with the book of each. About 50 bytes per file.
#[derive(Debug, Default)]
pub(super) struct Placed {
    books: HashMap<FileId, u64>,
    // Keyed by a path that several books need.
    suffixes: HashMap<PathBuf, Suffixes>,
}

#[derive(Debug, Default)]
struct Suffixes {
    last: u32,
    of_books: HashMap<u64, u32>,
}

impl Placed {
    /// Returns the book that this run wrote the file for.
    pub(super) fn book_of(&self, file: FileId) -> Option<u64> {
        self.books.get(&file).copied()
    }

    /// Records that the file belongs to `book`; returns its previous book.
    pub(super) fn insert(&mut self, file: FileId, book: u64) -> Option<u64> {
        self.books.insert(file, book)
    }

    /// Undoes [`Placed::insert`] with the book that it returned.
    pub(super) fn restore(&mut self, file: FileId, before: Option<u64>) {
        match before {
            Some(book) => self.books.insert(file, book),
            None => self.books.remove(&file),
        };
    }

    /// Returns the number that [`Placed::next_suffix`] assigned to `book` for `path`.
    pub(super) fn suffix(&self, path: &Path, book: u64) -> Option<u32> {
        self.suffixes.get(path)?.of_books.get(&book).copied()
    }

    /// Assigns `book` the next free number for `path`, starting at 2.
    pub(super) fn next_suffix(&mut self, path: &Path, book: u64) -> u32 {
        let suffixes = self.suffixes.entry(path.to_owned()).or_default();
        suffixes.last = suffixes.last.max(1) + 1;
        suffixes.of_books.insert(book, suffixes.last);
        suffixes.last
    }
}

impl RunState {
    /// State of a dry run, which locks nothing and writes nothing.
    #[must_use]
    pub fn dry() -> Self {
        Self(Arc::new(SharedState { dry: true, ..SharedState::default() }))
    }

    pub(super) fn is_dry(&self) -> bool {
        self.0.dry
    }

    /// Opens the folder `.gopherworks` below `root`. It stays locked for this run until all its
    /// nodes, `node` included, have released it.
    pub(super) fn own(&self, root: &Path, node: &str) -> io::Result<Arc<Own>> {
        let mut made = Own::make(root)?;
        let mut known = self.0.own.lock();
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

    pub(super) fn reads(&self, inputs: Arc<dyn Inputs>) {
        self.0.inputs.lock().push(inputs);
    }

    pub(super) fn inputs(&self) -> Vec<Arc<dyn Inputs>> {
        self.0.inputs.lock().clone()
    }

    /// Registers a folder that a burn writes to; `root` must not contain links.
    pub(super) fn writes(&self, root: &Path) {
        let mut roots = self.0.roots.lock();
        if !roots.iter().any(|known| known == root) {
            roots.push(root.to_owned());
        }
    }

    /// Registers a file or folder that sources must not list, since gopherworks itself uses it;
    /// `path` must not contain links.
    pub(crate) fn keep_apart(&self, path: PathBuf) {
        let mut apart = self.0.kept_apart.lock();
        if !apart.contains(&path) {
            apart.push(path);
        }
    }

    pub(super) fn kept_apart(&self) -> Vec<PathBuf> {
        self.0.kept_apart.lock().clone()
    }

    /// Creates the folder `path` if it is missing and resolves its links. Its mode allows no more
    /// access than the input folders and `input` do, since it reveals the names of their files.
    pub(super) fn folder(&self, path: &Path, input: Option<&Path>) -> io::Result<PathBuf> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let inputs = self.inputs();
        let mode = (inputs.iter().map(|inputs| inputs.root()).chain(input))
            .filter_map(|input| input.metadata().ok())
            .fold(0o777, |mode, found| mode & found.mode());
        std::fs::DirBuilder::new().recursive(true).mode(mode | 0o700).create(path)?;
        path.canonicalize()
    }

    /// True if `path` is in a folder that a burn of this run writes to.
    pub(super) fn is_written_below(&self, path: &Path) -> bool {
        self.0.roots.lock().iter().any(|root| path.starts_with(root))
    }

    /// True if `folder` contains, or is in, a folder that a burn of this run writes to.
    pub(super) fn may_write_below(&self, folder: &Path) -> bool {
        self.0.roots.lock().iter().any(|root| root.starts_with(folder) || folder.starts_with(root))
    }

    pub(super) fn placed(&self) -> MutexGuard<'_, Placed> {
        self.0.placed.lock()
    }

    /// Keeps outputs, by book number, until a source records them.
    pub(super) fn keep_outputs(&self, made: impl IntoIterator<Item = (u64, WrittenFile)>) {
        self.0.outputs.lock().extend(made);
    }

    /// Removes and returns the outputs of these books.
    pub(super) fn take_outputs(
        &self,
        books: impl Iterator<Item = u64>,
    ) -> Vec<Option<WrittenFile>> {
        let mut outputs = self.0.outputs.lock();
        books.map(|book| outputs.remove(&book)).collect()
    }
}

/// Makes the path absolute, and resolves the symbolic links in the part of it that exists.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(whole), ..) => whole,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        _ => path,
    }
}
