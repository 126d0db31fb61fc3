//! Tests of the `command` burn.

use std::process::Command;

use gopherworks_pipeline::book::{Body, BodyFile, BookId, header};
use gopherworks_supervision::failure::FailureKind;

use super::super::super::kill_all;
use super::super::super::tests::{burn_kind, site};
use super::*;

/// A burn that runs `script` in a shell; `$OUT` is the path of the file `out`.
fn shell(script: &str, out: &std::path::Path, more: &str) -> Box<dyn Burn> {
    let options = format!(
        "command = ['sh', '-c', '''{script}''']\nenv = {{ OUT = '{}' }}\n{more}",
        out.display()
    );
    burn_kind("command", &options).make(&site()).unwrap()
}

#[test]
fn a_body_goes_to_standard_input_and_the_book_into_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let burn = shell(
        "echo \"$GOPHERWORKS_BOOK_ID $GOPHERWORKS_NAME\" > $OUT; cat >> $OUT; echo seen by nobody",
        &out,
        "",
    );
    assert!(burn.blocks());
    let mut book = Book::new("one\ntwo").with_header(header::NAME, "a b");
    book.id = BookId(42);
    burn.burn(&book).unwrap();
    let run = site().run;
    assert_eq!(std::fs::read_to_string(&out).unwrap(), format!("{run}-42 a b\none\ntwo"));
    assert!(burn.burn_cart(&[&book]).is_none());
}

#[test]
fn a_cart_goes_to_one_process_and_a_body_that_can_not_be_read_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let burn =
        shell("echo \"$GOPHERWORKS_BOOKS books\" >> $OUT; cat >> $OUT", &out, "per = 'cart'");
    let path = folder.path().join("file");
    std::fs::write(&path, "from a file").unwrap();
    let books = [
        Book::new("one"),
        Book::new(Body::file(BodyFile::kept(folder.path().join("missing")), 1)),
        Book::new(""),
        Book::new(Body::file(BodyFile::kept(path), 11)),
    ];
    let results = burn.burn_cart(&books.each_ref()).unwrap();
    let well: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(well, [true, false, true, true]);
    assert!(results[1].as_ref().unwrap_err().is_permanent());
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "3 books\none\n\nfrom a file\n");
}

#[test]
fn a_body_that_breaks_off_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, vec![b'x'; 100_000]).unwrap();
    let burn = shell(
        "echo $$ > $OUT; cat > /dev/null; echo complete >> $OUT",
        &folder.path().join("out"),
        "",
    );
    let failure =
        burn.burn(&Book::new(Body::range(BodyFile::kept(&short), 0, 200_000))).unwrap_err();
    assert!(failure.is_permanent() && failure.reason().contains("short"), "{failure}");
    // The program was killed and reaped before the burn returned, perhaps before it wrote anything.
    let out = std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
    assert!(!out.contains("complete"), "{out}");
}

#[test]
fn a_run_that_stops_can_kill_all() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The registry of programs is per process and holds those of other tests, so this test runs in
    // a child process.
    if std::env::var_os("GOPHERWORKS_KILL_ALL").is_none() {
        let name = "catalog::burn::command::tests::a_run_that_stops_can_kill_all";
        let alone = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1"])
            .env("GOPHERWORKS_KILL_ALL", "1")
            .output()
            .unwrap();
        assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
        assert!(String::from_utf8_lossy(&alone.stdout).contains("1 passed"));
        return;
    }
    // The program gets the end of its input after it was registered as running.
    let burn = shell("cat > /dev/null; echo here > $OUT; sleep 1000", &fifo, "timeout = '900s'");
    std::thread::scope(|scope| {
        let burning = scope.spawn(|| burn.burn(&Book::new("x")));
        // Opening the fifo blocks until the program has started.
        assert_eq!(std::fs::read_to_string(&fifo).unwrap(), "here\n");
        assert_eq!(kill_all(), 1);
        let failure = burning.join().unwrap().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(failure.reason().contains("is being stopped"), "{failure}");
    });
    assert_eq!(kill_all(), 0);
}

/// Burns a cart of numbered books with a program that appends its input as a line to `$OUT` and
/// then runs `script`. Returns the result of each book, and the input of each process.
fn cart(count: usize, script: &str, more: &str) -> (Vec<Result<(), Failure>>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = format!("got=$(tr \"\\\\n\" \" \"); echo \"$got\" >> $OUT; {script}");
    let burn = shell(&script, &out, &format!("per = 'cart'\n{more}"));
    let books: Vec<Book> = (0..count).map(|at| Book::new(at.to_string())).collect();
    let books: Vec<&Book> = books.iter().collect();
    let results = burn.burn_cart(&books).unwrap();
    let got = std::fs::read_to_string(&out).unwrap_or_default();
    (results, got.lines().map(str::to_owned).collect())
}

fn failed(results: &[Result<(), Failure>]) -> Vec<usize> {
    let all = results.iter().enumerate();
    all.filter(|(_, result)| result.is_err()).map(|(at, _)| at).collect()
}

#[test]
fn a_book_that_is_refused_is_found_by_halves_and_its_neighbours_are_burned() {
    let (results, got) = cart(8, "case \" $got\" in *\" 5 \"*) exit 3 ;; esac", "");
    assert_eq!(failed(&results), [5]);
    let failure = results[5].as_ref().unwrap_err();
    assert!(failure.reason().contains("exit status: 3"), "{failure}");
    let expected = ["0 1 2 3 4 5 6 7 ", "0 1 2 3 ", "4 5 6 7 ", "4 5 ", "4 ", "5 ", "6 7 "];
    assert_eq!(got, expected);
}

#[test]
fn a_program_that_refuses_everything_costs_two_processes_a_book_at_most() {
    for count in [1, 2, 7, 64] {
        let (results, got) = cart(count, "exit 1", "");
        assert_eq!(failed(&results).len(), count);
        assert_eq!(got.len(), 2 * count - 1);
    }
}

#[test]
fn a_cart_that_takes_too_long_is_tried_by_halves() {
    let hangs = "case \" $got\" in *\" 2 \"*) sleep 1000 ;; esac";
    let (results, _) = cart(4, hangs, "timeout = '400ms'");
    assert_eq!(failed(&results), [2]);
    let failure = results[2].as_ref().unwrap_err();
    assert!(failure.reason().contains("killed after 400ms"), "{failure}");
    assert_eq!(failure.kind(), FailureKind::Transient);
}

#[test]
fn a_program_that_hangs_whatever_it_gets_is_not_waited_for_at_every_book() {
    let (results, got) = cart(64, "sleep 1000", "timeout = '20ms'");
    assert!(got.len() <= 16, "{got:?}");
    let kind = |at: usize| results[at].as_ref().unwrap_err().kind();
    assert_eq!(kind(0), FailureKind::Transient, "it was tried by itself");
    assert_eq!(kind(63), FailureKind::Unavailable, "it was not");
}

#[test]
fn a_program_that_is_not_there_charges_no_book_of_a_cart() {
    let options = "command = ['gopherworks-no-such-program']\nper = 'cart'";
    let burn = burn_kind("command", options).make(&site()).unwrap();
    let books = [Book::new("one"), Book::new("two")];
    for result in burn.burn_cart(&books.each_ref()).unwrap() {
        assert_eq!(result.unwrap_err().kind(), FailureKind::Unavailable);
    }
}

#[test]
fn a_body_that_breaks_off_in_a_cart_is_charged_alone() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, vec![b'x'; 100_000]).unwrap();
    let out = folder.path().join("out");
    let burn = shell("wc -c >> $OUT", &out, "per = 'cart'");
    let books = [
        Book::new("one"),
        Book::new(Body::range(BodyFile::kept(&short), 0, 200_000)),
        Book::new("two"),
    ];
    let results = burn.burn_cart(&books.each_ref()).unwrap();
    assert_eq!(failed(&results), [1]);
    assert!(results[1].as_ref().unwrap_err().is_permanent());
    assert_eq!(std::fs::read_to_string(&out).unwrap().trim(), "8");
}
