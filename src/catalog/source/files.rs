//! `files`: a book for each regular file below a folder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use gopherworks_pipeline::book::{Body, BodyFile, Book, header};
use gopherworks_pipeline::source::{Mark, Receipts, Source};
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::super::own;
use super::super::run_state::{Inputs, RunState, resolved};
use super::super::work::scratch;
use super::super::{FilePath, Site, names};
use super::seen::{STAMP, Seen, Stamp};
use crate::glob::Glob;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSourceOptions {
    /// Folder to read. What gopherworks itself writes there is skipped: folders called
    /// `.gopherworks`, dead letters and scratch folders of this run.
    root: FilePath,
    /// Glob patterns; a file is read if its path below the root matches one of them. `*` does not
    /// match `/`, `**` does. Default: all files.
    #[serde(default = "everything")]
    include: Vec<Pattern>,
    /// Glob patterns of files and folders to skip. A folder that matches, also by `folder/**`, is
    /// not entered.
    #[serde(default)]
    exclude: Vec<Pattern>,
    /// Follows symbolic links. By default they are skipped. A link to what the run writes is
    /// skipped with a warning.
    #[serde(default)]
    follow: bool,
    /// Folder in which to record the files that were burned; the next run skips those that have not
    /// changed.
    #[serde(default)]
    #[schemars(extend("x-access" = "write"))]
    remember: Option<FilePath>,
    /// Paths of files and folders to skip.
    #[serde(default)]
    #[schemars(extend("x-access" = "none"))]
    leave_out: Vec<FilePath>,
}

/// A valid glob pattern.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
struct Pattern(String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Glob::of_paths(&text)?;
        Ok(Self(text))
    }
}

fn everything() -> Vec<Pattern> {
    vec![Pattern("**".to_owned())]
}

fn globs<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Vec<Glob>, Failure> {
    patterns.map(Glob::of_paths).collect::<Result<_, _>>().map_err(Failure::permanent)
}

fn any(globs: &[Glob], path: &Path) -> bool {
    globs.iter().any(|glob| glob.is_match(path))
}

/// Decides which folders are entered and which files are read.
struct Choice {
    root: PathBuf,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    // Folders that are not entered: `a/**` excludes all that is in `a`.
    prune: Vec<Glob>,
    leave_out: HashSet<PathBuf>,
    // Files and folders of the run itself. Read when the walk begins, because all burns exist by
    // then.
    apart: OnceLock<HashSet<PathBuf>>,
    follow: bool,
    scratch: PathBuf,
    run: RunState,
}

impl Choice {
    fn enters(&self, entry: &DirEntry) -> bool {
        let (path, is_dir) = (entry.path(), entry.file_type().is_dir());
        if entry.depth() == 0 {
            return true;
        }
        if !self.keeps(path, is_dir) || self.apart().contains(path) {
            return false;
        }
        // Only a followed link leads to a path with another canonical form.
        let real = self.follow.then(|| path.canonicalize().ok()).flatten();
        let ours = real.filter(|real| real != path && self.is_ours(real));
        if let Some(real) = &ours {
            let (path, real) = (path.display(), real.display());
            log::warn!("{path}: a link to {real}, which this run writes; it is skipped");
        }
        ours.is_none()
    }

    fn apart(&self) -> &HashSet<PathBuf> {
        self.apart.get_or_init(|| self.run.kept_apart().into_iter().collect())
    }

    /// True if the run writes the file or folder at `real`, which was reached by a link. An output
    /// folder that contains the root was chosen on purpose.
    fn is_ours(&self, real: &Path) -> bool {
        let run = &self.run;
        (run.is_written_below(real) && !run.is_written_below(&self.root))
            || self.apart().iter().chain(&self.leave_out).any(|ours| real.starts_with(ours))
    }

    /// True if no rule excludes `path` itself. Rules that exclude a parent folder are not checked.
    fn keeps(&self, path: &Path, is_dir: bool) -> bool {
        let scratch = || path.parent() == Some(&self.scratch) && scratch::is_one(path);
        let own = || path.file_name() == Some(OsStr::new(own::NAME));
        if self.leave_out.contains(path) || (is_dir && (own() || scratch())) {
            return false;
        }
        let relative = self.relative(path);
        let pruned = is_dir && any(&self.prune, relative);
        !pruned && !any(&self.exclude, relative)
    }

    /// True if the walk reaches a file at `path` and includes it.
    fn lists(&self, path: &Path) -> bool {
        let Ok(relative) = path.strip_prefix(&self.root) else {
            return false;
        };
        let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        let mut apart = self.run.kept_apart().into_iter();
        any(&self.include, relative)
            && !apart.any(|ours| path.starts_with(ours))
            && self.keeps(path, false)
            && folders.all(|folder| self.keeps(folder, true))
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The part of the source that burns query during the walk.
struct Listing {
    choice: Choice,
    seen: Option<Arc<Seen>>,
}

impl Inputs for Listing {
    fn root(&self) -> &Path {
        &self.choice.root
    }

    fn lists(&self, path: &Path) -> bool {
        self.choice.lists(path)
    }

    fn origin_of(&self, path: &Path) -> Option<PathBuf> {
        self.seen.as_ref()?.origin_of(path)
    }
}

/// Header with the [`Stamp`] of a file whose pile is durable.
const STATE: &str = "files.state";

/// Entries per call: after this many (or as many as books are wanted, if that is more) a call
/// returns, even without books, so that the reader can be stopped.
const PATIENCE: usize = 4096;

/// Walks a folder. The entries of each folder are sorted by the bytes of their names.
///
/// The header `name` of a book is the path below the root and `origin` is the whole path, both byte
/// for byte; `mode` and `mtime` are those of the listing. Memory holds only the entries of the
/// folders on the path to the current file. An entry that cannot be listed becomes a book whose
/// body cannot be read: it ends as a dead letter, and the walk continues.
pub(super) struct FileSource {
    listing: Arc<Listing>,
    walk: Option<walkdir::IntoIter>,
    // Prefix of every stamp.
    node: String,
    skipped: u64,
    // Marks of the files that are stored, if the pile is durable.
    stored: Option<HashSet<Mark>>,
    // True if a burn of the run may write below the root; `None` until the first file is found.
    overlaps: Option<bool>,
}

/// Opens the root, and the memory of burned files if `remember` is set.
pub(super) fn make(options: &FileSourceOptions, site: &Site) -> Result<FileSource, Failure> {
    let root = options.root.as_path();
    // Resolve symbolic links in the root, so that it can be compared with the paths to leave out.
    let found = root.canonicalize().and_then(|path| Ok((path.metadata()?.is_dir(), path)));
    let (is_dir, root) = found
        .map_err(|error| Failure::permanent(format!("the folder {}: {error}", root.display())))?;
    if !is_dir {
        return Err(Failure::permanent(format!("{} is not a folder", root.display())));
    }
    let leave_out = options.leave_out.iter().map(|path| resolved(path.as_path())).collect();
    let remembered = |folder: &Path| {
        // A dry run creates no folder.
        let folder = if site.state.is_dry() {
            resolved(folder)
        } else {
            site.state.folder(folder, Some(&root))?
        };
        Ok(Arc::new(Seen::load(&folder, &root, site)?))
    };
    let seen = match &options.remember {
        Some(folder) => {
            let folder = folder.as_path();
            Some(remembered(folder).map_err(|error: std::io::Error| {
                let folder = folder.display();
                Failure::io(format_args!("reading what was burned from {folder}"), &error)
            })?)
        }
        None => None,
    };
    let texts = |patterns: &[Pattern]| globs(patterns.iter().map(|pattern| pattern.0.as_str()));
    let folders = options.exclude.iter().filter_map(|pattern| pattern.0.strip_suffix("/**"));
    let choice = Choice {
        include: texts(&options.include)?,
        exclude: texts(&options.exclude)?,
        prune: globs(folders)?,
        leave_out,
        apart: OnceLock::new(),
        follow: options.follow,
        scratch: resolved(&site.scratch),
        run: site.state.clone(),
        root,
    };
    let walk = WalkDir::new(&choice.root)
        .follow_links(options.follow)
        .sort_by(|a, b| a.file_name().cmp(b.file_name()))
        .into_iter();
    let listing = Arc::new(Listing { choice, seen });
    site.state.reads(listing.clone());
    Ok(FileSource {
        listing,
        walk: Some(walk),
        node: names::file_stem(&site.node),
        skipped: 0,
        stored: None,
        overlaps: None,
    })
}

impl FileSource {
    /// The book of an entry; `None` if it is no file, is not included, has not changed since its
    /// burn, or was written by a burn.
    fn book(&mut self, entry: Result<DirEntry, walkdir::Error>) -> Option<Book> {
        let choice = &self.listing.choice;
        let listed = entry.and_then(|entry| {
            let wanted =
                entry.file_type().is_file() && any(&choice.include, choice.relative(entry.path()));
            Ok(match wanted {
                true => Some((entry.metadata()?, entry)),
                false => None,
            })
        });
        match listed {
            Ok(None) => None,
            Ok(Some((metadata, entry))) => {
                if self.is_made(entry.path(), &metadata) {
                    return None;
                }
                let name = self.name(entry.path());
                let (seen, stored) = (&self.listing.seen, &self.stored);
                if seen.is_none() && stored.is_none() {
                    return Some(listed_book(entry.path(), name, &metadata));
                }
                let stamp = Stamp::of(&metadata);
                let state = stamp.to_string();
                let is_stored = |stored: &HashSet<Mark>| stored.contains(&mark(&name, &state));
                if seen.as_ref().is_some_and(|seen| seen.is_burned(&name, stamp))
                    || stored.as_ref().is_some_and(is_stored)
                {
                    self.skipped += 1;
                    return None;
                }
                let key = seen.as_ref().map(|seen| seen.key(&name, stamp));
                let mut book = listed_book(entry.path(), name, &metadata);
                if let Some(key) = key {
                    book = book.with_header(STAMP, format!("{} {state}", self.node));
                    book = book.with_header(header::KEY, key);
                }
                Some(if stored.is_some() { book.with_header(STATE, state) } else { book })
            }
            Err(error) => {
                log::warn!("{error}");
                let path = error.path().unwrap_or(&choice.root).to_path_buf();
                let name = self.name(&path);
                Some(plain_book(&path, name, 0))
            }
        }
    }

    /// True if a burn of this run, or of a remembered one, has written the file.
    fn is_made(&mut self, path: &Path, metadata: &Metadata) -> bool {
        let (choice, seen) = (&self.listing.choice, &self.listing.seen);
        let overlaps =
            *self.overlaps.get_or_insert_with(|| choice.run.may_write_below(&choice.root));
        overlaps
            && (choice.run.placed().book_of((metadata.dev(), metadata.ino())).is_some()
                || seen.as_ref().is_some_and(|seen| seen.origin_of(path).is_some()))
    }

    fn walked(&self) {
        let root = self.listing.choice.root.display();
        let lost = self.listing.seen.as_ref().map_or(0, |seen| seen.walked());
        if lost > 0 {
            log::warn!(
                "{root}: outputs of {lost} files are missing or were changed; they are made again"
            );
        }
        if self.skipped > 0 {
            log::info!("{root}: {} files have not changed since an earlier run", self.skipped);
        }
    }

    fn name(&self, path: &Path) -> Vec<u8> {
        names::path_bytes(self.listing.choice.relative(path)).to_vec()
    }
}

/// Identifies a file in a state: half the SHA-256 of both.
fn mark(name: &[u8], state: impl AsRef<[u8]>) -> Mark {
    let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(state);
    let mut mark = Mark::default();
    mark.copy_from_slice(&hash.finalize()[..16]);
    mark
}

fn plain_book(path: &Path, name: Vec<u8>, size: u64) -> Book {
    Book::new(Body::file(BodyFile::kept(path), size))
        .with_header(header::NAME, name)
        .with_header(header::ORIGIN, names::path_bytes(path).to_vec())
}

fn listed_book(path: &Path, name: Vec<u8>, metadata: &Metadata) -> Book {
    let mtime = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    plain_book(path, name, metadata.len())
        .with_header(header::MODE, format!("{:04o}", metadata.mode() & 0o777))
        .with_header(header::MTIME, mtime)
}

impl Source for FileSource {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let Some(mut walk) = self.walk.take() else {
            return Ok(None);
        };
        let mut books = Vec::new();
        for _ in 0..want.max(PATIENCE) {
            let Some(entry) = walk.next() else {
                self.walked();
                return Ok((!books.is_empty()).then_some(books));
            };
            match &entry {
                Ok(entry) if !self.listing.choice.enters(entry) => {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                }
                _ => books.extend(self.book(entry)),
            }
            if books.len() == want {
                break;
            }
        }
        self.walk = Some(walk);
        Ok(Some(books))
    }

    fn leave_out(&mut self, marks: Vec<Mark>) -> bool {
        self.stored = Some(marks.into_iter().collect());
        true
    }

    fn mark(&self, book: &Book) -> Option<Mark> {
        let [name, state] = [header::NAME, STATE].map(|header| book.headers.get(header));
        Some(mark(name?, state?))
    }

    fn regains(&self) -> bool {
        true
    }

    fn receipts(&self) -> Option<Arc<dyn Receipts>> {
        let seen = self.listing.seen.clone();
        seen.map(|seen| seen as Arc<dyn Receipts>)
    }
}

#[cfg(test)]
mod tests;
