//! The work `parse`: turns a body in one of several formats into a JSON record.

use std::sync::Arc;

use gopherworks_supervision::failure::Failure;
use regex_lite::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::records::json::Json;
use super::records::{Kept, Record, RecordWork, failure};
use crate::config::units::{Size, size};

/// Bytes of memory that a compiled pattern may take.
const PATTERN: usize = 1 << 20;

/// Options of `parse`; the format has the options that it needs, and no others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "ParseFields")]
#[schemars(with = "ParseFields")]
pub(super) struct ParseOptions(ParseFields);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParseFields {
    /// Format of the body. `json` checks that it is JSON; `logfmt` reads `key=value` pairs;
    /// `csv` reads one line, whose values are named by `columns`; `regex` reads what the groups of
    /// `pattern` match.
    format: Format,
    /// Names of the values of a line, for `csv`; a value beyond them is an error.
    #[serde(default)]
    columns: Vec<String>,
    /// The character between the values of a line, for `csv`.
    #[serde(default = "comma")]
    delimiter: char,
    /// Regular expression with named groups, such as `^(?<host>\S+) (?<status>\d+)$`, for `regex`.
    #[serde(default)]
    pattern: Option<Pattern>,
    /// What becomes of a book that does not have the format.
    #[serde(default)]
    otherwise: Otherwise,
    /// Maximum size of a body (default 1MiB). A larger one fails permanently.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_body: Size,
}

fn comma() -> char {
    ','
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Format {
    Json,
    Logfmt,
    Csv,
    Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Otherwise {
    /// It becomes a dead letter.
    #[default]
    Dead,
    /// It is filtered out.
    Filter,
}

/// A compiled pattern.
#[derive(Debug)]
struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let built = regex_lite::RegexBuilder::new(&text).size_limit(PATTERN).build();
        let pattern = built.map_err(|error| D::Error::custom(format!("`{text}`: {error}")))?;
        match pattern.capture_names().flatten().next() {
            Some(_) => Ok(Self(pattern)),
            None => Err(D::Error::custom("the pattern has no named group, such as `(?<name>.*)`")),
        }
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "regex" })
    }
}

pub(super) fn steps(options: Arc<ParseOptions>) -> Arc<dyn RecordWork> {
    options
}

impl TryFrom<ParseFields> for ParseOptions {
    type Error = &'static str;

    fn try_from(fields: ParseFields) -> Result<Self, Self::Error> {
        match (fields.format, fields.columns.is_empty(), &fields.pattern) {
            (Format::Csv, true, _) => {
                Err("`columns` is missing: the names of the values of a line")
            }
            (Format::Regex, _, None) => Err("`pattern` is missing: what the body looks like"),
            (Format::Csv, false, None) | (Format::Regex, true, Some(_)) => Ok(Self(fields)),
            (Format::Json | Format::Logfmt, true, None) => Ok(Self(fields)),
            (_, _, Some(_)) => Err("`pattern` is an option of the format `regex`"),
            (_, false, _) => Err("`columns` is an option of the format `csv`"),
        }
    }
}

impl RecordWork for ParseOptions {
    fn work(&self, record: &mut Record) -> Result<Kept, Failure> {
        let Self(fields) = self;
        let parsed = match fields.format {
            Format::Json => record.read(fields.max_body).map(|()| None),
            _ => {
                let text = record.text(fields.max_body)?;
                fields
                    .parse(text)
                    .map(Some)
                    .map_err(|why| failure(&record.book, format_args!("{why}")))
            }
        };
        match parsed {
            Ok(body) => {
                if let Some(body) = body {
                    record.set(body);
                }
                Ok(Kept::Yes)
            }
            Err(failure) if failure.is_permanent() && fields.otherwise == Otherwise::Filter => {
                Ok(Kept::No)
            }
            Err(failure) => Err(failure),
        }
    }
}

impl ParseFields {
    fn parse(&self, text: &str) -> Result<Json, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match self.format {
            Format::Json => Err("JSON is read elsewhere".to_owned()),
            Format::Logfmt => logfmt(text),
            Format::Csv => self.csv(text),
            Format::Regex => self.regex(text),
        }
    }

    fn regex(&self, text: &str) -> Result<Json, String> {
        let Some(Pattern(pattern)) = &self.pattern else {
            return Err("`pattern` is missing".to_owned());
        };
        let found = pattern.captures(text).ok_or("the pattern does not match")?;
        let groups = pattern.capture_names().flatten();
        let fields = groups.filter_map(|name| Some((name, found.name(name)?.as_str())));
        Ok(Json::Table(fields.map(|(name, value)| (name.to_owned(), typed(value))).collect()))
    }

    /// Reads a line by RFC 4180: a value with the delimiter or quotes in it is quoted.
    fn csv(&self, text: &str) -> Result<Json, String> {
        let mut values: Vec<(String, bool)> = Vec::new();
        let mut rest = text;
        loop {
            if let Some(quoted) = rest.strip_prefix('"') {
                let (value, after) = unquoted(quoted)?;
                values.push((value, true));
                rest = after;
                if !(rest.is_empty() || rest.starts_with(self.delimiter)) {
                    return Err("text follows a closing quote".to_owned());
                }
            } else {
                let end = rest.find(self.delimiter).unwrap_or(rest.len());
                values.push((rest[..end].to_owned(), false));
                rest = &rest[end..];
            }
            match rest.strip_prefix(self.delimiter) {
                Some(after) => rest = after,
                None => break,
            }
        }
        if values.len() > self.columns.len() {
            return Err(format!("{} values for {} columns", values.len(), self.columns.len()));
        }
        let values = values.into_iter().map(|(value, quoted)| match quoted {
            true => Json::Text(value),
            false => typed(&value),
        });
        Ok(Json::Table(self.columns.iter().cloned().zip(values).collect()))
    }
}

/// The value up to its closing quote, and the text behind it; a doubled quote stands for one.
fn unquoted(mut text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    loop {
        let end = text.find('"').ok_or("a quote is not closed")?;
        value.push_str(&text[..end]);
        text = &text[end + 1..];
        match text.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                text = after;
            }
            None => return Ok((value, text)),
        }
    }
}

/// Reads pairs such as `level=info msg="two words" done`; a key alone is `true`.
fn logfmt(text: &str) -> Result<Json, String> {
    let mut body = Json::Table(Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let key = &rest[..end];
        if key.is_empty() || key.contains('"') {
            return Err(format!(
                "a key is expected at `{}`",
                rest.chars().take(20).collect::<String>()
            ));
        }
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            None => Json::Bool(true),
            Some(after) => match after.strip_prefix('"') {
                Some(quoted) => {
                    let (value, after) = escaped(quoted)?;
                    rest = after;
                    Json::Text(value)
                }
                None => {
                    let end = after.find(' ').unwrap_or(after.len());
                    rest = &after[end..];
                    typed(&after[..end])
                }
            },
        };
        body.set(&[key.to_owned()], value);
        rest = rest.trim_start();
    }
    Ok(body)
}

/// The value up to its closing quote, and the text behind it; `\` escapes as in JSON.
fn escaped(text: &str) -> Result<(String, &str), String> {
    let mut at = 0;
    loop {
        let next = text[at..].find(['"', '\\']).ok_or("a quote is not closed")?;
        at += next;
        if text.as_bytes()[at] == b'"' {
            break;
        }
        // The escaped character may have several bytes.
        let skipped = text[at + 1..].chars().next().map_or(0, char::len_utf8);
        at += 1 + skipped;
    }
    let value = serde_json::from_str(&format!("\"{}\"", &text[..at]));
    let value = value.map_err(|error| format!("a quoted value is invalid: {error}"))?;
    Ok((value, &text[at + 1..]))
}

/// A number, a truth value or, for anything else, the text.
fn typed(text: &str) -> Json {
    match text {
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        // Numbers as in JSON: "007" and "1e999" are texts.
        _ => match serde_json::from_str(text) {
            Ok(number @ (Json::Int(_) | Json::UInt(_) | Json::Float(_))) => number,
            _ => Json::Text(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str, text: &str) -> Result<String, String> {
        let options: ParseOptions = toml::from_str(options).unwrap();
        let parsed = options.0.parse(text)?;
        Ok(serde_json::to_string(&parsed).unwrap())
    }

    #[test]
    fn logfmt_has_typed_values_in_order() {
        let line = r#"level=warn ms=12.5 ok code=-7 zip=007 msg="two \"words\" \u00e9" empty= "#;
        let json = concat!(
            r#"{"level":"warn","ms":12.5,"ok":true,"code":-7,"zip":"007","#,
            r#""msg":"two \"words\" é","empty":""}"#,
        );
        assert_eq!(parse("format = 'logfmt'", line).unwrap(), json);
        for bad in [r#"=1"#, r#"a="b"#, r#"a="\x""#, r#"a=1 "b"=2"#] {
            assert!(parse("format = 'logfmt'", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_csv_line_is_read_by_rfc_4180() {
        let options = "format = 'csv'\ncolumns = ['a', 'b', 'c']";
        let line = "1,\"x, \"\"y\"\"\",\r\n";
        assert_eq!(parse(options, line).unwrap(), r#"{"a":1,"b":"x, \"y\"","c":""}"#);
        // Quoted numbers are texts; missing values are missing fields.
        assert_eq!(parse(options, "\"1\"").unwrap(), r#"{"a":"1"}"#);
        let tabs = "format = 'csv'\ncolumns = ['a', 'b']\ndelimiter = \"\\t\"";
        assert_eq!(parse(tabs, "x,y\ttrue").unwrap(), r#"{"a":"x,y","b":true}"#);
        for bad in ["1,2,3,4", "\"1", "\"1\"2,3"] {
            assert!(parse(options, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_groups_of_a_pattern_are_fields() {
        let options = r"format = 'regex'
            pattern = '^(?<host>\S+) (?:(?<user>\w+) )?(?<status>\d{3})$'";
        assert_eq!(
            parse(options, "h ann 200").unwrap(),
            r#"{"host":"h","user":"ann","status":200}"#
        );
        assert_eq!(parse(options, "h 404").unwrap(), r#"{"host":"h","status":404}"#);
        assert!(parse(options, "h 40").is_err());
    }
}
