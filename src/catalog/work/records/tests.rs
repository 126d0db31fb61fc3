use gopherworks_pipeline::book::{Book, header};
use gopherworks_pipeline::transform::Product;

use super::super::super::tests::{bytes_of, site, work_kind};
use super::super::{WorkFactory, compose};

/// The body and headers that a chain of works makes, or "filtered", or the failure.
fn through(parts: &[(&str, &str)], body: &str) -> String {
    let parts: Vec<WorkFactory> = parts.iter().map(|(kind, more)| work_kind(kind, more)).collect();
    let book = Book::new(body.to_owned()).with_header(header::NAME, "in");
    match compose(parts).make(&site()).unwrap().work(book) {
        Ok(Product::Book(book)) => {
            let body = bytes_of(&book.body);
            let headers = book
                .headers
                .iter()
                .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)));
            String::from_utf8_lossy(&body).into_owned() + &headers.collect::<String>()
        }
        Ok(Product::Filtered) => "filtered".to_owned(),
        Ok(Product::Dropped) => "dropped".to_owned(),
        Ok(Product::Split(children)) => {
            let shown = children.iter().map(|child| {
                let index = child.headers.get("split.index").expect("a number");
                let name = child.headers.get(header::NAME).expect("the name");
                let body = bytes_of(&child.body);
                [&index[..], b":", &name[..], b":", &body[..]].concat()
            });
            let shown: Vec<_> = shown.collect();
            String::from_utf8_lossy(&shown.join(&b" "[..])).into_owned()
        }
        Err(failure) => {
            assert!(failure.is_permanent());
            failure.reason().to_owned()
        }
    }
}

#[test]
fn a_filter_passes_a_body_as_it_is() {
    let filter = [("filter", "when = \"body.level != 'debug'\"")];
    let body = r#"{ "level" : "info", "n": 1e2 }"#;
    assert_eq!(through(&filter, body), format!("{body} name=in"));
    assert_eq!(through(&filter, r#"{"level":"debug"}"#), "filtered");
    assert!(through(&filter, "{}").contains("there is no `level`"));
    assert!(through(&filter, "not JSON").contains("expected"));
    let number = [("filter", "when = 'body.n'")];
    assert!(through(&number, r#"{"n":1}"#).contains("neither true nor false"));
    let by_name = [("filter", "when = \"name == 'in'\"")];
    assert_eq!(through(&by_name, "\u{0}"), "\u{0} name=in");
}

#[test]
fn a_map_sets_and_removes_what_it_says() {
    let map = "remove = ['password', 'user.mail', 'none.x']
        set = { day = 'body.ts.substring(0, 10)', 'user.id' = 'body.id', id = 'body.?none' }
        headers = { name = \"'logs/' + body.ts.substring(0, 10)\", n = 'body.id' }";
    let body = r#"{"ts":"2026-01-02T03:04:05Z","password":"x","user":{"mail":"m","b":1},"id":7}"#;
    let json = r#"{"ts":"2026-01-02T03:04:05Z","user":{"b":1,"id":7},"id":7,"day":"2026-01-02"}"#;
    assert_eq!(through(&[("map", map)], body), format!("{json} n=7 name=logs/2026-01-02"));
    let to = [("map", "to = \"body.a + ' ' + string(body.b)\"")];
    assert_eq!(through(&to, r#"{"a":"x","b":2}"#), "x 2 name=in");
    let both = [("map", "to = \"{'a': text}\"\nset = { b = 'size(text)' }")];
    assert_eq!(through(&both, "xyz"), r#"{"a":"xyz","b":3} name=in"#);
    let nameless = [("map", "headers = { name = \"''\" }")];
    assert!(through(&nameless, "{}").contains("name is empty"));
}

/// Works side by side share one parsing; the later ones see what the earlier ones have made.
#[test]
fn works_on_records_see_what_the_ones_before_have_made() {
    let chain = [
        ("parse", "format = 'logfmt'"),
        ("filter", "when = 'body.ms > 10'"),
        ("map", "set = { slow = 'true' }"),
        ("filter", "when = \"body.slow && text.contains('slow')\""),
        ("map", "to = \"text.replace('true', 'yes')\""),
        ("filter", "when = \"text.endsWith('yes}')\""),
    ];
    assert_eq!(through(&chain, "ms=11 a=b"), r#"{"ms":11,"a":"b","slow":yes} name=in"#);
    assert_eq!(through(&chain, "ms=9"), "filtered");
    let apart = [chain[0], ("sha256", ""), chain[1]];
    assert!(through(&apart, "ms=11").starts_with(r#"{"ms":11} name=in sha256="#));
}

#[test]
fn a_body_without_the_format_fails_or_is_filtered() {
    let csv = "format = 'csv'\ncolumns = ['a']";
    assert!(through(&[("parse", csv)], "1,2").contains("2 values for 1 columns"));
    let filter = format!("{csv}\notherwise = 'filter'");
    assert_eq!(through(&[("parse", &filter)], "1,2"), "filtered");
    let small = [("parse", "format = 'json'\nmax_body = '4B'")];
    assert_eq!(through(&small, "[10]"), "[10] name=in");
    assert!(through(&small, "[100]").contains("larger than 4B (max_body)"));
    for wrong in [
        "format = 'csv'",
        "format = 'regex'",
        "format = 'json'\ncolumns = ['a']",
        "format = 'regex'\npattern = '('",
        "format = 'regex'\npattern = 'a'",
    ] {
        let catalog = crate::Catalog::standard();
        let table: toml::Table = wrong.parse().unwrap();
        assert!(catalog.work("parse").unwrap().prepare(table).is_err(), "{wrong}");
    }
}

#[test]
fn a_split_makes_a_book_of_each_item() {
    let split = [("split", "by = 'body.items'\nmost = 3")];
    assert_eq!(
        through(&split, r#"{"items":["a",{"z":1,"b":2},3]}"#),
        r#"0:in:a 1:in:{"b":2,"z":1} 2:in:3"#
    );
    assert_eq!(through(&split, r#"{"items":[]}"#), "");
    assert!(through(&split, r#"{"items":[1,2,3,4]}"#).contains("4 items, more than 3"));
    assert!(through(&split, r#"{"items":"a"}"#).contains("`by` is not a list"));
}
