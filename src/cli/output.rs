//! Output files that flags name: checked before anything runs, written at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gopherworks::plan::Plan;
use gopherworks::private;
use tempfile::{Builder, NamedTempFile};

use super::Failed;

/// A file of JSON that is written at the end of a command.
pub struct OutputFile {
    what: &'static str,
    path: PathBuf,
    /// Devices and pipes are opened at once: there is nothing to replace.
    stream: Option<File>,
}

impl OutputFile {
    /// Checks that `path` can be written, and leaves it as it is. `what` names the file in
    /// messages.
    ///
    /// # Errors
    /// A folder that is missing or read-only, a file that may not be written, a fifo that no
    /// program reads.
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

    /// Writes `value` as JSON. A file is replaced in one step, so a full disk leaves the old one; a
    /// new file is readable by its owner only.
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

/// A temporary file in the same folder, to replace `path`.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    Builder::new().prefix(".gopherworks-").tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // Replace the file, not the symbolic link to it.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&target).ok();
    let shared = old.as_ref().is_some_and(|old| old.nlink() > 1);
    let fresh = match beside(&target) {
        Ok(fresh) if !shared => fresh,
        // Written in place: its folder takes no new file, or the file has other hard links.
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
        // A reader that closed the pipe is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Rejects an output file that is the config, a file of the design, or another flag's file.
///
/// # Errors
/// Names the two that are the same.
pub fn apart(flags: &[(&str, Option<&Path>)], config: &Path, plan: &Plan) -> Result<(), Failed> {
    let mut taken = vec![(identity(config), "the config")];
    let reads = plan.reads().into_iter().map(|path| (path, "what the design reads"));
    let writes = plan.writes().into_iter().map(|path| (path, "what the design writes"));
    let store = plan.store_files();
    let writes = writes.chain(store.iter().map(|path| (path, "a file of the store")));
    // Files only: a report may be written among the files of a design.
    taken.extend(reads.chain(writes).map(|(path, what)| (identity(path), what)));
    for (flag, path) in flags.iter().filter_map(|(flag, path)| Some((*flag, (*path)?))) {
        // Devices and pipes may be shared.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        let here = identity(path);
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

/// Identity of a file: device and inode, or the path of a file that does not exist yet.
#[derive(PartialEq, Eq)]
enum FileIdentity {
    File(u64, u64),
    Path(PathBuf),
}

fn identity(path: &Path) -> FileIdentity {
    match fs::metadata(path) {
        Ok(found) => FileIdentity::File(found.dev(), found.ino()),
        Err(_) => FileIdentity::Path(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
    }
}
