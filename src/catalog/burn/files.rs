//! `files`: writes each body to a file of its name below a folder, all of it or nothing.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gopherworks_actors::book::{Body, Book, header};
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::own::{NAME as OWN, Own};
use super::super::run_state::{Output, RunState};
use super::super::source::STAMP;
use super::super::work::filter::described;
use super::super::{FilePath, RunId, Site, names};

mod manifest;
mod placing;
mod refusals;
mod staging;
mod sync;

use manifest::Manifest;
use placing::{LastFolder, OnConflict, Placing};
use staging::{Identity, Mtime, Staging, Temporary};
use sync::Disk;

/// Options of `files`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder; it is created.
    root: FilePath,
    /// Name of a list of digests for sha256sum -c, kept below the root; needs the work sha256.
    #[serde(default)]
    manifest: Option<FileName>,
    /// Waits until the disk has a book before it counts as burned.
    #[serde(default = "yes")]
    durable: bool,
    /// What is done where two books of a run have one target: the second is a dead letter, gets a
    /// name like `name~2.ext`, or replaces the first.
    #[serde(default)]
    on_conflict: OnConflict,
    /// Gives a file the modification time of the file that its book came from.
    #[serde(default = "yes")]
    mtime: bool,
}

fn yes() -> bool {
    true
}

/// A name without folders.
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

/// Writes files below a root that no name and no symbolic link leads out of.
///
/// A body is written under a temporary name in `.gopherworks/tmp` and renamed into place, so at its own name there is either the
/// whole of it or what was there before; a book that comes again replaces its file by an equal one. A body that was spilled
/// to a temporary file on the same file system is linked instead of copied.
///
/// Two books of a run never have one file, unless `on_conflict = "replace"` says so; names that
/// differ and lead to one file (on a file system that folds case, or by a link inside the root)
/// count as one. A file that was there before the run is replaced, but never an input of the run,
/// nor what an earlier run has made of another input that is still there (which a source with
/// `remember` knows). One run at a time writes below a root.
///
/// A run knows the files that it has placed, at about 50 bytes each, until it ends; not those
/// of books without a name, and none where `replace` is the rule and no source reads files.
///
/// A file has the mode of the file that its book came from, less what the umask takes away; so do
/// folders that are made.
///
/// With `durable`, when [`Burn::burn`] or [`Burn::burn_cart`] returns `Ok` for a book, its bytes, its name and its record for the
/// manifest have been given to the disk and would survive a loss of power. Without, they survive the end of the process, not
/// that of the machine.
pub struct Files {
    root: Dir,
    own: Arc<Own>,
    placing: Placing,
    staging: Staging,
    disk: Option<Disk>,
    manifest: Option<Manifest>,
    serial: AtomicU64,
    run: RunId,
    state: RunState,
    node: String,
    mtime: bool,
}

/// Makes the burn.
///
/// # Errors
/// A root that can't be created or written to, or that another run writes to.
pub fn make(options: &Options, site: &Site) -> Result<Files, Failure> {
    let path = options.root.as_path();
    let open = || {
        let path = site.state.folder(path, None)?;
        let root = Dir::open_ambient_dir(&path, ambient_authority())?;
        let own = site.state.own(&path, &site.node)?;
        site.state.keep_apart(path.join(OWN));
        let staging = Staging::open(&own)?;
        let disk = if options.durable {
            Some(Disk::of(&root)?)
        } else {
            None
        };
        let manifest = match &options.manifest {
            Some(name) => Some(Manifest::open(
                own.clone(),
                &path,
                &name.0,
                &site.node,
                &site.state,
            )?),
            None => None,
        };
        Ok(Files {
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
            run: site.run.clone(),
            state: site.state.clone(),
            node: site.node.clone(),
            mtime: options.mtime,
        })
    };
    open().map_err(|error: io::Error| {
        Failure::io(
            format_args!("opening the folder {}", path.display()),
            &error,
        )
    })
}

/// A body that has been written in full, not yet under its name.
struct Staged<'a> {
    position: usize,
    // The same number for one book, however often it comes.
    book: u64,
    origin: Option<PathBuf>,
    // What tells it from others in later runs.
    owner: Option<Vec<u8>>,
    // False where its key is its name.
    named: bool,
    target: PathBuf,
    // Where it was put, below the root.
    folder: PathBuf,
    temporary: Temporary<'a>,
    identity: Identity,
}

/// The number by which a book is known again within the run.
fn number_of(book: &Book) -> u64 {
    match book.headers.get(header::KEY) {
        Some(key) => {
            let mut hasher = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(key, &mut hasher);
            std::hash::Hasher::finish(&hasher)
        }
        None => book.id.0,
    }
}

/// The rights of header [`header::MODE`].
fn parse_mode(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    Some(u32::from_str_radix(text, 8).ok()? & 0o777)
}

/// The time of header [`header::MTIME`].
fn parse_mtime(text: &[u8]) -> Option<Mtime> {
    let (seconds, nanoseconds) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let whole = nanoseconds.len() == 9 && nanoseconds.bytes().all(|digit| digit.is_ascii_digit());
    Some((
        seconds.parse().ok()?,
        nanoseconds.parse().ok().filter(|_| whole)?,
    ))
}

/// The path below the root that a name stands for.
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
    if name
        .split(|byte| *byte == b'/')
        .any(|part| matches!(part, b"" | b"." | b".."))
        || !path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(refused("has a part that is empty, \".\" or \"..\""));
    }
    // File systems that fold case would find ours under another spelling.
    let same = |part: &[u8], ours: &str| part.eq_ignore_ascii_case(ours.as_bytes());
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    if same(first, OWN) || manifest.is_some_and(|manifest| same(first, manifest)) {
        return Err(refused("belongs to the archive itself"));
    }
    Ok(path)
}

/// What the output side refuses is the book's fault only where another attempt would meet the same; a full or
/// vanished disk is not.
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

impl Files {
    /// Writes a body under a temporary name.
    fn stage(
        &self,
        position: usize,
        book: &Book,
        buffer: &mut Vec<u8>,
    ) -> Result<Staged<'_>, Failure> {
        let manifest = self.manifest.as_ref().map(Manifest::name);
        let name = names::name_of(book, &self.run);
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

    /// Waits for the bytes of what is staged.
    fn sync_bytes(&self, staged: &[Staged<'_>]) -> io::Result<()> {
        match &self.disk {
            Some(disk) if staged.len() > sync::FEW => disk.everything(),
            Some(_) => staged.iter().try_for_each(|one| one.temporary.sync()),
            None => Ok(()),
        }
    }

    /// Records what was placed, and waits for names and records.
    fn sync_names(&self, books: &[&Book], placed: &[Staged<'_>]) -> io::Result<()> {
        let many = placed.len() > sync::FEW;
        if let Some(manifest) = &self.manifest {
            // Of many, the sync of everything covers the records, too.
            let sync_now = self.disk.is_some() && !many;
            manifest.record(placed.iter().map(|one| books[one.position]), sync_now)?;
        }
        match &self.disk {
            Some(disk) if many => disk.everything(),
            Some(disk) => disk.names(
                &self.root,
                &placed.iter().map(|one| one.folder.clone()).collect(),
            ),
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
                    // Open files are bounded, carts need not be.
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
        let mut made: Vec<(u64, Output)> = Vec::new();
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
            // The files are where they belong; burning them again changes nothing.
            all_refused(&mut results, &staged, "recording", &error);
        } else if !made.is_empty() {
            self.state.keep_outputs(made);
        }
        results
    }
}

/// What is wrong with the disk is no book's fault.
fn all_refused(
    results: &mut [Result<(), Failure>],
    staged: &[Staged<'_>],
    what: &str,
    error: &io::Error,
) {
    for one in staged {
        results[one.position] = Err(Failure::transient(format!(
            "{what} {}: {error}",
            one.target.display()
        )));
    }
}

/// Links a body that was spilled to a temporary file. The spilled file stays until its last body is dropped, so a book that has
/// to be burned again still has its bytes.
fn linked(body: &Body, temporary: &mut Temporary<'_>, mode: u32) -> io::Result<bool> {
    match body {
        Body::File {
            file,
            offset: 0,
            len,
            ..
        } if file.is_temporary() => {
            let whole = match len {
                None => true,
                Some(len) => std::fs::metadata(file.path()).is_ok_and(|found| found.len() == *len),
            };
            Ok(whole && temporary.link(file.path(), mode)?)
        }
        _ => Ok(false),
    }
}

/// What a message calls the file that a book becomes.
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
    let unread =
        |error: io::Error| Failure::io(format_args!("reading {}", described(book)), &error);
    let unwritten =
        |error: io::Error| refused(format_args!("writing {}", target_named(book)), &error);
    if let Body::Bytes(bytes) = &book.body {
        return temporary
            .create(mode)
            .and_then(|file| file.write_all(bytes))
            .map_err(unwritten);
    }
    let mut reader = book.body.open().map_err(unread)?;
    let file = temporary.create(mode).map_err(unwritten)?;
    buffer.resize(BUFFER, 0);
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => file.write_all(&buffer[..length]).map_err(unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
}

/// Bytes that are copied at once.
const BUFFER: usize = 256 * 1024;

impl Burn for Files {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.burn_all(&[book]).pop().unwrap_or(Ok(()))
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        Some(self.burn_all(books))
    }

    // Bodies come compressed or are linked: what takes time is the disk.
    fn waits(&self) -> bool {
        true
    }

    fn finish(&self) -> Result<(), Failure> {
        let finished = self.list();
        self.own.release(&self.node);
        finished
    }
}

impl Files {
    /// Writes the manifest.
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
