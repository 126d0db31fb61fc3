//! Values of variables and flags are parsed by the type of their key.

use super::*;

/// A topology whose kinds have options of many types.
const KINDS: &str = r#"[piles.p]
source = { kind = "lines", path = "in" }
[incinerators.f]
burn = { kind = "command", command = ["true"], env = { TOKEN = "old", other = "x" } }
[crews.c]
from = "p"
to = "f"
gophers = ["load push unload return"]
"#;

fn burn(overrides: &Overrides) -> toml::Table {
    let loaded = parse_with(KINDS, overrides).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    loaded.config.incinerators["f"].burn.options.clone()
}

#[test]
fn strings_stay_strings_byte_for_byte() {
    let values = [
        "123",
        "007",
        "1.50",
        "0x10",
        "true",
        "on",
        "1979-05-27",
        "",
        " x ",
        "[1, 2]",
        "{ a = 1 }",
        "[",
        "'",
        "a=b",
        "${env.HOME}",
        "nan",
    ];
    for value in values {
        let flag = Overrides::default().set(format!("incinerators.f.burn.env.NAME={value}"));
        assert_eq!(burn(&flag)["env"]["NAME"].as_str(), Some(value), "{value}");
        let variable = "GOPHERWORKS__INCINERATORS__F__BURN__ENV__NAME";
        let variable = Overrides::default().variable(variable, value);
        let set = burn(&variable);
        assert_eq!(set["env"]["NAME"].as_str(), Some(value), "{value}");
    }
    // A flag may quote a string as in TOML; a variable is taken literally.
    let flag = Overrides::default().set(r#"incinerators.f.burn.env.NAME="a b""#);
    assert_eq!(burn(&flag)["env"]["NAME"].as_str(), Some("a b"));
    let variable = "GOPHERWORKS__INCINERATORS__F__BURN__ENV__NAME";
    let variable = Overrides::default().variable(variable, r#""a b""#);
    assert_eq!(burn(&variable)["env"]["NAME"].as_str(), Some(r#""a b""#));
}

#[test]
fn a_path_of_digits_is_a_path() {
    let overrides =
        Overrides { folder: "/here".into(), ..Overrides::default().set("piles.p.source.path=123") };
    let config = parse_with(KINDS, &overrides).unwrap().config;
    let source = config.piles["p"].source.as_ref().unwrap();
    assert_eq!(source.options["path"].as_str(), Some("/here/123"));
}

#[test]
fn free_keys_keep_their_case_and_names_are_found_whatever_theirs() {
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__INCINERATORS__F__BURN__ENV__TOKEN", "new")
        .variable("GOPHERWORKS__INCINERATORS__F__BURN__ENV__Mixed", "1")
        .variable("GOPHERWORKS__Incinerators__F__BURN__TIMEOUT", "1h30m")
        .variable("GOPHERWORKS__CREWS__C__CARTS__COUNT", "3");
    let options = burn(&overrides);
    let env = options["env"].as_table().unwrap();
    let keys: Vec<&str> = env.keys().map(String::as_str).collect();
    assert_eq!(keys, ["Mixed", "TOKEN", "other"]);
    assert_eq!(env["TOKEN"].as_str(), Some("new"));
    assert_eq!(options["timeout"].as_str(), Some("1h30m"));
    // The kind may come from a variable too.
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__INCINERATORS__F__BURN", "command")
        .variable("GOPHERWORKS__INCINERATORS__F__BURN__COMMAND", "[\"true\"]")
        .variable("GOPHERWORKS__INCINERATORS__F__BURN__ENV__TOKEN", "new");
    let text = KINDS.replace(
        r#"{ kind = "command", command = ["true"], env = { TOKEN = "old", other = "x" } }"#,
        "\"count\"",
    );
    let config =
        parse_with(&text, &overrides).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
    let options = &config.incinerators["f"].burn.options;
    assert_eq!(options["env"]["TOKEN"].as_str(), Some("new"));
}

#[test]
fn other_types_are_read_exactly() {
    let text =
        small(ALL, "[balancers.b]\nworkers = { work = { kind = \"sleep\", time = \"1ms\" } }");
    let overrides = Overrides::default()
        .set("crews.solo.carts.count= 1_000 ")
        .set("crews.solo.carts.bytes=1mb")
        .set("crews.solo.gophers=[\"load push\", \"unload return\"]")
        .set("crews.solo.copies={ rack = 2 }")
        .set("piles.manuals.source.books=0x10")
        .set("piles.manuals.source.distinct=on")
        .set("supervision.backoff.jitter=0.5")
        .set("supervision.intensity=unlimited")
        .set("execution.drain_deadline=\"1d\"")
        .set("balancers.b.idempotent=false")
        .set("balancers.b.policy={ kind = \"central\", per_worker = 2 }");
    let config =
        parse_with(&text, &overrides).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
    let crew = &config.crews["solo"];
    assert_eq!((crew.carts.count, crew.carts.bytes), (1000, Some(1_000_000)));
    assert_eq!(crew.gophers.len(), 2);
    assert_eq!(crew.copies["rack"], 2);
    let source = config.piles["manuals"].source.as_ref().unwrap();
    assert_eq!(source.options["books"].as_integer(), Some(16));
    assert_eq!(source.options["distinct"].as_bool(), Some(true));
    assert_eq!(config.supervision.backoff.jitter, 0.5);
    assert_eq!(config.supervision.intensity, u32::MAX);
    let day = Duration::from_secs(86_400);
    assert_eq!(config.execution.drain_deadline, Some(day));
    assert_eq!(config.balancers["b"].idempotent, Some(false));
}

#[test]
fn what_is_no_such_value_is_refused_by_its_name_with_what_was_wanted() {
    let wrong = [
        ("crews.solo.carts.count", "", "a whole number"),
        ("crews.solo.carts.count", "4.0", "a whole number"),
        ("crews.solo.carts.count", "99999999999999999999", "64 bits"),
        ("crews.solo.carts.count", "4294967296", "at most 1,000,000"),
        ("crews.solo.carts.count", "[4", "a whole number"),
        ("crews.solo.gophers", "load push unload return", "an array"),
        ("crews.solo.carts", "4", "a table"),
        ("shared", "furnace", "an array of names such as [\"a\", \"b\"]"),
        ("crews.solo.carts.bytes", "lots", "a size"),
        ("execution.drain_deadline", "10", "no unit"),
        ("execution.placement", "", "none of together, spread"),
        ("piles.manuals.source.books", "many", "a whole number"),
        ("piles.manuals.source.books", "99999999999999999999", "64 bits"),
        ("piles.manuals.source.distinct", "maybe", "`true` or `false`"),
        ("piles.manuals.source.size", "", "a size"),
        ("supervision.backoff.jitter", "half", "a number"),
    ];
    for (key, value, wanted) in wrong {
        let flag = Overrides::default().set(format!("{key}={value}"));
        let said = shown_with(&small(ALL, ""), &flag);
        let named = said.contains(&format!("--set {key}")) && said.contains(wanted);
        assert!(named && said.contains("error"), "{key}={value}: {said}");
        let name = format!("GOPHERWORKS__{}", key.replace('.', "__").to_uppercase());
        let variable = Overrides::default().variable(&*name, value);
        let said = shown_with(&small(ALL, ""), &variable);
        let named = said.contains(&name) && said.contains(wanted);
        assert!(named && said.contains("error"), "{name}={value}: {said}");
    }
}

#[test]
fn unknown_keys_and_new_nodes_come_with_a_suggestion() {
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__CREWS__SOLO__CARTS__CUONT", "4")
        .variable("GOPHERWORKS__PILES__MANUAL__MAX_ATTEMPTS", "4")
        .variable("GOPHERWORKS__PILE__MANUALS__MAX_ATTEMPTS", "4");
    let said = shown_with(&small(ALL, ""), &overrides);
    for wanted in [
        "unknown key `cuont`",
        "did you mean `count`?",
        "error[unknown-node]: no pile is called `manual`",
        "did you mean `manuals`?",
        "unknown key `pile`",
        "did you mean `piles`?",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_node_that_no_file_has_is_a_mistake_unless_it_is_whole() {
    let piled = small(ALL, "[dumps.middle]\n[faults.slow]\ntarget = \"solo\"\nkind = \"slow\"");
    for (set, near) in [
        ("crews.sola.carts.count=4", "did you mean `solo`?"),
        ("piles.manual.max_attempts=4", "did you mean `manuals`?"),
        ("dumps.midle.capacity=4", "did you mean `middle`?"),
        ("incinerators.furnaces.exclusive.unload=1", "did you mean `furnace`?"),
        ("faults.slo.odds=0.5", "did you mean `slow`?"),
        ("balancers.desk.queue=4", "a new one has `workers`"),
        ("crews.UNKNOWN.x=1", "a new one has `from`, `to` and `gophers`"),
        ("dumps.elsewhere.capacity=4", "a crew or a relay that leads to it"),
    ] {
        let said = shown_with(&piled, &Overrides::default().set(set));
        let name = set.split('.').nth(1).unwrap();
        let told = said.contains(&format!("is called `{name}`")) && said.contains("--set");
        assert!(told && said.contains(near), "{set}: {said}");
        // What else the node lacks only follows.
        assert!(!said.contains("is missing"), "{set}: {said}");
    }
    // A flag and variables may give one together.
    let whole = Overrides::default()
        .set("crews.solo.to=middle")
        .set("dumps.middle.capacity=400")
        .set("crews.sola={ from = \"middle\", to = \"furnace\" }")
        .variable("GOPHERWORKS__CREWS__SOLA__GOPHERS", "[\"load push unload return\"]")
        .set("crews.like.like=solo");
    let loaded = parse_with(&small(ALL, ""), &whole).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.plan.crews.len(), 3);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn arrays_and_tables_come_through_interpolations() {
    let text = KINDS
        .replace("[\"true\"]", "\"${env.WORDS}\"")
        .replace("{ TOKEN = \"old\", other = \"x\" }", "\"${env.MORE}\"")
        .replace(
            "[\"load push unload return\"]",
            "'${env.GOPHERS:-[\"load push unload return\"]}'",
        );
    let set = |words: &str, gophers: &str| {
        let set = Overrides::default().variable("WORDS", words).variable("GOPHERS", gophers);
        set.variable("MORE", "{ A = '[1]' }")
    };
    let right = set("[\"./run\", \"${env.HOME}\"]", "[\"load push\", \"unload return\"]");
    let loaded = parse_with(&text, &right).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.config.crews["c"].gophers.len(), 2);
    let options = &loaded.config.incinerators["f"].burn.options;
    let words: Vec<_> = options["command"].as_array().unwrap().iter().collect();
    assert_eq!(words[1].as_str(), Some("${env.HOME}"), "taken as it is");
    assert_eq!(options["env"]["A"].as_str(), Some("[1]"));
    let usual = parse_with(&text, &set("[\"true\"]", "")).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(usual.config.crews["c"].gophers.len(), 1);
    let said = shown_with(&text, &set("true", "load push unload return"));
    for wanted in [
        "variable `WORDS`",
        "an array such as [\"a\", \"b\"], found the string \"true\"",
        "variable `GOPHERS`",
        "such as [\"load push\", \"unload return\"], found the string",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn two_variables_of_one_key_are_refused() {
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__CREWS__SOLO__CARTS__COUNT", "4")
        .variable("GOPHERWORKS__crews__solo__carts__count", "5");
    let said = shown_with(&small(ALL, ""), &overrides);
    assert!(said.contains("sets the same key"), "{said}");
}

#[test]
#[cfg(unix)]
fn what_is_not_utf_8_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let odd = |text: &[u8]| std::ffi::OsString::from_vec(text.to_vec());
    let value = Overrides::default().variable("GOPHERWORKS__CREWS__SOLO__TO", odd(b"f\xff"));
    let said = shown_with(&small(ALL, ""), &value);
    assert!(said.contains("GOPHERWORKS__CREWS__SOLO__TO") && said.contains("not UTF-8"));
    let name = Overrides::default().variable(odd(b"GOPHERWORKS__CREWS__\xff"), "x");
    let said = shown_with(&small(ALL, ""), &name);
    assert!(said.contains("the name is not UTF-8"), "{said}");
    let text = small(ALL, "[execution]\nscratch = \"${env.INBOX:-tmp}\"");
    let inbox = Overrides::default().variable("INBOX", odd(b"b\xff"));
    let said = shown_with(&text, &inbox);
    assert!(said.contains("`INBOX` is not UTF-8") && said.contains("bad.toml:10:11"), "{said}");
}

#[test]
fn what_looks_like_an_interpolation_can_be_written() {
    let text = KINDS.replace("\"old\"", "\"$${env.HOME} and $${env.X:-y}\"");
    let config = parse_with(&text, &Overrides::default()).unwrap().config;
    let env = &config.incinerators["f"].burn.options["env"];
    assert_eq!(env["TOKEN"].as_str(), Some("${env.HOME} and ${env.X:-y}"));
}
