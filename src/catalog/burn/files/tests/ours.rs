//! Tests of the burn's own files below the root: links are not followed, nothing blocks, and files
//! left by a killed run are removed.

use super::*;
use crate::catalog::RunState;

fn fresh() -> Site {
    Site { state: RunState::default(), ..site() }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A change made to a path, and its name in messages.
type Deed<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn what_is_no_regular_file_in_the_place_of_ours_is_told_and_left_alone() {
    let make: [Deed<'_>; 3] = [
        ("a link", &|path| {
            let victim = path.ancestors().nth(3).unwrap().join("victim");
            symlink(victim, path).unwrap();
        }),
        ("a pipe", &fifo),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
    ];
    for (what, make) in make {
        for name in ["node.records", "node.seen", "other.records", "lock"] {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            fs::write(folder.path().join("victim"), "victim").unwrap();
            fs::create_dir_all(root.join(OWN)).unwrap();
            make(&root.join(OWN).join(name));
            let refused = kind(&root, "manifest = 'SUMS'").make(&fresh()).err();
            let refused = refused.unwrap();
            let said = refused.reason();
            assert!(said.contains(name) && said.contains(what), "{said}");
            let victim = fs::read_to_string(folder.path().join("victim")).unwrap();
            assert_eq!(victim, "victim", "{what} {name}");
        }
    }
}

#[test]
fn the_folder_of_ours_is_no_link_and_neither_is_the_one_in_it() {
    for name in [OWN.to_owned(), format!("{OWN}/tmp")] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let inside = root.join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        symlink(&inside, root.join(&name)).unwrap();
        let refused = kind(&root, "").make(&fresh()).err().unwrap();
        assert!(refused.reason().contains("a link to one"), "{refused}");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
    }
}

#[test]
fn locks_that_are_no_files_of_ours_do_not_stop_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let tmp = folder.path().join(OWN).join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    fifo(&tmp.join("1.lock"));
    symlink("/etc/passwd", tmp.join("2.lock")).unwrap();
    let burn = kind(folder.path(), "").make(&fresh()).unwrap();
    burn.burn(&book(b"n", "x")).unwrap();
    assert!(tmp.join("1.lock").exists());
}

#[test]
fn a_manifest_in_the_place_of_a_link_replaces_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("victim"), "victim").unwrap();
    symlink("../victim", root.join("SUMS")).unwrap();
    kind(&root, "manifest = 'SUMS'").make(&fresh()).unwrap().finish().unwrap();
    assert!(root.join("SUMS").symlink_metadata().unwrap().is_file());
    let victim = fs::read_to_string(folder.path().join("victim")).unwrap();
    assert_eq!(victim, "victim");
}

#[test]
fn pipes_and_folders_are_not_replaced_by_a_list_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fifo(&root.join("pipe"));
    fs::create_dir(root.join("folder")).unwrap();
    for name in ["pipe", "folder"] {
        let refused = kind(root, &format!("manifest = '{name}'")).make(&fresh());
        let refused = refused.err().unwrap();
        assert!(refused.reason().contains("remove it"), "{refused}");
        let burn = kind(root, "").make(&fresh()).unwrap();
        let failure = burn.burn(&book(name.as_bytes(), "x")).unwrap_err();
        assert!(failure.is_permanent(), "{failure}");
        assert!(!root.join(name).is_file());
    }
}

#[test]
fn records_with_another_name_elsewhere_are_copied_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let mut sha256 = work_kind("sha256", "").make(&site()).unwrap();
    let mut burned = |name: &[u8]| sha256.apply(book(name, "x")).unwrap().unwrap();
    let run = |book: Book| {
        let burn = kind(&root, "manifest = 'SUMS'").make(&fresh()).unwrap();
        burn.burn(&book).unwrap();
        burn
    };
    run(burned(b"one")).finish().unwrap();
    let journal = root.join(OWN).join("node.records");
    let snapshot = folder.path().join("snapshot");
    fs::hard_link(&journal, &snapshot).unwrap();
    let before = fs::read(&snapshot).unwrap();
    drop(run(burned(b"two")));
    assert_eq!(fs::read(&snapshot).unwrap(), before);
    let lines = fs::read_to_string(&journal).unwrap();
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn what_a_killed_run_left_of_a_replacement_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(OWN);
    fs::create_dir(&own).unwrap();
    for name in ["node.records.new", ".tmpAbC123", "theirs"] {
        fs::write(own.join(name), "half").unwrap();
    }
    let _burn = kind(folder.path(), "").make(&fresh()).unwrap();
    let mut names: Vec<_> = fs::read_dir(&own)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["lock", "theirs", "tmp"]);
}
