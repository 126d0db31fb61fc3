//! Rendering of mistakes. The snapshots are what a user reads.

use super::*;

/// The mistakes of a small topology with these lines in its crew.
fn crew(lines: &str) -> String {
    shown(&small(lines, ""))
}

#[test]
fn all_at_once() {
    insta::assert_snapshot!(shown(include_str!("many.toml")));
}

#[test]
fn as_json() {
    let overrides = Overrides::default()
        .set("crews.solo.carts.count=many")
        .variable("GOPHERWORKS__EXECUTION__CORES", "0");
    let mistakes = parse_with(&small("gophers = [\"load psh unload return\"]", ""), &overrides);
    let json = serde_json::to_string_pretty(&mistakes.unwrap_err().to_json()).unwrap();
    insta::assert_snapshot!(json);
}

#[test]
fn syntax() {
    insta::assert_snapshot!(shown("[piles.manuals\nsource = \n[crews.a]\nfrom = 'x\nto = 1 2\n"));
}

#[test]
fn from_the_environment_and_from_flags() {
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__CREWS__SOLO__CARTS__COUNT", "four")
        .variable("GOPHERWORKS__CREWS__SOLO__CRATS__COUNT", "4")
        .variable("GOPHERWORKS__", "4")
        .variable("COUNT", "many")
        .set("crews.solo.steps.load=10")
        .set("piles.manuals.source.boks=4")
        .set("crews.solo.to=furnaces")
        .set("crews.solo")
        .set("crews..solo=1");
    let text = small(
        &format!(
            "{ALL}\nwork = \"a${{env.COUNT}}\"\n\
             carts = {{ books = \"${{env.COUNT}}\", bytes = \"${{env.NONE}}\" }}"
        ),
        "",
    );
    insta::assert_snapshot!(shown_with(&text, &overrides));
}

#[test]
fn gophers() {
    insta::assert_snapshot!(crew(
        r#"gophers = ["load psh unlaod return", "load load", "", "0 * push", "fly"]"#
    ));
    insta::assert_snapshot!(crew(
        r#"gophers = ["load psh unlaod return", "load load load", "", "2 * fly"]"#
    ));
    insta::assert_snapshot!(crew(r#"gophers = ["load push"]"#));
    insta::assert_snapshot!(crew("gophers = []"));
    insta::assert_snapshot!(crew(r#"gophers = "load push unload return""#));
}

#[test]
fn times() {
    let steps = "load = 1\npush = { wait = 1.5, cpu = { uniform = [\"2s\", \"1s\"] } }\n\
                 unload = \"1 day\"\nreturn = { cpu = { uniform = [\"1s\"] }, \
                 wait = { exponential = \"1s\", uniform = [\"1s\", \"2s\"] } }";
    insta::assert_snapshot!(crew(&format!("{ALL}\n[crews.solo.steps]\n{steps}")));
}

#[test]
fn numbers() {
    let text = small(
        &format!("{ALL}\ncarts = {{ count = 0, books = 0, bytes = \"0B\" }}"),
        r#"[execution]
cores = 0
placement = "sprad"
[supervision.backoff]
min = "2s"
max = "1s"
jitter = 1.5
[supervision]
period = "0s"
[model]
t1 = "0s""#,
    )
    .replace(
        "books = 100 }",
        "books = 100 }\nmax_attempts = 0\ncapacity = 0\nexclusive = { load = 0 }",
    );
    insta::assert_snapshot!(shown(&text));
}

#[test]
fn ends() {
    let more = r#"[dumps.middle]
capacity = 80
[piles.plain]
[crews.a]
from = "furnace"
to = "manuals"
gophers = ["load push unload return"]
[crews.b]
from = "middle"
to = "middle"
gophers = ["load push unload return"]
[crews.c]
from = "midle"
to = "plain"
gophers = ["load push unload return"]
"#;
    insta::assert_snapshot!(shown(&small(ALL, more)));
}

#[test]
fn unfilled_and_unemptied_nodes() {
    let more = "[dumps.full]\ncapacity = 200\n[dumps.idle]\n[piles.offered]\n[incinerators.cold]\n\
                burn = \"count\"\n";
    insta::assert_snapshot!(shown(&small(ALL, more)));
    insta::assert_snapshot!(shown(""));
}

#[test]
fn cycles() {
    let crew = |name, from, to| {
        format!("[crews.{name}]\nlike = \"solo\"\nfrom = \"{from}\"\nto = \"{to}\"\n")
    };
    let more = [
        "[dumps]\nb = { capacity = 200 }\nc = { capacity = 200 }\nd = { capacity = 200 }\n\
         e = { capacity = 200 }\n"
            .to_owned(),
        crew("in", "manuals", "b"),
        crew("bc", "b", "c"),
        crew("cd", "c", "d"),
        crew("db", "d", "b"),
        crew("de", "d", "e"),
        crew("out", "e", "furnace"),
    ];
    insta::assert_snapshot!(shown(&small(ALL, &more.concat())));
}

#[test]
fn carts_and_dumps() {
    let text = STAGED.replace("books = 80", "books = 5, bytes = \"1KiB\"");
    insta::assert_snapshot!(shown(&text.replace("books = 10 }", "books = 10, bytes = \"1MiB\" }")));
    insta::assert_snapshot!(shown(&STAGED.replace("books = 80", "books = 15")));
}

#[test]
fn warnings() {
    let text = small("gophers = [\"load push\", \"unload return\"]", "")
        .replace("books = 100 }", "books = 100 }\nmax_attempts = 9");
    insta::assert_snapshot!(shown(&text));
}

#[test]
fn names() {
    let more =
        "[dumps.manuals]\ncapacity = 90\n[incinerators.Big-Fire]\nburn = \"count\"\n[piles.solo]\n";
    insta::assert_snapshot!(shown(&small(ALL, more)));
}

#[test]
fn kinds() {
    let text = small(
        &format!(
            "{ALL}\nwork = [\"gzp\", {{ level = 6 }}, {{ kind = \"gzip\", lvel = 6, \
             level = \"high\" }}, 4, {{ kind = \"sha256\", bits = 9 }}]"
        ),
        "[piles.more]\nsource = { kind = \"generate\", boks = 1, size = 1 }\n[incinerators.out]\n\
         burn = { kind = \"files\", manifst = \"m\" }\n[incinerators.none]\n",
    );
    insta::assert_snapshot!(shown(&text));
}

#[test]
fn like() {
    let more = r#"[crews.a]
like = "b"
[crews.b]
like = "solo"
[crews.c]
like = "sola"
[crews.d]
like = "d"
[crews.e]
like = 4
"#;
    insta::assert_snapshot!(shown(&small(ALL, more)));
}

#[test]
fn a_mistake_of_a_model_is_reported_once() {
    let text = STAGED.replace("push = \"500us\"", "push = 500");
    insta::assert_snapshot!(shown(&text));
}

#[test]
fn without_a_file_the_config_path_is_named() {
    let config = TopologyConfig::builder("code")
        .pile("manuals", |pile| pile)
        .incinerator("furnace", |fire| fire.burn("cuont"))
        .crew("near", "manuals", "furnac", |crew| crew.gophers(1, "load push unload return"))
        .build();
    let mistakes = Plan::new(&config, &Catalog::standard()).unwrap_err();
    insta::assert_snapshot!(mistakes.render(false));
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        let mistakes = Loaded::read(&path, &Catalog::standard(), &Overrides::default());
        mistakes.unwrap_err().to_json()[0]["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(read("a", b"[piles]\n# \xff"), "line 2 is not UTF-8");
    assert_eq!(read("b", &vec![b'\n'; LARGEST as usize + 1]), "a config file has at most 32 MiB");
    assert_eq!(read("f", b"\xff\xfea\0"), "this is UTF-16: save it as UTF-8");
    assert_eq!(read("g", b"a = 1\0"), "this is not text: byte 5 is 0");
    for (name, text) in [
        ("x", "{ \"piles\": {} }"),
        ("x.json", "[1, 2]"),
        ("x", "# a\npiles:\n  manuals:\n    books: 4\n"),
        ("x", "---\npiles: {}\n"),
        ("x.yaml", "- a\n"),
    ] {
        assert_eq!(read(name, text.as_bytes()), "this is not TOML", "{text}");
    }
    assert_ne!(read("x", b"[piles\na = 1"), "this is not TOML");
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(!read("c", deep.as_bytes()).is_empty());
    let dotted = format!("a{} = 1", ".a".repeat(500_000));
    assert!(!read("d", dotted.as_bytes()).is_empty());
    let none = Loaded::read(folder.path().join("e"), &Catalog::standard(), &Overrides::default());
    assert!(none.unwrap_err().render(false).contains("can't read the config file"));
}

#[test]
fn a_mark_at_the_start_and_ends_of_lines_of_windows_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    let text = format!("\u{feff}{}", small(ALL, "").replace('\n', "\r\n"));
    std::fs::write(&path, text).unwrap();
    let loaded = Loaded::read(&path, &Catalog::standard(), &Overrides::default());
    assert_eq!(loaded.unwrap().config, parse(&small(ALL, "")).unwrap().config);
}

#[test]
#[cfg(unix)]
fn only_files_and_pipes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path| {
        let loaded = Loaded::read(path, &Catalog::standard(), &Overrides::default());
        loaded.map(|_| ()).map_err(|mistakes| mistakes.render(false))
    };
    assert!(read(folder.path()).unwrap_err().contains("a folder"));
    for device in ["/dev/zero", "/dev/null"] {
        assert!(read(Path::new(device)).unwrap_err().contains("a device"));
    }
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let writer = {
        let pipe = pipe.clone();
        let text = small(ALL, "[execution]\nscratch = \"tmp\"");
        std::thread::spawn(move || std::fs::write(pipe, text))
    };
    // A pipe has no folder: its paths start at the current one.
    let overrides = Overrides { folder: "/here".into(), ..Overrides::default() };
    let loaded = Loaded::read(&pipe, &Catalog::standard(), &overrides).unwrap();
    assert_eq!(loaded.config.execution.scratch, Some("/here/tmp".into()));
    writer.join().unwrap().unwrap();
    let extending = folder.path().join("a.toml");
    std::fs::write(&extending, "extends = \"/dev/zero\"\n").unwrap();
    assert!(read(&extending).unwrap_err().contains("a device"));
}
