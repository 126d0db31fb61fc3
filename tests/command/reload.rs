//! `reload --plan`: the difference between two designs, and nothing is run.

use crate::support;

use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use support::command::Place;

const DESIGN: &str = r#"
[piles.manuals]
source = { kind = "generate", books = 100 }
[dumps.middle]
capacity = 80
[incinerators.furnace]
burn = { kind = "lines", path = "burned.txt" }
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push", "unload return"]
[crews.far]
like = "near"
from = "middle"
to = "furnace"
"#;

#[test]
fn the_difference_is_printed_and_what_needs_a_restart_makes_the_exit_code_1() {
    let place = Place::new();
    place.write("was.toml", DESIGN);
    place.write("wider.toml", DESIGN.replace("capacity = 80", "capacity = 90"));
    place.write("seeded.toml", format!("{DESIGN}\n[execution]\nseed = 9\n"));
    place.write("broken.toml", DESIGN.replace("\"middle\"", "\"nowhere\""));
    let compare = |file: &str| {
        let mut command = place.run(["reload", "--against", "was.toml", "--plan"]);
        command.arg(file).assert()
    };
    compare("was.toml").code(0).stdout("no changes\n");
    compare("wider.toml").code(0).stdout("~ dump middle: capacity.books 80 -> 90 (in place)\n");
    compare("seeded.toml").code(1).stdout(contains("execution.seed").and(contains("restart")));
    compare("broken.toml").code(78).stdout(is_empty()).stderr(contains("broken.toml:"));
    assert!(!place.path("burned.txt").exists(), "nothing was run");
}

#[test]
fn moves_and_json_are_for_programs() {
    let place = Place::new();
    place.write("was.toml", DESIGN);
    let now = DESIGN.replace("[dumps.middle]\ncapacity = 80", "[dumps.rest]");
    place.write("now.toml", now.replace("\"middle\"", "\"rest\""));
    let reload = ["reload", "--against", "was.toml", "--plan", "now.toml", "--move"];
    let mut command = place.run(reload);
    let out = command.args(["middle=rest", "--format", "json"]).output().expect("it runs");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let steps = said["changes"]["steps"].as_array().expect("an array");
    let step = |node: &str| steps.iter().find(|step| step["node"] == node).expect("a step");
    assert_eq!(step("middle")["books"]["moved"], "rest");
    assert_eq!(step("rest")["change"], "added");
    assert_eq!(step("far")["keys"][0]["key"], "from");
    assert_eq!(said["refused"], serde_json::json!([]));
    place.run(reload).arg("rest=manuals").assert().code(2).stderr(contains("`rest`"));
}
