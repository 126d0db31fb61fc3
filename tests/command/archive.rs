//! The shipped archive: every input is restored from its output, whatever its name; a second run
//! processes only changes.

use crate::support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command as Process;

use proptest::prelude::*;
use serde_json::Value;
use support::command::{Place, Report, shipped, tree};

/// Archives `in` to `out`; returns exit code and report.
fn archive(place: &Place, out: &str, more: &[&str]) -> (i32, Report) {
    let file = shipped("archive.toml");
    let mut command = place.run(["run".as_ref(), file.as_os_str()]);
    command.args(["--report", "r.json"]).args(more);
    command.env("INBOX", place.path("in"));
    command.env("OUTBOX", place.path(out));
    let done = command.output().expect("it runs");
    let report = place.report("r.json");
    report.balanced();
    assert_eq!(report.ledger("in_flight"), 0);
    (done.status.code().expect("a code"), report)
}

/// Asserts that `sha256sum -c` accepts the manifest in the input folder, and that it lists `files`
/// files.
#[track_caller]
fn checked(place: &Place, out: &str, files: usize) {
    let manifest = place.path(out).join("SHA256SUMS");
    let sums = fs::read(&manifest).expect("a manifest");
    assert_eq!(sums.iter().filter(|byte| **byte == b'\n').count(), files);
    if files == 0 {
        // sha256sum requires at least one line.
        return;
    }
    let done = Process::new("sha256sum")
        .args(["--strict", "--quiet", "-c"])
        .arg(&manifest)
        .current_dir(place.path("in"))
        .output()
        .expect("sha256sum runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

/// The archive's files, decompressed.
fn unpacked(place: &Place, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = tree(&place.path(out)).into_iter();
    let packed = files.filter(|(name, _)| name.as_os_str() != "SHA256SUMS");
    packed
        .map(|(name, _)| {
            let bytes = name.as_os_str().as_bytes();
            let plain = bytes.strip_suffix(b".gz").expect("a name that ends in .gz");
            let done = Process::new("gunzip")
                .arg("-c")
                .arg("--")
                .arg(place.path(out).join(&name))
                .output()
                .expect("gunzip runs");
            assert!(done.status.success(), "{name:?}");
            (PathBuf::from(OsStr::from_bytes(plain)), done.stdout)
        })
        .collect()
}

/// Regular files with all sorts of names, and entries that are not files; with the number of files.
fn strange() -> (Place, usize) {
    let place = Place::new();
    let names: [&[u8]; 17] = [
        b"-",
        b"--",
        b"deep/-",
        b"plain",
        b"with space",
        b"new\nline",
        b"carriage\rreturn",
        b"back\\slash",
        b"\\n",
        b"latin \xe9\xff",
        b"-rf",
        b"--help",
        b"*?[x]",
        b"deep/er/and/deeper",
        b".hidden",
        b"already.gz",
        b"empty",
    ];
    for (number, name) in names.iter().enumerate() {
        let body = format!("content {number}\n").repeat(number * 100);
        let body = if *name == b"empty" { String::new() } else { body };
        place.write(PathBuf::from("in").join(OsStr::from_bytes(name)), body);
    }
    let long = "n".repeat(200);
    place.write(format!("in/{long}"), vec![7; 3_000_000]);
    place.write("outside/secret", "not to be packed");
    fs::create_dir(place.path("in/empty folder")).expect("a folder");
    symlink("plain", place.path("in/link")).expect("a link");
    symlink("../outside", place.path("in/link to a folder")).expect("a link");
    symlink("nowhere", place.path("in/broken link")).expect("a link");
    symlink(".", place.path("in/loop")).expect("a link");
    place.fifo("in/fifo");
    (place, names.len() + 1)
}

#[test]
fn every_file_comes_back_whatever_its_name() {
    let (place, files) = strange();
    let (code, report) = archive(&place, "out", &[]);
    assert_eq!((code, report.ledger("burned")), (0, files as i64));
    checked(&place, "out", files);
    assert_eq!(unpacked(&place, "out"), tree(&place.path("in")));
}

#[test]
fn an_output_inside_the_input_is_no_input() {
    let (place, files) = strange();
    let before = tree(&place.path("in"));
    for expected in [files, 0] {
        let (code, report) = archive(&place, "in/the out", &[]);
        assert_eq!((code, report.ledger("offered")), (0, expected as i64));
    }
    checked(&place, "in/the out", files);
    assert_eq!(unpacked(&place, "in/the out"), before);
}

#[test]
fn a_second_run_does_only_what_is_new_or_changed() {
    let (place, files) = strange();
    archive(&place, "out", &[]);
    let (code, report) = archive(&place, "out", &[]);
    assert_eq!((code, report.ledger("offered")), (0, 0));
    checked(&place, "out", files);

    place.write("in/plain", "changed, and longer");
    place.write("in/deep/er/new", "new");
    let (code, report) = archive(&place, "out", &[]);
    assert_eq!((code, report.ledger("burned")), (0, 2));
    checked(&place, "out", files + 1);
    assert_eq!(unpacked(&place, "out"), tree(&place.path("in")));
}

#[test]
fn a_lost_output_is_made_again() {
    let (place, files) = strange();
    archive(&place, "out", &[]);
    fs::remove_file(place.path("out/plain.gz")).expect("an output");
    let (code, report) = archive(&place, "out", &[]);
    assert_eq!((code, report.ledger("burned")), (0, 1));
    checked(&place, "out", files);
    assert_eq!(unpacked(&place, "out"), tree(&place.path("in")));
}

#[test]
fn an_empty_inbox_is_a_run_of_nothing() {
    let place = Place::new();
    fs::create_dir(place.path("in")).expect("a folder");
    let (code, report) = archive(&place, "out", &[]);
    assert_eq!((code, report.ledger("offered")), (0, 0));
}

#[test]
fn an_inbox_that_is_not_there_is_a_failure_with_its_name() {
    let place = Place::new();
    let file = shipped("archive.toml");
    let mut command = place.run(["run".as_ref(), file.as_os_str()]);
    command.env("INBOX", place.path("nowhere"));
    command.env("OUTBOX", place.path("out"));
    let assert = command.assert().code(1);
    assert.stderr(predicates::str::contains("nowhere"));
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_with_its_reason_and_the_rest_goes_on() {
    let place = Place::new();
    for number in 0..50 {
        place.write(format!("in/file {number}"), format!("{number}"));
    }
    // Not even root can read the memory at address 0, or follow a loop of links.
    symlink("/proc/self/mem", place.path("in/file 10 memory")).expect("a link");
    symlink(".", place.path("in/file 20 loop")).expect("a link");
    symlink("nowhere", place.path("in/file 30 broken")).expect("a link");
    let more = ["--set", "piles.inbox.source.follow=true", "--dead", "dead"];
    let (code, report) = archive(&place, "out", &more);
    assert_eq!(code, 3);
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (50, 3));
    checked(&place, "out", 50);
    let list = place.run(["dead", "list", "dead", "--format", "json"]);
    let list = { list }.output().expect("it runs").stdout;
    let letters: Vec<Value> = serde_json::from_slice(&list).expect("JSON");
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| {
            let text = |key: &str| letter[key].as_str().expect("text").to_owned();
            (text("title"), text("reason"))
        })
        .collect();
    reasons.sort();
    let titles: Vec<_> = reasons.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles, ["file 10 memory", "file 20 loop", "file 30 broken"]);
    assert!(reasons[0].1.contains("Input/output error"), "{reasons:?}");
    assert!(reasons[2].1.contains("No such file"), "{reasons:?}");
    // None of the three failed files has left an output.
    let left = tree(&place.path("out"));
    assert_eq!(left.len(), 51, "fifty files and the manifest");
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>().prop_filter("no name holds it", |byte| *byte != b'/' && *byte != 0),
        Just(b'\n'),
        Just(b'\\'),
        Just(b' '),
        Just(b'%'),
    ];
    prop::collection::vec(byte, 1..20)
        .prop_filter("no name", |name| name != b"." && name != b"..")
        // The config excludes these folders.
        .prop_filter("left out", |name| name != b"target" && name != b".git")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_folder_of_any_names_comes_back(
        files in prop::collection::btree_map(
            (prop::option::of(name()), name()),
            prop::collection::vec(any::<u8>(), 0..3000),
            0..12,
        ),
    ) {
        let place = Place::new();
        fs::create_dir(place.path("in")).expect("a folder");
        for ((folder, name), body) in &files {
            let mut path = place.path("in");
            // A folder never has the name of a file.
            if let Some(folder) = folder {
                path.push(OsStr::from_bytes(&[&folder[..], b".d"].concat()));
            }
            path.push(OsStr::from_bytes(&[b"f.", &name[..]].concat()));
            place.write(path, body);
        }
        let (code, report) = archive(&place, "out", &[]);
        prop_assert_eq!((code, report.ledger("burned")), (0, files.len() as i64));
        if !files.is_empty() {
            checked(&place, "out", files.len());
            prop_assert_eq!(unpacked(&place, "out"), tree(&place.path("in")));
        }
    }
}
