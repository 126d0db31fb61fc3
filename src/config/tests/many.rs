//! The time to check very long files, valid or not, grows linearly.

use super::*;

/// A topology of `count` crews from one pile each, with `extra` lines in each crew.
fn crews(count: usize, extra: &str) -> String {
    let mut text = String::from("[incinerators.f]\nburn = \"count\"\n");
    for n in 0..count {
        text += &format!(
            "[piles.p{n}]\nsource = {{ kind = \"generate\", books = 1 }}\n[crews.c{n}]\n\
             from = \"p{n}\"\nto = \"f\"\n{ALL}\n{extra}\n"
        );
    }
    text
}

/// A topology of `count` crews that share two piles, with `extra` lines in each crew.
fn sharing(count: usize, extra: &str) -> String {
    let mut text =
        small(ALL, "[dumps.d]\ncapacity = 800\n").replace("to = \"furnace\"", "to = \"d\"");
    text += &format!("[crews.last]\nfrom = \"d\"\nto = \"furnace\"\n{ALL}\n");
    for n in 0..count {
        text += &format!("[crews.c{n}]\nfrom = \"manuals\"\nto = \"d\"\n{ALL}\n{extra}\n");
    }
    text
}

/// Core time of this thread, independent of other load on the machine.
#[cfg(target_os = "linux")]
fn spent() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = figures.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

/// Core time of a check, the better of two tries.
#[cfg(target_os = "linux")]
fn cost(text: &str) -> Duration {
    let judged = || {
        let begun = spent();
        let said = match parse(text) {
            Ok(loaded) => loaded.warnings,
            Err(mistakes) => mistakes,
        };
        let shown = (said.render(false).len(), said.to_json().to_string().len());
        assert!(shown.0 < 200_000 && shown.1 < 2_000_000, "{shown:?}");
        spent() - begun
    };
    (0..2).map(|_| judged()).min().unwrap_or_default()
}

/// A name, and a function that writes a text of a given number of entries.
#[cfg(target_os = "linux")]
type Make<'a> = (&'a str, Box<dyn Fn(usize) -> String>);

/// Four times as many entries take at most `most` times as long: 4 if linear, 16 if quadratic.
#[cfg(target_os = "linux")]
fn linear(cases: &[Make<'_>], few: usize, most: f64) {
    for (name, text) in cases {
        let mut ratios: Vec<f64> = Vec::new();
        while ratios.len() < 3 && ratios.last().is_none_or(|ratio| *ratio >= most) {
            let (few, many) = (cost(&text(few)), cost(&text(4 * few)));
            ratios.push(many.as_secs_f64() / few.as_secs_f64().max(1e-4));
        }
        assert!(ratios.last().is_some_and(|ratio| *ratio < most), "{name}: {ratios:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn judging_is_linear() {
    let names = |count: usize| -> String {
        let names: Vec<String> = (0..count).map(|n| format!("\"wrong{n}\"")).collect();
        names.join(", ")
    };
    let cases: [Make<'_>; 9] = [
        ("right", Box::new(|n| crews(n, ""))),
        ("wrong ends", Box::new(|n| crews(n, "").replace("from = \"p", "from = \"q"))),
        ("unknown keys", Box::new(|n| crews(n, "crats = 1"))),
        ("unknown kinds", Box::new(|n| crews(n, "work = \"gizp\""))),
        ("no siblings", Box::new(|n| crews(n, "like = \"c\""))),
        ("unknown names", Box::new(move |n| format!("shared = [{}]\n{}", names(n), crews(n, "")))),
        (
            "one line",
            Box::new(|n| {
                let keys: Vec<String> = (0..n).map(|n| format!("k{n} = 1")).collect();
                format!("model = {{ {} }}\n{}", keys.join(", "), small(ALL, ""))
            }),
        ),
        (
            "options",
            Box::new(|n| {
                let keys: Vec<String> = (0..n).map(|n| format!("k{n} = 1")).collect();
                let source = format!("books = 100, {}", keys.join(", "));
                small(ALL, "").replace("books = 100", &source)
            }),
        ),
        (
            "circles",
            Box::new(|n| {
                let mut text = small(ALL, "");
                for n in 0..n {
                    text += &format!(
                        "[dumps.a{n}]\n[dumps.b{n}]\n[crews.x{n}]\nfrom = \"a{n}\"\nto = \"b{n}\"\n\
                         {ALL}\n[crews.y{n}]\nfrom = \"b{n}\"\nto = \"a{n}\"\n{ALL}\n"
                    );
                }
                text
            }),
        ),
    ];
    linear(&cases, 100, 8.0);
}

#[test]
#[cfg(target_os = "linux")]
fn judging_thousands_of_crews_is_linear() {
    let cases: [Make<'_>; 5] = [
        ("own piles", Box::new(|n| crews(n, ""))),
        ("shared piles", Box::new(|n| sharing(n, ""))),
        ("unknown keys", Box::new(|n| sharing(n, "crats = 1"))),
        ("wrong names", Box::new(|n| sharing(n, "").replace("[crews.c", "[crews.C"))),
        ("wrong ends", Box::new(|n| sharing(n, "").replace("\"d\"\ng", "\"e\"\ng"))),
    ];
    linear(&cases, 2_000, 6.5);
}

#[test]
fn long_texts_are_judged_and_shown_briefly() {
    let long = "x".repeat(1 << 20);
    for text in [
        small(ALL, "").replace("\"manuals\"", &format!("{long:?}")),
        small(ALL, "").replace("load push", &long),
        small(ALL, "").replace("load push", &"load ".repeat(200_000)),
        small(ALL, "").replace("\"load push", "\"100000 * load push"),
        small(ALL, "").replace("\"count\"", &format!("{long:?}")),
        small(ALL, &format!("{long} = 1")),
        small(ALL, "").replace("books = 100", &format!("books = {long:?}")),
    ] {
        let shown = shown(&text);
        assert!(!shown.is_empty() && shown.len() < 20_000, "{}", shown.len());
    }
}
