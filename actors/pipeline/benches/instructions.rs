//! Runs one hot path, for counting instructions. `.ci/instructions` compares the counts with the
//! previous ones.

mod cases;

use std::process::exit;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = |name: &str, count: u64| match cases::CASES.iter().find(|(known, _)| *known == name) {
        Some((_, case)) => case(count),
        None => {
            eprintln!("there is no case {name}; --list says which there are");
            exit(2)
        }
    };
    match *words.as_slice() {
        ["--list"] => cases::CASES.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => match count.parse() {
            Ok(count) => run(name, count),
            Err(_) => {
                eprintln!("{count} is not a number");
                exit(2)
            }
        },
        // As called by `cargo bench` and `cargo test --benches`.
        _ => {
            let all = cases::CASES.iter().chain(cases::TIMED);
            all.for_each(|(_, case)| case(640));
        }
    }
}
