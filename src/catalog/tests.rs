//! Tests of the catalog as a whole, and what the tests of the kinds share.

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, Book};

use super::*;

thread_local! {
    // All sites of a test belong to one run.
    static STATE: RunState = RunState::default();
}

pub(super) fn site() -> Site {
    Site {
        state: STATE.with(RunState::clone),
        node: "node".to_owned(),
        seed: 1,
        run: RunId::of_seed(1),
        books: RunId::of_seed(1),
        durable: false,
        halt: Halt::default(),
        scratch: std::env::temp_dir(),
        spill_above: 1 << 20,
        endless: false,
    }
}

pub(super) fn bytes_of(body: &Body) -> Bytes {
    body.read_all(u64::MAX).unwrap()
}

fn table(options: &str) -> toml::Table {
    options.parse().unwrap()
}

pub(super) fn source(kind: &str, options: &str, site: &Site) -> Box<dyn Source> {
    let catalog = Catalog::standard();
    let prepared = catalog.source(kind).unwrap().prepare(table(options)).unwrap();
    prepared.factory.make(site).unwrap()
}

pub(super) fn work_kind(kind: &str, options: &str) -> WorkFactory {
    let catalog = Catalog::standard();
    catalog.work(kind).unwrap().prepare(table(options)).unwrap().factory
}

pub(super) fn burn_kind(kind: &str, options: &str) -> BurnFactory {
    let catalog = Catalog::standard();
    catalog.burn(kind).unwrap().prepare(table(options)).unwrap().factory
}

#[test]
fn the_shipped_kinds_are_there_in_order() {
    let catalog = Catalog::standard();
    assert_eq!(catalog.source_names().collect::<Vec<_>>(), ["files", "generate", "lines"]);
    assert_eq!(
        catalog.work_names().collect::<Vec<_>>(),
        [
            "balancer", "filter", "gunzip", "gzip", "map", "parse", "sha256", "split", "unzstd",
            "zstd"
        ]
    );
    assert_eq!(
        catalog.burn_names().collect::<Vec<_>>(),
        ["balancer", "command", "count", "files", "http", "lines"]
    );
    assert_eq!(Catalog::empty().sources().count(), 0);
    assert!(catalog.burn("furnace").is_none());
}

#[test]
fn every_option_of_every_kind_has_help_and_a_type() {
    let catalog = Catalog::standard();
    let sources = catalog.sources().map(|kind| (&kind.name, kind.options()));
    let works = catalog.works().map(|kind| (&kind.name, kind.options()));
    let burns = catalog.burns().map(|kind| (&kind.name, kind.options()));
    for (kind, options) in sources.chain(works).chain(burns) {
        for option in options {
            assert!(option.help.ends_with('.'), "{kind}.{}: {:?}", option.name, option.help);
            assert!(!option.ty.is_empty() && option.ty != "any", "{kind}.{}", option.name);
            let optional = option.default.is_some()
                || ["remember", "manifest", "folder", "max_body", "method", "pattern", "file"]
                    .contains(&option.name.as_str())
                || (kind.as_str(), option.name.as_str()) == ("map", "to");
            assert_ne!(option.required, optional, "{kind}.{}", option.name);
        }
    }
}

#[test]
fn options_are_described_for_people() {
    let catalog = Catalog::standard();
    let options = |kind: &str| -> BTreeMap<String, OptionHelp> {
        let options = catalog.burn(kind).unwrap().options();
        options.into_iter().map(|option| (option.name.clone(), option)).collect()
    };
    let command = options("command");
    assert_eq!(command["per"].ty, "book | cart");
    assert_eq!(command["per"].default.as_deref(), Some("\"book\""));
    assert_eq!(command["command"].ty, "[string]");
    assert!(command["command"].required);
    assert_eq!(command["timeout"].ty, "duration");
    assert_eq!(command["timeout"].default.as_deref(), Some("\"1m\""));
    assert_eq!(command["env"].ty, "{ name = string }");
    assert_eq!(command["folder"].ty, "path");
    let lines = options("lines");
    assert_eq!(lines["path"].ty, "path");
    assert_eq!(lines["max_line"].default.as_deref(), Some("\"1MiB\""));
    assert_eq!(lines["append"].ty, "bool");
    assert!(!lines.contains_key("run"));
}

fn refused<T: ?Sized + 'static>(kind: Option<&Kind<T>>, options: &str) -> OptionError {
    kind.unwrap().prepare(table(options)).unwrap_err()
}

#[test]
fn a_mistake_is_named_with_its_path() {
    let catalog = Catalog::standard();
    let error = refused(catalog.work("gzip"), "lvel = 6");
    assert_eq!(error.path, ["lvel"]);
    assert!(error.message.contains("unknown field `lvel`, expected `level`"), "{error}");
    let error = refused(catalog.work("gzip"), "level = 10");
    assert_eq!(error.path, ["level"]);
    assert!(error.message.contains("10 is too large: at most 9"), "{error}");
    let error = refused(catalog.source("files"), "root = '/'\nexclude = ['ok', 'a[']");
    assert_eq!(error.path, ["exclude", "1"]);
    let error = refused(catalog.source("files"), "");
    assert!(error.path.is_empty());
    assert!(error.message.contains("missing field `root`"), "{error}");
    let error = refused(catalog.burn("command"), "command = ['x']\ntimeout = '60'");
    assert_eq!(error.path, ["timeout"]);
    assert!(error.message.contains("no unit"), "{error}");
    for manifest in ["a/b", "..", "", ".gopherworks", "/x", "x/"] {
        let error =
            refused(catalog.burn("files"), &format!("root = '/tmp'\nmanifest = '{manifest}'"));
        assert_eq!(error.path, ["manifest"], "{manifest}");
    }
}

#[test]
fn paths_are_resolved_where_the_schema_says_so() {
    let catalog = Catalog::standard();
    let kind = catalog.source("files").unwrap();
    let mut options =
        table("root = 'in'\ninclude = ['in']\nremember = '../out'\nleave_out = ['a', '/b']");
    kind.resolve_paths(&mut options, Path::new("/base"));
    let expected = "root = '/base/in'\ninclude = ['in']\nremember = '/base/../out'\n\
                    leave_out = ['/base/a', '/b']";
    assert_eq!(options, table(expected));
    let prepared = kind.prepare(options).unwrap();
    assert_eq!(prepared.reads, [Path::new("/base/in")]);
    assert_eq!(prepared.writes, [Path::new("/base/../out")]);
}

#[test]
fn a_dash_stays_a_dash_where_it_is_a_standard_stream() {
    let catalog = Catalog::standard();
    let mut options = table("path = '-'");
    let burn = catalog.burn("lines").unwrap();
    burn.resolve_paths(&mut options, Path::new("/base"));
    assert_eq!(options, table("path = '-'"));
    let prepared = burn.prepare(options).unwrap();
    assert!(prepared.reads.is_empty());
    assert_eq!(prepared.writes, [Path::new("-")]);
    let mut options = table("root = '-'");
    catalog.burn("files").unwrap().resolve_paths(&mut options, Path::new("/base"));
    assert_eq!(options, table("root = '/base/-'"));
}

#[test]
fn preparing_touches_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    burn_kind("files", &format!("root = '{}'", root.display()));
    burn_kind("lines", &format!("path = '{}'", root.display()));
    assert!(!root.exists());
}

#[test]
fn closures_become_kinds() {
    let mut catalog = Catalog::empty();
    let burned = Arc::new(std::sync::Mutex::new(Vec::new()));
    let fire = burned.clone();
    catalog
        .add_source_iter("three", "Three books", || ["a", "drop", "c"].map(Book::new))
        .add_inline_work_fn("upper", "Turns into capitals", |mut book: Book| {
            let text = bytes_of(&book.body);
            book.body = Body::from(text.to_ascii_uppercase());
            Ok((text != "drop").then_some(book))
        })
        .add_work_fn("slow", "Passes on", |book| Ok(Some(book)))
        .add_burn_fn("keep", "Keeps", move |book: &Book| {
            fire.lock().unwrap().push(bytes_of(&book.body));
            Ok(())
        });
    let none = toml::Table::new;
    let mut source =
        catalog.source("three").unwrap().prepare(none()).unwrap().factory.make(&site()).unwrap();
    let mut work =
        catalog.work("upper").unwrap().prepare(none()).unwrap().factory.make(&site()).unwrap();
    let burn =
        catalog.burn("keep").unwrap().prepare(none()).unwrap().factory.make(&site()).unwrap();
    assert!(!work.blocks());
    assert!(
        catalog
            .work("slow")
            .unwrap()
            .prepare(none())
            .unwrap()
            .factory
            .make(&site())
            .unwrap()
            .blocks()
    );
    while let Some(books) = source.next(2).unwrap() {
        assert!(books.len() <= 2);
        for book in books {
            if let Some(book) = work.apply(book).unwrap() {
                burn.burn(&book).unwrap();
            }
        }
    }
    assert_eq!(*burned.lock().unwrap(), ["A", "C"]);
    assert_eq!(refused(catalog.work("upper"), "x = 1").path, ["x"]);
}

#[test]
fn a_kind_with_options_is_made_anew_for_each_site() {
    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Prefix {
        /// What goes before each body.
        text: String,
    }
    struct Prefixed(String);
    impl Transform for Prefixed {
        fn apply(&mut self, mut book: Book) -> Result<Option<Book>, Failure> {
            book.body = Body::from([self.0.as_bytes(), &bytes_of(&book.body)].concat());
            Ok(Some(book))
        }
    }
    let mut catalog = Catalog::standard();
    catalog.add_work("prefix", "Puts text before", |options: &Prefix, site: &Site| {
        if site.node.is_empty() {
            return Err(Failure::permanent("no node"));
        }
        Ok(Prefixed(format!("{}@{} ", options.text, site.node)))
    });
    let factory = catalog.work("prefix").unwrap().prepare(table("text = 'hi'")).unwrap().factory;
    let book = factory.make(&site()).unwrap().apply(Book::new("x")).unwrap().unwrap();
    assert_eq!(bytes_of(&book.body), "hi@node x");
    let nowhere = Site { node: String::new(), ..site() };
    assert_eq!(factory.make(&nowhere).err().unwrap().reason(), "no node");
}

#[test]
fn the_archive_that_is_shipped_names_kinds_and_options_that_there_are() {
    let file: toml::Table = include_str!("../../config/archive.toml").parse().unwrap();
    let catalog = Catalog::standard();
    let split = |value: &toml::Value| match value {
        toml::Value::String(kind) => (kind.clone(), toml::Table::new()),
        value => {
            let mut options = value.as_table().unwrap().clone();
            let kind = options.remove("kind").unwrap();
            (kind.as_str().unwrap().to_owned(), options)
        }
    };
    let (kind, options) = split(&file["piles"]["inbox"]["source"]);
    catalog.source(&kind).unwrap().prepare(options).unwrap();
    let (kind, options) = split(&file["incinerators"]["archive"]["burn"]);
    catalog.burn(&kind).unwrap().prepare(options).unwrap();
    let works = file["crews"]["packers"]["work"].as_array().unwrap();
    assert_eq!(works.len(), 2);
    for work in works {
        let (kind, options) = split(work);
        catalog.work(&kind).unwrap().prepare(options).unwrap();
    }
}
