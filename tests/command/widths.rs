//! Text fits the columns of its terminal, and has colours where they are seen.

use std::collections::BTreeSet;

use crate::support::command::{Place, one_crew, shipped};

/// What a command prints on stdout in this environment.
fn shown(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = place.run(args);
    let out = command.envs(variables.iter().copied()).output().expect("it runs");
    String::from_utf8(out.stdout).expect("UTF-8")
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn reports_fit_80_columns_and_break_no_word() {
    let place = Place::new();
    let balancer = shipped("balancer.toml").display().to_string();
    let gophers = shipped("two-gophers-staged.toml").display().to_string();
    let few = ["--set", "requesters.crowd.load.requests=200"];
    let designs = ["compare", &*gophers, "--what-if", "crews.near.carts.count=8"];
    let policies = ["compare", &*balancer, "--policies", "central,random", "--seeds", "1"];
    for args in [
        [&["simulate", &*balancer][..], &few].concat(),
        vec!["simulate", &*gophers],
        designs.to_vec(),
        [&policies[..], &few].concat(),
    ] {
        let wide = shown(&place, &args, &[]);
        let narrow = shown(&place, &args, &[("COLUMNS", "80")]);
        assert!(widest(&narrow) <= 80, "{args:?}:\n{narrow}");
        let known: BTreeSet<&str> = wide.split_whitespace().collect();
        let own = ["not", "shown", "in", "80", "columns:", "limited", "by"];
        // Real time differs from run to run.
        let times = |word: &str| word.trim_matches('(').starts_with(|c: char| c.is_ascii_digit());
        for word in narrow.split_whitespace().filter(|word| !own.contains(word) && !times(word)) {
            let whole = word.trim_end_matches([',', ':']);
            let bar = word.starts_with(['█', '▏', '▎', '▍', '▌', '▋', '▊', '▉']);
            assert!(bar || known.contains(word) || known.contains(whole), "{word}:\n{narrow}");
        }
    }
}

#[test]
fn columns_are_left_out_only_where_space_is_short() {
    let place = Place::new();
    let balancer = shipped("balancer.toml").display().to_string();
    let args = ["simulate", &*balancer, "--set", "requesters.crowd.load.requests=200"];
    let wide = shown(&place, &args, &[]);
    assert!(widest(&wide) > 80 && wide.contains("variance"), "{wide}");
    assert!(!wide.contains("not shown"), "{wide}");
    let narrow = shown(&place, &args, &[("COLUMNS", "80")]);
    assert!(narrow.contains("not shown in 80 columns: "), "{narrow}");
    let ample = shown(&place, &args, &[("COLUMNS", "200")]);
    assert!(ample.contains("variance") && !ample.contains("not shown"), "{ample}");
}

#[test]
fn drawings_have_as_many_boxes_in_a_row_as_fit() {
    let place = Place::new();
    let design = shipped("two-gophers-staged.toml").display().to_string();
    for (columns, rows) in [("70", 2), ("80", 2), ("120", 1), ("200", 1)] {
        let drawn = shown(&place, &["graph", &*design], &[("COLUMNS", columns)]);
        let most: usize = columns.parse().expect("a number");
        assert!(widest(&drawn) <= most, "{drawn}");
        assert_eq!(drawn.lines().filter(|line| line.starts_with('┌')).count(), rows, "{drawn}");
    }
    let piped = shown(&place, &["graph", &*design], &[]);
    assert_eq!(piped, shown(&place, &["graph", &*design], &[("COLUMNS", "80")]));
}

#[test]
fn failures_are_red_where_colours_are_seen() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 3 }"#;
    place.write("fails.toml", one_crew(source, r#"["gunzip"]"#, "\"count\"", 1));
    let args = ["simulate", "fails.toml"];
    let red = "\u{1b}[31m";
    let forced = shown(&place, &args, &[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains(&format!("{red}dead 3\u{1b}[0m")), "{forced}");
    let design = shipped("two-gophers.toml").display().to_string();
    let timed = shown(&place, &["simulate", &*design], &[("CLICOLOR_FORCE", "1")]);
    assert!(timed.contains("bottleneck: \u{1b}[1m"), "{timed}");
    for variables in [&[][..], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]] {
        let plain = shown(&place, &args, variables);
        assert!(plain.contains("dead 3") && !plain.contains('\u{1b}'), "{plain}");
    }
}
