//! Where a file goes: the folders on the way, and what is done where its place is taken.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use gopherworks_actors::failure::Failure;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::super::names;
use super::super::super::run_state::{FileId, Inputs, Output, RunState};
use super::refusals::Refusals;
use super::{Own, Staged, refused};

/// What is done with a book whose file another book of the run, or an input that is still there,
/// has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum OnConflict {
    /// The book is a dead letter; the file stays as it is.
    #[default]
    Error,
    /// The book's file is called `name~2.ext`, `name~3.ext` ...
    Suffix,
    /// The last book has the file.
    Replace,
}

const WHAT_TO_DO: &str =
    "`on_conflict` of the burn can be \"suffix\", which keeps both, or \"replace\"";

/// Why a place is taken.
enum Taken {
    Book,
    Earlier(PathBuf),
    Input,
    NoFile,
}

/// The folder of the outputs, as all burns of the run see it.
pub(super) struct Placing {
    root: Dir,
    // Without links, so that it can be compared.
    path: PathBuf,
    run: RunState,
    inputs: Vec<Arc<dyn Inputs>>,
    refusals: Refusals,
    on_conflict: OnConflict,
}

/// The folder that was used last: the files of a cart are often neighbours.
pub(super) type LastFolder = Option<(PathBuf, PathBuf, Dir)>;

impl Placing {
    /// Files below `root`, which is at `path` and written to as `node`.
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

    /// Puts a file under its name, or under the one that the rule for conflicts gives it; makes
    /// the folders on the way.
    ///
    /// A file of this run gives way to the same book only (it was burned again). A file that was
    /// there before the run is replaced, unless it is an input of the run, or an earlier run made
    /// it of another input that is still there.
    pub(super) fn place(
        &self,
        staged: &mut Staged<'_>,
        last: &mut LastFolder,
    ) -> Result<Output, Failure> {
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
        // A book that is burned again has the name that it had.
        let before = suffixes
            .then(|| self.run.placed().suffix(&full, staged.book))
            .flatten();
        let mut target = before.map_or_else(|| wanted.clone(), |number| suffixed(&wanted, number));
        loop {
            let taken = self
                .put(staged, dir, &target)
                .map_err(|error| failed(&target, &error))?;
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
        Ok(Output {
            path: self.path.join(target),
            size: staged.identity.size,
            mtime: staged.identity.mtime,
        })
    }

    /// Moves the file to `target` in `dir`, unless the place is taken.
    fn put(&self, staged: &mut Staged<'_>, dir: &Dir, target: &Path) -> io::Result<Option<Taken>> {
        if !self.knows(staged) {
            return self.put_known(staged, dir, target);
        }
        let mine = staged.identity.id;
        // Known before it can be seen, so that no other book takes it for a file of an earlier
        // run.
        let before = self.run.placed().insert(mine, staged.book);
        let outcome = self.put_known(staged, dir, target);
        if !matches!(outcome, Ok(None)) {
            self.run.placed().restore(mine, before);
        }
        outcome
    }

    /// False where the file need not be known: a name that was made of a key is no other book's,
    /// and where the last book has the file, it does not matter whose it was.
    fn knows(&self, staged: &Staged<'_>) -> bool {
        let replaces = self.on_conflict == OnConflict::Replace && self.inputs.is_empty();
        staged.named && !replaces
    }

    // The list of placed files is never held while the disk is waited for: one that hangs stops no
    // other burn.
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
            let id: FileId = (there.st_dev as u64, there.st_ino as u64);
            if self.run.placed().book_of(id).is_none()
                && let Some(taken) = self.earlier(target, id, there.st_nlink as u64, staged)
            {
                return Ok(Some(taken));
            }
            if !self.knows(staged) {
                return staged.temporary.place_over(dir, name).map(|()| None);
            }
            // The old file is this book's from now on, even when it is gone: of two books that
            // have seen it, one replaces it.
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

    /// Why a file that this run has not placed must stay.
    fn earlier(&self, target: &Path, id: FileId, names: u64, staged: &Staged<'_>) -> Option<Taken> {
        let origin = staged.origin.as_deref();
        if self.inputs.is_empty() {
            let owner = staged.owner.as_deref()?;
            let refused =
                self.on_conflict != OnConflict::Replace && self.refusals.holds(target, owner);
            return refused.then_some(Taken::Book);
        }
        // The input itself, though it seems to be elsewhere, e.g. where a folder is mounted twice.
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
        // Links inside the root may lead to another folder of it.
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
                "{shown} was made of {} by an earlier run; {WHAT_TO_DO}",
                names::shown(names::path_bytes(origin))
            ),
            Taken::Input => format!("{shown} is an input of this run, and no output replaces one"),
            Taken::NoFile => {
                format!("{shown} is a folder, a pipe or a device, where this book's file should be")
            }
        })
    }

    /// The folder of that path below the root, made where it is missing, and the path that it has.
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
                    // A file has the folder's name.
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

/// The mode that a new folder is asked to have: what the input's folder of that name has, so that
/// nothing becomes visible which was not; always with the owner's rights, without which no file
/// could be put there.
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

/// `a/b.gz` becomes `a/b~2.gz`.
pub(super) fn suffixed(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("~{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}
