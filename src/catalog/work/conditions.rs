//! The works `filter` and `map`, by expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::objects::Value;
use gopherworks_pipeline::book::header;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::expression::{Expression, json};
use super::records::json::Json;
use super::records::{Record, RecordWork, failure};
use crate::config::units::{Size, size};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterOptions {
    /// Condition, such as `body.level != 'debug'`: a book passes if it is true, and is filtered
    /// out if it is false. Without a value, or with another one, the book fails permanently.
    when: Expression,
    /// Maximum size of a body that the expression reads (default 1MiB). A larger one fails
    /// permanently.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_body: Size,
}

/// The filter for `options`.
pub(super) fn filter(options: Arc<FilterOptions>) -> Arc<dyn RecordWork> {
    options
}

impl RecordWork for FilterOptions {
    fn work(&self, record: &mut Record) -> Result<bool, Failure> {
        match self.when.of(record, self.max_body)? {
            Value::Bool(passes) => Ok(passes),
            _ => Err(failure(&record.book, format_args!("`when` is neither true nor false"))),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MapOptions {
    /// Expression for a whole new body: a string is the body as it is, any other value is written
    /// as JSON.
    #[serde(default)]
    to: Option<Expression>,
    /// Expressions for fields of the body, by name; `user.id` is a field of a field. All see the
    /// body as it came. An optional without a value, such as `body.?user`, leaves the field as
    /// it is.
    #[serde(default)]
    set: BTreeMap<String, Expression>,
    /// Fields to remove, written as in `set`; done before fields are set.
    #[serde(default)]
    remove: Vec<String>,
    /// Expressions for headers, by name, such as `name`, by which a `files` burn names its file.
    #[serde(default)]
    headers: BTreeMap<String, Expression>,
    /// Maximum size of a body that the expressions read (default 1MiB). A larger one fails
    /// permanently.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_body: Size,
}

/// What `map` does, with its paths taken apart.
struct Map {
    options: Arc<MapOptions>,
    set: Vec<Vec<String>>,
    remove: Vec<Vec<String>>,
}

/// The map for `options`.
pub(super) fn map(options: Arc<MapOptions>) -> Arc<dyn RecordWork> {
    let path = |written: &String| written.split('.').map(str::to_owned).collect();
    let set = options.set.keys().map(path).collect();
    let remove = options.remove.iter().map(path).collect();
    Arc::new(Map { options, set, remove })
}

impl RecordWork for Map {
    fn work(&self, record: &mut Record) -> Result<bool, Failure> {
        let MapOptions { to, set, headers, max_body, .. } = &*self.options;
        let value = |expression: &Expression, record: &mut Record| {
            let value = expression.of(record, *max_body)?;
            json(&value).map_err(|why| failure(&record.book, format_args!("{why}")))
        };
        let set = set.values().map(|expression| value(expression, record));
        let set = set.collect::<Result<Vec<_>, _>>()?;
        let to = to.as_ref().map(|expression| value(expression, record)).transpose()?;
        let mut named = Vec::with_capacity(headers.len());
        for (name, expression) in headers {
            let Some(value) = value(expression, record)? else { continue };
            let text = match value {
                Json::Text(text) => text,
                value => serde_json::to_string(&value)
                    .map_err(|error| failure(&record.book, format_args!("{error}")))?,
            };
            if name == header::NAME && text.is_empty() {
                return Err(failure(&record.book, format_args!("its new name is empty")));
            }
            named.push((name, text));
        }
        if let Some(body) = to.flatten() {
            record.set(body);
        }
        if !(self.set.is_empty() && self.remove.is_empty()) {
            record.read(*max_body)?;
            record.change(|body| {
                self.remove.iter().for_each(|path| body.remove(path));
                for (path, value) in self.set.iter().zip(set) {
                    if let Some(value) = value {
                        body.set(path, value);
                    }
                }
            });
        }
        for (name, text) in named {
            record.book.headers.set(name.as_str(), text);
        }
        Ok(true)
    }
}
