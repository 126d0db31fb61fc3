//! Every example runs and prints what is expected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Expected output of each example; of a line that ends in `...` only the beginning.
const SAID: &[(&str, &[&str], &[&str])] = &[
    (
        "go",
        &[],
        &["f(); g():    f begins, f ends, g begins", "go f(); g(): g begins, f begins, f ends"],
    ),
    (
        "background_job",
        &[],
        &["[0] running, 1 under way", "another command answered Ok(7)", "the job ended with Ok(0)"],
    ),
    ("million_gophers", &["1000000"], &["1000000 gophers alive, each has answered", "..."]),
    (
        "blocked",
        &[],
        &[
            "while one was blocked, its neighbour answered 1000 requests",
            "then the blocked one answered Ok(true)",
        ],
    ),
    ("channels", &[], &["sent, received: false", "handed over: Some(\"hello\")"]),
    ("timer_channel", &[], &["completed at 1.000000000s, read at 3.000000000s"]),
    ("select", &[], &["with a default: neither, ch1 1, ch2 2", "both ready: even true"]),
    (
        "compose",
        &[],
        &[
            "Compose(sin, cos)(0.5) = 0.7691963548410085",
            "work = [\"cos\", \"sin\"]  = 0.7691963548410085",
        ],
    ),
    (
        "daemon",
        &[],
        &["the caller goes on; the daemon has ended: false", "100 copied, in order: true"],
    ),
    ("embed", &[], &["..."]),
    (
        "supervise",
        &[],
        &["hello hello", "parrot panicked ...", "parrot is back, life 2", "again again"],
    ),
];

/// The folder of built examples, beside that of the tests.
fn built() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let profile = own.parent().and_then(Path::parent).expect("a folder");
    profile.join("examples")
}

fn run(name: &str, args: &[&str]) -> String {
    let program = built().join(name).with_extension(std::env::consts::EXE_EXTENSION);
    // If only this test is run, the examples are not built.
    let mut command = if program.exists() {
        Command::new(program)
    } else {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "--example", name, "--"]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    };
    let out = command.args(args).output().expect("it runs");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{name}: {errors}");
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn every_example_says_what_it_should() {
    for (name, args, lines) in SAID {
        let said = run(name, args);
        let mut said = said.lines();
        for line in *lines {
            match line.strip_suffix("...") {
                Some(start) => {
                    let found = said.next().unwrap_or_default();
                    assert!(!found.is_empty() && found.starts_with(start), "{name}: {found}");
                }
                None => assert_eq!(said.next(), Some(*line), "{name}"),
            }
        }
    }
}

#[test]
fn none_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = std::fs::read_dir(folder).expect("the folder");
    let there: BTreeSet<String> = files
        .filter_map(|file| {
            let path = file.expect("a file").path();
            Some(path.file_stem()?.to_string_lossy().into_owned())
        })
        .collect();
    let known = SAID.iter().map(|(name, ..)| *name);
    // These run until they are stopped; the tests of services run them.
    let known = known.chain(["web_service", "web_pipeline"]);
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    assert_eq!(there, known);
}
