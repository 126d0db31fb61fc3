//! Tests of the `files` burn.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use gopherworks_pipeline::book::{BodyFile, BookId, header};

use super::super::super::tests::{burn_kind, site, source, work_kind};
use super::super::super::{BurnFactory, compose};
use super::*;

fn book(name: &[u8], body: impl Into<Body>) -> Book {
    Book::new(body).with_header(header::NAME, name.to_vec())
}

fn kind(root: &Path, more: &str) -> BurnFactory {
    burn_kind("files", &format!("root = '{}'\n{more}", root.display()))
}

fn open(root: &Path, more: &str) -> Box<dyn Burn> {
    kind(root, more).make(&site()).unwrap()
}

/// Sorted names of the files below the root, without `.gopherworks`.
fn names_below(root: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    let walk = walk.filter_entry(|entry| entry.file_name() != OWN);
    let files = walk.map(Result::unwrap).filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(root).unwrap().display().to_string()).collect()
}

/// Number of temporary files of all burns of the root.
fn leftovers(root: &Path) -> usize {
    let tmp = walkdir::WalkDir::new(root.join(OWN).join("tmp")).into_iter().map(Result::unwrap);
    tmp.filter(|entry| {
        entry.file_type().is_file() && entry.path().extension().is_none_or(|end| end != "lock")
    })
    .count()
}

#[test]
fn writes_what_it_is_given_where_the_name_says() {
    for (durable, books) in [(true, 3), (true, 40), (false, 40)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/root");
        let burn = open(&root, &format!("durable = {durable}"));
        let name = |number: usize| format!("d{}/e/f{number}", number % 7);
        let books: Vec<_> = (0..books)
            .map(|number| book(name(number).as_bytes(), format!("body {number}")))
            .collect();
        let results = burn.burn_cart(&books.iter().collect::<Vec<_>>()).unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        for number in 0..books.len() {
            assert_eq!(
                fs::read_to_string(root.join(name(number))).unwrap(),
                format!("body {number}")
            );
        }
        assert_eq!(names_below(&root).len(), books.len());
        assert_eq!(leftovers(&root), 0);
        drop(burn);
        assert_eq!(fs::read_dir(root.join(".gopherworks/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_book_without_a_name_is_called_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut nameless = Book::new("x");
    nameless.id = BookId(7);
    open(folder.path(), "").burn(&nameless).unwrap();
    let name = format!("book-{}-7", site().run);
    assert_eq!(names_below(folder.path()), [name]);
}

#[test]
fn no_name_leads_out_of_the_root_or_into_what_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let burn = open(&root, "manifest = 'SUMS'");
    let bad: &[&[u8]] = &[
        b"",
        b"/etc/x",
        b"..",
        b"../x",
        b"a/../../x",
        b"a/..",
        b".",
        b"./x",
        b"a//b",
        b"a/",
        b"nul\0l",
        b".gopherworks/x",
        b".gopherworks",
        b".GopherWorks/tmp/x",
        b"SUMS",
        b"sums",
    ];
    for name in bad {
        let failure = burn.burn(&book(name, "x")).unwrap_err();
        assert!(failure.is_permanent(), "{}: {failure}", names::shown(name));
    }
    assert!(names_below(folder.path()).is_empty());
    burn.burn(&book(b"fine/.gopherworks", "x")).unwrap();
    burn.burn(&book(b"..fine", "x")).unwrap();
}

#[test]
fn no_symbolic_link_leads_out_of_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir_all(root.join("inside")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("inside", root.join("within")).unwrap();
    symlink("../outside/precious", root.join("file")).unwrap();
    let burn = open(&root, "");
    for name in ["absolute/x", "relative/x", "absolute/new/x", "absolute/precious"] {
        let failure = burn.burn(&book(name.as_bytes(), "x")).unwrap_err();
        assert!(failure.is_permanent(), "{name}: {failure}");
    }
    // A link at the target is replaced, not followed; a link to a folder inside the root is
    // followed.
    burn.burn(&book(b"file", "x")).unwrap();
    burn.burn(&book(b"within/y", "y")).unwrap();
    assert_eq!(fs::read_to_string(root.join("inside/y")).unwrap(), "y");
    assert_eq!(names_below(&outside), ["precious"]);
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    assert_eq!(leftovers(&root), 0);
}

#[test]
fn a_body_that_breaks_off_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let short = folder.path().join("short");
    fs::write(&short, vec![b'x'; 600_000]).unwrap();
    let burn = open(&root, "");
    burn.burn(&book(b"kept", "old")).unwrap();
    // The file is shorter than the body, so reading fails after more than one buffer was written.
    let broken = |name: &[u8]| book(name, Body::range(BodyFile::kept(&short), 0, 700_000));
    let books = [broken(b"kept"), broken(b"new"), book(b"good", "good")];
    let results = burn.burn_cart(&books.each_ref()).unwrap();
    assert!(results[0].is_err() && results[1].is_err() && results[2].is_ok());
    assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "old");
    assert_eq!(names_below(&root), ["good", "kept"]);
    assert_eq!(leftovers(&root), 0);
}

#[test]
fn a_redelivery_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let burn = open(folder.path(), "manifest = 'SUMS'");
    let mut sha256 = work_kind("sha256", "").make(&site()).unwrap();
    let twice = sha256.apply(book(b"a/b", "body")).unwrap().unwrap();
    let contents = || {
        burn.finish().unwrap();
        let names = names_below(folder.path());
        names.iter().map(|name| fs::read(folder.path().join(name)).unwrap()).collect::<Vec<_>>()
    };
    burn.burn(&twice).unwrap();
    let once = contents();
    assert_eq!(once.len(), 2);
    burn.burn(&twice).unwrap();
    // A second instance of the burn, while the first still locks the root.
    open(folder.path(), "manifest = 'SUMS'").burn(&twice).unwrap();
    assert_eq!(contents(), once);
}

#[test]
fn a_spilled_body_is_linked_and_can_still_be_burned_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let burn = open(&root, "");
    let spilled = folder.path().join("spilled");
    fs::write(&spilled, "spilled").unwrap();
    fs::set_permissions(&spilled, fs::Permissions::from_mode(0o600)).unwrap();
    let body = Body::file(BodyFile::temporary(&spilled), 7);
    let again = book(b"n", body);
    for _ in 0..2 {
        burn.burn(&again).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&root.join("n")), inode(&spilled));
        // The second time both names link to the same file, and renaming does nothing.
        assert_eq!(leftovers(&root), 0);
    }
    drop(again);
    assert!(!spilled.exists());
    assert_eq!(fs::read_to_string(root.join("n")).unwrap(), "spilled");
    burn.burn(&book(b"copied", "x")).unwrap();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().mode();
    assert_eq!(mode("n"), mode("copied"));
    assert_eq!(mode("n") & 0o133, 0);
}

#[test]
fn a_part_of_a_spilled_file_and_a_file_of_others_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let burn = open(&root, "");
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "0123456789").unwrap();
    burn.burn(&book(b"whole", Body::file(BodyFile::kept(&theirs), 10))).unwrap();
    fs::write(&theirs, "changed---").unwrap();
    assert_eq!(fs::read_to_string(root.join("whole")).unwrap(), "0123456789");
    fs::write(&theirs, "0123456789").unwrap();
    let file = BodyFile::temporary(&theirs);
    burn.burn(&book(b"begin", Body::range(file.clone(), 0, 4))).unwrap();
    burn.burn(&book(b"end", Body::range(file, 6, 4))).unwrap();
    assert_eq!(fs::read_to_string(root.join("begin")).unwrap(), "0123");
    assert_eq!(fs::read_to_string(root.join("end")).unwrap(), "6789");
}

#[test]
fn a_body_on_another_file_system_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let spilled = elsewhere.path().join("spilled");
    fs::write(&spilled, "far").unwrap();
    let body = Body::file(BodyFile::temporary(spilled), 3);
    open(folder.path(), "").burn(&book(b"n", body)).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("n")).unwrap(), "far");
}

#[test]
fn what_is_in_the_way_is_permanent_and_a_full_disk_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let burn = open(folder.path(), "");
    for name in [b"folder".to_vec(), b"file/x".to_vec(), vec![b'x'; 300]] {
        assert!(burn.burn(&book(&name, "x")).unwrap_err().is_permanent());
    }
    assert_eq!(leftovers(folder.path()), 0);
    for kind in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::FileTooLarge,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::NotFound,
    ] {
        assert!(!refused("writing", &kind.into()).is_permanent(), "{kind}");
    }
}

#[test]
fn a_full_disk_is_transient_and_keeps_no_half_file() {
    // The file size limit applies per process, so this test runs in a child process whose shell
    // sets it.
    if std::env::var_os("GOPHERWORKS_SMALL_FILES").is_none() {
        let name = "catalog::burn::files::tests::a_full_disk_is_transient_and_keeps_no_half_file";
        let limited = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1"])
            .env("GOPHERWORKS_SMALL_FILES", "1")
            .output()
            .unwrap();
        assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stdout));
        assert!(String::from_utf8_lossy(&limited.stdout).contains("1 passed"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let burn = open(folder.path(), "");
    let books = [book(b"large", vec![b'x'; 1 << 20]), book(b"small", "x")];
    let results = burn.burn_cart(&books.each_ref()).unwrap();
    let failure = results[0].as_ref().unwrap_err();
    assert!(!failure.is_permanent(), "{failure}");
    assert!(results[1].is_ok());
    assert_eq!(names_below(folder.path()), ["small"]);
    assert_eq!(leftovers(folder.path()), 0);
}

#[test]
fn many_threads_and_two_burns_share_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let burns = [open(folder.path(), ""), open(folder.path(), "")];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let burn = &burns[thread % 2];
            scope.spawn(move || {
                for cart in 0..3 {
                    let name = |number| format!("same/deep{cart}/{thread}-{number}");
                    let books: Vec<_> =
                        (0..12).map(|number| book(name(number).as_bytes(), "x")).collect();
                    let results = burn.burn_cart(&books.iter().collect::<Vec<_>>()).unwrap();
                    assert!(results.iter().all(Result::is_ok), "{results:?}");
                }
            });
        }
    });
    assert_eq!(names_below(folder.path()).len(), 8 * 3 * 12);
}

/// One run that digests and packs every file below `input` and writes it to `output`.
fn archive(input: &Path, output: &Path) {
    let mut source = source("files", &format!("root = '{}'", input.display()), &site());
    let mut work =
        compose(vec![work_kind("sha256", ""), work_kind("gzip", "")]).make(&site()).unwrap();
    let burn = open(output, "manifest = 'SHA256SUMS'");
    while let Some(books) = source.next(5).unwrap() {
        let worked: Vec<_> =
            books.into_iter().map(|book| work.apply(book).unwrap().unwrap()).collect();
        let results = burn.burn_cart(&worked.iter().collect::<Vec<_>>()).unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    burn.finish().unwrap();
}

/// Runs `sha256sum -c` in `input`; returns whether it succeeded, and its output.
fn check(input: &Path, output: &Path) -> (bool, String) {
    let checked = Command::new("sha256sum")
        .args(["-c", "--strict"])
        .arg(output.join("SHA256SUMS"))
        .current_dir(input)
        .output()
        .unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    (checked.status.success(), String::from_utf8_lossy(&said).into_owned())
}

const ODD: [&[u8]; 13] = [
    b"-",
    b"--",
    b"deep/-",
    b"*star",
    b"plain",
    b"sp ace",
    b"new\nline",
    b"back\\slash",
    b"carriage\rreturn",
    b"\xff\xfe",
    b"-dash",
    b" leading",
    b"deep/er\\\n\r/x",
];

fn odd_input(input: &Path) {
    for name in ODD {
        let path = input.join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn the_manifest_is_accepted_by_sha256sum_whatever_the_names() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    odd_input(&input);
    archive(&input, &output);
    let (accepted, said) = check(&input, &output);
    assert!(accepted, "{said}");
    assert_eq!(said.matches(": OK").count(), ODD.len(), "{said}");
    fs::write(input.join("plain"), "changed").unwrap();
    assert!(!check(&input, &output).0);
}

#[test]
fn the_manifest_follows_the_input_from_run_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    odd_input(&input);
    archive(&input, &output);
    let first = fs::read(output.join("SHA256SUMS")).unwrap();
    archive(&input, &output);
    assert_eq!(fs::read(output.join("SHA256SUMS")).unwrap(), first);
    let journal =
        || fs::read_to_string(output.join(".gopherworks/node.records")).unwrap().lines().count();
    assert_eq!(journal(), ODD.len());
    fs::write(input.join("plain"), "changed").unwrap();
    fs::remove_file(input.join("sp ace")).unwrap();
    fs::write(input.join("aaa"), "new").unwrap();
    archive(&input, &output);
    let (accepted, said) = check(&input, &output);
    assert!(accepted, "{said}");
    assert_eq!(said.matches(": OK").count(), ODD.len());
    assert_eq!(journal(), ODD.len());
}

#[test]
fn a_torn_record_costs_one_line_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    odd_input(&input);
    archive(&input, &output);
    let journal = output.join(".gopherworks/node.records");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 10]).unwrap();
    let burn = open(&output, "manifest = 'SHA256SUMS'");
    burn.finish().unwrap();
    let (accepted, said) = check(&input, &output);
    assert!(accepted, "{said}");
    assert_eq!(said.matches(": OK").count(), ODD.len() - 1);
}

#[test]
fn two_nodes_with_one_root_share_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let kind = kind(folder.path(), "manifest = 'SHA256SUMS'");
    let mut sha256 = work_kind("sha256", "").make(&site()).unwrap();
    let burns = ["a", "b[lane=2]"].map(|node| {
        let site = Site { node: node.to_owned(), ..site() };
        kind.make(&site).unwrap()
    });
    for (burn, name) in burns.iter().zip(["two", "one"]) {
        let worked = sha256.apply(book(name.as_bytes(), name)).unwrap().unwrap();
        burn.burn(&worked).unwrap();
    }
    burns.iter().for_each(|burn| burn.finish().unwrap());
    let manifest = fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
    let listed: Vec<_> = manifest.lines().map(|line| &line[66..]).collect();
    assert_eq!(listed, ["one", "two"]);
    // The bodies were not changed, so the digests match the outputs, too.
    assert!(check(folder.path(), folder.path()).0);
}

mod conflicts;
mod modes;
mod ours;

#[test]
fn books_without_a_digest_are_burned_but_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let burn = open(folder.path(), "manifest = 'SHA256SUMS'");
    // An invalid digest with a newline must not corrupt the journal.
    let forged =
        book(b"m", "x").with_header(header::SHA256, "x\ny").with_header(header::SHA256_NAME, "m");
    burn.burn(&book(b"n", "x")).unwrap();
    burn.burn(&forged).unwrap();
    burn.finish().unwrap();
    assert_eq!(names_below(folder.path()), ["SHA256SUMS", "m", "n"]);
    assert_eq!(fs::read(folder.path().join("SHA256SUMS")).unwrap(), b"");
}
