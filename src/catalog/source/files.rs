//! `files`: every regular file below a folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use gopherworks_actors::book::{Body, BodyFile, Book, header};
use gopherworks_actors::failure::Failure;
use gopherworks_actors::source::{Receipts, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use walkdir::{DirEntry, WalkDir};

use super::super::{FilePath, Site, names};
use super::seen::{STAMP, Seen, Stamp};

/// Options of `files`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder.
    root: FilePath,
    /// Patterns of which a file's path below the root must match one. `*` stops at `/`, `**` does not.
    #[serde(default = "everything")]
    include: Vec<Pattern>,
    /// Patterns of what is left out; a folder that one matches, also as `folder/**`, is not entered.
    #[serde(default)]
    exclude: Vec<Pattern>,
    /// Follows symbolic links. Otherwise they are skipped.
    #[serde(default)]
    follow: bool,
    /// Remembers in this folder which files were burned, and skips those that have not changed in the next run.
    #[serde(default)]
    #[schemars(extend("x-access" = "write"))]
    remember: Option<FilePath>,
    /// Files and folders that are left out, by their paths.
    #[serde(default)]
    #[schemars(extend("x-access" = "none"))]
    leave_out: Vec<FilePath>,
}

/// A pattern that globset understands.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
struct Pattern(String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        glob(&text).map_err(|error| error.to_string())?;
        Ok(Self(text))
    }
}

fn everything() -> Vec<Pattern> {
    vec![Pattern("**".to_owned())]
}

fn glob(text: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build()
}

fn glob_set<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<GlobSet, Failure> {
    let refused = |error: globset::Error| Failure::permanent(error.to_string());
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(refused)?);
    }
    set.build().map_err(refused)
}

/// What is walked and what is not.
struct Choice {
    root: PathBuf,
    include: GlobSet,
    exclude: GlobSet,
    // Patterns of whole folders: `a/**` leaves nothing of `a` either.
    prune: GlobSet,
    leave_out: HashSet<PathBuf>,
}

impl Choice {
    fn enters(&self, entry: &DirEntry) -> bool {
        if entry.depth() == 0 {
            return true;
        }
        if self.leave_out.contains(entry.path()) {
            return false;
        }
        let relative = self.relative(entry.path());
        let pruned = entry.file_type().is_dir() && self.prune.is_match(relative);
        !pruned && !self.exclude.is_match(relative)
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// Entries that are looked at before a reader hears "none just now", so that it can be stopped.
const PATIENCE: usize = 4096;

/// Walks a folder, each folder's entries in the order of the bytes of their names.
///
/// A book's header `name` is the path below the root, `origin` the whole path, both byte for byte. Only the entries of the folders
/// on the way to the current file are held in memory. What can't be listed becomes a book whose reading fails, so that it
/// ends as a dead letter and the walk goes on.
pub struct Files {
    choice: Choice,
    walk: Option<walkdir::IntoIter>,
    seen: Option<Arc<Seen>>,
    skipped: u64,
}

/// Makes the source.
///
/// # Errors
/// A root that is no folder, and a memory of burned files that can't be read.
pub fn make(options: &Options, site: &Site) -> Result<Files, Failure> {
    let root = options.root.as_path();
    // Symbolic links on the way to the root are resolved, so that paths to leave out can be compared.
    let found = root
        .canonicalize()
        .and_then(|path| Ok((path.metadata()?.is_dir(), path)));
    let (is_dir, root) = found
        .map_err(|error| Failure::permanent(format!("the folder {}: {error}", root.display())))?;
    if !is_dir {
        return Err(Failure::permanent(format!(
            "{} is not a folder",
            root.display()
        )));
    }
    let mut leave_out: HashSet<PathBuf> = options
        .leave_out
        .iter()
        .map(|path| resolved(path.as_path()))
        .collect();
    let seen = match &options.remember {
        Some(folder) => {
            let folder = resolved(folder.as_path()).join(".gopherworks");
            let seen = Seen::load(&folder, &site.node, &root).map_err(|error| {
                Failure::io(
                    format_args!("reading what was burned from {}", folder.display()),
                    &error,
                )
            })?;
            leave_out.insert(folder);
            Some(Arc::new(seen))
        }
        None => None,
    };
    let texts = |patterns: &[Pattern]| glob_set(patterns.iter().map(|pattern| pattern.0.as_str()));
    let folders = options
        .exclude
        .iter()
        .filter_map(|pattern| pattern.0.strip_suffix("/**"));
    let choice = Choice {
        include: texts(&options.include)?,
        exclude: texts(&options.exclude)?,
        prune: glob_set(folders)?,
        leave_out,
        root,
    };
    let walk = WalkDir::new(&choice.root)
        .follow_links(options.follow)
        .sort_by(|a, b| a.file_name().cmp(b.file_name()))
        .into_iter();
    Ok(Files {
        choice,
        walk: Some(walk),
        seen,
        skipped: 0,
    })
}

/// The path with symbolic links resolved as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        _ => path.to_path_buf(),
    }
}

impl Files {
    /// The book of one entry; `None` for what is no file and for what was burned before.
    fn book(&mut self, entry: Result<DirEntry, walkdir::Error>) -> Option<Book> {
        let listed = entry.and_then(|entry| {
            let wanted = entry.file_type().is_file()
                && self
                    .choice
                    .include
                    .is_match(self.choice.relative(entry.path()));
            Ok(match wanted {
                true => Some((entry.metadata()?, entry)),
                false => None,
            })
        });
        match listed {
            Ok(None) => None,
            Ok(Some((metadata, entry))) => {
                let name = self.name(entry.path());
                let stamp = Stamp::of(&metadata);
                if let Some(seen) = &self.seen {
                    if seen.is_burned(&name, stamp) {
                        self.skipped += 1;
                        return None;
                    }
                    let book = self.unstamped(entry.path(), name, metadata.len());
                    return Some(book.with_header(STAMP, stamp.to_string()));
                }
                Some(self.unstamped(entry.path(), name, metadata.len()))
            }
            Err(error) => {
                log::warn!("{error}");
                let path = error.path().unwrap_or(&self.choice.root).to_path_buf();
                let name = self.name(&path);
                Some(self.unstamped(&path, name, 0))
            }
        }
    }

    fn walked(&self) {
        if let Some(seen) = &self.seen {
            seen.walked();
            if self.skipped > 0 {
                let root = self.choice.root.display();
                log::info!(
                    "{root}: {} files have not changed since they were burned",
                    self.skipped
                );
            }
        }
    }

    fn name(&self, path: &Path) -> Vec<u8> {
        names::path_bytes(self.choice.relative(path)).to_vec()
    }

    fn unstamped(&self, path: &Path, name: Vec<u8>, size: u64) -> Book {
        Book::new(Body::file(BodyFile::kept(path), size))
            .with_header(header::NAME, name)
            .with_header(header::ORIGIN, names::path_bytes(path).to_vec())
    }
}

impl Source for Files {
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
                Ok(entry) if !self.choice.enters(entry) => {
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

    fn regains(&self) -> bool {
        true
    }

    fn receipts(&self) -> Option<Arc<dyn Receipts>> {
        self.seen.clone().map(|seen| seen as Arc<dyn Receipts>)
    }
}

#[cfg(test)]
mod tests;
