//! Locates programs, and explains why one can't be started, before and during a run.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use rustix::fs::{Access, access};

use super::Program;
use crate::catalog::OptionWarning;

/// Maximum number of names in a folder that are offered as suggestions for a missing program.
const MOST_NAMES: usize = 10_000;

/// Why a program can't be started.
#[derive(Debug)]
pub(super) enum Unstartable {
    NotOnPath(String),
    NotThere(PathBuf),
    Folder(PathBuf),
    NotExecutable(PathBuf),
    NoWorkingFolder(PathBuf),
}

impl fmt::Display for Unstartable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnPath(name) => write!(f, "no such program `{name}` on the PATH"),
            Self::NotThere(path) => write!(f, "no such program `{}`", path.display()),
            Self::Folder(path) => write!(f, "`{}` is a folder, not a program", path.display()),
            Self::NotExecutable(path) => write!(f, "`{}` is not executable", path.display()),
            Self::NoWorkingFolder(path) => {
                write!(f, "no such folder `{}` to run the program in", path.display())
            }
        }
    }
}

impl std::error::Error for Unstartable {}

/// Finds what keeps a program from starting, without starting it.
pub(super) fn wrong(program: &Program) -> Option<Unstartable> {
    if program.folder.is_some() && !program.base().is_dir() {
        return Some(Unstartable::NoWorkingFolder(program.base().to_owned()));
    }
    let name = program.name();
    if name.contains('/') {
        // Displayed without `./`.
        let path: PathBuf = program.base().join(name).components().collect();
        return wrong_at(&path);
    }
    let path = program.path();
    let mut first = None;
    for folder in std::env::split_paths(&path) {
        // An empty entry means the current folder, as in a shell.
        match wrong_at(&program.base().join(folder).join(name)) {
            None => return None,
            Some(Unstartable::NotThere(_)) => {}
            Some(other) => first = first.or(Some(other)),
        }
    }
    first.or_else(|| Some(Unstartable::NotOnPath(name.to_owned())))
}

fn wrong_at(path: &Path) -> Option<Unstartable> {
    match fs::metadata(path) {
        Err(_) => Some(Unstartable::NotThere(path.to_owned())),
        Ok(found) if found.is_dir() => Some(Unstartable::Folder(path.to_owned())),
        Ok(_) if access(path, Access::EXEC_OK).is_err() => {
            Some(Unstartable::NotExecutable(path.to_owned()))
        }
        Ok(_) => None,
    }
}

/// Reports why a program can't be started on this machine, with advice.
pub(in crate::catalog) fn look(program: &Program) -> Vec<OptionWarning> {
    let Some(wrong) = wrong(program) else {
        return Vec::new();
    };
    let path: &[&str] = match &wrong {
        Unstartable::NoWorkingFolder(_) => &["folder"],
        _ => &["command", "0"],
    };
    let mut warning = OptionWarning {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        message: wrong.to_string(),
        ..OptionWarning::default()
    };
    let name = program.name();
    match &wrong {
        Unstartable::NotOnPath(_) | Unstartable::NotThere(_)
            if name.contains(char::is_whitespace) =>
        {
            let words: Vec<&str> = (name.split_whitespace())
                .chain(program.words[1..].iter().map(String::as_str))
                .collect();
            warning.help = Some(format!("each argument is a string of its own: {words:?}"));
        }
        Unstartable::NotOnPath(_) => {
            name.clone_into(&mut warning.said);
            let path = program.path();
            let folders = std::env::split_paths(&path);
            warning.known = folders.flat_map(|folder| names(&folder)).collect();
            warning.help =
                Some(format!("install it, or write where it is: \"./{name}\" is beside this file"));
        }
        Unstartable::NotThere(path) => {
            if let (Some(name), Some(folder)) = (path.file_name(), path.parent()) {
                warning.said = name.to_string_lossy().into_owned();
                warning.known = names(folder).collect();
            }
            warning.help = Some("a path starts at the folder of the file that wrote it".to_owned());
        }
        Unstartable::NotExecutable(path) => {
            warning.help = Some(format!("chmod +x {}", path.display()));
        }
        Unstartable::Folder(_) | Unstartable::NoWorkingFolder(_) => {}
    }
    vec![warning]
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.take(MOST_NAMES)
}
