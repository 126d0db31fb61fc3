//! Bodies that are too large for memory, or can't be read, or find no room.

use super::*;

#[test]
fn what_is_too_large_for_memory_goes_to_a_private_file_that_goes_with_the_book() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("not/yet/there");
    let mut gzip = make(&[("gzip", "level = 0")], &spilling(&scratch, 100_000));
    let small = done(&mut *gzip, Book::new(text(90_000)));
    assert!(matches!(small.body, Body::Bytes(_)));
    assert!(!scratch.exists());
    let large = done(&mut *gzip, Book::new(text(400_000)));
    let Body::File { file, size_hint, .. } = &large.body else { panic!("still in memory") };
    assert!(file.is_temporary());
    let metadata = std::fs::metadata(file.path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), *size_hint);
    let mut gunzip = make(&[("gunzip", "")], &site());
    assert_eq!(bytes_of(&done(&mut *gunzip, large.clone()).body), text(400_000));
    drop(large);
    assert_eq!(entries(&scratch), 0);
}

#[test]
fn a_body_that_can_not_be_read_names_its_file_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    std::fs::write(&path, text(300_000)).unwrap();
    let scratch = folder.path().join("scratch");
    let mut work = make(&[("sha256", ""), ("gzip", "level = 0")], &spilling(&scratch, 10));
    // A range that ends beyond the file fails only after most of it was worked on.
    let book = Book::new(Body::range(BodyFile::kept(&path), 0, 400_000));
    let failure = work.apply(book).unwrap_err();
    assert!(failure.is_permanent() && failure.reason().contains("short"), "{failure}");
    assert_eq!(entries(&scratch), 0);
    let missing = Book::new(Body::file(BodyFile::kept(folder.path().join("missing")), 1));
    assert!(work.apply(missing).unwrap_err().is_permanent());
}

#[test]
fn a_full_scratch_disk_is_not_the_books_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    // Nothing can be created below a file, not even by root.
    let mut gzip = make(&[("gzip", "")], &spilling(&file.join("scratch"), 0));
    let failure = gzip.apply(Book::new("x")).unwrap_err();
    assert!(!failure.is_permanent(), "{failure}");
}
