//! Tests of the `lines` burn.

use gopherworks_pipeline::book::{Body, BodyFile};
use gopherworks_supervision::failure::FailureKind;

use super::super::super::tests::{burn_kind, site};
use super::*;

fn options(path: &std::path::Path, more: &str) -> String {
    format!("path = '{}'\n{more}", path.display())
}

#[test]
fn a_cart_is_written_in_order_and_a_bad_book_alone_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/out");
    let burn = burn_kind("lines", &options(&path, "max_line = '5B'")).make(&site()).unwrap();
    let missing = Book::new(Body::file(BodyFile::kept(folder.path().join("missing")), 1));
    let books = [Book::new("one"), missing, Book::new("longer"), Book::new("")];
    let results = burn.burn_cart(&books.each_ref()).unwrap();
    assert!(results[0].is_ok() && results[3].is_ok());
    assert!(results[1].as_ref().unwrap_err().is_permanent());
    assert!(results[2].as_ref().unwrap_err().reason().contains("larger than 5B"));
    burn.burn(&Book::new("last")).unwrap();
    burn.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n\nlast\n");
}

#[test]
fn the_file_begins_anew_with_a_run_but_not_with_a_new_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, "old\n").unwrap();
    let factory = burn_kind("lines", &options(&path, ""));
    factory.make(&site()).unwrap().burn(&Book::new("first life")).unwrap();
    let second = factory.make(&site()).unwrap();
    second.burn(&Book::new("second life")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first life\nsecond life\n");
    second.finish().unwrap();
    factory.make(&site()).unwrap().burn(&Book::new("next run")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "next run\n");
    let appending = burn_kind("lines", &options(&path, "append = true"));
    appending.make(&site()).unwrap().burn(&Book::new("added")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "next run\nadded\n");
}

#[test]
fn a_full_disk_is_a_condition_of_the_output() {
    // A device that is always full. It is not a regular file, so nothing is truncated.
    let burn = burn_kind("lines", "path = '/dev/full'").make(&site()).unwrap();
    let results = burn.burn_cart(&[&Book::new("a"), &Book::new("b")]).unwrap();
    let kinds: Vec<_> = results.iter().map(kind).collect();
    assert_eq!(kinds, [FailureKind::Unavailable; 2]);
}

fn kind(result: &Result<(), Failure>) -> FailureKind {
    result.as_ref().unwrap_err().kind()
}

fn fifo(folder: &tempfile::TempDir) -> std::path::PathBuf {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

#[test]
fn a_fifo_without_a_reader_is_unavailable_and_one_that_was_left_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = fifo(&folder);
    let burn = burn_kind("lines", &options(&path, "")).make(&site()).unwrap();
    let early = burn.burn(&Book::new("a"));
    assert_eq!(kind(&early), FailureKind::Unavailable);
    assert!(early.unwrap_err().reason().contains("no process reads"));
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    burn.burn(&Book::new("b")).unwrap();
    drop(reader);
    assert_eq!(kind(&burn.burn(&Book::new("c"))), FailureKind::Closed);
    burn.finish().unwrap();
}

#[test]
fn a_pipe_that_is_full_keeps_a_write_only_until_the_run_is_stopped() {
    use std::io::Read;

    let folder = tempfile::tempdir().unwrap();
    let path = fifo(&folder);
    let site = site();
    let burn = burn_kind("lines", &options(&path, "")).make(&site).unwrap();
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let books: Vec<_> = (0..100).map(|_| Book::new("x".repeat(3000))).collect();
    let books: Vec<_> = books.iter().collect();
    site.halt.ask();
    let results = burn.burn_cart(&books).unwrap();
    let written = results.iter().filter(|result| result.is_ok()).count();
    // A pipe holds 64 KiB. A line that it took in part counts as written; the rest is written first
    // later.
    assert!((1..100).contains(&written), "{written}");
    assert!(results[written..].iter().all(Result::is_err));
    let mut taken = vec![0; written * 3001];
    let reading = std::thread::spawn(move || {
        reader.read_exact(&mut taken).unwrap();
        (taken, reader)
    });
    while burn.burn(&Book::new("last")).is_err() {}
    let (taken, _reader) = reading.join().unwrap();
    let line = [&b"x".repeat(3000)[..], b"\n"].concat();
    assert_eq!(taken, line.repeat(written));
}

#[test]
fn a_file_is_locked_for_one_node_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("out"), folder.path().join("link"));
    let first = burn_kind("lines", &options(&path, "")).make(&site());
    let first = first.unwrap();
    first.burn(&Book::new("kept")).unwrap();
    std::fs::hard_link(&path, &link).unwrap();
    for path in [&path, &link] {
        let refused = burn_kind("lines", &options(path, "")).make(&site());
        let failure = refused.err().unwrap();
        assert!(failure.is_permanent(), "{failure}");
        assert!(failure.reason().contains("of this process writes to it"), "{failure}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    drop(first);
    burn_kind("lines", &options(&link, "")).make(&site()).unwrap();
}

#[test]
fn a_last_line_that_is_torn_is_ended_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, "whole\nto").unwrap();
    let burn = burn_kind("lines", &options(&path, "append = true")).make(&site()).unwrap();
    burn.burn(&Book::new("next")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nto\nnext\n");
}

#[test]
fn nothing_of_the_file_is_changed_before_the_first_line_or_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, "old\n").unwrap();
    let burn = burn_kind("lines", &options(&path, "")).make(&site()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n");
    burn.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

/// Below a folder: what each file holds, decompressed if it is compressed.
#[cfg(all(feature = "files", feature = "gzip"))]
fn files(folder: &std::path::Path) -> Vec<(String, String)> {
    use std::io::Read;
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    walk.filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            let bytes = std::fs::read(entry.path()).unwrap();
            let mut text = String::new();
            match name.ends_with(".gz") {
                true => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text),
                false => (&bytes[..]).read_to_string(&mut text),
            }
            .unwrap();
            (name, text)
        })
        .collect()
}

#[test]
#[cfg(all(feature = "files", feature = "gzip"))]
fn books_name_their_files_and_few_are_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let more = "file = '{day}/{level}.gz'\nopen_files = 2";
    let factory = burn_kind("lines", &options(folder.path(), more));
    let burn = factory.make(&site()).unwrap();
    let book = |text: &str, day: &str, level: &str| {
        Book::new(text.to_owned())
            .with_header("day", day.to_owned())
            .with_header("level", level.to_owned())
    };
    let books: Vec<Book> = (0..12)
        .map(|n| book(&format!("line {n}"), ["mon", "tue"][n % 2], ["a", "b", "c"][n % 3]))
        .chain([book("bad", "..", "../x"), Book::new("nameless")])
        .collect();
    for cart in books.chunks(5) {
        let results = burn.burn_cart(&cart.iter().collect::<Vec<_>>()).unwrap();
        for (book, result) in cart.iter().zip(results) {
            let is_bad = book.headers.get("level").is_none_or(|level| level.starts_with(b"."));
            assert_eq!(result.is_err_and(|failure| failure.is_permanent()), is_bad);
        }
    }
    burn.sync().unwrap();
    burn.finish().unwrap();
    let lines = |numbers: [usize; 2]| numbers.map(|n| format!("line {n}\n")).concat();
    let expected = [
        ("mon/a.gz", [0, 6]),
        ("mon/b.gz", [4, 10]),
        ("mon/c.gz", [2, 8]),
        ("tue/a.gz", [3, 9]),
        ("tue/b.gz", [1, 7]),
        ("tue/c.gz", [5, 11]),
    ];
    assert_eq!(files(folder.path()), expected.map(|(name, n)| (name.to_owned(), lines(n))));
}

#[test]
#[cfg(all(feature = "files", feature = "gzip"))]
fn a_torn_end_is_cut_off_before_more_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let factory = burn_kind("lines", &options(folder.path(), "file = '{name}'"));
    let book =
        |text: &str, name: &str| Book::new(text.to_owned()).with_header("name", name.to_owned());
    let (gz, plain) = (folder.path().join("a.gz"), folder.path().join("a"));
    let burn = factory.make(&site()).unwrap();
    burn.burn(&book("one", "a.gz")).unwrap();
    burn.burn(&book("one", "a")).unwrap();
    burn.finish().unwrap();
    drop(burn);
    let whole = std::fs::read(&gz).unwrap();
    std::fs::write(&gz, [&whole[..], &whole[..whole.len() - 3]].concat()).unwrap();
    std::fs::write(&plain, "one\ntw").unwrap();
    let burn = factory.make(&site()).unwrap();
    burn.burn(&book("three", "a.gz")).unwrap();
    burn.burn(&book("three", "a")).unwrap();
    burn.finish().unwrap();
    let expected = [("a", "one\ntw\nthree\n"), ("a.gz", "one\nthree\n")];
    assert_eq!(
        files(folder.path()),
        expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
    );
}

/// A link out of the folder is not followed.
#[test]
#[cfg(feature = "files")]
fn no_link_leads_out_of_the_folder() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
    let burn = burn_kind("lines", &options(folder.path(), "file = 'out/{name}'"));
    let burn = burn.make(&site()).unwrap();
    assert!(burn.burn(&Book::new("x").with_header("name", "a")).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
