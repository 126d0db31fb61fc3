//! The works `filter`, `map` and `split`, by expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::objects::Value;
use gopherworks_pipeline::book::{Book, header};
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::expression::{Expression, json};
use super::records::json::Json;
use super::records::{Kept, Record, RecordWork, failure};
use crate::config::units::{Size, number, size};

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
    fn work(&self, record: &mut Record) -> Result<Kept, Failure> {
        match self.when.of(record, self.max_body)? {
            Value::Bool(true) => Ok(Kept::Yes),
            Value::Bool(false) => Ok(Kept::No),
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
    #[schemars(extend("default" = {}))]
    set: BTreeMap<String, Expression>,
    /// Fields to remove, written as in `set`; done before fields are set.
    #[serde(default)]
    remove: Vec<String>,
    /// Expressions for headers, by name, such as `name`, by which a `files` burn names its file.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
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
    fn work(&self, record: &mut Record) -> Result<Kept, Failure> {
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
        Ok(Kept::Yes)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitOptions {
    /// Expression for a list, such as `body.items`: each item is the body of a book of its own, a
    /// string as it is, any other value as JSON. Any other value, or none, fails permanently.
    by: Expression,
    /// Maximum number of items (default 10,000). A longer list fails permanently.
    #[serde(default = "number::<10_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    most: u32,
    /// Maximum size of a body that the expression reads (default 1MiB). A larger one fails
    /// permanently.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_body: Size,
}

/// The split for `options`.
pub(super) fn split(options: Arc<SplitOptions>) -> Arc<dyn RecordWork> {
    options
}

impl RecordWork for SplitOptions {
    fn work(&self, record: &mut Record) -> Result<Kept, Failure> {
        let value = self.by.of(record, self.max_body)?;
        let list = json(&value).map_err(|why| failure(&record.book, format_args!("{why}")))?;
        let Some(Json::List(items)) = list else {
            return Err(failure(&record.book, format_args!("`by` is not a list")));
        };
        if items.len() > self.most as usize {
            let (count, most) = (items.len(), self.most);
            return Err(failure(&record.book, format_args!("{count} items, more than {most}")));
        }
        let children = items.into_iter().zip(0u64..).map(|(item, at)| {
            let body = match item {
                Json::Text(text) => text.into_bytes(),
                item => serde_json::to_vec(&item)
                    .map_err(|error| failure(&record.book, format_args!("{error}")))?,
            };
            let mut child = Book::new(body);
            child.headers = record.book.headers.clone();
            // What identified the book would now identify all its parts.
            if let Some(key) = record.book.headers.get(header::KEY) {
                child.headers.set(header::KEY, [key, format!("/{at}").as_bytes()].concat());
            }
            child.headers.set("split.index", at.to_string());
            Ok(child)
        });
        Ok(Kept::Split(children.collect::<Result<_, _>>()?))
    }
}
