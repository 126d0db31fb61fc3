//! Files that flags name: found out to be writable before anything runs, written once there is something to write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gopherworks::plan::Plan;
use gopherworks::private;
use tempfile::{Builder, NamedTempFile};

use super::Failed;

/// A file of JSON that is written at the end of a command.
pub struct Output {
    what: &'static str,
    path: PathBuf,
    /// A device or a pipe is opened at once, since there is nothing to replace.
    stream: Option<File>,
}

impl Output {
    /// Checks that `path` can be written, for what a flag calls `what`. The file is left as it is.
    ///
    /// # Errors
    /// A folder that is missing or read-only, a file that may not be written, a fifo that no program reads.
    pub fn check(what: &'static str, path: Option<&Path>) -> Result<Option<Self>, Failed> {
        let Some(path) = path else {
            return Ok(None);
        };
        let checked = || -> io::Result<Option<File>> {
            match fs::metadata(path) {
                Ok(old) if old.is_file() => {
                    OpenOptions::new().write(true).open(path)?;
                    Ok(None)
                }
                Ok(_) => private::open(path).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    beside(path)?;
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        let stream = checked().map_err(|error| failed(what, path, &error))?;
        let path = path.to_owned();
        Ok(Some(Self { what, path, stream }))
    }

    /// Writes `value` as JSON. A file is replaced as a whole, so that a disk that is full leaves the old one; a new file is readable by its
    /// owner only.
    ///
    /// # Errors
    /// Those of writing.
    pub fn json(self, value: &impl serde::Serialize) -> Result<(), Failed> {
        let Self { what, path, stream } = self;
        let text = serde_json::to_vec_pretty(value).map_err(io::Error::other);
        text.and_then(|mut text| {
            text.push(b'\n');
            match stream {
                Some(stream) => stream_out(&stream, &text),
                None => replace(&path, &text),
            }
        })
        .map_err(|error| failed(what, &path, &error))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failed {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "\n  help: create its folder first",
        io::ErrorKind::NotConnected => "\n  help: start the program that reads it first",
        _ => "",
    };
    Failed::new(format!("error: the {what} {} can't be written: {error}{hint}", path.display()))
}

/// Where a file's bytes are gathered until they replace it.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    Builder::new().prefix(".gopherworks-").tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // The file itself, not the link to it.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&target).ok();
    let shared = old.as_ref().is_some_and(|old| old.nlink() > 1);
    let fresh = match beside(&target) {
        Ok(fresh) if !shared => fresh,
        // Its folder takes no new file, or the file has other names: it is written in place.
        Ok(_) | Err(_) if old.is_some() => {
            let mut file = OpenOptions::new().write(true).truncate(true).open(&target)?;
            return file.write_all(text);
        }
        Ok(fresh) => fresh,
        Err(error) => return Err(error),
    };
    fresh.as_file().write_all(text)?;
    if let Some(old) = old {
        let mode = fs::Permissions::from_mode(old.mode() & 0o777);
        fresh.as_file().set_permissions(mode)?;
    }
    fresh.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// Writes to a device or a pipe, waiting for its reader.
fn stream_out(mut stream: &File, text: &[u8]) -> io::Result<()> {
    match stream.write_all(text) {
        // A reader that has gone away has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Refuses a flag's file that is the config, a file that the design reads or writes, or another flag's: each would destroy the other.
///
/// # Errors
/// Which two are the same.
pub fn apart(flags: &[(&str, Option<&Path>)], config: &Path, plan: &Plan) -> Result<(), Failed> {
    let mut taken = vec![(place(config), "the config")];
    let reads = plan.reads().into_iter().map(|path| (path, "what the design reads"));
    let writes = plan.writes().into_iter().map(|path| (path, "what the design writes"));
    // Not its folders: a report may stand among the files that a design writes.
    taken.extend(reads.chain(writes).map(|(path, what)| (place(path), what)));
    for (flag, path) in flags.iter().filter_map(|(flag, path)| Some((*flag, (*path)?))) {
        // Devices and pipes may be shared.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        let here = place(path);
        if let Some((_, what)) = taken.iter().find(|(other, _)| *other == here) {
            return Err(Failed::new(format!(
                "error: {flag} {} is {what}\n  help: name another file",
                path.display()
            )));
        }
        taken.push((here, flag));
    }
    Ok(())
}

/// Tells files apart whatever they are called: by their number, or by the path where there is none yet.
#[derive(PartialEq, Eq)]
enum Place {
    File(u64, u64),
    Path(PathBuf),
}

fn place(path: &Path) -> Place {
    match fs::metadata(path) {
        Ok(found) => Place::File(found.dev(), found.ino()),
        Err(_) => Place::Path(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
    }
}
