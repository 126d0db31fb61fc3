//! Finds files that a run would both read and write, under any path, before a file is opened for
//! writing.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::catalog::resolved;
use crate::config::label::base;
use crate::plan::Plan;

/// Identity of a file.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Device and inode, which symbolic and hard links share.
    Inode(u64, u64),
    /// A file that does not exist yet.
    Path(PathBuf),
}

/// A file that the run reads or writes.
struct Use {
    /// The user of the file, for messages.
    by: String,
    path: PathBuf,
    found: Option<Metadata>,
    identity: Identity,
}

impl Use {
    /// `None` for standard streams, devices and pipes, which may be shared.
    fn of(by: impl Into<String>, path: &Path) -> Option<Self> {
        if path.as_os_str() == crate::catalog::STANDARD_STREAM {
            return None;
        }
        let (found, identity) = match path.metadata() {
            Ok(found) if found.is_file() || found.is_dir() => {
                let identity = Identity::Inode(found.dev(), found.ino());
                (Some(found), identity)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (None, Identity::Path(resolved(path)))
            }
            // The error is reported where the file is opened.
            Ok(_) | Err(_) => return None,
        };
        let (by, path) = (by.into(), path.to_owned());
        Some(Self { by, path, found, identity })
    }

    fn is_dir(&self) -> bool {
        self.found.as_ref().is_some_and(Metadata::is_dir)
    }

    /// True for a file with several hard links, so that another name of it may be below a folder.
    fn is_linked(&self) -> bool {
        let found = self.found.as_ref();
        found.is_some_and(|found| found.is_file() && found.nlink() > 1)
    }
}

/// Rejects a plan that writes to one of its inputs, under any name. Blocks on the file system.
///
/// # Errors
/// Describes the first such file.
pub(super) fn check(plan: &Plan) -> Result<(), String> {
    let mut inputs: Vec<Use> = Vec::new();
    let mut outputs: Vec<Use> = Vec::new();
    let mut add = |by: String, reads: &[PathBuf], writes: &[PathBuf]| {
        inputs.extend(reads.iter().filter_map(|path| Use::of(by.clone(), path)));
        outputs.extend(writes.iter().filter_map(|path| Use::of(by.clone(), path)));
    };
    for pile in &plan.piles {
        add(format!("piles.{}", base(&pile.name)), &pile.reads, &pile.writes);
    }
    for crew in &plan.crews {
        add(format!("crews.{}", base(&crew.name)), &crew.reads, &crew.writes);
    }
    for fire in &plan.incinerators {
        let by = format!("incinerators.{}", base(&fire.name));
        add(by, &fire.reads, &fire.writes);
    }
    for balancer in &plan.balancers {
        let by = format!("balancers.{}", base(&balancer.name));
        add(by, &balancer.reads, &balancer.writes);
    }
    apart_from_store(plan, inputs.iter().chain(&outputs))?;
    for output in outputs.iter().filter(|output| !output.is_dir()) {
        for input in &inputs {
            if input.identity == output.identity {
                return Err(same(output, input));
            }
            if input.is_dir()
                && output.is_linked()
                && let Some(path) = inside(input, output)
            {
                return Err(format!(
                    "{} of {} is the same file as {}, which is read by {}; write to another file",
                    output.path.display(),
                    output.by,
                    path.display(),
                    input.by
                ));
            }
        }
    }
    Ok(())
}

/// Rejects a node that reads or writes a file of the store, or a folder that has it.
fn apart_from_store<'u>(
    plan: &Plan,
    mut uses: impl Iterator<Item = &'u Use>,
) -> Result<(), String> {
    let files = plan.store_files();
    let identities: Vec<Use> = files.iter().filter_map(|file| Use::of("", file)).collect();
    let shared = uses.find(|used| {
        let folder = resolved(&used.path);
        identities.iter().any(|file| file.identity == used.identity)
            || used.is_dir() && files.iter().any(|file| resolved(file).starts_with(&folder))
    });
    match shared {
        Some(used) => Err(format!(
            "{} of {} is, or has, the store {}; keep the store elsewhere",
            used.path.display(),
            used.by,
            plan.store_place(),
        )),
        None => Ok(()),
    }
}

fn same(output: &Use, input: &Use) -> String {
    let path = output.path.display();
    let as_what = match output.path == input.path {
        true => String::new(),
        false => format!(", as {}", input.path.display()),
    };
    format!("{path} of {} is read by {}{as_what}; write to another file", output.by, input.by)
}

/// Another name of `output` below the folder; its own path is excluded there already.
fn inside(input: &Use, output: &Use) -> Option<PathBuf> {
    let known = resolved(&output.path);
    let mut folders = vec![input.path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(path),
                Ok(found)
                    if found.is_file()
                        && Identity::Inode(found.dev(), found.ino()) == output.identity
                        && resolved(&path) != known =>
                {
                    return Some(path);
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loaded;
    use crate::catalog::Catalog;
    use crate::config::Overrides;

    fn plan(folder: &Path, source: &str, out: &str) -> Plan {
        plan_with("", folder, source, out)
    }

    fn plan_with(store: &str, folder: &Path, source: &str, out: &str) -> Plan {
        let text = format!(
            "{store}[piles.p]\nsource = {source}\n[incinerators.f]\n\
             burn = {{ kind = \"lines\", path = \"{out}\" }}\n\
             [crews.c]\nfrom = \"p\"\nto = \"f\"\ngophers = [\"load push unload return\"]\n"
        );
        let read = Loaded::parse(
            folder.join("t.toml"),
            text,
            &Catalog::standard(),
            &Overrides { folder: folder.to_owned(), ..Overrides::default() },
        );
        read.unwrap_or_else(|found| panic!("{found}")).plan
    }

    #[test]
    fn an_output_that_is_an_input_is_found_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/data"), "a\n").unwrap();
        fs::hard_link(at("in/data"), at("hard")).unwrap();
        std::os::unix::fs::symlink(at("in/data"), at("soft")).unwrap();
        let lines = r#"{ kind = "lines", path = "in/data" }"#;
        let files = r#"{ kind = "files", root = "in" }"#;
        for (source, out) in [(lines, "hard"), (lines, "soft"), (files, "hard")] {
            let why = check(&plan(folder.path(), source, out)).unwrap_err();
            assert!(why.contains("read by piles.p"), "{why}");
            assert!(why.contains("of incinerators.f"), "{why}");
        }
        for (source, out) in
            [(lines, "out"), (files, "out"), (files, "in/out"), (lines, "/dev/null")]
        {
            let plan = plan(folder.path(), source, out);
            assert_eq!(check(&plan), Ok(()), "{source} {out}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn no_node_shares_a_file_with_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/data"), "a\n").unwrap();
        std::os::unix::fs::symlink(at("in"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("later"), at("dangling")).unwrap();
        let lines = r#"{ kind = "lines", path = "in/data" }"#;
        let files = r#"{ kind = "files", root = "in" }"#;
        let check = |store: &str, source: &str, out: &str| {
            let store = format!("[store]\nkind = \"sqlite\"\npath = \"{store}\"\n");
            check(&plan_with(&store, folder.path(), source, out))
        };
        for (store, source, out) in [
            ("in/data", lines, "out"),
            ("link/data", lines, "out"),
            ("works.db", lines, "works.db"),
            ("works.db", lines, "works.db-wal"),
            ("works.db", lines, "works.db.lock"),
            ("dangling", lines, "later-wal"),
            ("in/works.db", files, "out"),
            ("link/works.db", files, "out"),
        ] {
            let why = check(store, source, out).unwrap_err();
            assert!(why.contains("keep the store elsewhere"), "{why}");
        }
        assert_eq!(check("works.db", lines, "out"), Ok(()));
        assert_eq!(check("works.db", files, "works.db.txt"), Ok(()));
    }
}
