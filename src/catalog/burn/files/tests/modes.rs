//! Tests of the modes and times of files and folders that are written.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Permission bits that the process's umask leaves.
fn mask() -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all");
    fs::create_dir(&path).unwrap();
    mode(&path)
}

#[test]
fn an_archive_is_no_wider_open_than_its_input_and_keeps_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(input.join("private/deep")).unwrap();
    fs::create_dir_all(input.join("open")).unwrap();
    let time = UNIX_EPOCH + Duration::new(981_173_106, 123_456_789);
    for (name, rights) in [
        ("private/key", 0o600),
        ("private/deep/key", 0o640),
        ("open/text", 0o644),
        ("open/program", 0o755),
        ("open/read-only", 0o444),
    ] {
        fs::write(input.join(name), name).unwrap();
        fs::File::open(input.join(name)).unwrap().set_modified(time).unwrap();
        chmod(&input.join(name), rights);
    }
    chmod(&input.join("private"), 0o700);
    chmod(&input.join("private/deep"), 0o550);
    chmod(&input, 0o750);
    archive(&input, &output);
    let made = |name: &str| mode(&output.join(name));
    let mask = mask();
    assert_eq!(made(""), 0o750 & mask);
    assert_eq!(made("private"), 0o700 & mask);
    // The owner gets all rights, without which no file could be created in the folder.
    assert_eq!(made("private/deep"), 0o750 & mask);
    for (name, rights) in [
        ("private/key.gz", 0o600),
        ("private/deep/key.gz", 0o640),
        ("open/text.gz", 0o644),
        ("open/program.gz", 0o755),
        ("open/read-only.gz", 0o444),
    ] {
        assert_eq!(made(name), rights & mask, "{name}");
        let found = fs::metadata(output.join(name)).unwrap();
        assert_eq!(found.modified().unwrap(), time, "{name}");
    }
    // The manifest contains digests of files that only their owner can read.
    assert_eq!(made("SHA256SUMS"), 0o600);
    for own in ["", "/tmp", "/node.records", "/lock"] {
        let own = made(&format!("{OWN}{own}"));
        assert_eq!(own & 0o077, 0);
    }
}

#[test]
fn a_spilled_body_gets_mode_and_time_too_and_without_the_option_only_the_mode() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for (option, kept) in [("", true), ("mtime = false", false)] {
        let burn = open(&root, option);
        let spilled = folder.path().join("spilled");
        fs::write(&spilled, "spilled").unwrap();
        chmod(&spilled, 0o600);
        for (name, body) in
            [("linked", Body::file(BodyFile::temporary(&spilled), 7)), ("copied", Body::from("x"))]
        {
            let book = book(name.as_bytes(), body)
                .with_header(header::MODE, "0640")
                .with_header(header::MTIME, "-1.500000000");
            burn.burn(&book).unwrap();
            assert_eq!(mode(&root.join(name)), 0o640 & mask());
            let found = fs::metadata(root.join(name)).unwrap();
            let at = (found.mtime(), found.mtime_nsec());
            assert_eq!(at == (-1, 500_000_000), kept, "{at:?}");
        }
    }
}

#[test]
fn what_is_no_mode_and_no_time_is_passed_over() {
    for (text, time) in
        [("1.5", None), ("x.000000000", None), ("1.00000000-", None), ("7.000000001", Some((7, 1)))]
    {
        assert_eq!(parse_mtime(text.as_bytes()), time, "{text}");
    }
    assert_eq!(parse_mode(b"7777"), Some(0o777));
    assert_eq!(parse_mode(b"8"), None);
    assert_eq!(parse_mode(b""), None);
}
