//! `files`: writes each body to a file of its name below a folder, all of it or nothing.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gopherworks_actors::book::{Body, Book, header};
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::work::filter::described;
use super::super::{FilePath, RunId, Site, names};

mod manifest;
mod staging;
mod sync;

use manifest::Manifest;
use staging::{Staging, Temporary};
use sync::Disk;

/// The folder below the root that holds what is not yet, or not at all, a burned book.
const OWN: &str = ".gopherworks";

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
/// With `durable`, when [`Burn::burn`] or [`Burn::burn_cart`] returns `Ok` for a book, its bytes, its name and its record for the
/// manifest have been given to the disk and would survive a loss of power. Without, they survive the end of the process, not
/// that of the machine.
pub struct Files {
    root: Dir,
    staging: Staging,
    disk: Option<Disk>,
    manifest: Option<Manifest>,
    serial: AtomicU64,
    run: RunId,
}

/// Makes the burn.
///
/// # Errors
/// A root that can't be created or written to.
pub fn make(options: &Options, site: &Site) -> Result<Files, Failure> {
    let path = options.root.as_path();
    let open = || {
        Dir::create_ambient_dir_all(path, ambient_authority())?;
        let root = Dir::open_ambient_dir(path, ambient_authority())?;
        let staging = Staging::open(&root)?;
        let disk = if options.durable {
            Some(Disk::of(&root)?)
        } else {
            None
        };
        let manifest = match &options.manifest {
            Some(name) => Some(Manifest::open(path, &name.0, &site.node)?),
            None => None,
        };
        Ok(Files {
            root,
            staging,
            disk,
            manifest,
            serial: AtomicU64::new(0),
            run: site.run.clone(),
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
    target: PathBuf,
    temporary: Temporary<'a>,
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
        let target = target(&names::name_of(book, &self.run), manifest)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut temporary = self.staging.temporary(format!("{}-{serial}", book.id));
        if !linked(&book.body, &mut temporary).map_err(|error| refused("linking", &error))? {
            copy(book, &mut temporary, buffer)?;
        }
        Ok(Staged {
            position,
            target,
            temporary,
        })
    }

    /// Puts a file under its name, and makes the folders on the way if they are missing.
    fn place(&self, staged: &mut Staged<'_>) -> Result<(), Failure> {
        let target = &staged.target;
        let placed = staged.temporary.place(&self.root, target).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.root.create_dir_all(sync::folder_of(target))?;
            staged.temporary.place(&self.root, target)
        });
        placed.map_err(|error| {
            refused(
                format_args!("placing {}", names::shown(names::path_bytes(target))),
                &error,
            )
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
                &placed
                    .iter()
                    .map(|one| sync::folder_of(&one.target))
                    .collect(),
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
        staged.retain_mut(|one| {
            let placed = self.place(one);
            let keep = placed.is_ok();
            results[one.position] = placed;
            keep
        });
        if !staged.is_empty()
            && let Err(error) = self.sync_names(books, &staged)
        {
            // The files are where they belong; burning them again changes nothing.
            all_refused(&mut results, &staged, "recording", &error);
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
fn linked(body: &Body, temporary: &mut Temporary<'_>) -> io::Result<bool> {
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
            Ok(whole && temporary.link(file.path())?)
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

fn copy(book: &Book, temporary: &mut Temporary<'_>, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    let unread =
        |error: io::Error| Failure::io(format_args!("reading {}", described(book)), &error);
    let unwritten =
        |error: io::Error| refused(format_args!("writing {}", target_named(book)), &error);
    if let Body::Bytes(bytes) = &book.body {
        return temporary
            .create()
            .and_then(|file| file.write_all(bytes))
            .map_err(unwritten);
    }
    let mut reader = book.body.open().map_err(unread)?;
    let file = temporary.create().map_err(unwritten)?;
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
        let Some(manifest) = &self.manifest else {
            return Ok(());
        };
        let rebuilt = manifest.rebuild(|write| {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let mut temporary = self.staging.temporary(format!("list-{serial}"));
            write(temporary.create()?)?;
            temporary.sync()?;
            temporary.place(&self.root, Path::new(manifest.name()))?;
            self.root.open(".")?.sync_all()
        });
        rebuilt.map_err(|error| refused(format_args!("writing {}", manifest.name()), &error))
    }
}

#[cfg(test)]
mod tests;
