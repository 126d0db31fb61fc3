//! Files that only their owner may read: reports, dead letters, traces. Opening one never blocks.
//!
//! New files have mode 0600 and new folders 0700, less the umask; existing files keep their mode.
//!
//! Paths here are the user's own, so links are followed, and a pipe or a device may be named
//! (`--report >(jq)`, `--trace /dev/stdout`). Files below an output folder are opened by
//! `catalog::own` instead, which follows no link.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens `path` for writing at its beginning, creates it if it is missing, and keeps its content: a
/// file for the end of a run is opened early and emptied by [`File::set_len`] later.
///
/// # Errors
/// The file can't be opened; `path` is a folder, or a pipe without a reader.
pub fn open(path: &Path) -> io::Result<File> {
    opened(path, OpenOptions::new().write(true).create(true))
}

/// Opens `path` as [`open`] does and empties it.
///
/// # Errors
/// As [`open`].
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    opened(path, options.write(true).create(true).truncate(true))
}

/// Opens `path` for writing at its end, and creates it if it is missing.
///
/// # Errors
/// As [`open`].
pub fn append(path: &Path) -> io::Result<File> {
    opened(path, OpenOptions::new().append(true).create(true))
}

/// Creates a folder and those above it.
///
/// # Errors
/// A folder can't be created.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn opened(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file =
        options.mode(0o600).custom_flags(nonblocking).open(path).map_err(|error| {
            match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => io::Error::new(
                    io::ErrorKind::NotConnected,
                    "a pipe that no process reads, or a device that is not there",
                ),
                _ => error,
            }
        })?;
    // Only opening must not block; writing may.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(not(unix))]
fn opened(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_its_owners_alone_and_what_was_there_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, open) in
            [("a", open as fn(&Path) -> io::Result<File>), ("b", create), ("c", append)]
        {
            open(&path(name)).unwrap();
            assert_eq!(mode(&path(name)), 0o600, "{name}");
        }
        create_dir_all(&path("d/e")).unwrap();
        assert_eq!((mode(&path("d")), mode(&path("d/e"))), (0o700, 0o700));
        fs::write(path("old"), "old").unwrap();
        fs::set_permissions(path("old"), fs::Permissions::from_mode(0o640)).unwrap();
        append(&path("old")).unwrap().write_all(b"+").unwrap();
        open(&path("old")).unwrap().write_all(b"O").unwrap();
        assert_eq!(fs::read_to_string(path("old")).unwrap(), "Old+");
        create(&path("old")).unwrap();
        assert_eq!(fs::read_to_string(path("old")).unwrap(), "");
        assert_eq!(mode(&path("old")), 0o640);
    }

    #[test]
    fn a_pipe_is_written_to_if_it_is_read_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let refused = create(&path).unwrap_err();
        assert!(refused.to_string().contains("no process reads"), "{refused}");
        assert!(append(folder.path()).is_err());
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text.len()
            }
        });
        // The pipe is refused until the reader has opened it; then more is written than it holds.
        let mut file = loop {
            match create(&path) {
                Ok(file) => break file,
                Err(_) => std::thread::yield_now(),
            }
        };
        file.write_all(&[b'x'; 200_000]).unwrap();
        drop(file);
        assert_eq!(reader.join().unwrap(), 200_000);
    }
}
