//! Syncs to disk. Concurrent callers share one sync of the whole file system.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use cap_std::fs::Dir;
use parking_lot::{Condvar, Mutex};

/// Up to this number of files, each is synced separately. Beyond it, one `syncfs` (Linux only)
/// costs less than an `fsync` per file, although it also writes the data of other programs on that
/// file system.
pub(super) const FEW: usize = if cfg!(target_os = "linux") { 8 } else { usize::MAX };

/// The file system that contains the root.
pub(super) struct Disk {
    root: File,
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

/// Numbers of sync rounds. A round covers only what was written before it began, so a caller that
/// arrives during a round waits for the next one, which serves all callers that wait by then.
#[derive(Debug, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    // Number, error kind and error text of the last failed round.
    failed: Option<(u64, io::ErrorKind, String)>,
}

impl Disk {
    pub(super) fn of(root: &Dir) -> io::Result<Self> {
        Ok(Self {
            // On Linux the descriptor of a `Dir` is opened with `O_PATH` and cannot be synced.
            root: root.open(".")?.into_std(),
            rounds: Mutex::new(Rounds::default()),
            ended: Condvar::new(),
        })
    }

    /// Blocks until these folders below `root`, their entries and their parent folders are on disk.
    pub(super) fn names(&self, root: &Dir, folders: &BTreeSet<PathBuf>) -> io::Result<()> {
        let mut all = BTreeSet::new();
        for folder in folders {
            all.extend(folder.ancestors().filter(|path| !path.as_os_str().is_empty()));
        }
        if all.len() >= FEW {
            return self.everything();
        }
        for folder in all {
            root.open(folder)?.sync_all()?;
        }
        self.root.sync_all()
    }

    /// Blocks until everything written to the file system before the call is on disk.
    pub(super) fn everything(&self) -> io::Result<()> {
        let mut rounds = self.rounds.lock();
        let mine = rounds.begun + 1;
        while rounds.ended < mine {
            if rounds.begun > rounds.ended {
                self.ended.wait(&mut rounds);
                continue;
            }
            rounds.begun += 1;
            drop(rounds);
            let outcome = sync_file_system(&self.root);
            rounds = self.rounds.lock();
            rounds.ended = rounds.begun;
            if let Err(error) = outcome {
                rounds.failed = Some((rounds.ended, error.kind(), error.to_string()));
            }
            self.ended.notify_all();
        }
        match &rounds.failed {
            Some((round, kind, text)) if *round >= mine => Err(io::Error::new(*kind, text.clone())),
            _ => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn sync_file_system(root: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(root)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(root: &File) -> io::Result<()> {
    // Never called: `FEW` is unbounded on this platform.
    root.sync_all()
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn many_at_once_are_all_served() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let disk = Disk::of(&root).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        disk.everything().unwrap();
                    }
                });
            }
        });
        let rounds = disk.rounds.lock();
        assert_eq!(rounds.begun, rounds.ended);
        assert!((4..=32).contains(&rounds.ended), "{rounds:?}");
    }

    #[test]
    fn names_in_new_folders_can_be_synced() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        root.create_dir_all("a/b/c").unwrap();
        let disk = Disk::of(&root).unwrap();
        let few = BTreeSet::from([PathBuf::new(), PathBuf::from("a/b/c")]);
        disk.names(&root, &few).unwrap();
        assert_eq!(disk.rounds.lock().ended, 0);
        assert!(disk.names(&root, &BTreeSet::from([PathBuf::from("gone")])).is_err());
    }
}
