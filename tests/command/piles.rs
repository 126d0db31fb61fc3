//! `pile`: an operator looks into a store, checks it, and moves or drops piles.

use crate::support;

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;
use support::command::{Gate, Place, Running, until};

/// Two crews with a dump between them, all piles in a database.
fn design(burn: &str) -> String {
    format!(
        "[store]\nkind = \"sqlite\"\npath = \"state/works.db\"\n\n\
         [piles.inbox]\nsource = {{ kind = \"lines\", path = \"in\" }}\nmax_attempts = 1000\n\n\
         [dumps.middle]\nmax_attempts = 1000\n\n[incinerators.out]\nburn = {burn}\n\n\
         [crews.near]\nfrom = \"inbox\"\nto = \"middle\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = 1 }}\n\n\
         [crews.far]\nfrom = \"middle\"\nto = \"out\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = 1 }}\n"
    )
}

const WELL: &str = r#"{ kind = "lines", path = "out", append = true }"#;

/// A burn that says when it has begun and waits until the test opens `gate`.
const GATED: &str =
    r#"{ kind = "command", command = ["bash", "-c", "echo >> began; read _ < gate"] }"#;

fn json(place: &Place, args: &[&str]) -> Value {
    let out = place.run(args.iter().chain(&["--format", "json"])).assert().code(0);
    serde_json::from_slice(&out.get_output().stdout).expect("JSON")
}

/// A field of a pile in `pile list`.
fn listed(place: &Place, pile: &str, field: &str) -> Value {
    let list = json(place, &["pile", "list", "t.toml"]);
    let piles = list["piles"].as_array().expect("piles").clone();
    let of = piles.iter().find(|listed| listed["pile"] == pile);
    of.unwrap_or_else(|| panic!("no {pile} in {list}"))[field].clone()
}

/// A store of five books, all of which have failed at least once and are tried again later.
fn five_books() -> Place {
    let place = Place::new();
    place.write("in", "one\ntwo\nthree\nfour\nfive\n");
    let failing = r#"{ kind = "command", command = ["bash", "-c", "echo >> began; exit 75"] }"#;
    place.write("t.toml", design(failing));
    let running = Running::start(place.process(["run", "t.toml", "-q"]));
    until("all books are stored", || {
        place.path("state/works.db").exists()
            && place.run(["pile", "list", "t.toml"]).output().is_ok_and(|out| out.status.success())
            && json(&place, &["pile", "list", "t.toml"])["account"]["offered"] == 5
            && !place.text("began").is_empty()
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
    place
}

#[test]
fn a_store_is_listed_and_shown_while_a_run_has_it_and_nothing_else_is_done_to_it() {
    let place = Place::new();
    place.write("in", "one\ntwo\n");
    place.write("t.toml", design(GATED));
    place.run(["pile", "list", "t.toml"]).assert().code(1).stderr(contains("no store at"));
    place.run(["pile", "check", "t.toml"]).assert().code(1).stderr(contains("no store at"));
    assert!(!place.path("state").exists(), "a look creates no store");
    let mut gate = Gate::new(&place.fifo("gate"));
    let running = Running::start(place.process(["run", "t.toml"]));
    until("a burn begins", || !place.text("began").is_empty());
    let list = json(&place, &["pile", "list", "t.toml"]);
    let holder = list["holders"][0]["name"].as_str().expect("a holder").to_owned();
    assert!(holder.ends_with(&format!(":{}", running.id())), "{list}");
    until("the second book is stored", || {
        json(&place, &["pile", "list", "t.toml"])["account"]["present"] == 2
    });
    assert_eq!(listed(&place, "inbox", "held"), Value::Null, "only the run knows");
    let text = place.run(["pile", "list", "t.toml"]).assert().code(0);
    text.stdout(contains(format!("open in {holder} for")).and(contains("kill -9, power loss")));
    let both = [
        json(&place, &["pile", "show", "t.toml", "inbox"]),
        json(&place, &["pile", "show", "t.toml", "middle"]),
    ];
    let books: usize = both.iter().map(|books| books.as_array().expect("books").len()).sum();
    assert_eq!(books, 2);
    let id = running.id().to_string();
    for args in [
        &["pile", "check", "t.toml"][..],
        &["pile", "drop", "t.toml", "inbox", "--yes"],
        &["pile", "move", "t.toml", "inbox", "middle"],
    ] {
        place.run(args).assert().code(75).stdout("").stderr(contains(&id));
    }
    gate.open(2);
    assert_eq!(running.end().status.code(), Some(0));
    let list = json(&place, &["pile", "list", "t.toml"]);
    assert_eq!(list["holders"], Value::Array(vec![]));
    assert_eq!((&list["account"]["burned"], &list["account"]["present"]), (&2.into(), &0.into()));
    assert_eq!(listed(&place, "middle", "ready"), 0);
    assert_eq!(json(&place, &["pile", "show", "t.toml", "middle"]), Value::Array(vec![]));
    place.run(["pile", "check", "t.toml"]).assert().code(0).stdout(contains("is sound"));
}

#[test]
fn books_are_shown_with_their_identity_and_how_they_fared() {
    let place = five_books();
    let list = json(&place, &["pile", "list", "t.toml"]);
    let store = list["store"].as_str().expect("an identity").to_owned();
    let counts = |pile: &str, field: &str| listed(&place, pile, field).as_u64().expect("a number");
    assert_eq!(counts("inbox", "books") + counts("middle", "books"), 5);
    let bytes = counts("inbox", "bytes") + counts("middle", "bytes");
    assert_eq!(bytes, "onetwothreefourfive".len() as u64);
    for pile in ["inbox", "middle"] {
        let ready = counts(pile, "ready") + counts(pile, "delayed");
        assert_eq!((ready, counts(pile, "held")), (counts(pile, "books"), 0));
    }
    assert!(listed(&place, "middle", "oldest_s").as_f64().expect("an age") < 3600.0);
    let middle = json(&place, &["pile", "show", "t.toml", "middle"]);
    let inbox = json(&place, &["pile", "show", "t.toml", "inbox"]);
    let all: Vec<Value> =
        [inbox, middle].iter().flat_map(|books| books.as_array().cloned()).flatten().collect();
    let mut ids: Vec<&str> = all.iter().map(|book| book["id"].as_str().expect("an id")).collect();
    assert!(ids.iter().all(|id| id.starts_with(&format!("{store}-"))), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert!(all.iter().any(|book| book["attempts"].as_u64() > Some(0)), "{all:?}");
    let one = json(&place, &["pile", "show", "t.toml", "middle", "--most", "1"]);
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    place.run(["pile", "show", "t.toml", "middle"]).assert().code(0).stdout(contains(ids[0]));
}

#[test]
fn orphans_are_marked_and_moved_or_dropped() {
    let place = five_books();
    let all = listed(&place, "middle", "books").as_u64().expect("a number");
    assert!(all > 0);
    place.write("t.toml", design(WELL).replace("middle", "center"));
    assert_eq!(listed(&place, "middle", "kept"), "orphan");
    assert_eq!(listed(&place, "center", "kept"), "store");
    for (args, near) in
        [(["show", "t.toml", "midle"], "middle"), (["drop", "t.toml", "inbx"], "inbox")]
    {
        let said = place.run(["pile"].iter().chain(&args)).assert().code(2);
        said.stderr(contains(format!("did you mean `{near}`")));
    }
    let same = place.run(["pile", "move", "t.toml", "middle", "middle"]).assert().code(2);
    same.stderr(contains("the same pile"));
    let moved = json(&place, &["pile", "move", "t.toml", "middle", "center"]);
    assert_eq!(moved["moved"], all);
    assert_eq!(listed(&place, "center", "books"), all);
    // Dropping asks, and there is no terminal here.
    let asked = place.run(["pile", "drop", "t.toml", "center"]).assert().code(2);
    asked.stderr(contains(format!("drop {all} book")).and(contains("--yes")));
    let dropped = json(&place, &["pile", "drop", "t.toml", "center", "--yes"]);
    assert_eq!(dropped["dropped"], all);
    let list = json(&place, &["pile", "list", "t.toml"]);
    assert_eq!(
        (&list["account"]["dropped"], &list["account"]["present"]),
        (&all.into(), &(5 - all).into())
    );
    place.run(["run", "t.toml"]).assert().code(0);
    assert_eq!(place.text("out").lines().count() as u64, 5 - all);
}

#[test]
fn a_check_repairs_what_it_can_and_says_what_is_lost() {
    let place = five_books();
    fs::create_dir_all(place.path("state/works.db.bodies")).expect("a folder");
    place.write("state/works.db.bodies/99-1", "a file that no book names");
    let found = json(&place, &["pile", "check", "t.toml"]);
    assert_eq!(found["sound"], true);
    assert_eq!(found["findings"][0]["repaired"], true, "{found}");
    assert!(!place.path("state/works.db.bodies/99-1").exists());
    // A body that is a file of its own is gone.
    place.write("in", format!("one\ntwo\nthree\nfour\nfive\n{}\n", "x".repeat(300_000)));
    let failing = r#"{ kind = "command", command = ["bash", "-c", "exit 75"] }"#;
    place.write("t.toml", design(failing));
    let running = Running::start(place.process(["run", "t.toml", "-q"]));
    until("all books are stored", || {
        json(&place, &["pile", "list", "t.toml"])["account"]["offered"] == 6
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
    for body in fs::read_dir(place.path("state/works.db.bodies")).expect("a folder") {
        fs::remove_file(body.expect("an entry").path()).expect("a file");
    }
    let check = place.run(["pile", "check", "t.toml"]).assert().code(1);
    check.stdout(contains("is lost").and(contains("damaged")));
}

#[test]
fn designs_without_a_store_and_piles_in_memory_are_refused_with_the_reason() {
    let place = five_books();
    place.write("memory.toml", support::command::one_crew("\"generate\"", "[]", "\"count\"", 1));
    for command in ["list", "check"] {
        let refused = place.run(["pile", command, "memory.toml"]).assert().code(1).stdout("");
        refused.stderr(contains("has no store"));
    }
    let mixed = design(WELL).replace("[dumps.middle]\n", "[dumps.middle]\nstore = \"memory\"\n");
    place.write("mixed.toml", mixed);
    let refused = place.run(["pile", "move", "mixed.toml", "inbox", "middle"]).assert();
    refused.code(2).stderr(contains("`middle` is in memory"));
    assert!(listed(&place, "middle", "books").as_u64() > Some(0), "it was in the store before");
    let other = ["pile", "show", "t.toml", "inbox", "--set", "store.path=elsewhere.db"];
    place.run(other).assert().code(1).stderr(contains("elsewhere.db"));
}
