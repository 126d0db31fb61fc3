use gopherworks_pipeline::book::{Book, header};
use proptest::prelude::*;

use super::*;

/// What `text` makes of a book with `body`: JSON, or the error.
fn of(text: &str, body: &str) -> Result<String, String> {
    let expression = Expression::new(text).map_err(|error| error.message)?;
    let book = Book::new(body.to_owned()).with_header(header::NAME, "a.log");
    let value = expression.of(&mut Record::new(book), Size(1 << 20));
    let json = json(&value.map_err(|failure| failure.reason().to_owned())?)?;
    Ok(json.map_or("nothing".to_owned(), |json| serde_json::to_string(&json).unwrap()))
}

const BODY: &str = r#"{"level":"warn","ms":12.5,"n":18446744073709551615,"tags":["a","b"],
    "user":{"id":7,"name":"Ann"},"items":[{"parts":[1,2]},{"parts":[3]}],"ts":1700000000}"#;

#[test]
fn values_are_those_of_cel() {
    for (text, json) in [
        ("body.level != 'debug' && body.ms >= 12", "true"),
        ("has(body.user) && !has(body.user.age)", "true"),
        ("body.?age.orValue(3) + body.user.id", "10"),
        ("body.?age", "nothing"),
        ("body.n", "18446744073709551615"),
        ("body.user", r#"{"id":7,"name":"Ann"}"#),
        ("body.user == {'name': 'Ann', 'id': 7}", "true"),
        ("{'name': 'Ann', 'id': 7} == body.user", "true"),
        ("body.user.map(key, key).size() == size(body.user)", "true"),
        ("'id' in body.user && !('age' in body.user) && 'b' in body.tags", "true"),
        ("[body.user][0].name", r#""Ann""#),
        ("body.items.exists(item, item.parts.exists(part, part == 3))", "true"),
        ("body.tags.map(tag, tag + '!')", r#"["a!","b!"]"#),
        ("{'b': 1, 'a': body.tags[1]}", r#"{"a":"b","b":1}"#),
        ("string(timestamp(body.ts)).substring(0, 10)", r#""2023-11-14""#),
        ("timestamp('2024-02-03T04:05:06.5Z')", r#""2024-02-03T04:05:06.500Z""#),
        ("name.matches('^[a-z][.]log$') && matches(text, 'level')", "true"),
        ("headers['name'] + '.gz'", r#""a.log.gz""#),
    ] {
        assert_eq!(of(text, BODY).as_deref(), Ok(json), "{text}");
    }
}

#[test]
fn an_expression_without_a_value_says_why() {
    for (text, body, why) in [
        ("body.age > 3", "{}", "there is no `age`; `has(...)` asks for a field"),
        ("body.a < 3", r#"{"a":"1"}"#, "no matching overload for '_<_' applied to '(string, int)'"),
        ("1 / body.a", r#"{"a":0}"#, "division by zero"),
        ("body.a + 1", r#"{"a":9223372036854775807}"#, "out of range"),
        ("text.matches(body.a)", r#"{"a":"("}"#, "`matches`"),
        ("body.a", "{", "EOF while parsing"),
        ("duration('1s')", "{}", "no JSON"),
        ("1.0 / 0.0", "{}", "infinite"),
    ] {
        let error = of(text, body).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_mistake_points_at_its_word() {
    for (text, word, message) in [
        ("body.level != 'debug' && bdoy.x", "bdoy", "there is no `bdoy`"),
        ("size(body.a) > siz(body.b)", "siz", "there is no function `siz`"),
        ("body.a.startWith('x')", "startWith", "there is no function"),
        ("body.a.exists(x, y > 1)", "y", "there is no `y`"),
        ("body.a >", "", "mismatched end of the expression"),
        ("body.a == 'é' && * true", "*", "input"),
        ("body.a.all(x, body.a.all(y, x == y))", "y", "a loop in a loop"),
        ("text.split('').all(x, text.split(x).all(z, true))", "z", "a loop in a loop"),
    ] {
        let error = Expression::new(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {}", error.message);
        assert_eq!(&text[error.at.clone()], word, "{text}: {error:?}");
    }
    let near = Expression::new("bdoy").unwrap_err();
    assert_eq!(crate::config::nearest("bdoy", near.known.iter().copied()), Some("body"));
    assert!(Expression::new(&"(".repeat(LONGEST + 1)).is_err());
}

/// A call of each function: none is unknown when the expression runs.
#[test]
fn every_function_that_is_offered_exists() {
    for name in FUNCTIONS {
        let arguments = ["", "'1'", "1", "x, true", "'1', '1'", "x, x"];
        let calls = arguments.iter().flat_map(|arguments| {
            let targets = ["", "'1'.", "[1].", "timestamp(0).", "optional.of(1)."];
            targets.map(|target| format!("{target}{name}({arguments})"))
        });
        let mut calls = calls.chain([format!("{name}(body.a)"), format!("{name}('1s')")]);
        let works = calls.any(|call| {
            of(&format!("string(dyn({call})) != ''"), "{}").is_ok()
                || of(&format!("type({call}) == type(1) || true"), "{}").is_ok()
        });
        assert!(works, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in "[a-z.()' &|<>=!?:\\[\\]{}0-9éß,\"\\\\+-]{0,40}") {
        if let Err(error) = Expression::new(&text) {
            prop_assert!(text.get(error.at.clone()).is_some(), "{error:?}");
        }
    }

    /// What is read and written unchanged is the same JSON, with its fields in order.
    #[test]
    fn json_survives(fields in proptest::collection::vec(
        r#""[a-c]":(-?[1-9][0-9]{0,18}|"[a-zé\\n]*"|\[true,null\]|\{"z":1,"y":0.5\})"#, 0..5,
    )) {
        let text = format!("{{{}}}", fields.join(","));
        if let Ok(expected) = serde_json::from_str::<serde_json::Value>(&text) {
            let read: Json = serde_json::from_str(&text).unwrap();
            let written = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), expected);
        }
    }
}
