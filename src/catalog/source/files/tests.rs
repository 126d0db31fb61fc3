//! Tests of the `files` source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::super::tests::{bytes_of, site, source};
use super::super::super::{Catalog, SourceFactory};
use super::*;

/// A folder with files of these names; the content of each is its name.
fn tree(names: &[&[u8]]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    folder
}

fn options(root: &Path, more: &str) -> String {
    format!("root = '{}'\n{more}", root.display())
}

fn all(source: &mut dyn Source) -> Vec<Book> {
    let mut all = Vec::new();
    while let Some(books) = source.next(3).unwrap() {
        assert!(books.len() <= 3);
        all.extend(books);
    }
    assert!(source.next(1).unwrap().is_none());
    all
}

fn name(book: &Book) -> Vec<u8> {
    book.headers.get(header::NAME).unwrap().to_vec()
}

fn listed(root: &Path, more: &str) -> Vec<Vec<u8>> {
    let books = all(&mut *source("files", &options(root, more), &site()));
    books.iter().map(name).collect()
}

fn text(names: &[Vec<u8>]) -> Vec<&str> {
    names.iter().map(|name| std::str::from_utf8(name).unwrap()).collect()
}

#[test]
fn walks_in_the_order_of_names_with_name_origin_and_body() {
    let folder = tree(&[b"b", b"a/z", b"a/b/c", b"B", b"a.txt"]);
    let mut source = source("files", &options(folder.path(), ""), &site());
    assert!(source.blocks());
    let books = all(&mut *source);
    let names: Vec<_> = books.iter().map(name).collect();
    assert_eq!(text(&names), ["B", "a/b/c", "a/z", "a.txt", "b"]);
    for book in &books {
        assert_eq!(bytes_of(&book.body), name(book));
        assert_eq!(book.size(), name(book).len() as u64);
        let origin = names::bytes_path(book.headers.get(header::ORIGIN).unwrap());
        assert!(origin.is_absolute());
        assert_eq!(fs::read(origin).unwrap(), name(book));
    }
}

#[test]
fn names_are_bytes() {
    let odd: [&[u8]; 5] = [b"\xff\xfe.bin", b"new\nline", b"sp ace/ta\tb", b"back\\slash", b"-rf"];
    let folder = tree(&odd);
    let mut expected: Vec<_> = odd.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    let books = all(&mut *source("files", &options(folder.path(), ""), &site()));
    assert_eq!(books.iter().map(name).collect::<Vec<_>>(), expected);
    assert!(books.iter().all(|book| bytes_of(&book.body) == name(book)));
}

#[test]
fn patterns_choose_and_prune() {
    let folder = tree(&[
        b"src/a.rs",
        b"src/deep/b.rs",
        b"src/c.txt",
        b"target/x.rs",
        b"lib/target/y.rs",
        b"top.rs",
    ]);
    let root = folder.path();
    assert_eq!(
        text(&listed(root, "include = ['**/*.rs']\nexclude = ['target/**']")),
        ["lib/target/y.rs", "src/a.rs", "src/deep/b.rs", "top.rs"]
    );
    assert_eq!(text(&listed(root, "include = ['*.rs']")), ["top.rs"]);
    assert_eq!(text(&listed(root, "exclude = ['src', '**/target']")), ["top.rs"]);
    assert_eq!(text(&listed(root, "include = ['src/*']")), ["src/a.rs", "src/c.txt"]);
}

#[test]
fn what_is_pruned_is_not_entered() {
    let folder = tree(&[b"keep", b"target/deep/file"]);
    let choice = |excluded: &str| {
        let text = options(folder.path(), &format!("exclude = ['{excluded}']"));
        let options: FileSourceOptions = toml::from_str(&text).unwrap();
        make(&options, &site()).unwrap()
    };
    let entries = |files: FileSource| {
        let mut entered = 0;
        let mut walk = files.walk.unwrap();
        while let Some(entry) = walk.next() {
            let entry = entry.unwrap();
            entered += 1;
            if !files.listing.choice.enters(&entry) && entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
        }
        entered
    };
    // The root, "keep" and the excluded folder, whichever pattern excludes it.
    assert_eq!(entries(choice("target/**")), 3);
    assert_eq!(entries(choice("target")), 3);
    assert_eq!(entries(choice("other")), 5);
}

#[test]
fn given_paths_are_left_out_even_by_way_of_a_link() {
    let folder = tree(&[b"in/a", b"in/out/b", b"in/c"]);
    symlink(folder.path().join("in"), folder.path().join("link")).unwrap();
    let leave = folder.path().join("link/out");
    let more =
        format!("leave_out = ['{}', '{}']", leave.display(), folder.path().join("in/c").display());
    assert_eq!(text(&listed(&folder.path().join("in"), &more)), ["a"]);
}

#[test]
fn links_are_followed_on_demand_and_special_files_never() {
    let folder = tree(&[b"real/file"]);
    symlink("real", folder.path().join("folder-link")).unwrap();
    symlink("real/file", folder.path().join("link")).unwrap();
    let fifo =
        std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
    assert!(fifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert_eq!(text(&listed(folder.path(), "")), ["real/file"]);
    assert_eq!(
        text(&listed(folder.path(), "follow = true")),
        ["folder-link/file", "link", "real/file"]
    );
}

#[test]
fn what_can_not_be_listed_becomes_a_book_that_fails_and_the_walk_goes_on() {
    let folder = tree(&[b"a", b"z"]);
    // A dangling link and a cyclic link: neither can be listed if links are followed.
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    symlink(".", folder.path().join("loop")).unwrap();
    let books = all(&mut *source("files", &options(folder.path(), "follow = true"), &site()));
    let names: Vec<_> = books.iter().map(name).collect();
    assert_eq!(text(&names), ["a", "dangling", "loop", "z"]);
    let readable: Vec<_> = books.iter().map(|book| book.body.read_all(100).is_ok()).collect();
    assert_eq!(readable, [true, false, false, true]);
}

#[test]
fn a_root_that_is_no_folder_is_refused() {
    let folder = tree(&[b"file"]);
    for root in ["missing", "file"] {
        let text = options(&folder.path().join(root), "");
        let failure = factory(&text).make(&site()).err().unwrap();
        assert!(failure.is_permanent() && failure.reason().contains(root), "{failure}");
    }
}

fn factory(options: &str) -> SourceFactory {
    let catalog = Catalog::standard();
    catalog.source("files").unwrap().prepare(options.parse().unwrap()).unwrap().factory
}

/// One run: lists the files, burns those whose names `burn` accepts, and finishes. Returns the
/// names of all listed files.
fn run(options: &str, burn: impl Fn(&str) -> bool) -> Vec<String> {
    let mut source = factory(options).make(&site()).unwrap();
    let receipts = source.receipts().unwrap();
    let mut books = all(&mut *source);
    let names: Vec<_> = books.iter().map(|book| String::from_utf8(name(book)).unwrap()).collect();
    for book in &mut books {
        // Change name and body as a chain of works does.
        names::append_suffix(&mut book.headers, ".gz");
        book.body = Body::from("packed");
    }
    let burned: Vec<_> =
        books.iter().zip(&names).filter(|(_, name)| burn(name)).map(|(book, _)| book).collect();
    receipts.burned(&burned).unwrap();
    receipts.finish().unwrap();
    names
}

#[test]
fn without_remember_no_receipts_are_requested() {
    let folder = tree(&[b"a"]);
    assert!(source("files", &options(folder.path(), ""), &site()).receipts().is_none());
}

#[test]
fn what_was_burned_is_skipped_until_it_changes() {
    let folder = tree(&[b"a", b"b", b"c d"]);
    let root = folder.path();
    // The memory is inside the input folder, and must not be listed.
    let options = options(root, &format!("remember = '{}'", root.join("out").display()));
    assert_eq!(run(&options, |name| name != "b"), ["a", "b", "c d"]);
    assert!(root.join("out/.gopherworks/node.seen").exists());
    assert_eq!(run(&options, |_| true), ["b"]);
    assert!(run(&options, |_| true).is_empty());
    // Change the size of one file, and only the modification time of another.
    fs::write(root.join("a"), "longer").unwrap();
    let file = fs::File::options().write(true).open(root.join("c d")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - std::time::Duration::from_nanos(1)).unwrap();
    assert_eq!(run(&options, |_| true), ["a", "c d"]);
    assert!(run(&options, |_| true).is_empty());
}

#[test]
fn a_file_that_changes_after_it_was_listed_is_done_again() {
    let folder = tree(&[b"a"]);
    let out = tempfile::tempdir().unwrap();
    let options = options(folder.path(), &format!("remember = '{}'", out.path().display()));
    let mut source = factory(&options).make(&site()).unwrap();
    let books = all(&mut *source);
    fs::write(folder.path().join("a"), "written while it was burning").unwrap();
    source.receipts().unwrap().burned(&[&books[0]]).unwrap();
    source.receipts().unwrap().finish().unwrap();
    assert_eq!(run(&options, |_| true), ["a"]);
}

#[test]
fn a_run_that_was_killed_is_remembered_up_to_a_torn_line() {
    let folder = tree(&[b"a", b"b", b"\xff\n"]);
    let out = tempfile::tempdir().unwrap();
    let options = options(folder.path(), &format!("remember = '{}'", out.path().display()));
    let mut source = factory(&options).make(&site()).unwrap();
    let books = all(&mut *source);
    let receipts = source.receipts().unwrap();
    receipts.burned(&[&books[2], &books[0]]).unwrap();
    receipts.burned(&[&books[1]]).unwrap();
    let journal = out.path().join(".gopherworks/node.seen");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 4]).unwrap();
    assert_eq!(run(&options, |_| true), ["b"]);
    assert!(run(&options, |_| true).is_empty());
}

#[test]
fn files_that_are_gone_are_forgotten_after_a_whole_walk_only() {
    let folder = tree(&[b"a", b"b", b"c"]);
    let out = tempfile::tempdir().unwrap();
    let options = options(folder.path(), &format!("remember = '{}'", out.path().display()));
    run(&options, |_| true);
    let lines =
        || fs::read_to_string(out.path().join(".gopherworks/node.seen")).unwrap().lines().count();
    assert_eq!(lines(), 3);
    fs::remove_file(folder.path().join("b")).unwrap();
    let stopped = factory(&options).make(&site()).unwrap();
    stopped.receipts().unwrap().finish().unwrap();
    assert_eq!(lines(), 3);
    run(&options, |_| true);
    assert_eq!(lines(), 2);
}

#[test]
fn a_reader_that_finds_nothing_new_gets_to_breathe() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..PATIENCE + 10 {
        fs::write(folder.path().join(format!("{number:05}.skip")), "").unwrap();
    }
    fs::write(folder.path().join("last"), "").unwrap();
    let mut source = source("files", &options(folder.path(), "exclude = ['*.skip']"), &site());
    assert!(source.next(1).unwrap().unwrap().is_empty());
    assert_eq!(all(&mut *source).len(), 1);
}

mod memory;

#[test]
fn a_file_has_its_key_in_every_run_until_it_changes() {
    let folder = tree(&[b"a", b"b"]);
    let memory = tempfile::tempdir().unwrap();
    let remember = format!("remember = '{}'", memory.path().display());
    let keys = |site: &Site, more: &str| -> Vec<Option<String>> {
        let books = all(&mut *source("files", &options(folder.path(), more), site));
        let key =
            |book: &Book| Some(String::from_utf8_lossy(book.headers.get(header::KEY)?).into());
        books.iter().map(key).collect()
    };
    let first = keys(&site(), &remember);
    assert!(first.iter().all(Option::is_some));
    assert_ne!(first[0], first[1]);
    assert_eq!(keys(&site(), &remember), first);
    fs::write(folder.path().join("a"), "another").unwrap();
    let changed = keys(&site(), &remember);
    assert_ne!(changed[0], first[0]);
    assert_eq!(changed[1], first[1]);
    let other = Site { node: "other".to_owned(), ..site() };
    assert!(keys(&other, &remember).iter().all(|key| !changed.contains(key)));
    assert_eq!(keys(&site(), ""), [None, None], "nothing is remembered");
}
