//! The schema accepts every config that the loader accepts, for configs that are valid except for a
//! few random changes.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::unusual::UNUSUAL;
use super::*;

/// Keys that replace others. `extends` and `remove` are not among them: they are resolved before
/// anything is read, and the reader accepts any value of them.
const KEYS: &[&str] = &[
    "copies",
    "shared",
    "piles",
    "dumps",
    "crews",
    "relays",
    "execution",
    "model",
    "source",
    "capacity",
    "exclusive",
    "max_attempts",
    "books",
    "bytes",
    "load",
    "unload",
    "push",
    "return",
    "wait",
    "cpu",
    "uniform",
    "exponential",
    "from",
    "to",
    "like",
    "gophers",
    "carts",
    "count",
    "work",
    "steps",
    "kind",
    "level",
    "size",
    "path",
    "root",
    "seed",
    "cores",
    "period",
    "t1",
    "balancers",
    "requesters",
    "policy",
    "replicate",
    "hedge",
    "queue",
    "full",
    "idempotent",
    "workers",
    "concurrency",
    "order",
    "think",
    "requests",
    "rate",
    "utilisation",
    "after",
    "percentile",
    "lognormal",
    "manuals",
    "middle",
    "near",
    "front",
    "users",
    "Far",
    "x1",
];

/// TOML values that replace others.
const VALUES: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "9",
    "10001",
    "4294967296",
    "9223372036854775807",
    "1.0",
    "0.5",
    "-0.5",
    "true",
    "1979-05-27",
    "''",
    "'x'",
    "'count'",
    "'generate'",
    "'gzip'",
    "'near'",
    "'manuals'",
    "'middle'",
    "'furnace'",
    "'middle[lane=0]'",
    "'load'",
    "'load push unload return'",
    "'2 * load push unload return'",
    "'1ms'",
    "'0s'",
    "' 1 us'",
    "'._5h'",
    "'_1_.s'",
    "'1'",
    "'8MiB'",
    "'_._1tb'",
    "'0B'",
    "'spread'",
    "'front'",
    "'idle'",
    "'random'",
    "'all'",
    "'unbounded'",
    "'${env.N:-true}'",
    "'${env.N:-all}'",
    "{ kind = 'reserve', workers = 1, short = '1ms' }",
    "{ kind = 'central', per_worker = 2 }",
    "{ kind = 'nap', time = '1s' }",
    "{ kind = 'open', rate = 0.5 }",
    "{ kind = 'closed', count = 2 }",
    "{ after = '1ms' }",
    "{ percentile = 0.5 }",
    "{ lognormal = { mean = '1s', cv2 = 2 } }",
    "{ to = 'front', load = { kind = 'batch', requests = 1 } }",
    "'one_for_all'",
    "'${env.N:-4}'",
    "'${env.N:-count}'",
    "'${env.N:-1ms}'",
    "'${env.N:-middle}'",
    "'${env.N:-[\"middle\"]}'",
    "'${env.N:-[\"1ms\", \"2ms\"]}'",
    "'${env.N:-[\"load push unload return\"]}'",
    "'a${env.N:-x}'",
    "'${env.N}'",
    "[]",
    "['gzip']",
    "['load push', 'unload return']",
    "['1ms', '2ms']",
    "['middle']",
    "[1]",
    "{}",
    "{ books = 8 }",
    "{ kind = 'count' }",
    "{ kind = 'zstd', level = 9 }",
    "{ wait = '1ms' }",
    "{ uniform = ['0s', '1s'] }",
    "{ exponential = '1s' }",
    "{ lane = 2 }",
    "{ load = 1 }",
    "{ from = 'middle', to = 'furnace' }",
];

#[derive(Debug, Clone)]
enum Slip {
    Drop,
    Rename(&'static str),
    Replace(&'static str),
    Add(&'static str, &'static str),
    /// Removes one letter of a string.
    Misspell(prop::sample::Index),
}

fn slip() -> impl Strategy<Value = Slip> {
    let key = || prop::sample::select(KEYS);
    let value = || prop::sample::select(VALUES);
    prop_oneof![
        1 => Just(Slip::Drop),
        2 => key().prop_map(Slip::Rename),
        6 => value().prop_map(Slip::Replace),
        3 => (key(), value()).prop_map(|(key, value)| Slip::Add(key, value)),
        1 => any::<prop::sample::Index>().prop_map(Slip::Misspell),
    ]
}

/// The keys and indexes that lead to each value below `value`.
fn paths(value: &Value, at: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            (items.iter().enumerate()).map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => return,
    };
    for (key, value) in below {
        at.push(key);
        out.push(at.clone());
        paths(value, at, out);
        at.pop();
    }
}

fn value_of(text: &str) -> Value {
    table(&format!("x = {text}")).remove("x").expect("a value")
}

fn change(tree: &mut Value, path: &[String], slip: &Slip) {
    let Some((last, way)) = path.split_last() else {
        return;
    };
    let parent = way.iter().try_fold(tree, |value, key| match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    });
    match parent {
        Some(Value::Table(table)) => match slip {
            Slip::Drop => drop(table.remove(last)),
            Slip::Rename(key) => {
                if let Some(value) = table.remove(last) {
                    table.insert((*key).to_owned(), value);
                }
            }
            Slip::Replace(value) => drop(table.insert(last.clone(), value_of(value))),
            Slip::Add(key, value) => drop(table.insert((*key).to_owned(), value_of(value))),
            Slip::Misspell(at) => {
                if let Some(Value::String(text)) = table.get_mut(last) {
                    misspell(text, at);
                }
            }
        },
        Some(Value::Array(items)) => {
            let Ok(nth) = last.parse::<usize>() else {
                return;
            };
            match slip {
                Slip::Drop => drop(items.remove(nth)),
                Slip::Replace(value) => items[nth] = value_of(value),
                Slip::Add(_, value) => items.push(value_of(value)),
                Slip::Misspell(at) => {
                    if let Value::String(text) = &mut items[nth] {
                        misspell(text, at);
                    }
                }
                Slip::Rename(_) => {}
            }
        }
        _ => {}
    }
}

fn misspell(text: &mut String, at: &prop::sample::Index) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    if !places.is_empty() {
        text.remove(places[at.index(places.len())]);
    }
}

#[test]
fn what_the_loader_takes_the_schema_takes() {
    let validator = validator();
    let (taken, refused_by_both) = (Cell::new(0u32), Cell::new(0u32));
    let cases = Config::default().cases.max(1000);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let start = prop::collection::vec(prop::sample::select(UNUSUAL), 1..3);
    let slips = prop::collection::vec((any::<prop::sample::Index>(), slip()), 0..3);
    let result = runner.run(&(start, slips), |(start, slips)| {
        let mut tree = table(BASE);
        for changes in start {
            lay(&mut tree, table(changes));
        }
        let mut tree = Value::Table(tree);
        for (place, slip) in &slips {
            let mut all = Vec::new();
            paths(&tree, &mut Vec::new(), &mut all);
            if !all.is_empty() {
                change(&mut tree, &all[place.index(all.len())], slip);
            }
        }
        let Value::Table(tree) = tree else {
            return Err(TestCaseError::fail("the root is a table"));
        };
        let found = complaints(&validator, &tree);
        if load(&tree).is_ok() {
            taken.set(taken.get() + 1);
            let text = toml::to_string(&tree).expect("TOML");
            prop_assert!(found.is_empty(), "{found:#?}\n{text}");
        } else if !found.is_empty() {
            refused_by_both.set(refused_by_both.get() + 1);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    // Otherwise the test would prove nothing.
    let (taken, refused) = (taken.get(), refused_by_both.get());
    eprintln!("of {cases}: {taken} taken, {refused} refused by both");
    assert!(taken > cases / 5, "{taken} taken of {cases}");
    assert!(refused > cases / 5, "{refused} refused of {cases}");
}

/// Whether loader and schema accept `text` at a place: (loader, schema). Patterns can't express the
/// largest size and the longest duration.
fn both(validator: &Validator, changes: &str, text: &str) -> (bool, bool) {
    let tree = changed(&changes.replace("TEXT", &Value::from(text).to_string()));
    let loader = match load(&tree) {
        Ok(_) => true,
        Err(mistakes) => mistakes.to_string().contains(": at most "),
    };
    (loader, complaints(validator, &tree).is_empty())
}

#[test]
fn they_read_the_same_texts() {
    let validator = validator();
    let number = "[ _]{0,1}[0-9]{0,3}[._]{0,1}[0-9_]{0,2}[ \t]{0,1}";
    let time = format!("{number}(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|min|h|d|x){{0,1}}s{{0,1}} {{0,1}}");
    let bytes = format!("{number}(kB|KB|mb|Gb|mib|TiB|B|x){{0,1}}b{{0,1}} {{0,1}}");
    let duties = "[ ]{0,1}(([0-9+]{1,2}|load|push|unload|return|fly)[ \t\n\
                  *]{1,2}){0,4}(load|return)[ ]{0,1}";
    let label =
        "(middle|Middle| middle){1}(\\[[ ]{0,1}(lane|Lane){0,1}[ =,]{1,2}[ +0-1]{1,2}\\]){0,1}";
    let command =
        "incinerators.furnace.burn = { kind = 'command', command = ['cat'], timeout = TEXT }";
    let lane = "copies.lane = 2\nshared = ['furnace']\n\
                crews.third = { like = 'near', from = TEXT, to = 'furnace' }";
    let cases = [
        ("crews.near.steps.load = TEXT", time.as_str()),
        ("piles.manuals.source.size = TEXT", &bytes),
        ("dumps.middle.capacity.bytes = TEXT", &bytes),
        ("supervision.period = TEXT", &time),
        (command, &time),
        ("crews.near.gophers = [TEXT, 'load push unload return']", duties),
        (lane, label),
    ];
    for (changes, pattern) in cases {
        let (taken, refused) = (Cell::new(0u32), Cell::new(0u32));
        let mut runner =
            TestRunner::new(Config { cases: 250, failure_persistence: None, ..Config::default() });
        let text = prop::string::string_regex(pattern).expect("a pattern");
        let result = runner.run(&text, |text| {
            let (loader, schema) = both(&validator, changes, &text);
            // Less than half a byte or half a nanosecond rounds to zero, which a pattern can't
            // express. A schema does not know the number of copies either.
            let counted = text.contains("10") || text.contains("11");
            if loader || !(text.contains(['.', '+']) || (changes == lane && counted)) {
                prop_assert_eq!(loader, schema, "{}: {:?}", changes, text);
            }
            let count = if loader { &taken } else { &refused };
            count.set(count.get() + 1);
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(taken.get() > 10 && refused.get() > 10, "{changes}: {taken:?} {refused:?}");
    }
}
