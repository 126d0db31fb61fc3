//! Precedence of layers, and the folders of relative paths.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn crew(text: &str, overrides: &Overrides) -> CrewConfig {
    let loaded = parse_with(text, overrides).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    loaded.config.crews["solo"].clone()
}

#[test]
fn values_of_overrides_are_toml_or_else_strings() {
    let overrides = Overrides::default()
        .set(r#"crews.solo.gophers=["load push", "unload return"]"#)
        .set("crews.solo.steps.load=10ms")
        .set("crews.solo.work=gzip")
        .set("crews.solo.carts.count = 4")
        .variable("GOPHERWORKS__CREWS__SOLO__CARTS__COUNT", "3")
        .variable("GOPHERWORKS__CREWS__SOLO__CARTS__BOOKS", "7");
    let crew = crew(&small(ALL, ""), &overrides);
    assert_eq!(crew.gophers.len(), 2);
    assert_eq!(crew.steps.load, wait(Duration::from_millis(10)));
    assert_eq!(crew.work, [kind("gzip")]);
    assert_eq!((crew.carts.count, crew.carts.books), (4, 7));
}

#[test]
fn a_table_of_another_kind_replaces_and_one_of_the_same_merges() {
    let text = small(&format!("{ALL}\nwork = {{ kind = \"gzip\", level = 6 }}"), "");
    let burn = |overrides: &Overrides| {
        let text =
            text.replace(r#""count""#, r#"{ kind = "files", root = "/out", manifest = "m" }"#);
        parse_with(&text, overrides).unwrap().config.incinerators["furnace"].burn.clone()
    };
    let same = Overrides::default().set("incinerators.furnace.burn.root=/other");
    let both = kind("files").option("root", "/other").option("manifest", "m");
    assert_eq!(burn(&same), both);
    let other = Overrides::default().variable("GOPHERWORKS__INCINERATORS__FURNACE__BURN", "count");
    assert_eq!(burn(&other), kind("count"));
}

#[test]
fn one_of_several_alternative_keys_replaces_the_others() {
    let faults = "[faults.slow]\ntarget = \"solo\"\nkind = \"kill\"\nwhen = { every = \"1s\" }";
    let overrides = Overrides::default()
        .set("faults.slow.when.nth=3")
        .set("crews.solo.steps.load.wait.exponential=1ms");
    let steps = "steps.load.wait = { uniform = [\"0s\", \"1s\"] }";
    let text = small(&format!("{ALL}\n{steps}"), faults);
    let config = parse_with(&text, &overrides).unwrap().config;
    let FaultWhatConfig::Kind { when, .. } = &config.faults["slow"].what else {
        panic!("{:?}", config.faults);
    };
    assert_eq!(*when, When::Nth(3));
    let load = config.crews["solo"].steps.load.wait;
    assert_eq!(load, Span::Exponential(Duration::from_millis(1)));
}

#[test]
fn parts_of_a_kind_may_come_in_any_order() {
    let overrides = Overrides::default()
        .set("incinerators.furnace.burn.root=/out")
        .set("incinerators.furnace.burn.kind=files");
    let loaded = parse_with(&small(ALL, ""), &overrides).unwrap();
    let burn = &loaded.config.incinerators["furnace"].burn;
    assert_eq!(*burn, kind("files").option("root", "/out"));
}

#[test]
fn keys_keep_their_case() {
    let text = small(ALL, "[crews.Solo]");
    let mistakes = parse(&text).unwrap_err();
    assert!(mistakes.iter().any(|mistake| mistake.path == "crews.Solo"));
}

#[test]
fn paths_start_where_they_were_written() {
    let text = small(ALL, "[execution]\nscratch = \"${env.SCRATCH:-tmp}\"")
        .replace(r#"burn = "count""#, r#"burn = { kind = "files", root = "${env.OUT}" }"#);
    let read = |overrides: Overrides| {
        let overrides = Overrides { folder: "/home/me".into(), ..overrides };
        let loaded = Loaded::parse("/etc/works/a.toml", &*text, &Catalog::standard(), &overrides);
        let config = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        let folder = config.incinerators["furnace"].burn.options["root"].clone();
        (config.execution.scratch.unwrap(), folder.as_str().unwrap().to_owned())
    };
    let out = Overrides::default().variable("OUT", "out");
    let (scratch, folder) = read(out.clone());
    assert_eq!(scratch, PathBuf::from("/etc/works/tmp"));
    assert_eq!(folder, "/home/me/out");
    let (scratch, _) = read(out.clone().variable("SCRATCH", "here"));
    assert_eq!(scratch, PathBuf::from("/home/me/here"));
    let (scratch, folder) = read(
        out.variable("GOPHERWORKS__EXECUTION__SCRATCH", "set")
            .set("incinerators.furnace.burn.root=/abs"),
    );
    assert_eq!(scratch, PathBuf::from("/home/me/set"));
    assert_eq!(folder, "/abs");
}

#[test]
fn numbers_from_the_environment_are_numbers() {
    let text = small(
        &format!("{ALL}\ncarts = {{ count = \"${{env.COUNT}}\", books = \"${{env.BOOKS:-9}}\" }}"),
        "",
    )
    .replace("books = 100", "books = \"${env.COUNT}\"");
    let loaded = parse_with(&text, &Overrides::default().variable("COUNT", "4")).unwrap();
    let carts = loaded.config.crews["solo"].carts;
    assert_eq!((carts.count, carts.books), (4, 9));
    let source = loaded.config.piles["manuals"].source.clone().unwrap();
    assert_eq!(source, kind("generate").option("books", 4));
}

#[test]
fn a_model_lends_its_overridden_keys() {
    let overrides = Overrides::default().set("crews.near.carts.books=20");
    let config = parse_with(STAGED, &overrides).unwrap().config;
    assert_eq!(config.crews["far"].carts.books, 20);
}

#[test]
fn what_is_replaced_need_not_be_right() {
    let text = small(&format!("{ALL}\ncarts = {{ count = \"${{env.NONE}}\" }}"), "");
    assert!(shown(&text).contains("`NONE` is not set"));
    let overrides = Overrides::default().set("crews.solo.carts.count=2");
    assert_eq!(crew(&text, &overrides).carts.count, 2);
}

proptest! {
    #[test]
    fn flags_beat_variables_beat_the_file(
        file in proptest::option::of(1u32..100),
        variable in proptest::option::of(1u32..100),
        flag in proptest::option::of(1u32..100),
    ) {
        let carts = file.map_or(String::new(), |n| format!("carts = {{ count = {n} }}"));
        let mut overrides = Overrides::default();
        if let Some(n) = variable {
            overrides = overrides.variable("GOPHERWORKS__CREWS__SOLO__CARTS__COUNT", n.to_string());
        }
        if let Some(n) = flag {
            overrides = overrides.set(format!("crews.solo.carts.count={n}"));
        }
        let count = crew(&small(&format!("{ALL}\n{carts}"), ""), &overrides).carts.count;
        prop_assert_eq!(count, flag.or(variable).or(file).unwrap_or(1));
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(
        text in "\\PC{0,
        200}",
        set in "\\PC{0,
        40}",
        value in "\\PC{0,
        40}",
    ) {
        let overrides = Overrides::default()
            .set(set.clone())
            .variable(format!("GOPHERWORKS__{set}"), value);
        let said = shown_with(&text, &overrides);
        prop_assert!(!said.is_empty());
    }

    #[test]
    fn bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        shown(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_damaged_file_is_refused_without_a_panic(
        from in 0usize..1200,
        length in 0usize..40,
        with in "[\\[\\]{}=.\"'#\n a-z0-9µ]{0,6}",
    ) {
        let mut text = STAGED.to_owned();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.replace_range(from..to, &with);
        if let Err(mistakes) = parse(&text) {
            prop_assert!(mistakes.has_errors());
            prop_assert!(!mistakes.render(true).is_empty());
            prop_assert_eq!(mistakes.to_json().as_array().map(Vec::len), Some(mistakes.len()));
        }
    }
}
