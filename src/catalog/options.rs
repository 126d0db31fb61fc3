//! Options of kinds: paths among them, parsing, bounds checks, and help text from their schema.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape::Shape;
use crate::config::units::{LARGEST, Size, Time, parse_duration, parse_size};

/// Path that stands for standard input or output, where a kind accepts it.
pub const STANDARD_STREAM: &str = "-";

/// A path among a kind's options; relative paths are resolved before the options are parsed.
///
/// By default the paths of a burn count as written and all others as read.
/// `#[schemars(extend("x-access" = "write"))]` on the field overrides this (`"read"`, `"write"`,
/// `"none"`). `#[schemars(extend("x-dash" = true))]` makes `-` mean a standard stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct FilePath(pub PathBuf);

impl FilePath {
    /// Returns the path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// True if the path is `-`.
    pub fn is_standard_stream(&self) -> bool {
        self.0.as_os_str() == STANDARD_STREAM
    }
}

impl JsonSchema for FilePath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FilePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}

/// An invalid option, with the path of its key below the kind's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// Keys from the options table to the invalid value; empty for the table itself.
    pub path: Vec<String>,
    /// serde's message, e.g. ``unknown field `lvel`, expected `level` ``.
    pub message: String,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path.join("."), self.message)
        }
    }
}

impl std::error::Error for OptionError {}

/// How a path option counts in a kind's list of reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Neither,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PathOption {
    access: Option<Access>,
    /// True if `-` means a standard stream.
    pub(super) takes_dash: bool,
}

/// Help for one option of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptionHelp {
    /// Key of the option.
    pub name: String,
    /// Type, e.g. `path`, `size`, `book | cart`, `[string]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Default in TOML notation; `None` if there is none.
    pub default: Option<String>,
    /// Description, with its bounds.
    pub help: String,
    /// True if the option is required.
    pub required: bool,
}

/// Something that this machine lacks for otherwise valid options, e.g. a missing program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionWarning {
    /// Keys from the options table to the value concerned; empty for the table itself.
    pub path: Vec<String>,
    /// Description of the problem.
    pub message: String,
    /// The name that was not found among `known`; empty if the problem is not a name.
    pub said: String,
    /// Valid names, for suggestions.
    pub known: Vec<String>,
    /// Advice, used if no name in `known` is similar.
    pub help: Option<String>,
}

/// Parses options; the error names the invalid key.
pub(super) fn parse<O: DeserializeOwned>(table: toml::Table) -> Result<O, OptionError> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        use serde_path_to_error::Segment;
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        });
        OptionError { path: path.collect(), message: error.inner().message().to_owned() }
    })
}

/// Fails for the first number, size or duration outside the bounds of the schema: `minimum`,
/// `exclusiveMinimum`, `maximum`, and `x-longest` for durations.
pub(super) fn check_bounds(schema: &Schema, table: &toml::Table) -> Result<(), OptionError> {
    let mut path = Vec::new();
    match entry_outside(&Shape::new(schema.as_value()), table, &mut path) {
        Some(message) => Err(OptionError { path, message }),
        None => Ok(()),
    }
}

/// The message for the first entry outside its bounds, with its keys in `path`.
fn entry_outside(shape: &Shape<'_>, table: &toml::Table, path: &mut Vec<String>) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        path.push(name.clone());
        let message = outside(&shape.property(name), value, path);
        if message.is_none() {
            path.pop();
        }
        message
    })
}

fn outside(shape: &Shape<'_>, value: &toml::Value, path: &mut Vec<String>) -> Option<String> {
    let is_size = shape.has_format("size");
    let number = match value {
        toml::Value::Integer(number) => *number as f64,
        toml::Value::Float(number) => *number,
        toml::Value::String(text) if is_size => parse_size(text).ok()? as f64,
        toml::Value::String(text) => {
            let longest = shape.keyword("x-longest")?.as_str()?;
            let time = parse_duration(text).ok()?;
            let is_longer = time > parse_duration(longest).ok()?;
            return is_longer.then(|| format!("{} is too long: at most {longest}", Time(time)));
        }
        toml::Value::Array(values) => {
            return values.iter().enumerate().find_map(|(at, value)| {
                path.push(at.to_string());
                let message = outside(&shape.item(at), value, path);
                if message.is_none() {
                    path.pop();
                }
                message
            });
        }
        toml::Value::Table(table) => return entry_outside(shape, table, path),
        _ => return None,
    };
    if number.is_nan() {
        return Some("this is not a number".to_owned());
    }
    let bound = |word| shape.keyword(word).and_then(Value::as_f64);
    let least = bound("minimum").filter(|least| number < *least);
    let above = bound("exclusiveMinimum").filter(|above| number <= *above);
    let most = bound("maximum").filter(|most| number > *most);
    let (word, end, bound) = (least.map(|least| ("small", "at least", least)))
        .or(above.map(|above| ("small", "more than", above)))
        .or(most.map(|most| ("large", "at most", most)))?;
    let shown = |number: f64| match is_size {
        true => Size(number as u64).to_string(),
        false => number.to_string(),
    };
    Some(format!("{} is too {word}: {end} {}", shown(number), shown(bound)))
}

/// Returns the given paths, as (read, written). `-` for a standard stream is included as a path.
pub(super) fn reads_and_writes(
    schema: &Schema,
    table: &mut toml::Table,
    by_default: Access,
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    visit_paths(schema, table, &mut |text, path| match path.access.unwrap_or(by_default) {
        Access::Read => reads.push(PathBuf::from(&*text)),
        Access::Write => writes.push(PathBuf::from(&*text)),
        Access::Neither => {}
    });
    (reads, writes)
}

/// Calls `visit` on every string that the schema declares as a path, and on every program with a
/// `/`.
pub(super) fn visit_paths(
    schema: &Schema,
    table: &mut toml::Table,
    visit: &mut dyn FnMut(&mut String, PathOption),
) {
    let shape = Shape::new(schema.as_value());
    for (name, value) in table.iter_mut() {
        visit_value(&shape.property(name), value, None, visit);
    }
}

/// `array` is the outermost array that contains the value. If its schema declares paths, its items
/// are paths.
fn visit_value(
    shape: &Shape<'_>,
    value: &mut toml::Value,
    array: Option<&Shape<'_>>,
    visit: &mut dyn FnMut(&mut String, PathOption),
) {
    match value {
        toml::Value::String(text) if shape.is_path(text) => {
            let keyword = |word| shape.keyword(word).or_else(|| array?.keyword(word));
            let access = match keyword("x-access").and_then(Value::as_str) {
                _ if shape.has_format("program") => Some(Access::Neither),
                Some("read") => Some(Access::Read),
                Some("write") => Some(Access::Write),
                Some(_) => Some(Access::Neither),
                None => None,
            };
            let takes_dash = keyword("x-dash") == Some(&Value::Bool(true));
            visit(text, PathOption { access, takes_dash });
        }
        toml::Value::Array(values) => {
            let array = Some(array.unwrap_or(shape));
            for (at, value) in values.iter_mut().enumerate() {
                visit_value(&shape.item(at), value, array, visit);
            }
        }
        toml::Value::Table(table) => {
            for (name, value) in table.iter_mut() {
                visit_value(&shape.property(name), value, None, visit);
            }
        }
        _ => {}
    }
}

/// Resolves the schema's `$ref`, if it has one.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str);
    target.and_then(|target| root.pointer(target.strip_prefix('#')?)).unwrap_or(schema)
}

pub(super) fn help(schema: &Schema) -> Vec<OptionHelp> {
    let root = schema.as_value();
    let required = |name: &str| {
        let names = root.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = root.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let text = |key: &str| {
                let own = property.get(key).or_else(|| resolve(root, property).get(key));
                own.and_then(Value::as_str).unwrap_or_default()
            };
            OptionHelp {
                name: name.clone(),
                ty: type_name(root, property),
                default: property.get("default").filter(|value| !value.is_null()).map(toml_text),
                help: text("description")
                    .split_whitespace()
                    .map(str::to_owned)
                    .chain(bounds_text(resolve(root, property)))
                    .collect::<Vec<_>>()
                    .join(" "),
                required: required(name),
            }
        })
        .collect()
}

/// Describes the bounds, unless a size has only the general maximum.
fn bounds_text(schema: &Value) -> Option<String> {
    let most = schema.get("maximum")?.as_f64()?;
    let least = schema.get("minimum").and_then(Value::as_f64);
    if schema.get("format") == Some(&Value::from("size")) {
        let most = Size(most as u64);
        return (most.0 < LARGEST).then(|| format!("At most {most}."));
    }
    Some(match least {
        Some(least) => format!("From {least} to {most}."),
        None => format!("At most {most}."),
    })
}

fn type_name(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(format @ ("path" | "size" | "duration")) =
        schema.get("format").and_then(Value::as_str)
    {
        return format.to_owned();
    }
    if let Some(only) = schema.get("const") {
        return plain_text(only);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null());
        return values.map(plain_text).collect::<Vec<_>>().join(" | ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(alternatives) = schema.get(key).and_then(Value::as_array) {
            let names = alternatives.iter().map(|branch| type_name(root, branch));
            return names.filter(|name| name != "null").collect::<Vec<_>>().join(" | ");
        }
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str);
            names.find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => match schema.get("items") {
            Some(items) => format!("[{}]", type_name(root, items)),
            None => "array".to_owned(),
        },
        "object" => match schema.get("additionalProperties").filter(|any| any.is_object()) {
            Some(values) => format!("{{ name = {} }}", type_name(root, values)),
            None => "table".to_owned(),
        },
        "boolean" => "bool".to_owned(),
        other => other.to_owned(),
    }
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Formats a JSON value in TOML notation, on one line.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            format!("[{}]", values.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entries =
                entries.iter().map(|(name, value)| format!("{name} = {}", toml_text(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}
