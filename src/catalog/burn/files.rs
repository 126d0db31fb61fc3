//! `files`: writes each body atomically to a file below a folder, under the book's name.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gopherworks_pipeline::book::{Body, Book, header};
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::own::{NAME as OWN, Own};
use super::super::run_state::{WrittenFile, hash};
use super::super::source::STAMP;
use super::super::work::filter::{described, read_some, unreadable};
use super::super::{FilePath, Site, names};
use crate::config::units::yes;

mod manifest;
mod placing;
mod refusals;
mod staging;
mod sync;

use manifest::Manifest;
use placing::{LastFolder, OnConflict, Placing};
use staging::{Identity, Mtime, Staging, Temporary};
use sync::Disk;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileBurnOptions {
    /// Output folder; it is created if missing.
    root: FilePath,
    /// File name of a list of digests for `sha256sum -c`, written below the root. Needs the work
    /// `sha256`.
    #[serde(default)]
    manifest: Option<FileName>,
    /// Counts a book as burned only once it has been synced to disk. Default: true.
    #[serde(default = "yes")]
    durable: bool,
    /// What to do if two books of a run have the same target: `error` (default) makes the second a
    /// dead letter, `suffix` names its file like `name~2.ext`, `replace` replaces the first.
    #[serde(default)]
    on_conflict: OnConflict,
    /// Sets the modification time of a file to that of the file its book came from. Default: true.
    #[serde(default = "yes")]
    mtime: bool,
}

/// Name of a file directly below the root.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, extend("pattern" = "^[^/]+$"))]
struct FileName(String);

impl TryFrom<String> for FileName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let mut parts = Path::new(&name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(only)), None) if only == name.as_str() && name != OWN => {
                Ok(Self(name))
            }
            _ => Err(format!("`{name}` is not the name of a file")),
        }
    }
}

/// Writes files below a root. Neither a name nor a symbolic link can lead outside it.
///
/// A body is written to a temporary file in `.gopherworks/tmp`, which is then renamed: the target
/// holds either the whole body or its previous content. A book that is burned again replaces its
/// file by an equal one. A body that was spilled to a temporary file on the same file system is
/// linked instead of copied.
///
/// Two books of one run never share a file, unless `on_conflict = "replace"`. Names that lead to
/// the same file (on a case-insensitive file system, or by a link inside the root) count as equal.
/// A file from before the run is replaced, with two exceptions: an input of the run, and a file
/// that an earlier run made from another input that still exists (known if a source uses
/// `remember`; it is replaced, too, with `on_conflict = "replace"`). Only one run at a time may
/// write below a root.
///
/// A run keeps about 50 bytes in memory per file that it has placed. Files of books without a name
/// need none, nor does `replace` if no source reads files.
///
/// A file gets the mode of the file its book came from, minus the umask; so do created folders.
///
/// With `durable`, once [`Burn::burn`] or [`Burn::burn_cart`] returns `Ok` for a book, its bytes,
/// its name and its manifest record have been synced to disk and survive a power failure. Without
/// it, they survive the end of the process, but not of the machine.
pub(super) struct FileBurn {
    root: Dir,
    own: Arc<Own>,
    placing: Placing,
    staging: Staging,
    disk: Option<Disk>,
    manifest: Option<Manifest>,
    serial: AtomicU64,
    site: Site,
    mtime: bool,
}

/// Opens the output folder and creates it if missing.
pub(super) fn make(options: &FileBurnOptions, site: &Site) -> Result<FileBurn, Failure> {
    let path = options.root.as_path();
    let open = || {
        let path = site.state.folder(path, None)?;
        let root = Dir::open_ambient_dir(&path, ambient_authority())?;
        let own = site.state.own(&path, &site.node)?;
        let staging = Staging::open(&own)?;
        let disk = if options.durable { Some(Disk::of(&root)?) } else { None };
        let manifest = match &options.manifest {
            Some(name) => {
                Some(Manifest::open(own.clone(), &path, &name.0, &site.node, &site.state)?)
            }
            None => None,
        };
        Ok(FileBurn {
            placing: Placing::open(
                (root.try_clone()?, path),
                own.clone(),
                &site.node,
                &site.state,
                options.on_conflict,
            )?,
            root,
            own,
            staging,
            disk,
            manifest,
            serial: AtomicU64::new(0),
            site: site.clone(),
            mtime: options.mtime,
        })
    };
    open().map_err(|error: io::Error| {
        Failure::io(format_args!("opening the folder {}", path.display()), &error)
    })
}

/// A body that was written in full to a temporary file, and is not yet at its target.
struct Staged<'a> {
    position: usize,
    // Identifies the book within the run, also when it is burned again.
    book: u64,
    origin: Option<PathBuf>,
    // Identifies the book across runs; see `refusals::owner`.
    owner: Option<Vec<u8>>,
    // False if the book has no name, so that the target is made from its key.
    named: bool,
    target: PathBuf,
    // Folder in which the file was placed, relative to the root.
    folder: PathBuf,
    temporary: Temporary<'a>,
    identity: Identity,
}

/// Identifies a book within the run: a hash of its key, or its id if it has no key.
fn number_of(book: &Book) -> u64 {
    match book.headers.get(header::KEY) {
        Some(key) => hash(key),
        None => book.id.0,
    }
}

/// Parses the header [`header::MODE`]: the permission bits, in octal.
fn parse_mode(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    Some(u32::from_str_radix(text, 8).ok()? & 0o777)
}

/// Parses the header [`header::MTIME`]: seconds, a dot, and nine digits of nanoseconds.
fn parse_mtime(text: &[u8]) -> Option<Mtime> {
    let (seconds, nanoseconds) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let whole = nanoseconds.len() == 9 && nanoseconds.bytes().all(|digit| digit.is_ascii_digit());
    Some((seconds.parse().ok()?, nanoseconds.parse().ok().filter(|_| whole)?))
}

/// Path of a name below the root. Fails for a name that could lead outside the root or is reserved.
fn target(name: &[u8], manifest: Option<&str>) -> Result<PathBuf, Failure> {
    let refused =
        |why: &str| Failure::permanent(format!("the name \"{}\" {why}", names::shown(name)));
    if name.is_empty() || name.contains(&0) {
        return Err(refused("names no file"));
    }
    if name.starts_with(b"/") {
        return Err(refused("is absolute"));
    }
    let path = names::bytes_path(name);
    if name.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."))
        || !path.components().all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(refused("has a part that is empty, \".\" or \"..\""));
    }
    // A case-insensitive file system finds the reserved names in any spelling.
    let same = |part: &[u8], ours: &str| part.eq_ignore_ascii_case(ours.as_bytes());
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    if same(first, OWN) || manifest.is_some_and(|manifest| same(first, manifest)) {
        return Err(refused("belongs to the archive itself"));
    }
    Ok(path)
}

/// Maps an output error to a failure: permanent if a retry of this book would fail alike, transient
/// otherwise, e.g. if the disk is full or missing.
fn refused(what: impl std::fmt::Display, error: &io::Error) -> Failure {
    use io::ErrorKind::*;
    let reason = format!("{what}: {error}");
    match error.kind() {
        IsADirectory | NotADirectory | InvalidFilename | InvalidInput | PermissionDenied => {
            Failure::permanent(reason)
        }
        _ => Failure::transient(reason),
    }
}

impl FileBurn {
    /// Writes a body to a temporary file.
    fn stage(
        &self,
        position: usize,
        book: &Book,
        buffer: &mut Vec<u8>,
    ) -> Result<Staged<'_>, Failure> {
        let manifest = self.manifest.as_ref().map(Manifest::name);
        let name = names::name_of(book, &self.site.books);
        let target = target(&name, manifest)?;
        let header = |name| book.headers.get(name);
        let mode = header(header::MODE).and_then(|text| parse_mode(text));
        let mode = mode.unwrap_or(0o644);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut temporary = self.staging.temporary(format!("{}-{serial}", book.id));
        if !linked(&book.body, &mut temporary, mode).map_err(|error| refused("linking", &error))? {
            copy(book, &mut temporary, mode, buffer)?;
        }
        let mtime = header(header::MTIME).and_then(|text| parse_mtime(text));
        let finished = match mtime.filter(|_| self.mtime) {
            Some(mtime) => temporary.set_mtime(mtime),
            None => Ok(()),
        };
        let identity = finished.and_then(|()| temporary.identity());
        let unwritten =
            |error: io::Error| refused(format_args!("writing {}", names::shown(&name)), &error);
        Ok(Staged {
            position,
            book: number_of(book),
            origin: header(header::ORIGIN).map(|origin| names::bytes_path(origin)),
            owner: refusals::owner(book),
            named: header(header::NAME).is_some(),
            target,
            folder: PathBuf::new(),
            identity: identity.map_err(unwritten)?,
            temporary,
        })
    }

    /// With `durable`, syncs the bytes of the staged files to disk.
    fn sync_bytes(&self, staged: &[Staged<'_>]) -> io::Result<()> {
        match &self.disk {
            Some(disk) if staged.len() > sync::FEW => disk.everything(),
            Some(_) => staged.iter().try_for_each(|one| one.temporary.sync()),
            None => Ok(()),
        }
    }

    /// Records placed files in the manifest. With `durable`, syncs their names and records to disk.
    fn sync_names(&self, books: &[&Book], placed: &[Staged<'_>]) -> io::Result<()> {
        let many = placed.len() > sync::FEW;
        if let Some(manifest) = &self.manifest {
            // With many files, the sync of the whole file system below covers the records, too.
            let sync_now = self.disk.is_some() && !many;
            manifest.record(placed.iter().map(|one| books[one.position]), sync_now)?;
        }
        match &self.disk {
            Some(disk) if many => disk.everything(),
            Some(disk) => {
                disk.names(&self.root, &placed.iter().map(|one| one.folder.clone()).collect())
            }
            None => Ok(()),
        }
    }

    fn burn_all(&self, books: &[&Book]) -> Vec<Result<(), Failure>> {
        let mut results = vec![Ok(()); books.len()];
        let mut buffer = Vec::new();
        let mut staged: Vec<Staged<'_>> = Vec::with_capacity(books.len());
        for (position, book) in books.iter().enumerate() {
            match self.stage(position, book, &mut buffer) {
                Ok(mut one) => {
                    // The number of open files is limited, the size of a cart is not.
                    if books.len() > sync::FEW {
                        one.temporary.close();
                    }
                    staged.push(one);
                }
                Err(failure) => results[position] = Err(failure),
            }
        }
        if let Err(error) = self.sync_bytes(&staged) {
            all_refused(&mut results, &staged, "syncing", &error);
            return results;
        }
        let mut last = LastFolder::None;
        let mut made: Vec<(u64, WrittenFile)> = Vec::new();
        staged.retain_mut(|one| match self.placing.place(one, &mut last) {
            Ok(output) => {
                let book = books[one.position];
                if book.headers.get(STAMP).is_some() {
                    made.push((book.id.0, output));
                }
                true
            }
            Err(failure) => {
                results[one.position] = Err(failure);
                false
            }
        });
        drop(last);
        if !staged.is_empty()
            && let Err(error) = self.sync_names(books, &staged)
        {
            // The files are placed already: burning the books again is idempotent.
            all_refused(&mut results, &staged, "recording", &error);
        } else if !made.is_empty() {
            self.site.state.keep_outputs(made);
        }
        results
    }
}

/// Fails all staged books transiently: a disk error is not the fault of a book.
fn all_refused(
    results: &mut [Result<(), Failure>],
    staged: &[Staged<'_>],
    what: &str,
    error: &io::Error,
) {
    for one in staged {
        results[one.position] =
            Err(Failure::transient(format!("{what} {}: {error}", one.target.display())));
    }
}

/// Links a body that was spilled to a temporary file; false if it has to be copied. The spilled
/// file exists until its last body is dropped, so that a book which is burned again still has its
/// bytes.
fn linked(body: &Body, temporary: &mut Temporary<'_>, mode: u32) -> io::Result<bool> {
    match body {
        Body::File { file, offset: 0, len, .. } if file.is_temporary() => {
            let whole = match len {
                None => true,
                Some(len) => std::fs::metadata(file.path()).is_ok_and(|found| found.len() == *len),
            };
            Ok(whole && temporary.link(file.path(), mode)?)
        }
        _ => Ok(false),
    }
}

/// Names the file of a book in messages.
fn target_named(book: &Book) -> String {
    match book.headers.get(header::NAME) {
        Some(name) => names::shown(name),
        None => described(book),
    }
}

fn copy(
    book: &Book,
    temporary: &mut Temporary<'_>,
    mode: u32,
    buffer: &mut Vec<u8>,
) -> Result<(), Failure> {
    let unread = |error: io::Error| unreadable(book, &error);
    let unwritten =
        |error: io::Error| refused(format_args!("writing {}", target_named(book)), &error);
    if let Body::Bytes(bytes) = &book.body {
        return temporary.create(mode).and_then(|file| file.write_all(bytes)).map_err(unwritten);
    }
    let mut reader = book.body.open().map_err(unread)?;
    let file = temporary.create(mode).map_err(unwritten)?;
    buffer.resize(BUFFER, 0);
    loop {
        match read_some(&mut reader, buffer).map_err(unread)? {
            0 => return Ok(()),
            length => file.write_all(&buffer[..length]).map_err(unwritten)?,
        }
    }
}

/// Bytes that are copied per read.
const BUFFER: usize = 256 * 1024;

impl Burn for FileBurn {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.burn_all(&[book]).pop().unwrap_or(Ok(()))
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        Some(self.burn_all(books))
    }

    // Time is spent on disk I/O rather than CPU: bodies arrive compressed or are linked.
    fn waits(&self) -> bool {
        true
    }

    fn finish(&self) -> Result<(), Failure> {
        let finished = self.list();
        self.own.release(&self.site.node);
        finished
    }
}

impl FileBurn {
    /// Rewrites the manifest and syncs it to disk.
    fn list(&self) -> Result<(), Failure> {
        let Some(manifest) = &self.manifest else {
            return Ok(());
        };
        let rebuilt = manifest.rebuild(|mode, write| {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let mut temporary = self.staging.temporary(format!("list-{serial}"));
            write(temporary.create(mode)?)?;
            temporary.sync()?;
            temporary.place_over(&self.root, manifest.name().as_ref())?;
            self.root.open(".")?.sync_all()
        });
        rebuilt.map_err(|error| refused(format_args!("writing {}", manifest.name()), &error))
    }
}

#[cfg(test)]
mod tests;
