//! One set of rules: every program is run by a burn and by a worker, and judged alike.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::book::{Body, BodyFile, Book, BookId, header};
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::job::{Answer, Job, Serve, WorkerSite};
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::failure::{Failure, FailureKind};
use gopherworks_supervision::pool::Pool;

use super::super::Catalog;
use super::super::tests::{burn_kind, bytes_of, site};

/// The options of a shell with this script; `$OUT` is `out`.
fn shell(script: &str, out: &Path, more: &str) -> String {
    let out = out.display();
    format!("command = ['sh', '-c', '''{script}''']\nenv = {{ OUT = '{out}' }}\n{more}")
}

fn burn(options: &str) -> Box<dyn Burn> {
    burn_kind("command", options).make(&site()).unwrap()
}

fn worker(options: &str) -> Box<dyn Serve> {
    let catalog = Catalog::standard();
    let kind = catalog.service("command").unwrap();
    let prepared = kind.prepare(options.parse().unwrap()).unwrap();
    let clock = Clock::real();
    let place = WorkerSite {
        balancer: Arc::from("desk"),
        worker: 0,
        pool: Arc::new(Pool::new(clock.clone(), 1).unwrap()),
        clock,
        seed: Seed(1),
        time_scale: 1.0,
    };
    let service = prepared.factory.make(&site()).unwrap();
    service.worker(&place).unwrap()
}

/// In a runtime as an arbiter has one.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn job(book: Option<Book>) -> Job {
    Job { from: Arc::from("crowd"), number: 7, copy: 0, attempt: 1, book }
}

fn ask(options: &str, book: Book) -> Answer {
    wait(worker(options).serve(job(Some(book))))
}

/// What the burn and the worker make of it.
fn both(options: &str, book: &Book) -> [Result<(), Failure>; 2] {
    [burn(options).burn(book), ask(options, book.clone()).map(drop)]
}

fn quick(script: &str, more: &str) -> [Result<(), Failure>; 2] {
    let options = shell(script, Path::new("/dev/null"), more);
    both(&options, &Book::new("body"))
}

/// Waits until a process is gone or a zombie; false if it goes on living.
fn dies(pid: &str) -> bool {
    let clock = Clock::real();
    let started = clock.now();
    while clock.now() - started < Duration::from_secs(20) {
        match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            Err(_) => return true,
            Ok(stat) if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")) => {
                return true;
            }
            Ok(_) => std::thread::yield_now(),
        }
    }
    false
}

#[test]
fn the_exit_code_and_the_end_of_standard_error_are_the_reason() {
    for (script, words) in [
        ("echo first >&2; echo last words >&2; exit 7", ["exit status: 7", "first\nlast words"]),
        ("kill -SEGV $$", ["signal: 11", "SIGSEGV"]),
        ("kill -9 $$", ["signal: 9", "SIGKILL"]),
    ] {
        for result in quick(script, "") {
            let failure = result.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Transient, "{failure}");
            for word in words {
                assert!(failure.reason().contains(word), "{failure}");
            }
        }
    }
    assert!(quick("exit 0", "").iter().all(Result::is_ok));
}

#[test]
fn the_end_of_standard_error_has_its_documented_length() {
    for result in quick("printf 0123456789 >&2; exit 1", "keep_stderr = 4") {
        let failure = result.unwrap_err();
        assert!(failure.reason().ends_with(": 6789"), "{failure}");
    }
    let catalog = Catalog::standard();
    let options = "command = ['x']\nkeep_stderr = '2MiB'".parse().unwrap();
    let refused = catalog.burn("command").unwrap().prepare(options).unwrap_err();
    assert_eq!(refused.path, ["keep_stderr"]);
    assert!(refused.message.contains("1MiB"), "{refused}");
}

#[test]
fn neither_pipe_waits_for_the_other() {
    let large = Book::new(vec![b'x'; 3_000_000]);
    // No pipe takes this much unread: the program talks before it listens, on both of its outputs.
    let script =
        "head -c 2000000 /dev/zero | tr '\\0' y >&2; head -c 2000000 /dev/zero; wc -c >&2; exit 1";
    for result in both(&shell(script, Path::new("/dev/null"), ""), &large) {
        let failure = result.unwrap_err();
        assert!(failure.reason().ends_with("y3000000"));
        assert!(failure.reason().len() < 4096 + 100);
    }
    let echoed = ask("command = ['cat']", large.clone()).unwrap().unwrap();
    assert_eq!(bytes_of(&echoed.body), bytes_of(&large.body));
}

#[test]
fn a_program_that_does_not_read_everything_is_judged_by_its_exit_code() {
    let large = Book::new(vec![b'x'; 3_000_000]);
    for (script, well) in [
        ("exit 0", true),
        ("exec <&-; exit 0", true),
        ("head -c 10 > /dev/null", true),
        ("exec <&-; head -c 300000 /dev/zero; exit 0", true),
        ("exit 1", false),
    ] {
        for result in both(&shell(script, Path::new("/dev/null"), ""), &large) {
            assert_eq!(result.is_ok(), well, "{script}");
        }
    }
}

#[test]
fn a_program_that_ends_is_not_kept_waiting_by_what_it_leaves_running() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // Neither would this test end in time if it were waited for.
    for (script, well) in [
        ("sleep 1000 & echo $! >> $OUT; echo hi", true),
        ("sleep 1000 & echo $! >> $OUT; echo why >&2; exit 3", false),
    ] {
        let options = shell(script, &out, "timeout = '900s'");
        for result in both(&options, &Book::new("x")) {
            assert_eq!(result.is_ok(), well);
            if let Err(failure) = result {
                assert!(failure.reason().ends_with(": why"), "{failure}");
            }
        }
        let answer = ask(&options, Book::new("x"));
        if well {
            let book = answer.unwrap().unwrap();
            assert_eq!(bytes_of(&book.body), "hi\n");
        }
    }
    let left = std::fs::read_to_string(&out).unwrap();
    assert_eq!(left.lines().count(), 6);
    for pid in left.lines() {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        // What ends by itself is no reason to kill what it has left running; the test has started
        // it.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[test]
fn a_timeout_kills_grandchildren_too() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        shell("sleep 1000 & echo $! >&2; wait", &folder.path().join("out"), "timeout = '300ms'");
    let clock = Clock::real();
    for result in both(&options, &Book::new("x")) {
        let failure = result.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Transient);
        assert!(failure.reason().contains("killed after 300ms"), "{failure}");
        let grandchild = failure.reason().rsplit(": ").next().unwrap();
        assert!(grandchild.parse::<u32>().is_ok(), "{failure}");
        assert!(dies(grandchild));
    }
    assert!(clock.now().as_nanos() > 0);
}

#[test]
fn too_much_output_is_too_much_however_the_program_dies_of_it() {
    for script in [
        "yes",
        "trap '' PIPE; yes",
        "head -c 2000000 /dev/zero; exit 3",
        "head -c 2000000 /dev/zero; kill -TERM $$",
        "head -c 1001 /dev/zero",
        // A process in the background writes it.
        "head -c 1001 /dev/zero & exit 0",
    ] {
        let options = shell(script, Path::new("/dev/null"), "max_output = 1000");
        let failure = ask(&options, Book::new("x")).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Permanent, "{script}: {failure}");
        let reason = failure.reason();
        assert!(reason.contains("more than 1000B of output (max_output)"), "{script}: {reason}");
    }
    let options = shell("head -c 1000 /dev/zero", Path::new("/dev/null"), "max_output = 1000");
    let answer = ask(&options, Book::new("x")).unwrap().unwrap();
    assert_eq!(answer.body.size(), 1000);
}

#[test]
fn the_longest_body_of_a_worker_is_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    std::fs::write(&path, vec![b'x'; 1001]).unwrap();
    for body in [
        Body::from(vec![b'x'; 1001]),
        // Its size is known only when it is read.
        Body::file(BodyFile::kept(&path), 1),
    ] {
        let failure = ask("command = ['cat']\nmax_body = 1000", Book::new(body.clone()));
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Permanent);
        assert!(failure.reason().contains("more than 1000B (max_body)"), "{failure}");
        let answer = ask("command = ['cat']\nmax_body = 1001", Book::new(body));
        assert_eq!(answer.unwrap().unwrap().body.size(), 1001);
    }
}

#[test]
fn a_program_that_is_not_there_is_no_fault_of_what_it_would_get() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    let (folder, file) = (folder.path().display(), file.display());
    for (options, why) in [
        (
            "command = ['gopherworks-no-such-program']".to_owned(),
            "no such program `gopherworks-no-such-program` on the PATH".to_owned(),
        ),
        (format!("command = ['{folder}/none']"), format!("no such program `{folder}/none`")),
        (format!("command = ['{file}']"), format!("`{file}` is not executable")),
        (format!("command = ['{folder}']"), format!("`{folder}` is a folder, not a program")),
        (
            format!("command = ['true']\nfolder = '{folder}/none'"),
            format!("no such folder `{folder}/none` to run the program in"),
        ),
        (
            "command = ['true']\nenv = { PATH = '/nowhere' }".to_owned(),
            "no such program `true` on the PATH".to_owned(),
        ),
    ] {
        for result in both(&options, &Book::new("x")) {
            let failure = result.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure}");
            assert_eq!(failure.reason(), why);
        }
    }
    for (text, remedy) in [
        ("#!/nowhere/sh\n", "the interpreter in its `#!` line does not exist"),
        ("no script\n", "a script begins with a line such as `#!/bin/sh`"),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let path = format!("{folder}/script");
        // Replaced, not overwritten: another test's child may hold the old one open for writing.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let failure = burn(&format!("command = ['{path}']")).burn(&Book::new("x"));
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(failure.reason().ends_with(remedy), "{failure}");
    }
    // A name that no environment can hold is the book's own fault.
    let book = Book::new("x").with_header(header::NAME, &b"a\0b"[..]);
    for result in both("command = ['true']", &book) {
        assert_eq!(result.unwrap_err().kind(), FailureKind::Permanent);
    }
}

#[test]
fn programs_are_told_what_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = "env | grep ^GOPHERWORKS_ | sort > $OUT";
    let options = shell(script, &out, "");
    let mut book = Book::new("x").with_header(header::NAME, "a b");
    book.id = BookId(42);
    let run = site().run;
    // Without those of the test itself, such as `GOPHERWORKS_SEED`.
    let is_new = |line: &&str| {
        let (name, value) = line.split_once('=').unwrap();
        std::env::var(name).as_deref() != Ok(value)
    };
    let told = || -> String {
        let all = std::fs::read_to_string(&out).unwrap();
        all.lines().filter(is_new).flat_map(|line| [line, "\n"]).collect()
    };
    let of_one = |attempt: u32| {
        format!(
            "GOPHERWORKS_ATTEMPT={attempt}\nGOPHERWORKS_BOOKS=1\nGOPHERWORKS_BOOK_ID={run}-42\n"
        )
    };
    let place = format!("GOPHERWORKS_NODE=node\nGOPHERWORKS_RUN={run}\n");

    burn(&options).burn(&book).unwrap();
    let named = "GOPHERWORKS_NAME=a b\n";
    assert_eq!(told(), format!("{}{named}{place}", of_one(1)));
    burn(&options).burn_attempt(&book, 3).unwrap();
    assert_eq!(told(), format!("{}{named}{place}", of_one(3)));

    ask(&options, book.clone()).unwrap();
    let request = "GOPHERWORKS_FROM=crowd\n";
    let (node, end) = place.split_once('\n').unwrap();
    let number = "GOPHERWORKS_NUMBER=7\n";
    assert_eq!(told(), format!("{}{request}{named}{node}\n{number}{end}", of_one(1)));

    // A retry of the first attempt.
    wait(worker(&options).serve(Job { copy: 1, ..job(None) })).unwrap();
    let none = "GOPHERWORKS_ATTEMPT=2\nGOPHERWORKS_BOOKS=0\n";
    assert_eq!(told(), format!("{none}{request}{node}\n{number}{end}"));

    let cart = burn(&format!("{options}\nper = 'cart'"));
    assert!(cart.burn_cart(&[&book, &book]).unwrap().iter().all(Result::is_ok));
    assert_eq!(told(), format!("GOPHERWORKS_BOOKS=2\n{place}"));
}

#[test]
fn a_request_that_is_cancelled_kills_its_program_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let options = shell("sleep 1000 & echo $$ $! > $OUT; wait", &fifo, "timeout = '900s'");
    let pids = wait(async {
        let mut worker = worker(&options);
        let mut serving = worker.serve(job(None));
        // Reading waits until the program runs.
        let told = tokio::task::spawn_blocking(move || std::fs::read_to_string(fifo).unwrap());
        tokio::select! {
            told = told => told.unwrap(),
            answer = &mut serving => panic!("{answer:?}"),
        }
    });
    for pid in pids.split_whitespace() {
        assert!(dies(pid), "{pid}");
    }
}

#[test]
fn the_shell_that_watches_kills_what_it_was_told_of_and_nothing_else() {
    use std::io::Write;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    let sleep = || {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").process_group(0).spawn().unwrap()
    };
    let [mut left, mut gone, mut also_left] = [sleep(), sleep(), sleep()];
    let mut warden = Command::new("/bin/sh")
        .args(["-c", super::groups::WARDEN, "gopherworks-warden"])
        .env_clear()
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = warden.stdin.take().unwrap();
    let (one, two, three) = (left.id(), gone.id(), also_left.id());
    write!(pipe, "+ {one}\n+ {two}\n- 999999\n+ {three}\n- {two}\n").unwrap();
    drop(pipe);
    assert!(warden.wait().unwrap().success());
    for child in [&mut left, &mut also_left] {
        assert!(child.wait().unwrap().to_string().contains("SIGKILL"));
    }
    assert!(gone.try_wait().unwrap().is_none(), "it goes on");
    gone.kill().unwrap();
    gone.wait().unwrap();
}
