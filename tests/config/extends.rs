//! Configs that extend others, and copies: their meaning, and the diagnostics of mistakes in them.

use std::fs;
use std::path::Path;

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::config::elements::Span;

const BASE: &str = r#"[piles.manuals]
source = { kind = "generate", books = 100 }
[dumps.middle]
capacity = 80
[incinerators.furnace]
burn = "count"
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push unload return"]
carts = { count = 1, books = 10 }
steps = { load = "1ms" }
[crews.far]
like = "near"
from = "middle"
to = "furnace"
"#;

/// Loads `child.toml` with the other files beside it.
fn load(files: &[(&str, &str)], overrides: &Overrides) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let overrides = Overrides { folder: folder.path().to_path_buf(), ..overrides.clone() };
    Loaded::read_in(folder.path(), "child.toml", &overrides)
}

trait ReadIn: Sized {
    fn read_in(folder: &Path, name: &str, overrides: &Overrides) -> Result<Self, String>;
}

impl ReadIn for Loaded {
    fn read_in(folder: &Path, name: &str, overrides: &Overrides) -> Result<Self, String> {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        Loaded::parse(name, text, &Catalog::standard(), overrides)
            .map_err(|mistakes| mistakes.render(false))
    }
}

fn child(text: &str) -> Result<Loaded, String> {
    let text = format!("extends = \"base.toml\"\n{text}");
    load(&[("base.toml", BASE), ("child.toml", &text)], &Overrides::default())
}

fn mistakes(text: &str) -> String {
    match child(text) {
        Ok(_) => panic!("nothing is wrong with {text}"),
        Err(mistakes) => mistakes,
    }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.plan.crews.iter().map(|crew| crew.name.as_str()).collect()
}

#[test]
fn a_child_says_only_what_differs() {
    let loaded = child("crews.near.carts.count = 4\n[crews.near.steps]\npush = \"2ms\"").unwrap();
    // `far` is like the merged `near`.
    for crew in ["near", "far"] {
        let crew = &loaded.config.crews[crew];
        assert_eq!((crew.carts.count, crew.carts.books), (4, 10));
        assert!(!crew.steps.load.wait.is_zero() && !crew.steps.push.wait.is_zero());
    }
    assert_eq!(loaded.plan.name, "child");
}

#[test]
fn a_bare_duration_replaces_a_whole_step_and_a_table_only_what_it_names() {
    let whole = child("crews.near.steps.load = { cpu = \"3ms\" }").unwrap();
    let load = whole.config.crews["near"].steps.load;
    assert!(!load.wait.is_zero() && !load.cpu.is_zero());
    let overrides = Overrides::default().set("crews.near.steps.load=5ms");
    let text = "extends = \"base.toml\"\ncrews.near.steps.load = { wait = \"0s\", cpu = \"3ms\" }";
    let loaded = load_child(text, &overrides);
    let load = loaded.config.crews["near"].steps.load;
    assert!(!load.wait.is_zero() && load.cpu == Span::Zero);
}

fn load_child(text: &str, overrides: &Overrides) -> Loaded {
    load(&[("base.toml", BASE), ("child.toml", text)], overrides)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn copies_multiply_along_the_axes_of_all_files() {
    let loaded = load(
        &[
            ("base.toml", BASE),
            ("lanes.toml", "extends = \"base.toml\"\ncopies = { lane = 2 }\nshared = [\"middle\"]"),
            (
                "child.toml",
                "extends = \"lanes.toml\"\ncopies = { rack = 3 }\ncrews.far.copies = { ring = 2 }",
            ),
        ],
        &Overrides::default(),
    )
    .unwrap();
    assert_eq!(loaded.plan.crews.len(), 6 + 12);
    assert_eq!(loaded.plan.piles.len(), 6 + 1);
    assert!(names(&loaded).contains(&"far[lane=1,rack=2,ring=0]"));
    assert_eq!(loaded.plan.sources.len(), 1);
    assert_eq!(loaded.plan.sources[0].piles.len(), 6);
    // Overrides change the count of an axis; they add no axis.
    let more = load_child(
        "extends = \"base.toml\"\ncopies = 2",
        &Overrides::default().set("copies.copy=5"),
    );
    assert_eq!(more.plan.sources[0].piles.len(), 5);
}

#[test]
fn what_is_removed_is_gone_and_can_be_said_anew() {
    let loaded = child(
        "remove = [\"crews.far\", \"dumps.middle\", \"crews.near.steps\"]\n\
         crews.near.to = \"furnace\"",
    )
    .unwrap();
    assert_eq!(names(&loaded), ["near"]);
    assert_eq!(loaded.config.crews["near"].steps.load.wait, Span::Zero);
    let mistakes = mistakes("remove = [\"crews.fra\", 3]");
    assert!(mistakes.contains("no inherited key is called `crews.fra`"), "{mistakes}");
    assert!(mistakes.contains("did you mean `crews.far`?"), "{mistakes}");
    assert!(mistakes.contains("`remove` is an array of keys"), "{mistakes}");
}

#[test]
fn a_removal_stands_in_an_array() {
    let single = mistakes("remove = \"crews.far\"");
    assert!(single.contains("`remove` is an array of keys"), "{single}");
}

#[test]
fn mistakes_point_into_the_file_that_holds_them_with_the_way_there() {
    let broken = BASE.replace("to = \"furnace\"", "to = \"furnaces\"");
    let mistakes = load(
        &[
            ("deep/base.toml", &broken),
            ("middle.toml", "extends = \"deep/base.toml\""),
            ("child.toml", "# a comment\nextends = \"middle.toml\"\ncrews.near.crats = 4"),
        ],
        &Overrides::default(),
    )
    .unwrap_err();
    assert!(mistakes.contains("child.toml:3:12"), "{mistakes}");
    assert!(mistakes.contains("deep/base.toml:16:6"), "{mistakes}");
    assert!(mistakes.contains("extended by middle.toml:1:11"), "{mistakes}");
    assert!(mistakes.contains("extended by child.toml:2:11"), "{mistakes}");
    let first = mistakes.find("crats").unwrap();
    assert!(first < mistakes.find("furnaces").unwrap(), "the named file comes first");
    // Only the mistake in the extended file shows the chain.
    assert_eq!(mistakes.matches("extended by").count(), 2, "{mistakes}");
}

#[test]
fn chains_that_lead_nowhere_are_reported() {
    let missing = load(
        &[("base.toml", BASE), ("child.toml", "extends = \"bsae.toml\"")],
        &Overrides::default(),
    );
    let missing = missing.unwrap_err();
    assert!(missing.contains("`bsae.toml`: can't read the config file"), "{missing}");
    assert!(missing.contains("did you mean `base.toml`?"), "{missing}");
    let circle = load(
        &[("other.toml", "extends = \"child.toml\""), ("child.toml", "extends = \"other.toml\"")],
        &Overrides::default(),
    );
    let circle = circle.unwrap_err();
    assert!(circle.contains("child.toml -> other.toml -> child.toml"), "{circle}");
    let itself = load(&[("child.toml", "extends = \"child.toml\"")], &Overrides::default());
    assert!(itself.unwrap_err().contains("in a circle"));
    let number = load(&[("child.toml", "extends = 3")], &Overrides::default());
    assert!(number.unwrap_err().contains("`extends` is the path of one file"));
    let syntax = load(
        &[("base.toml", "[["), ("child.toml", "extends = \"base.toml\"")],
        &Overrides::default(),
    );
    assert!(syntax.unwrap_err().contains("extended by child.toml:1:11"));
    let chain: Vec<(String, String)> = (0..20)
        .map(|at| (format!("f{at}.toml"), format!("extends = \"f{}.toml\"", at + 1)))
        .chain([("child.toml".to_owned(), "extends = \"f0.toml\"".to_owned())])
        .collect();
    let files: Vec<(&str, &str)> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let deep = load(&files, &Overrides::default()).unwrap_err();
    assert!(deep.contains("at most 16 files"), "{deep}");
    let flag = load_err("extends = \"base.toml\"", &Overrides::default().set("extends=\"x.toml\""));
    assert!(flag.contains("only a file extends another"), "{flag}");
}

fn load_err(text: &str, overrides: &Overrides) -> String {
    load(&[("base.toml", BASE), ("child.toml", text)], overrides).unwrap_err()
}

#[test]
fn mistakes_in_copies_are_told_once() {
    let twice = load(
        &[
            ("base.toml", &format!("copies = {{ lane = 2 }}\n{BASE}")),
            ("child.toml", "extends = \"base.toml\"\ncopies = { lane = 3 }"),
        ],
        &Overrides::default(),
    )
    .unwrap_err();
    assert!(twice.contains("the axis `lane` is used twice"), "{twice}");
    assert_eq!(twice.matches("error[").count(), 1, "{twice}");
    let inner = mistakes(
        "copies = { lane = 2 }\ncrews.near.copies = { lane = 2 }\ncrews.far.copies = { ring = 2 }",
    );
    assert!(inner.contains("the axis `lane` is used twice"), "{inner}");
    let none = mistakes("copies = 0");
    assert!(none.contains("there is at least one copy"), "{none}");
    let many = mistakes("copies = { a = 9_000, b = 9_000 }");
    assert!(many.contains("at most 10000 copies in all"), "{many}");
    let axis = mistakes("copies = { Lane = 2 }");
    assert!(axis.contains("`Lane` is not a valid name for an axis"), "{axis}");
    let shared = mistakes("copies = 2\nshared = [\"midle\"]");
    assert!(shared.contains("did you mean `middle`?"), "{shared}");
    let which = mistakes("copies = 2\nshared = [\"far\"]");
    assert!(which.contains("`far` is shared, but `middle` has copies along `copy`"), "{which}");
    assert!(which.contains("such as `middle[copy=0]`"), "{which}");
    let stranger = mistakes("copies = 2\ncrews.far.to = \"furnace[lane=0]\"");
    assert!(stranger.contains("`furnace` has no copies along `lane`"), "{stranger}");
    let beyond = mistakes("copies = 2\ncrews.far.to = \"furnace[copy=2]\"");
    assert!(beyond.contains("counted from 0 to 1"), "{beyond}");
    // One mistake in four copies is reported once.
    let four = mistakes("copies = 4\ncrews.far.to = \"furnaces\"");
    assert_eq!(four.matches("error[").count(), 1, "{four}");
    assert!(four.contains("no dump or incinerator is called `furnaces`"), "{four}");
    assert!(four.contains("did you mean `furnace`?"), "{four}");
}

#[test]
fn one_copy_may_be_named() {
    let loaded = child("copies = 2\ncrews.far.to = \"furnace[copy=0]\"").unwrap();
    assert!(
        loaded.warnings.render(false).contains("nothing feeds the incinerator `furnace[copy=1]`")
    );
    let ends: Vec<_> = loaded
        .plan
        .crews
        .iter()
        .filter(|crew| crew.name.starts_with("far"))
        .map(|crew| crew.to)
        .collect();
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn paths_start_at_the_file_that_wrote_them() {
    let base = BASE.replace("burn = \"count\"", "burn = { kind = \"lines\", path = \"out.txt\" }");
    let loaded = load(
        &[("deep/base.toml", &base), ("child.toml", "extends = \"deep/base.toml\"")],
        &Overrides::default(),
    )
    .unwrap();
    assert!(loaded.plan.incinerators[0].writes[0].ends_with("deep/out.txt"));
}

#[test]
fn relays_are_judged_like_crews() {
    let right = child(
        "[piles.pond]\n[relays.daemon]\nfrom = \"middle\"\nto = \"pond\"\n[crews.far]\n\
         from = \"pond\"",
    )
    .unwrap();
    assert!(
        right.plan.crews.iter().any(|crew| crew.relay && crew.name == "daemon" && crew.carts == 1)
    );
    let source = mistakes("[relays.daemon]\nfrom = \"middle\"\nto = \"manuals\"");
    assert!(source.contains("the pile `manuals` has a source"), "{source}");
    let large = mistakes(
        "[dumps.pond]\ncapacity = 10\n[relays.daemon]\nfrom = \"middle\"\nto = \"pond\"\n\
         books = 20\n[crews.far]\nfrom = \"pond\"",
    );
    assert!(
        large.contains(
            "a cart of the relay `daemon` (20 books) is larger than the dump `pond` (10 books)"
        ),
        "{large}"
    );
    let circle = mistakes(
        "[dumps.pond]\ncapacity = 100\n[relays.a]\nfrom = \"middle\"\nto = \"pond\"\n[relays.b]\n\
         from = \"pond\"\nto = \"middle\"",
    );
    assert!(circle.contains("books would circulate forever"), "{circle}");
}
