//! Folders that `files` writes to: no file is overwritten by mistake, and nothing outside of them
//! is changed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::command::{Gate, Place, Running, one_crew, shipped, until};

fn archive(place: &Place) -> (i32, String) {
    let file = shipped("archive.toml");
    let mut command = place.run(["run".as_ref(), file.as_os_str()]);
    command.env("INBOX", place.path("in"));
    command.env("OUTBOX", place.path("out"));
    let done = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().expect("a code"), said)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o777
}

#[test]
fn two_piles_with_files_of_one_name_never_overwrite_each_other() {
    for (rule, code, files) in [("error", 3, 1), ("suffix", 0, 2), ("replace", 0, 1)] {
        let place = Place::new();
        place.write("a/same", "from a");
        place.write("b/same", "from b");
        let design = format!(
            "{}\n[piles.other]\nsource = {{ kind = \"files\", root = \"b\" }}\n\
             [crews.second]\nlike = \"crew\"\nfrom = \"other\"\n",
            one_crew(
                "{ kind = \"files\", root = \"a\" }",
                "[]",
                &format!("{{ kind = \"files\", root = \"out\", on_conflict = \"{rule}\" }}"),
                10,
            )
        );
        place.write("t.toml", design);
        let done = place.run(["run", "t.toml", "--dead", "dead"]).output();
        let done = done.expect("it runs");
        assert_eq!(done.status.code(), Some(code), "{rule}");
        let written = fs::read_dir(place.path("out")).expect("a folder");
        let names = written.map(|entry| entry.expect("an entry").file_name());
        let names: Vec<_> = names.filter(|name| name != ".gopherworks").collect();
        assert_eq!(names.len(), files, "{rule}: {names:?}");
        let told = place.text("dead").contains("is the file of another book");
        assert_eq!(told, rule == "error");
    }
}

#[test]
fn records_that_lead_elsewhere_are_refused_and_what_they_lead_to_is_whole() {
    for name in ["archive.records", "inbox.seen", "lock", "tmp"] {
        let place = Place::new();
        place.write("in/f", "x");
        place.write("victim", "victim\n");
        fs::create_dir_all(place.path("out/.gopherworks")).expect("a folder");
        let ours = Path::new("out/.gopherworks").join(name);
        symlink(place.path("victim"), place.path(&ours)).expect("a link");
        let (code, said) = archive(&place);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&*ours.to_string_lossy()), "{said}");
        assert_eq!(place.text("victim"), "victim\n");
        // A pipe in place of the link must not block the run.
        fs::remove_file(place.path(&ours)).expect("the link");
        place.fifo(&ours);
        let (code, said) = archive(&place);
        assert_eq!(code, 1, "{said}");
        fs::remove_file(place.path(&ours)).expect("the pipe");
        assert_eq!(archive(&place).0, 0);
    }
}

#[test]
fn what_is_private_stays_private() {
    let place = Place::new();
    place.write("in/private/key", "secret");
    place.write("in/private/large", vec![7; 300_000]);
    for name in ["key", "large"] {
        let path = place.path("in/private").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let folder = place.path("in/private");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_eq!(archive(&place).0, 0);
    assert_eq!(mode(&place.path("out/private")), 0o700);
    for name in ["key", "large"] {
        let (input, output) = (format!("in/private/{name}"), format!("out/private/{name}.gz"));
        assert_eq!(mode(&place.path(&output)), 0o600);
        let mtime = |name: &str| fs::metadata(place.path(name)).expect("it is there").mtime();
        assert_eq!(mtime(&input), mtime(&output));
    }
    assert_eq!(mode(&place.path("out/SHA256SUMS")), 0o600);
}

#[test]
fn a_second_run_on_one_folder_is_told_of_the_first() {
    let place = Place::new();
    let design = one_crew(
        "{ kind = \"lines\", path = \"-\" }",
        "[]",
        "{ kind = \"files\", root = \"out\" }",
        1,
    );
    place.write("t.toml", design);
    let mut first = place.process(["run", "t.toml"]);
    first.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut first = first.spawn().expect("it starts");
    let mut lines = first.stdin.take().expect("a pipe");
    writeln!(lines, "one").expect("it reads");
    until("the first has written", || {
        let entries = fs::read_dir(place.path("out")).into_iter().flatten();
        entries.count() > 1
    });
    let second = place.run(["run", "t.toml"]).write_stdin("two\n").output();
    let second = second.expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("(process {})", first.id())), "{said}");
    drop(lines);
    assert!(first.wait().expect("it ends").success());
    let third = place.run(["run", "t.toml"]).write_stdin("three\n").output();
    assert!(third.expect("it runs").status.success());
}

#[test]
fn what_a_killed_run_has_spilled_is_removed_by_the_next() {
    let place = Place::new();
    place.write("large", vec![7; 40_000_000]);
    let _gate = Gate::new(&place.fifo("gate"));
    place.write("in/f", "x");
    fs::create_dir(place.path("scratch")).expect("a folder");
    let design = |source: &str| {
        let work = "[{ kind = \"gzip\", level = 0 }]";
        let crew = one_crew(
            source,
            work,
            "{ kind = \"command\", command = [\"head\", \"-n1\", \"gate\"] }",
            1,
        );
        format!("execution.scratch = \"scratch\"\n{crew}")
    };
    place.write("t.toml", design("{ kind = \"files\", root = \".\", include = [\"large\"] }"));
    let spilled = || {
        let entries = fs::read_dir(place.path("scratch")).into_iter().flatten();
        entries.flatten().next().map(|entry| entry.path())
    };
    let running = Running::start(place.process(["run", "t.toml"]));
    until("a body is spilled", || spilled().is_some());
    let folder = spilled().expect("a folder for spilled bodies");
    assert_eq!(mode(&folder), 0o700);
    running.signal(Signal::KILL);
    running.end();
    assert!(folder.exists());
    let small = one_crew("{ kind = \"files\", root = \"in\" }", "[\"gzip\"]", "\"count\"", 1);
    place.write("small.toml", format!("execution.scratch = \"scratch\"\n{small}"));
    assert!(place.run(["run", "small.toml"]).output().expect("it runs").status.success());
    assert_eq!(spilled(), None);
}

#[test]
fn what_runs_keep_among_their_inputs_is_not_read() {
    let place = Place::new();
    place.write("a", "x");
    place.write("scratch/gopherworks-other/body-1", "x");
    place.write("sub/.gopherworks/inbox.seen", "x");
    let design = one_crew(
        "{ kind = \"files\", root = \".\", exclude = [\"*.toml\", \"*.json\"] }",
        "[]",
        "{ kind = \"command\", command = [\"false\"] }",
        1,
    );
    place.write("t.toml", format!("execution.scratch = \"scratch\"\n{design}"));
    for run in 0..2 {
        let done = place.run(["run", "t.toml", "--report", "r.json"]).output().expect("it runs");
        assert_eq!(done.status.code(), Some(3), "{run}");
        assert!(place.path("state/t.dead.jsonl").exists());
        assert_eq!(place.report("r.json").ledger("offered"), 1, "{run}");
    }
}

#[test]
fn links_into_what_the_run_writes_are_named_and_not_followed() {
    let place = Place::new();
    place.write("in/a", "a");
    place.write("far/b", "b");
    place.write("far/out/old", "an output of an earlier run");
    symlink(place.path("far"), place.path("in/up")).expect("a link");
    symlink(place.path("far/out"), place.path("in/down")).expect("a link");
    symlink(place.path("far/out/old"), place.path("in/old")).expect("a link");
    let files = "{ kind = \"files\", root = \"in\", follow = true }";
    place.write("t.toml", one_crew(files, "[]", "{ kind = \"files\", root = \"far/out\" }", 4));
    for _ in 0..2 {
        let done = place.run(["run", "t.toml", "--report", "r.json"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{said}");
        assert_eq!(place.report("r.json").ledger("offered"), 2, "{said}");
        for link in ["in/up/out", "in/down", "in/old"] {
            assert!(said.contains(&format!("{link}: a link to")), "{link}: {said}");
        }
    }
    // A file of lines as well.
    symlink(place.path("lines"), place.path("in/lines")).expect("a link");
    place.write("lines", "old\n");
    place.write("t.toml", one_crew(files, "[]", "{ kind = \"lines\", path = \"lines\" }", 4));
    let done = place.run(["run", "t.toml"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("in/lines: a link to"), "{said}");
    assert!(!place.text("lines").contains("old"));
}
