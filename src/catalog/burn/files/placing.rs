//! Renames files to their targets: creates folders on the way and resolves conflicts.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use gopherworks_supervision::failure::Failure;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::super::names;
use super::super::super::run_state::{FileId, Inputs, RunState, WrittenFile, file_id};
use super::refusals::Refusals;
use super::{Own, Staged, refused};

/// What to do with a book whose target belongs to another book of the run, or to an input that
/// still exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum OnConflict {
    /// The book becomes a dead letter; the existing file stays unchanged.
    #[default]
    Error,
    /// The book's file is named `name~2.ext`, `name~3.ext` and so on.
    Suffix,
    /// The file is replaced: the last book wins.
    Replace,
}

const WHAT_TO_DO: &str =
    "`on_conflict` of the burn can be \"suffix\", which keeps both, or \"replace\"";

/// Why a target cannot be used.
enum Taken {
    Book,
    Earlier(PathBuf),
    Input,
    NoFile,
}

/// The output folder, and the run's list of placed files, which all its burns share.
pub(super) struct Placing {
    root: Dir,
    // Contains no symbolic links, so that it can be compared.
    path: PathBuf,
    run: RunState,
    inputs: Vec<Arc<dyn Inputs>>,
    refusals: Refusals,
    on_conflict: OnConflict,
}

/// The last folder used: the path wanted, the path found and its handle. The files of a cart are
/// often in one folder.
pub(super) type LastFolder = Option<(PathBuf, PathBuf, Dir)>;

impl Placing {
    /// Prepares to place files below `root`, which is at `path`, on behalf of `node`.
    pub(super) fn open(
        (root, path): (Dir, PathBuf),
        own: Arc<Own>,
        node: &str,
        run: &RunState,
        on_conflict: OnConflict,
    ) -> io::Result<Self> {
        run.writes(&path);
        Ok(Self {
            refusals: Refusals::open(own, &path, node)?,
            root,
            path,
            run: run.clone(),
            inputs: run.inputs(),
            on_conflict,
        })
    }

    /// Renames a file to its target, or to the name that `on_conflict` gives it; creates missing
    /// folders.
    ///
    /// Unless `on_conflict` is `replace`, a file of this run is replaced only by the same book,
    /// burned again, and a file of an earlier run stays if it was made from another input that
    /// still exists. An input of the run is never replaced. Any other file is.
    pub(super) fn place(
        &self,
        staged: &mut Staged<'_>,
        last: &mut LastFolder,
    ) -> Result<WrittenFile, Failure> {
        let failed = |target: &Path, error: &io::Error| {
            let shown = names::shown(names::path_bytes(target));
            refused(format_args!("placing {shown}"), error)
        };
        let parent = staged.target.parent().unwrap_or(Path::new("")).to_owned();
        if last.as_ref().is_none_or(|(wanted, ..)| *wanted != parent) {
            *last = Some(
                self.folder(&parent, staged.origin.as_deref())
                    .map(|(found, dir)| (parent, found, dir))
                    .map_err(|error| failed(&staged.target, &error))?,
            );
        }
        let Some((_, found, dir)) = &*last else {
            return Err(Failure::permanent("a file without a folder"));
        };
        let Some(name) = staged.target.file_name() else {
            return Err(Failure::permanent("a file without a name"));
        };
        let wanted = found.join(name);
        let full = self.path.join(&wanted);
        let suffixes = self.on_conflict == OnConflict::Suffix;
        // A book that is burned again keeps its suffix.
        let before = suffixes.then(|| self.run.placed().suffix(&full, staged.book)).flatten();
        let mut target = before.map_or_else(|| wanted.clone(), |number| suffixed(&wanted, number));
        loop {
            let taken = self.put(staged, dir, &target).map_err(|error| failed(&target, &error))?;
            match taken {
                None => break,
                Some(_) if suffixes => {
                    let number = self.run.placed().next_suffix(&full, staged.book);
                    target = suffixed(&wanted, number);
                }
                Some(taken) => {
                    if let (Taken::Book | Taken::Earlier(_), Some(owner)) = (&taken, &staged.owner)
                    {
                        self.refusals
                            .note(&target, owner)
                            .map_err(|error| failed(&target, &error))?;
                    }
                    return Err(self.conflict(&target, &taken));
                }
            }
        }
        staged.folder = found.clone();
        Ok(WrittenFile {
            path: self.path.join(target),
            size: staged.identity.size,
            mtime: staged.identity.mtime,
        })
    }

    /// Renames the file to `target` in `dir`, or returns why the target is taken.
    fn put(&self, staged: &mut Staged<'_>, dir: &Dir, target: &Path) -> io::Result<Option<Taken>> {
        if !self.knows(staged) {
            return self.put_known(staged, dir, target);
        }
        let mine = staged.identity.id;
        // Register the file before it is visible, so that no other book takes it for one of an
        // earlier run.
        let before = self.run.placed().insert(mine, staged.book);
        let outcome = self.put_known(staged, dir, target);
        if !matches!(outcome, Ok(None)) {
            self.run.placed().restore(mine, before);
        }
        outcome
    }

    /// False if the file need not be registered: a target made from a key is unique to its book,
    /// and with `replace` the previous owner of a file does not matter.
    fn knows(&self, staged: &Staged<'_>) -> bool {
        let replaces = self.on_conflict == OnConflict::Replace && self.inputs.is_empty();
        staged.named && !replaces
    }

    // Does not hold the lock on the placed files during disk I/O: a hung disk blocks no other burn.
    fn put_known(
        &self,
        staged: &mut Staged<'_>,
        dir: &Dir,
        target: &Path,
    ) -> io::Result<Option<Taken>> {
        let Some(name) = target.file_name() else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        loop {
            if staged.temporary.place_new(dir, name)? {
                return Ok(None);
            }
            let there = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(there) => there,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = FileType::from_raw_mode(there.st_mode);
            if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
                return Ok(Some(Taken::NoFile));
            }
            let id = file_id(&there);
            if self.run.placed().book_of(id).is_none()
                && let Some(taken) = self.earlier(target, id, there.st_nlink as u64, staged)
            {
                return Ok(Some(taken));
            }
            if !self.knows(staged) {
                return staged.temporary.place_over(dir, name).map(|()| None);
            }
            // Claim the old file for this book, even if it is gone: only one of two books that have
            // found it replaces it.
            let before = {
                let mut placed = self.run.placed();
                match placed.book_of(id) {
                    Some(book)
                        if book != staged.book && self.on_conflict != OnConflict::Replace =>
                    {
                        return Ok(Some(Taken::Book));
                    }
                    _ => placed.insert(id, staged.book),
                }
            };
            let replaced = staged.temporary.place_over(dir, name);
            if replaced.is_err() {
                self.run.placed().restore(id, before);
            }
            return replaced.map(|()| None);
        }
    }

    /// Why a file that this run has not placed must stay; `None` if it may be replaced.
    fn earlier(&self, target: &Path, id: FileId, names: u64, staged: &Staged<'_>) -> Option<Taken> {
        let origin = staged.origin.as_deref();
        if self.inputs.is_empty() {
            let owner = staged.owner.as_deref()?;
            let refused =
                self.on_conflict != OnConflict::Replace && self.refusals.holds(target, owner);
            return refused.then_some(Taken::Book);
        }
        // The file may be the input under another path, e.g. if a folder is mounted twice.
        let itself = |origin: &Path| {
            let found = origin.symlink_metadata();
            found.is_ok_and(|found| (found.dev(), found.ino()) == id)
        };
        if names == 1 && origin.is_some_and(itself) {
            return Some(Taken::Input);
        }
        let path = self.path.join(target);
        for inputs in &self.inputs {
            match inputs.origin_of(&path) {
                Some(made_of) if origin == Some(&made_of) => return None,
                Some(_) if self.on_conflict == OnConflict::Replace => return None,
                Some(made_of) => return Some(Taken::Earlier(made_of)),
                None => {}
            }
        }
        // A symbolic link inside the root may lead to another of its folders.
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        let real = match (parent, path.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => path,
        };
        let listed = self.inputs.iter().any(|inputs| inputs.lists(&real));
        listed.then_some(Taken::Input)
    }

    fn conflict(&self, target: &Path, taken: &Taken) -> Failure {
        let shown = names::shown(names::path_bytes(&self.path.join(target)));
        Failure::permanent(match taken {
            Taken::Book => format!("{shown} is the file of another book; {WHAT_TO_DO}"),
            Taken::Earlier(origin) => format!(
                "{shown} was made from {} by an earlier run; {WHAT_TO_DO}",
                names::shown(names::path_bytes(origin))
            ),
            Taken::Input => format!("{shown} is an input of this run, and no output replaces one"),
            Taken::NoFile => {
                format!("{shown} is a folder, a pipe or a device, where this book's file should be")
            }
        })
    }

    /// Opens a folder below the root and creates what is missing of it. Returns its actual path,
    /// which has a suffix where a file already has the folder's name.
    fn folder(&self, wanted: &Path, origin: Option<&Path>) -> io::Result<(PathBuf, Dir)> {
        if wanted.as_os_str().is_empty() {
            return Ok((PathBuf::new(), self.root.try_clone()?));
        }
        match self.root.open_dir(wanted) {
            Ok(dir) => return Ok((wanted.to_owned(), dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if self.is_in_the_way(&error) => {}
            Err(error) => return Err(error),
        }
        let (mut found, mut dir) = (PathBuf::new(), self.root.try_clone()?);
        let mut prefix = PathBuf::new();
        for part in wanted {
            prefix.push(part);
            let mode = folder_mode(origin, wanted, &prefix);
            let mut number = 1;
            (found, dir) = loop {
                let next = match number {
                    1 => found.join(part),
                    _ => suffixed(&found.join(part), number),
                };
                let name = next.file_name().unwrap_or(part);
                match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(mode as _)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                match self.root.open_dir(&next) {
                    Ok(dir) => break (next, dir),
                    // A file has this name: try the next suffix.
                    Err(error) if self.is_in_the_way(&error) => number += 1,
                    Err(error) => return Err(error),
                }
            };
        }
        Ok((found, dir))
    }

    fn is_in_the_way(&self, error: &io::Error) -> bool {
        self.on_conflict == OnConflict::Suffix && error.kind() == io::ErrorKind::NotADirectory
    }
}

/// Mode to create a folder with: that of the corresponding folder of the input, so that nothing
/// becomes more visible, or 0777 if there is none. The owner gets all rights, without which no file
/// could be created in it.
fn folder_mode(origin: Option<&Path>, wanted: &Path, prefix: &Path) -> u32 {
    let of_input = || {
        let folder = origin?.parent()?;
        if !folder.ends_with(wanted) {
            return None;
        }
        let up = wanted.components().count() - prefix.components().count();
        let found = folder.ancestors().nth(up)?.metadata().ok()?;
        Some(found.mode() & 0o777 | 0o700)
    };
    of_input().unwrap_or(0o777)
}

/// Adds a suffix: `a/b.gz` becomes `a/b~2.gz`.
pub(super) fn suffixed(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("~{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}
