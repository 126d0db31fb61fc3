//! Tests of the `lines` source.

use std::io::Write;
use std::sync::mpsc;

use super::super::super::tests::{bytes_of, site, source};
use super::*;

fn bodies(books: &[Book]) -> Vec<Vec<u8>> {
    books.iter().map(|book| bytes_of(&book.body).to_vec()).collect()
}

fn open(content: &[u8], more: &str) -> Box<dyn Source> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    source("lines", &format!("path = '{}'\n{more}", file.path().display()), &site())
}

#[test]
fn keeps_bytes_and_empty_lines_and_a_last_line_without_newline() {
    let mut source = open(b"a\r\n\n\xff\x00b\nend", "");
    let mut all = Vec::new();
    while let Some(books) = source.next(3).unwrap() {
        all.extend(bodies(&books));
    }
    assert_eq!(all, [&b"a\r"[..], b"", b"\xff\x00b", b"end"]);
    assert!(source.blocks());
}

#[test]
fn long_lines_are_read_ahead_by_bytes_and_short_ones_by_number() {
    let text = format!("{}\n", "x".repeat(1 << 19)).repeat(40);
    let mut source = open(text.as_bytes(), "");
    assert_eq!(source.next(1024).unwrap().unwrap().len(), 16);
    assert_eq!(source.next(3).unwrap().unwrap().len(), 3);
}

#[test]
fn an_empty_file_has_no_line_and_a_lone_newline_is_one() {
    assert!(open(b"", "").next(1).unwrap().is_none());
    assert_eq!(bodies(&open(b"\n", "").next(9).unwrap().unwrap()), [b""]);
}

#[test]
fn a_line_that_is_too_long_is_named_after_those_before_it() {
    let mut source = open(b"12345\n123456\nx\n", "max_line = '5B'");
    assert_eq!(bodies(&source.next(9).unwrap().unwrap()), [b"12345"]);
    let failure = source.next(9).unwrap_err();
    assert!(failure.is_permanent());
    assert!(failure.reason().ends_with("line 2 is longer than 5B (max_line)"), "{failure}");
}

/// Returns one piece per read, and fails if there is none.
struct Pieces(mpsc::Receiver<io::Result<&'static [u8]>>);

impl Input for Pieces {}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.try_recv().map_err(|_| io::Error::other("would wait"))??;
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

#[test]
fn a_stream_is_not_waited_for_once_there_is_a_line_and_an_error_loses_nothing() {
    let (sender, receiver) = mpsc::channel();
    let mut lines = LineSource::new(Box::new(Pieces(receiver)), false, "pipe".to_owned(), 100);
    sender.send(Ok(b"one\ntwo\nthr")).unwrap();
    assert_eq!(bodies(&lines.next(9).unwrap().unwrap()), [b"one", b"two"]);
    sender.send(Err(io::Error::other("cable"))).unwrap();
    assert!(!lines.next(9).unwrap_err().is_permanent());
    sender.send(Ok(b"ee\n")).unwrap();
    assert_eq!(bodies(&lines.next(9).unwrap().unwrap()), [b"three"]);
}

#[test]
fn a_missing_file_is_refused_at_once() {
    let catalog = super::super::super::Catalog::standard();
    let options = toml::toml! { path = "/nonexistent/lines" };
    let prepared = catalog.source("lines").unwrap().prepare(options).unwrap();
    let failure = prepared.factory.make(&site()).err().unwrap();
    assert!(failure.is_permanent() && failure.reason().contains("/nonexistent/lines"), "{failure}");
}

fn all(source: &mut Box<dyn Source>) -> Vec<Book> {
    std::iter::from_fn(|| source.next(7).unwrap()).flatten().collect()
}

fn texts(books: &[Book]) -> Vec<String> {
    let texts = bodies(books).into_iter();
    texts.map(|text| String::from_utf8(text).unwrap()).collect()
}

/// A file of lines, with its memory in the same folder.
struct RememberedFile(tempfile::TempDir);

impl RememberedFile {
    fn new(content: &str) -> Self {
        let kept = Self(tempfile::tempdir().unwrap());
        std::fs::write(kept.path(), content).unwrap();
        kept
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("in")
    }

    fn source(&self) -> Box<dyn Source> {
        let folder = self.0.path().display();
        let options = format!("path = '{folder}/in'\nremember = '{folder}/memory'");
        source("lines", &options, &site())
    }

    /// Reads all lines that were not burned before, and burns those that `burns` accepts. If
    /// `ends`, the run is finished; otherwise it is dropped as in a crash.
    fn run(&self, ends: bool, burns: impl Fn(&str) -> bool) -> Vec<String> {
        let mut source = self.source();
        let receipts = source.receipts().unwrap();
        let books = all(&mut source);
        let texts = texts(&books);
        for (book, _) in books.iter().zip(&texts).filter(|(_, text)| burns(text)) {
            receipts.burned(&[book]).unwrap();
        }
        if ends {
            receipts.finish().unwrap();
        }
        texts
    }
}

#[test]
fn what_was_burned_is_left_out_and_the_rest_comes_again_with_its_key() {
    for ends in [false, true] {
        let kept = RememberedFile::new("a\nb\nc\nd\n");
        let first = {
            let mut source = kept.source();
            let books = all(&mut source);
            books[2].headers.get("key").unwrap().clone()
        };
        // The fourth line is burned, but not the third before it.
        kept.run(ends, |text| text != "c");
        std::fs::write(kept.path(), "a\nb\nc\nd\ne\n").unwrap();
        let mut source = kept.source();
        let books = all(&mut source);
        assert_eq!(texts(&books), ["c", "e"]);
        assert_eq!(books[0].headers.get("key").unwrap(), &first);
        drop((source, books));
        assert_eq!(kept.run(ends, |_| true), ["c", "e"]);
        assert_eq!(kept.run(ends, |_| true), [""; 0]);
    }
}

#[test]
fn a_file_that_is_not_the_one_known_is_read_from_its_beginning_under_other_keys() {
    type Change = fn(&std::path::Path);
    let change: [(&str, Change); 3] = [
        ("truncated", |path| std::fs::write(path, "z\n").unwrap()),
        ("rewritten", |path| std::fs::write(path, "x\ny\nz\nz\nz\n").unwrap()),
        ("replaced", |path| {
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, "a\nb\nc\n").unwrap();
            std::fs::rename(fresh, path).unwrap();
        }),
    ];
    for (how, change) in change {
        let kept = RememberedFile::new("a\nb\nc\n");
        let key = |books: &[Book]| books[0].headers.get("key").unwrap().clone();
        let before = key(&all(&mut kept.source()));
        kept.run(true, |_| true);
        change(&kept.path());
        let mut source = kept.source();
        let books = all(&mut source);
        let lines = std::fs::read_to_string(kept.path()).unwrap();
        assert_eq!(texts(&books), lines.lines().collect::<Vec<_>>(), "{how}");
        assert_ne!(key(&books), before, "{how}");
    }
}

#[test]
fn a_last_line_that_grew_after_it_was_read_comes_again_whole() {
    for (grown, again) in [("a\nbe\n", &["be"][..]), ("a\nb\n", &[]), ("a\nb\nc", &["c"])] {
        let kept = RememberedFile::new("a\nb");
        assert_eq!(kept.run(true, |_| true), ["a", "b"]);
        std::fs::write(kept.path(), grown).unwrap();
        assert_eq!(kept.run(true, |_| true), again, "{grown:?}");
        assert_eq!(kept.run(true, |_| true), [""; 0], "{grown:?}");
    }
}

#[test]
fn two_runs_do_not_share_a_memory_and_a_stream_has_none() {
    let kept = RememberedFile::new("a\n");
    let _first = kept.source();
    let folder = kept.0.path().display();
    let refused = |path: &str| {
        let mut options = toml::Table::new();
        options.insert("path".into(), path.into());
        options.insert("remember".into(), format!("{folder}/memory").into());
        let catalog = super::super::super::Catalog::standard();
        let prepared = catalog.source("lines").unwrap().prepare(options).unwrap();
        prepared.factory.make(&site()).err().unwrap().to_string()
    };
    let why = refused(&format!("{folder}/in"));
    assert!(why.contains("remembers its place"), "{why}");
    assert!(refused("-").contains("needs a file"));
    assert!(refused("/dev/null").contains("needs a regular file"));
}

#[test]
fn a_fifo_without_a_writer_has_nothing_at_present_and_is_never_waited_for_without_end() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut source = source("lines", &format!("path = '{}'", path.display()), &site());
    assert!(source.next(9).unwrap().unwrap().is_empty());
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"one\ntw").unwrap();
    assert_eq!(bodies(&source.next(9).unwrap().unwrap()), [b"one"]);
    assert!(source.next(9).unwrap().unwrap().is_empty());
    writer.write_all(b"o").unwrap();
    drop(writer);
    assert_eq!(bodies(&source.next(9).unwrap().unwrap()), [b"two"]);
    assert!(source.next(9).unwrap().is_none());
}

#[test]
fn goes_on_where_it_was_unless_the_file_was_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    let open = || source("lines", &format!("path = '{}'", path.display()), &site());
    std::fs::write(&path, "a\nbb\nccc\n").unwrap();
    let mut first = open();
    assert_eq!(bodies(&first.next(2).unwrap().unwrap()), [&b"a"[..], b"bb"]);
    let position = first.position().unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"d\n"))
        .unwrap();
    let mut later = open();
    assert!(later.resume(&position).unwrap());
    assert_eq!(bodies(&later.next(9).unwrap().unwrap()), [&b"ccc"[..], b"d"]);
    let changes: [&dyn Fn(); 3] = [
        &|| std::fs::write(&path, "x\nbb\nccc\nd\n").unwrap(),
        &|| std::fs::write(&path, "a\n").unwrap(),
        &|| {
            std::fs::copy(&path, folder.path().join("copy")).unwrap();
            std::fs::rename(folder.path().join("copy"), &path).unwrap();
        },
    ];
    for change in changes {
        std::fs::write(&path, "a\nbb\nccc\nd\n").unwrap();
        let kept = {
            let mut source = open();
            source.next(2).unwrap();
            source.position().unwrap()
        };
        change();
        let mut anew = open();
        assert!(!anew.resume(&kept).unwrap());
        let first = bodies(&anew.next(1).unwrap().unwrap());
        assert!([b"x", b"a"].contains(&<&[u8; 1]>::try_from(&first[0][..]).unwrap()));
    }
    assert!(open().resume(b"?").is_err());
}
