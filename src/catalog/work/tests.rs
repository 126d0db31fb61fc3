use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use gopherworks_pipeline::book::{Body, BodyFile, header};
use proptest::prelude::*;

use super::super::tests::{bytes_of, site, work_kind};
use super::*;

mod spilling;

fn named(body: impl Into<Body>, name: &str) -> Book {
    Book::new(body).with_header(header::NAME, name.to_owned())
}

fn done(work: &mut dyn Transform, book: Book) -> Book {
    work.apply(book).unwrap().unwrap()
}

fn make(parts: &[(&str, &str)], site: &Site) -> Box<dyn Transform> {
    let parts = parts.iter().map(|(kind, options)| work_kind(kind, options));
    compose(parts.collect()).make(site).unwrap()
}

fn name(book: &Book) -> &[u8] {
    book.headers.get(header::NAME).unwrap()
}

fn spilling(folder: &Path, above: u64) -> Site {
    Site { scratch: folder.to_path_buf(), spill_above: above, ..site() }
}

/// Files below `folder`.
fn entries(folder: &Path) -> usize {
    let entries = walkdir::WalkDir::new(folder).into_iter();
    entries.filter(|entry| !entry.as_ref().unwrap().file_type().is_dir()).count()
}

/// What a program makes of `input`.
fn through(program: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    output.stdout
}

/// Bytes that compress a little.
fn text(length: usize) -> Vec<u8> {
    let words = ["pile ", "gopher ", "cart ", "furnace\n"];
    let mut state = 1_u32;
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(state >> 30) as usize].as_bytes());
    }
    text.truncate(length);
    text
}

#[test]
fn digests_are_the_published_ones() {
    let mut sha256 = make(&[("sha256", "")], &site());
    let million = vec![b'a'; 1_000_000];
    let vectors: [(&[u8], &str); 4] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ];
    for (input, digest) in vectors {
        let book = done(&mut *sha256, named(input.to_vec(), "a b"));
        assert_eq!(book.headers.get(header::SHA256).unwrap(), digest);
        assert_eq!(book.headers.get(header::SHA256_NAME).unwrap(), "a b");
    }
}

#[test]
fn a_digest_alone_leaves_the_body_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    std::fs::write(&path, text(200_000)).unwrap();
    let mut sha256 = make(&[("sha256", ""), ("sha256", "")], &spilling(folder.path(), 0));
    let book = done(&mut *sha256, Book::new(Body::file(BodyFile::kept(&path), 200_000)));
    assert!(matches!(&book.body, Body::File { file, .. } if file.path() == path));
    assert_eq!(entries(folder.path()), 1);
    assert!(book.headers.get(header::SHA256).is_some());
    assert!(book.headers.get(header::SHA256_NAME).is_none());
}

#[test]
fn a_digest_knows_the_name_at_its_place_in_the_chain() {
    let mut before = make(&[("sha256", ""), ("gzip", "")], &site());
    let mut after = make(&[("gzip", ""), ("sha256", "")], &site());
    let (before, after) = (done(&mut *before, named("x", "n")), done(&mut *after, named("x", "n")));
    assert_eq!(before.headers.get(header::SHA256_NAME).unwrap(), "n");
    assert_eq!(after.headers.get(header::SHA256_NAME).unwrap(), "n.gz");
    assert_eq!(name(&before), b"n.gz");
    assert_eq!(bytes_of(&before.body), bytes_of(&after.body));
}

#[test]
fn gzip_reads_what_this_writes_and_the_other_way_round() {
    let input = text(300_000);
    for level in 0..=9 {
        let mut gzip = make(&[("gzip", &format!("level = {level}"))], &site());
        let packed = done(&mut *gzip, named(input.clone(), "n"));
        assert_eq!(through(&["gzip", "-dc"], &bytes_of(&packed.body)), input, "level {level}");
    }
    let mut gunzip = make(&[("gunzip", "")], &site());
    let theirs = through(&["gzip", "-c", "-1"], &input);
    assert_eq!(bytes_of(&done(&mut *gunzip, named(theirs, "n.gz")).body), input);
}

#[test]
fn gzip_gives_the_same_bytes_for_the_same_body() {
    let mut one = make(&[("gzip", "")], &site());
    let mut other = make(&[("gzip", "")], &site());
    // The second has a past.
    done(&mut *other, named(text(100_000), "past"));
    let packed = [done(&mut *one, named("body", "a")), done(&mut *other, named("body", "b"))];
    let [one, other] = packed.each_ref().map(|book| bytes_of(&book.body));
    assert_eq!(one, other);
    assert_eq!(one[3..8], [0; 5], "no flags and no time");
}

/// A member with every optional part of a header.
fn decorated_member() -> Vec<u8> {
    let plain = bytes_of(&done(&mut *make(&[("gzip", "")], &site()), Book::new("decorated ")).body);
    let mut member = plain[..10].to_vec();
    member[3] = 0x1f;
    member.extend_from_slice(b"\x03\x00abcname\0comment\0");
    let mut check = flate2::Crc::new();
    check.update(&member);
    member.extend_from_slice(&check.sum().to_le_bytes()[..2]);
    member.extend_from_slice(&plain[10..]);
    member
}

#[test]
fn gunzip_takes_headers_members_and_padding_in_pieces_of_any_size() {
    let mut gzip = make(&[("gzip", "")], &site());
    let mut stream = decorated_member();
    stream.extend_from_slice(&bytes_of(&done(&mut *gzip, Book::new(text(500))).body));
    stream.extend_from_slice(&bytes_of(&done(&mut *gzip, Book::new("")).body));
    stream.extend_from_slice(&[0; 20]);
    let expected = [b"decorated ", &text(500)[..]].concat();

    struct Pieces(usize);
    impl Filter for Pieces {
        fn begin(&mut self, _: &mut gopherworks_pipeline::book::Headers) -> Result<(), Failure> {
            Ok(())
        }
        fn write(&mut self, piece: &[u8], next: &mut filter::Next<'_>) -> Result<(), Failure> {
            piece.chunks(self.0).try_for_each(|piece| next.write(piece))
        }
        fn finish(
            &mut self,
            _: &mut gopherworks_pipeline::book::Headers,
            _: &mut filter::Next<'_>,
        ) -> Result<(), Failure> {
            Ok(())
        }
    }
    for size in [1, 2, 3, 7, 1000] {
        let pieces = WorkFactory::from_filter(move |_| Ok(Pieces(size)));
        let mut work = compose(vec![pieces, work_kind("gunzip", "")]).make(&site()).unwrap();
        let book = done(&mut *work, named(stream.clone(), "n.gz"));
        assert_eq!(bytes_of(&book.body), expected, "pieces of {size}");
        assert_eq!(name(&book), b"n");
    }
}

#[test]
fn corrupt_gzip_is_refused_for_good_and_harms_no_later_book() {
    let good = bytes_of(&done(&mut *make(&[("gzip", "")], &site()), Book::new(text(5000))).body);
    let mut gunzip = make(&[("gunzip", "")], &site());
    let mut cases = vec![
        ("empty", Vec::new()),
        ("no gzip", b"hello world, this is text".to_vec()),
        ("garbage after", [&good[..], b"x"].concat()),
        ("garbage after padding", [&good[..], b"\0\0x"].concat()),
        ("torn second member", [&good[..], &good[..30]].concat()),
    ];
    for cut in [1, 5, 10, 100, good.len() - 9, good.len() - 1] {
        cases.push(("cut", good[..cut].to_vec()));
    }
    for flipped in [2, 3, good.len() / 2, good.len() - 6, good.len() - 2] {
        let mut bad = good.to_vec();
        bad[flipped] ^= 0xff;
        cases.push(("flipped", bad));
    }
    for (what, bad) in cases {
        let failure = gunzip.apply(Book::new(bad)).unwrap_err();
        assert!(failure.is_permanent(), "{what}: {failure}");
        assert_eq!(bytes_of(&done(&mut *gunzip, Book::new(good.clone())).body), text(5000));
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let zeros = vec![0; 3_000_000];
    for (pack, unpack) in [("gzip", "gunzip"), ("zstd", "unzstd")] {
        let bomb =
            bytes_of(&done(&mut *make(&[(pack, "")], &site()), Book::new(zeros.clone())).body);
        assert!(bomb.len() < 10_000);
        let folder = tempfile::tempdir().unwrap();
        let mut limited =
            make(&[(unpack, "max_size = '2999999B'")], &spilling(folder.path(), 1000));
        let failure = limited.apply(Book::new(bomb.clone())).unwrap_err();
        assert!(failure.is_permanent() && failure.reason().contains("max_size"), "{failure}");
        assert_eq!(entries(folder.path()), 0, "what was expanded is deleted at once");
        let mut exact = make(&[(unpack, "max_size = 3000000")], &site());
        assert_eq!(bytes_of(&done(&mut *exact, Book::new(bomb)).body), zeros);
    }
}

#[test]
fn zstd_frames_have_checksums_and_may_be_many() {
    let mut zstd = make(&[("zstd", "level = 19")], &site());
    let mut unzstd = make(&[("unzstd", "")], &site());
    let packed = done(&mut *zstd, named(text(300_000), "n"));
    assert_eq!(name(&packed), b"n.zst");
    let packed = bytes_of(&packed.body);
    let twice = [&packed[..], &packed[..]].concat();
    let expanded = done(&mut *unzstd, named(twice, "n.zst"));
    assert_eq!(name(&expanded), b"n");
    assert_eq!(bytes_of(&expanded.body), text(300_000).repeat(2));
    let mut flipped = packed.to_vec();
    // The checksum is the last thing of a frame.
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [
        Vec::new(),
        flipped,
        packed[..packed.len() - 1].to_vec(),
        b"no zstd".to_vec(),
        [&packed[..], &packed[..9]].concat(),
    ] {
        assert!(unzstd.apply(Book::new(bad)).unwrap_err().is_permanent());
        assert_eq!(bytes_of(&done(&mut *unzstd, Book::new(packed.clone())).body), text(300_000));
    }
}

#[test]
fn closures_stand_between_filters_and_may_drop_books() {
    struct Upper;
    impl Transform for Upper {
        fn apply(&mut self, mut book: Book) -> Result<Option<Book>, Failure> {
            let text = bytes_of(&book.body);
            book.body = Body::from(text.to_ascii_uppercase());
            Ok((!text.is_empty()).then_some(book))
        }
        fn blocks(&self) -> bool {
            false
        }
    }
    let upper = || WorkFactory::new(|_| Ok(Box::new(Upper)));
    let parts = vec![work_kind("gunzip", ""), upper(), work_kind("sha256", "")];
    let mut work = compose(parts).make(&site()).unwrap();
    assert!(work.blocks());
    let packed =
        |text: &str| done(&mut *make(&[("gzip", "")], &site()), Book::new(text.to_owned()));
    let book = done(&mut *work, packed("abc"));
    assert_eq!(bytes_of(&book.body), "ABC");
    let digest = done(&mut *make(&[("sha256", "")], &site()), Book::new("ABC"));
    assert_eq!(book.headers.get(header::SHA256), digest.headers.get(header::SHA256));
    assert!(work.apply(packed("")).unwrap().is_none());
    assert!(!compose(vec![upper(), upper()]).make(&site()).unwrap().blocks());
    let mut nothing = compose(Vec::new()).make(&site()).unwrap();
    assert!(!nothing.blocks());
    assert_eq!(bytes_of(&done(&mut *nothing, Book::new("same")).body), "same");
}

#[test]
fn neighbours_read_the_body_once() {
    // The file is gone after the first piece, so opening it again would fail.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("once");
    std::fs::write(&path, text(200_000)).unwrap();

    struct Watch(std::path::PathBuf);
    impl Filter for Watch {
        fn begin(&mut self, _: &mut gopherworks_pipeline::book::Headers) -> Result<(), Failure> {
            Ok(())
        }
        fn write(&mut self, piece: &[u8], next: &mut filter::Next<'_>) -> Result<(), Failure> {
            let _ = std::fs::remove_file(&self.0);
            next.write(piece)
        }
        fn finish(
            &mut self,
            _: &mut gopherworks_pipeline::book::Headers,
            _: &mut filter::Next<'_>,
        ) -> Result<(), Failure> {
            Ok(())
        }
        fn passes_on(&self) -> bool {
            true
        }
    }
    let watched = path.clone();
    let watch = WorkFactory::from_filter(move |_| Ok(Watch(watched.clone())));
    let parts =
        vec![watch, work_kind("sha256", ""), work_kind("gzip", ""), work_kind("gunzip", "")];
    let mut work = compose(parts).make(&site()).unwrap();
    let book = done(&mut *work, Book::new(Body::file(BodyFile::kept(&path), 0)));
    assert_eq!(bytes_of(&book.body), text(200_000));
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        (0_usize..400_000).prop_map(text),
        (0_usize..400_000).prop_map(|length| vec![7; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packed_bodies_come_back(
        body in bodies(),
        spill in prop_oneof![Just(0), Just(1000), Just(1 << 20)], from_file in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let site = spilling(folder.path(), spill);
        for (pack, unpack) in [("gzip", "gunzip"), ("zstd", "unzstd")] {
            let mut there_and_back = [make(&[(pack, "")], &site), make(&[(unpack, "")], &site)];
            let mut fused = make(&[(pack, ""), (unpack, "")], &site);
            // Twice, so that what is kept from book to book is used.
            for _ in 0..2 {
                let input = if from_file {
                    let path = folder.path().join("input");
                    std::fs::write(&path, &body).unwrap();
                    Body::file(BodyFile::kept(path), 0)
                } else {
                    Body::from(body.clone())
                };
                let mut book = named(input.clone(), "n");
                for work in &mut there_and_back {
                    book = done(&mut **work, book);
                }
                prop_assert_eq!(bytes_of(&book.body), &body[..]);
                prop_assert_eq!(name(&book), b"n");
                let book = done(&mut *fused, named(input, "n"));
                prop_assert_eq!(bytes_of(&book.body), &body[..]);
            }
        }
    }

    #[test]
    fn a_fused_chain_is_equal_to_its_parts(
        body in bodies(),
        spill in prop_oneof![Just(0), Just(1 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let site = spilling(folder.path(), spill);
        let parts = [("sha256", ""), ("gzip", "level = 1"), ("zstd", ""), ("sha256", "")];
        let mut apart = named(body.clone(), "n");
        for part in parts {
            apart = done(&mut *make(&[part], &site), apart);
        }
        let fused = done(&mut *make(&parts, &site), named(body, "n"));
        prop_assert_eq!(&fused.headers, &apart.headers);
        prop_assert_eq!(bytes_of(&fused.body), bytes_of(&apart.body));
    }
}
