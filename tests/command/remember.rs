//! Sources that remember what was burned, through runs that are killed.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::support::command::{Place, Running, one_crew, until};

const LINES: usize = 3000;
const CART: usize = 5;
const KILLS: usize = 4;

#[test]
fn lines_to_lines_is_at_least_once_whenever_a_run_is_killed() {
    let place = Place::new();
    let input: Vec<String> = (0..LINES).map(|number| format!("line {number:05}")).collect();
    place.write("in", input.join("\n") + "\n");
    let source = r#"{ kind = "lines", path = "in", remember = "memory" }"#;
    let burn = r#"{ kind = "lines", path = "out", append = true }"#;
    place.write("t.toml", one_crew(source, "[]", burn, CART as u32));
    let written = || place.text("out").lines().count();
    for _ in 0..KILLS {
        let before = written();
        let mut running = Running::start(place.process(["run", "t.toml"]));
        until("it writes, or has ended", || written() > before + 100 || running.has_ended());
        running.signal(Signal::KILL);
        running.end();
    }
    place.run(["run", "-q", "t.toml"]).assert().code(0);
    let text = place.text("out");
    let whole: Vec<&str> = text.lines().filter(|line| line.len() == input[0].len()).collect();
    let once: BTreeSet<&str> = whole.iter().copied().collect();
    assert!(once.into_iter().eq(input.iter().map(String::as_str)), "no line is lost");
    // A line is recorded after it is written: each kill repeats at most the cart in hand.
    let repeated = text.lines().count() - LINES;
    assert!(repeated <= KILLS * (CART + 1), "{repeated}");
    place.run(["run", "-q", "t.toml"]).assert().code(0);
    assert_eq!(place.text("out"), text, "nothing is left to give");
}
