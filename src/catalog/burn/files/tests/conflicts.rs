//! Tests of books with the same target, and of files that must not be replaced.

use super::*;
use crate::catalog::RunState;

/// A site with the state of a new run.
fn fresh() -> Site {
    Site { state: RunState::default(), ..site() }
}

fn numbered(id: u64, name: &[u8], body: &str) -> Book {
    let mut book = book(name, body.to_owned());
    book.id = BookId(id);
    book
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

#[test]
fn the_second_book_of_a_name_is_refused_suffixed_or_replaces_the_first() {
    for durable in [true, false] {
        for (rule, files) in [
            ("error", vec![("d/n.x.gz", "one")]),
            ("suffix", vec![("d/n.x.gz", "one"), ("d/n.x~2.gz", "two"), ("d/n.x~3.gz", "three")]),
            ("replace", vec![("d/n.x.gz", "three")]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let kind = kind(folder.path(), &format!("on_conflict = '{rule}'\ndurable = {durable}"));
            let run = fresh();
            // Two instances of the burn, as copies of an incinerator have.
            let (first, second) = (kind.make(&run).unwrap(), kind.make(&run).unwrap());
            let books = [
                numbered(1, b"d/n.x.gz", "one"),
                numbered(2, b"d/n.x.gz", "two"),
                numbered(3, b"d/n.x.gz", "three"),
            ];
            let check = |results: [Result<(), Failure>; 3]| {
                assert!(results[0].is_ok(), "{rule}: {results:?}");
                for result in &results[1..] {
                    assert_eq!(result.is_ok(), rule != "error", "{result:?}");
                    if let Err(failure) = result {
                        let said = failure.reason();
                        assert!(failure.is_permanent(), "{said}");
                        assert!(said.contains("n.x.gz is the file of another book"), "{said}");
                    }
                }
                let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
                assert_eq!(names_below(folder.path()), names);
                for (name, body) in &files {
                    assert_eq!(read(folder.path(), name), *body, "{rule}");
                }
            };
            check([first.burn(&books[0]), second.burn(&books[1]), first.burn(&books[2])]);
            // All books are burned again by a new instance, which must recognise each.
            let again = kind.make(&run).unwrap();
            let results = again.burn_cart(&books.each_ref()).unwrap();
            check(results.try_into().unwrap());
            assert_eq!(leftovers(folder.path()), 0);
        }
    }
}

#[test]
fn a_book_with_the_same_key_is_the_same_book() {
    let folder = tempfile::tempdir().unwrap();
    let burn = kind(folder.path(), "").make(&fresh()).unwrap();
    let keyed = |id, key: &'static str| numbered(id, b"n", key).with_header(header::KEY, key);
    burn.burn(&keyed(1, "a")).unwrap();
    burn.burn(&keyed(2, "a")).unwrap();
    assert!(burn.burn(&keyed(1, "b")).is_err());
    assert_eq!(read(folder.path(), "n"), "a");
}

#[test]
fn a_dead_letter_that_is_offered_again_is_refused_again() {
    let folder = tempfile::tempdir().unwrap();
    let from =
        |id, origin: &'static str| numbered(id, b"d/n", origin).with_header(header::ORIGIN, origin);
    let kind = kind(folder.path(), "");
    let burn = kind.make(&fresh()).unwrap();
    burn.burn(&from(1, "/p")).unwrap();
    assert!(burn.burn(&from(2, "/q")).is_err());
    burn.finish().unwrap();
    for _ in 0..2 {
        // There is no source here that knows to which input the file belongs.
        let offered = kind.make(&fresh()).unwrap();
        assert!(offered.burn(&from(1, "/q")).is_err());
        assert_eq!(read(folder.path(), "d/n"), "/p");
        // A book that was not refused replaces its own file.
        offered.burn(&from(2, "/p")).unwrap();
        offered.finish().unwrap();
    }
    fs::remove_file(folder.path().join("d/n")).unwrap();
    let offered = kind.make(&fresh()).unwrap();
    offered.burn(&from(1, "/q")).unwrap();
    assert_eq!(read(folder.path(), "d/n"), "/q");
}

#[test]
fn names_that_lead_to_one_file_are_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let burn = kind(folder.path(), "").make(&fresh()).unwrap();
    burn.burn(&numbered(1, b"real/x", "one")).unwrap();
    let failure = burn.burn(&numbered(2, b"link/x", "two")).unwrap_err();
    assert!(failure.reason().contains("another book"), "{failure}");
    assert_eq!(read(folder.path(), "real/x"), "one");
}

#[test]
fn a_file_and_a_folder_of_one_name_are_told_or_both_kept() {
    for (rule, both) in [("error", false), ("replace", false), ("suffix", true)] {
        let folder = tempfile::tempdir().unwrap();
        let kind = kind(folder.path(), &format!("on_conflict = '{rule}'"));
        let burn = kind.make(&fresh()).unwrap();
        burn.burn(&numbered(1, b"a", "file")).unwrap();
        let below = burn.burn(&numbered(2, b"a/b/c", "below"));
        burn.burn(&numbered(3, b"d/e", "below")).unwrap();
        let above = burn.burn(&numbered(4, b"d", "file"));
        for result in [below, above] {
            match result {
                Ok(()) => assert!(both, "{rule}"),
                Err(failure) => assert!(!both && failure.is_permanent(), "{failure}"),
            }
        }
        assert_eq!(read(folder.path(), "a"), "file");
        assert_eq!(read(folder.path(), "d/e"), "below");
        if both {
            assert_eq!(read(folder.path(), "a~2/b/c"), "below");
            assert_eq!(read(folder.path(), "d~2"), "file");
        }
        assert_eq!(leftovers(folder.path()), 0);
    }
}

#[test]
fn a_file_of_an_earlier_run_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let kind = kind(folder.path(), "on_conflict = 'suffix'");
    for run in ["first", "second"] {
        let burn = kind.make(&fresh()).unwrap();
        burn.burn(&numbered(1, b"n", run)).unwrap();
        burn.burn(&numbered(2, b"n", run)).unwrap();
        burn.finish().unwrap();
        assert_eq!(names_below(folder.path()), ["n", "n~2"]);
        assert_eq!(read(folder.path(), "n"), run);
        assert_eq!(read(folder.path(), "n~2"), run);
    }
}

#[test]
fn threads_that_want_one_name_get_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let kind = kind(folder.path(), "durable = false");
    let run = fresh();
    let burned = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let burn = kind.make(&run).unwrap();
            let burned = &burned;
            scope.spawn(move || {
                for name in 0..100_u64 {
                    let id = 1 + thread * 100 + name;
                    let book = numbered(id, format!("{name}").as_bytes(), &id.to_string());
                    burned.fetch_add(burn.burn(&book).is_ok().into(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(burned.into_inner(), 100);
    assert_eq!(names_below(folder.path()).len(), 100);
}

#[test]
fn one_run_at_a_time_writes_below_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let kind = kind(folder.path(), "");
    let first = kind.make(&fresh()).unwrap();
    let refused = kind.make(&fresh()).err().unwrap();
    let process = format!("(process {})", std::process::id());
    assert!(refused.reason().contains(&process), "{refused}");
    // Once the first has finished, another run may start, although the first is not dropped yet.
    first.finish().unwrap();
    let second = kind.make(&fresh()).unwrap();
    second.burn(&book(b"n", "x")).unwrap();
    drop(second);
    kind.make(&fresh()).unwrap();
}

#[test]
fn an_output_never_replaces_an_input() {
    for rule in ["error", "replace", "suffix"] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("in");
        fs::create_dir_all(root.join("d")).unwrap();
        for name in ["a", "a.gz", "d/b", "left-out.gz"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("in", folder.path().join("out")).unwrap();
        let run = fresh();
        let options = format!("root = '{}'\nexclude = ['left-*']", root.display());
        let mut source = source("files", &options, &run);
        let burn =
            kind(&folder.path().join("out"), &format!("on_conflict = '{rule}'\nmanifest = 'SUMS'"))
                .make(&run)
                .unwrap();
        let listed = source.next(10).unwrap().unwrap();
        assert_eq!(listed.len(), 3);
        for (id, name, replaces) in
            [(1, "a.gz", true), (2, "d/b", true), (3, "d/b.gz", false), (4, "left-out.gz", false)]
        {
            let result = burn.burn(&numbered(id, name.as_bytes(), "new"));
            let refused = replaces && rule != "suffix";
            assert_eq!(result.is_err(), refused, "{rule} {name}: {result:?}");
            if replaces {
                assert_eq!(read(&root, name), name);
            }
            if let Err(failure) = result {
                assert!(failure.reason().contains("is an input"), "{failure}");
            }
        }
        burn.finish().unwrap();
    }
}

#[test]
fn a_manifest_never_replaces_an_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("SUMS"), "theirs").unwrap();
    let run = fresh();
    let options = format!("root = '{}'", folder.path().display());
    let _source = source("files", &options, &run);
    let refused = kind(folder.path(), "manifest = 'SUMS'").make(&run).err();
    let refused = refused.unwrap();
    assert!(refused.reason().contains("an input of the run"), "{refused}");
    assert_eq!(read(folder.path(), "SUMS"), "theirs");
}

/// One run with two inputs and one output. Returns the names of the files burned of each input.
fn two_inboxes(folder: &Path, rule: &str) -> [Vec<String>; 2] {
    let run = fresh();
    let sites = ["p", "q"].map(|node| Site { node: node.to_owned(), ..run.clone() });
    let out = folder.join("out");
    let mut sources = sites.each_ref().map(|site| {
        let root = folder.join(&site.node);
        let options = format!("root = '{}'\nremember = '{}'", root.display(), out.display());
        source("files", &options, site)
    });
    let burn = kind(&out, &format!("on_conflict = '{rule}'"))
        .make(&Site { node: "fire".to_owned(), ..run })
        .unwrap();
    let mut id = 0;
    let burned = sources.each_mut().map(|source| {
        let receipts = source.receipts().unwrap();
        let mut burned = Vec::new();
        while let Some(mut books) = source.next(10).unwrap() {
            for book in &mut books {
                id += 1;
                book.id = BookId(id);
            }
            for book in &books {
                if burn.burn(book).is_ok() {
                    receipts.burned(&[book]).unwrap();
                    let name = names::name_of(book, &site().run).to_vec();
                    burned.push(String::from_utf8(name).unwrap());
                }
            }
        }
        burned
    });
    burn.finish().unwrap();
    for source in sources {
        source.receipts().unwrap().finish().unwrap();
    }
    burned
}

#[test]
fn what_an_earlier_run_made_of_another_input_stays() {
    for (rule, second) in [("error", &[][..]), ("suffix", &["same"])] {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, body: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        };
        write("p/same", "of p");
        write("q/same", "of q");
        let out = folder.path().join("out");
        assert_eq!(two_inboxes(folder.path(), rule), [&["same"][..], second]);
        assert_eq!(read(&out, "same"), "of p");
        // The first file is remembered and not read again; the target of the second is still taken.
        write("q/same", "of q, changed");
        assert_eq!(two_inboxes(folder.path(), rule), [&[][..], second]);
        assert_eq!(read(&out, "same"), "of p");
        if rule == "suffix" {
            assert_eq!(read(&out, "same~2"), "of q, changed");
        }
        // A changed input replaces its own output.
        write("p/same", "of p, changed");
        assert_eq!(two_inboxes(folder.path(), rule)[0], ["same"]);
        assert_eq!(read(&out, "same"), "of p, changed");
        // Once the input is deleted, its target is free.
        fs::remove_file(folder.path().join("p/same")).unwrap();
        if rule == "error" {
            assert_eq!(two_inboxes(folder.path(), rule), [&[][..], &["same"]]);
            assert_eq!(read(&out, "same"), "of q, changed");
        }
    }
}
