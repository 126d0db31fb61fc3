use gopherworks_actors::book::{Body, BodyFile, BookId, header};
use gopherworks_actors::clock::Clock;

use super::super::super::tests::{burn_kind, site};
use super::*;

/// A burn that runs a shell with this script; `$OUT` is a file in `folder`.
fn shell(script: &str, out: &std::path::Path, more: &str) -> Box<dyn Burn> {
    let options = format!(
        "command = ['sh', '-c', '''{script}''']\nenv = {{ OUT = '{}' }}\n{more}",
        out.display()
    );
    burn_kind("command", &options).make(&site()).unwrap()
}

fn quick(script: &str) -> Result<(), Failure> {
    shell(script, std::path::Path::new("/dev/null"), "").burn(&Book::new("body"))
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
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        format!("{run}-42 a b\none\ntwo")
    );
    assert!(burn.burn_cart(&[&book]).is_none());
}

#[test]
fn a_cart_goes_to_one_process_and_a_body_that_can_not_be_read_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let burn = shell(
        "echo \"$GOPHERWORKS_BOOKS books\" >> $OUT; cat >> $OUT",
        &out,
        "per = 'cart'",
    );
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
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "3 books\none\n\nfrom a file\n"
    );
    let failing = shell("exit 3", &out, "per = 'cart'");
    let results = failing.burn_cart(&books.each_ref()).unwrap();
    assert!(results.iter().all(Result::is_err));
    assert!(!results[0].as_ref().unwrap_err().is_permanent());
}

#[test]
fn the_exit_code_and_the_end_of_standard_error_are_the_reason() {
    let failure = quick("echo first >&2; echo last words >&2; exit 7").unwrap_err();
    assert!(!failure.is_permanent());
    assert!(failure.reason().contains("exit status: 7"), "{failure}");
    assert!(failure.reason().ends_with("first\nlast words"), "{failure}");
    let failure = quick("kill -9 $$").unwrap_err();
    assert!(failure.reason().contains("signal: 9"), "{failure}");
    let missing = burn_kind("command", "command = ['gopherworks-no-such-program']")
        .make(&site())
        .unwrap();
    let failure = missing.burn(&Book::new("x")).unwrap_err();
    assert!(
        failure.is_permanent() && failure.reason().contains("no-such-program"),
        "{failure}"
    );
}

#[test]
fn a_flood_on_standard_error_stops_nobody_and_its_end_is_kept() {
    let large = Book::new(vec![b'x'; 3_000_000]);
    // Neither pipe would take this much unread: the program talks before it listens.
    let script = "head -c 2000000 /dev/zero | tr '\\0' y >&2; wc -c >&2; exit 1";
    let failure = shell(script, std::path::Path::new("/dev/null"), "")
        .burn(&large)
        .unwrap_err();
    assert!(
        failure.reason().ends_with("y3000000"),
        "{}",
        &failure.reason()[failure.reason().len() - 40..]
    );
    assert!(failure.reason().len() < 4096 + 100);
}

#[test]
fn who_does_not_read_everything_is_judged_by_the_exit_code() {
    let large = Book::new(vec![b'x'; 3_000_000]);
    for (script, well) in [
        ("exit 0", true),
        ("exec <&-; exit 0", true),
        ("head -c 10 > /dev/null", true),
        ("exit 1", false),
    ] {
        let result = shell(script, std::path::Path::new("/dev/null"), "").burn(&large);
        assert_eq!(result.is_ok(), well, "{script}");
    }
}

/// Waits until a process is gone or a zombie that nobody has reaped yet; false if it goes on living.
fn dies(pid: &str) -> bool {
    let clock = Clock::real();
    let started = clock.now();
    while (clock.now() - started) < Duration::from_secs(20) {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return true,
            Ok(stat)
                if stat
                    .rsplit(')')
                    .next()
                    .is_some_and(|state| state.starts_with(" Z")) =>
            {
                return true;
            }
            Ok(_) => std::thread::yield_now(),
        }
    }
    false
}

#[test]
fn a_timeout_kills_grandchildren_too() {
    let folder = tempfile::tempdir().unwrap();
    let burn = shell(
        "sleep 1000 & echo $! >&2; wait",
        &folder.path().join("out"),
        "timeout = '300ms'",
    );
    let clock = Clock::real();
    let started = clock.now();
    let failure = burn.burn(&Book::new("x")).unwrap_err();
    assert!((clock.now() - started) >= Duration::from_millis(300));
    assert!(!failure.is_permanent());
    assert!(failure.reason().contains("killed after 300ms"), "{failure}");
    let grandchild = failure.reason().rsplit(": ").next().unwrap();
    assert!(grandchild.parse::<u32>().is_ok(), "{failure}");
    assert!(dies(grandchild));
}

#[test]
fn a_program_that_ends_is_not_kept_waiting_by_what_it_leaves_running() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let burn = shell("sleep 1000 & echo $! > $OUT", &out, "timeout = '900s'");
    burn.burn(&Book::new("x")).unwrap();
    let pid = std::fs::read_to_string(&out).unwrap();
    // It holds our pipes still; end it, as the test has started it.
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
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
    let failure = burn
        .burn(&Book::new(Body::range(BodyFile::kept(&short), 0, 200_000)))
        .unwrap_err();
    assert!(
        failure.is_permanent() && failure.reason().contains("short"),
        "{failure}"
    );
    // It was killed and reaped before the burn returned; it may have been so early that it wrote nothing.
    let out = std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
    assert!(!out.contains("complete"), "{out}");
}

#[test]
fn a_run_that_stops_can_kill_all() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // A registry of its own is not to be had: other tests' programs run in this process. So a child process does it.
    if std::env::var_os("GOPHERWORKS_KILL_ALL").is_none() {
        let name = "catalog::burn::command::tests::a_run_that_stops_can_kill_all";
        let alone = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1"])
            .env("GOPHERWORKS_KILL_ALL", "1")
            .output()
            .unwrap();
        assert!(
            alone.status.success(),
            "{}",
            String::from_utf8_lossy(&alone.stdout)
        );
        assert!(String::from_utf8_lossy(&alone.stdout).contains("1 passed"));
        return;
    }
    let burn = shell("echo here > $OUT; sleep 1000", &fifo, "timeout = '900s'");
    std::thread::scope(|scope| {
        let burning = scope.spawn(|| burn.burn(&Book::new("x")));
        // Reading waits until the program runs.
        assert_eq!(std::fs::read_to_string(&fifo).unwrap(), "here\n");
        assert_eq!(kill_all(), 1);
        let failure = burning.join().unwrap().unwrap_err();
        assert!(
            !failure.is_permanent() && failure.reason().contains("signal: 9"),
            "{failure}"
        );
    });
    assert_eq!(kill_all(), 0);
}
