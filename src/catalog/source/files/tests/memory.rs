//! Tests of the memory of outputs: a lost output is written again, and changes to inputs are
//! detected by more than size and modification time.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use gopherworks_pipeline::book::BookId;

use super::super::super::super::tests::burn_kind;
use super::*;

fn fresh(node: &str) -> Site {
    Site { node: node.to_owned(), state: RunState::default(), ..site() }
}

/// One run of an archive. Returns the names of the burned files.
fn archive(input: &Path, memory: &Path, output: &Path) -> Vec<String> {
    let site = fresh("inbox");
    let options = options(input, &format!("remember = '{}'", memory.display()));
    let mut source = source("files", &options, &site);
    let burn = burn_kind("files", &format!("root = '{}'", output.display()));
    let burn = burn.make(&Site { node: "archive".to_owned(), ..site }).unwrap();
    let receipts = source.receipts().unwrap();
    let mut burned = Vec::new();
    while let Some(mut books) = source.next(10).unwrap() {
        for book in &mut books {
            burned.push(String::from_utf8(name(book)).unwrap());
            book.id = BookId(burned.len() as u64);
            names::append_suffix(&mut book.headers, ".gz");
        }
        let books: Vec<_> = books.iter().collect();
        let results = burn.burn_cart(&books).unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        receipts.burned(&books).unwrap();
    }
    burn.finish().unwrap();
    receipts.finish().unwrap();
    burned
}

const NOTHING: [&str; 0] = [];

/// A change made to a path, and its name in messages.
type Deed<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn a_lost_output_is_made_again_and_no_other() {
    let damage: [Deed<'_>; 5] = [
        ("removed", &|path| fs::remove_file(path).unwrap()),
        ("cut", &|path| fs::write(path, "").unwrap()),
        ("written to", &|path| fs::write(path, "B").unwrap()),
        ("a link", &|path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            symlink(path.with_extension("old"), path).unwrap();
        }),
        ("with its folder", &|path| {
            fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let folder = tree(&[b"in/a", b"in/d/b", b"in/e/c"]);
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        assert_eq!(archive(&input, &output, &output), ["a", "d/b", "e/c"]);
        assert_eq!(archive(&input, &output, &output), NOTHING);
        damage(&output.join("d/b.gz"));
        assert_eq!(archive(&input, &output, &output), ["d/b"], "{what}");
        assert!(output.join("d/b.gz").symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(output.join("d/b.gz")).unwrap(), "in/d/b");
        assert_eq!(archive(&input, &output, &output), NOTHING, "{what}");
    }
}

#[test]
fn a_file_of_the_same_size_and_time_is_known_to_be_another() {
    let folder = tree(&[b"in/a", b"in/b", b"in/c"]);
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    archive(&input, &output, &output);
    let time = |name: &str| fs::metadata(input.join(name)).unwrap().modified().unwrap();
    // One input is replaced and the other overwritten; both get their previous modification time.
    let (old_a, old_b) = (time("a"), time("b"));
    fs::write(input.join("new"), "NEW!").unwrap();
    fs::rename(input.join("new"), input.join("a")).unwrap();
    fs::write(input.join("b"), "NEW!").unwrap();
    for (name, old) in [("a", old_a), ("b", old_b)] {
        let file = fs::File::options().write(true).open(input.join(name));
        file.unwrap().set_modified(old).unwrap();
    }
    assert_eq!(archive(&input, &output, &output), ["a", "b"]);
    // A changed mode is detected, and applied to the output.
    fs::set_permissions(input.join("c"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(archive(&input, &output, &output), ["c"]);
    let mode = fs::metadata(output.join("c.gz")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(archive(&input, &output, &output), NOTHING);
}

#[test]
fn records_of_earlier_versions_are_read() {
    let folder = tree(&[b"in/a", b"in/b c"]);
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let own = output.join(own::NAME);
    fs::create_dir_all(&own).unwrap();
    let line = |name: &str, escaped: &str| {
        let found = fs::metadata(input.join(name)).unwrap();
        let mtime = found.mtime() * 1_000_000_000 + found.mtime_nsec();
        format!("{} {mtime} {escaped} .\n", found.len())
    };
    let old = [line("a", "a"), line("b c", "b%20c")].concat();
    fs::write(own.join("inbox.seen"), old).unwrap();
    assert_eq!(archive(&input, &output, &output), NOTHING);
    fs::write(input.join("a"), "changed").unwrap();
    assert_eq!(archive(&input, &output, &output), ["a"]);
    fs::remove_file(output.join("a.gz")).unwrap();
    assert_eq!(archive(&input, &output, &output), ["a"]);
}

#[test]
fn an_archive_that_was_moved_is_known_and_one_that_is_to_be_elsewhere_is_made() {
    let folder = tree(&[b"in/a"]);
    let path = |name: &str| folder.path().join(name);
    archive(&path("in"), &path("out"), &path("out"));
    fs::rename(path("out"), path("moved")).unwrap();
    assert_eq!(archive(&path("in"), &path("moved"), &path("moved")), NOTHING);
    assert_eq!(archive(&path("in"), &path("moved"), &path("other")), ["a"]);
    assert_eq!(archive(&path("in"), &path("moved"), &path("other")), NOTHING);
    // If the outputs are not below the folder of the memory, it records absolute paths.
    assert!(path("other/a.gz").exists());
    fs::remove_file(path("other/a.gz")).unwrap();
    assert_eq!(archive(&path("in"), &path("moved"), &path("other")), ["a"]);
}

#[test]
fn what_was_made_in_the_folder_that_is_read_is_no_input() {
    let folder = tree(&[b"in/a", b"in/d/b"]);
    let input = folder.path().join("in");
    assert_eq!(archive(&input, &input, &input), ["a", "d/b"]);
    assert_eq!(archive(&input, &input, &input), NOTHING);
    fs::write(input.join("a"), "changed").unwrap();
    assert_eq!(archive(&input, &input, &input), ["a"]);
    assert_eq!(fs::read_to_string(input.join("a.gz")).unwrap(), "changed");
}

#[test]
fn two_sources_of_one_folder_remember_each_their_own() {
    let folder = tree(&[b"in/a"]);
    let out = folder.path().join("out");
    let options = options(&folder.path().join("in"), &format!("remember = '{}'", out.display()));
    let listed = |burn: &str| {
        let run = fresh("");
        let sources = ["p", "q"].map(|node| {
            let site = Site { node: node.to_owned(), ..run.clone() };
            (node, factory(&options).make(&site).unwrap())
        });
        let receipts = sources.each_ref().map(|(_, source)| source.receipts().unwrap());
        let mut listed = String::new();
        for (node, mut source) in sources {
            for book in all(&mut *source) {
                listed.push_str(node);
                if node == burn {
                    // Every source receives the receipts of all books.
                    for receipts in &receipts {
                        receipts.burned(&[&book]).unwrap();
                    }
                }
            }
        }
        receipts.iter().for_each(|receipts| receipts.finish().unwrap());
        listed
    };
    assert_eq!(listed("p"), "pq");
    assert_eq!(listed(""), "q");
}

#[test]
fn a_run_that_leaves_no_trace_reads_the_memory_and_makes_nothing() {
    let folder = tree(&[b"in/a", b"in/b"]);
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let listed = || {
        let site = Site { state: RunState::dry(), ..fresh("inbox") };
        let options = options(&input, &format!("remember = '{}'", output.display()));
        all(&mut *source("files", &options, &site)).len()
    };
    assert_eq!(listed(), 2);
    assert!(!output.exists());
    archive(&input, &output, &output);
    // The listing also works while another run has locked the folder.
    let held = fresh("inbox");
    let _held = held.state.own(&output, "inbox").unwrap();
    assert_eq!(listed(), 0);
}
