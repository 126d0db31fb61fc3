//! Conversions of names, which are arbitrary bytes: between headers, paths and single-line text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gopherworks_pipeline::book::{Book, BookId, Headers, header};
use gopherworks_pipeline::job::Job;

use super::RunId;

/// Returns the bytes of a path, in the form that book headers hold.
pub fn path_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

/// Converts bytes to a path.
pub fn bytes_path(bytes: &[u8]) -> PathBuf {
    os_string(bytes).into()
}

/// Converts bytes to an OS string.
pub fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec())
}

/// Returns the book's key, unique across runs and processes: header [`header::KEY`], which sources
/// with persistent progress set, or else `<run>-<id>`.
pub fn key_of(book: &Book, run: &RunId) -> String {
    match book.headers.get(header::KEY) {
        Some(key) => String::from_utf8_lossy(key).into_owned(),
        None => format!("{run}-{}", book.id),
    }
}

/// Returns the request's key, unique across runs and processes: the [key](key_of) of its book, by
/// `books`, or else `<run>-<requester>-<number>`. Copies and retries of a request share its key.
pub fn key_of_job(job: &Job, run: &RunId, books: &RunId) -> String {
    match &job.book {
        Some(book) if book.id != BookId::UNASSIGNED || book.headers.get(header::KEY).is_some() => {
            key_of(book, books)
        }
        _ => format!("{run}-{}-{}", escape(job.from.as_bytes()), job.number),
    }
}

/// Returns the name of a book's body: header [`header::NAME`], or else `book-<key>`.
pub fn name_of(book: &Book, run: &RunId) -> Bytes {
    match book.headers.get(header::NAME) {
        Some(name) => name.clone(),
        None => Bytes::from(format!("book-{}", key_of(book, run))),
    }
}

/// Appends `suffix` to header [`header::NAME`]; does nothing if the header is missing.
pub fn append_suffix(headers: &mut Headers, suffix: &str) {
    if let Some(name) = headers.get(header::NAME) {
        let longer = [name.as_ref(), suffix.as_bytes()].concat();
        headers.set(header::NAME, longer);
    }
}

/// Removes `suffix` from the end of header [`header::NAME`], unless that would leave the file name
/// empty.
pub fn strip_suffix(headers: &mut Headers, suffix: &str) {
    if let Some(name) = headers.get(header::NAME)
        && let Some(stem) = name.strip_suffix(suffix.as_bytes())
        && !stem.is_empty()
        && !stem.ends_with(b"/")
    {
        let stem = name.slice(..stem.len());
        headers.set(header::NAME, stem);
    }
}

/// Encodes bytes as text without spaces or line breaks: all but `A-Z a-z 0-9 . _ - /` become `%XX`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"._-/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Decodes the output of [`escape`]; `None` if a `%` is not followed by two hexadecimal digits.
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&first) = rest.next() {
        bytes.push(match first {
            b'%' => hex_byte(*rest.next()?, *rest.next()?)?,
            plain => plain,
        });
    }
    Some(bytes)
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Encodes bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Decodes a SHA-256 digest from 64 hexadecimal digits; `None` if the text is anything else.
pub fn unhex_sha256(text: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_byte(pair[0], pair[1])?;
    }
    Some(digest)
}

/// Turns a node's name into part of a file name: [`escape`]d, with `/` escaped too and no leading
/// dot.
pub fn file_stem(node: &str) -> String {
    let stem = escape(node.as_bytes()).replace('/', "%2F");
    match stem.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => stem,
    }
}

/// Formats bytes for a message: invalid UTF-8 is replaced, control characters are escaped.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_names_fit_on_a_line_and_come_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let text = escape(&bytes);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(unescape(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn requests_are_told_apart_by_run_requester_and_number() {
        let (run, books) = (RunId::of_seed(1), RunId::of_store("store"));
        let job = |from: &str, number, copy| Job {
            from: from.into(),
            number,
            copy,
            attempt: 1,
            book: None,
        };
        let key = |job: &Job| key_of_job(job, &run, &books);
        let first = job("web[copy=1]", 3, 0);
        assert_eq!(key(&first), format!("{run}-web%5Bcopy%3D1%5D-3"));
        assert_eq!(key(&first), key(&job("web[copy=1]", 3, 2)));
        assert_ne!(key(&first), key(&job("web[copy=2]", 3, 0)));
        let served =
            Job { book: Some(Book::default().with_header("http.method", "GET")), ..first.clone() };
        assert_eq!(key(&served), key(&first));
        let book = Book { id: BookId(7), ..Book::default() };
        let about = |book: &Book| Job { book: Some(book.clone()), ..first.clone() };
        assert_eq!(key(&about(&book)), "store-7");
        let book = book.with_header(header::KEY, "of the source");
        assert_eq!(key(&about(&book)), "of the source");
    }

    #[test]
    fn a_torn_escape_is_refused() {
        assert_eq!(unescape(b"a%4"), None);
        assert_eq!(unescape(b"a%zz"), None);
    }

    #[test]
    fn suffixes_come_and_go() {
        let mut headers = Headers::new();
        append_suffix(&mut headers, ".gz");
        assert!(headers.is_empty());
        headers.set(header::NAME, "a/b");
        append_suffix(&mut headers, ".gz");
        assert_eq!(headers.get(header::NAME).unwrap(), "a/b.gz");
        strip_suffix(&mut headers, ".gz");
        assert_eq!(headers.get(header::NAME).unwrap(), "a/b");
        headers.set(header::NAME, "a/.gz");
        strip_suffix(&mut headers, ".gz");
        assert_eq!(headers.get(header::NAME).unwrap(), "a/.gz");
    }
}
