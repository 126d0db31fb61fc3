//! Locates programs, and explains why one can't be started, before and during a run.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Program;
use crate::catalog::OptionWarning;

/// Most names in a folder that are offered as suggestions for a missing program.
const MOST_NAMES: usize = 10_000;

/// Why a program can't be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// No folder on the `PATH` contains it.
    NotOnPath(String),
    /// The path does not exist.
    NotThere(PathBuf),
    /// The path is not a file.
    Folder(PathBuf),
    /// The user lacks permission to execute it.
    NotExecutable(PathBuf),
    /// The working directory does not exist.
    NoFolder(PathBuf),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::NotOnPath(name) => write!(f, "no such program `{name}` on the PATH"),
            Wrong::NotThere(path) => write!(f, "no such program `{}`", path.display()),
            Wrong::Folder(path) => write!(f, "`{}` is a folder, not a program", path.display()),
            Wrong::NotExecutable(path) => write!(f, "`{}` is not executable", path.display()),
            Wrong::NoFolder(path) => {
                write!(f, "no such folder `{}` to run the program in", path.display())
            }
        }
    }
}

/// Finds what keeps a program from starting, without starting it.
pub(super) fn wrong(program: &Program) -> Option<Wrong> {
    if let Some(folder) = program.folder().filter(|folder| !folder.is_dir()) {
        return Some(Wrong::NoFolder(folder.to_owned()));
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
            Some(Wrong::NotThere(_)) => {}
            Some(other) => first = first.or(Some(other)),
        }
    }
    first.or_else(|| Some(Wrong::NotOnPath(name.to_owned())))
}

fn wrong_at(path: &Path) -> Option<Wrong> {
    match fs::metadata(path) {
        Err(_) => Some(Wrong::NotThere(path.to_owned())),
        Ok(found) if found.is_dir() => Some(Wrong::Folder(path.to_owned())),
        Ok(_) if access(path, Access::EXEC_OK).is_err() => {
            Some(Wrong::NotExecutable(path.to_owned()))
        }
        Ok(_) => None,
    }
}

/// Reports why a program can't be started on this machine, with advice.
pub(in crate::catalog) fn look(program: &Program) -> Vec<OptionWarning> {
    let Some(wrong) = wrong(program) else {
        return Vec::new();
    };
    let at = match &wrong {
        Wrong::NoFolder(_) => vec!["folder".to_owned()],
        _ => vec!["command".to_owned(), "0".to_owned()],
    };
    let mut warning = OptionWarning {
        path: at,
        message: wrong.to_string(),
        said: String::new(),
        known: Vec::new(),
        help: None,
    };
    let name = program.name();
    match &wrong {
        Wrong::NotOnPath(_) | Wrong::NotThere(_) if name.contains(char::is_whitespace) => {
            let words: Vec<String> = (name.split_whitespace())
                .chain(program.words[1..].iter().map(String::as_str))
                .map(|word| format!("{word:?}"))
                .collect();
            let words = words.join(", ");
            warning.help = Some(format!("each argument is a string of its own: [{words}]"));
        }
        Wrong::NotOnPath(_) => {
            name.clone_into(&mut warning.said);
            let path = program.path();
            let folders = std::env::split_paths(&path);
            warning.known = folders.flat_map(|folder| names(&folder)).collect();
            warning.help =
                Some(format!("install it, or write where it is: \"./{name}\" is beside this file"));
        }
        Wrong::NotThere(path) => {
            if let (Some(name), Some(folder)) = (path.file_name(), path.parent()) {
                warning.said = name.to_string_lossy().into_owned();
                warning.known = names(folder).collect();
            }
            warning.help = Some("a path starts at the folder of the file that wrote it".to_owned());
        }
        Wrong::NotExecutable(path) => {
            warning.help = Some(format!("chmod +x {}", path.display()));
        }
        Wrong::Folder(_) | Wrong::NoFolder(_) => {}
    }
    vec![warning]
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.take(MOST_NAMES)
}
