//! Single values: how each type, or marker of a type, is read, checked, shown and described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use gopherworks_supervision::clock::Time;
use serde_json::json;

use super::super::diagnostic::Code;
use super::super::elements::{KindConfig, ReplicateConfig, Secret};
use super::super::json_schema::parts;
use super::super::options;
use super::super::suggestions::nearest;
use super::super::tree::{NodeKind, join};
use super::super::values::{self, boolean, duration, number, path, real, size, text, verbatim};
use super::{Bounds, Checks, Element, Item, Json, Reading, Role, Type};
use crate::config::units;

impl Element for bool {
    type Value = bool;
    const TYPE: Type = Type::Boolean;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<bool> {
        boolean(reading, item)
    }

    fn show(value: &bool) -> Json {
        json!(value)
    }
}

/// Secrets, each with its name on the reference page.
macro_rules! secrets {
    ($($name:ty: $what:literal;)*) => {$(
        impl Element for $name {
            type Value = Secret;
            const TYPE: Type = Type::Other($what, parts::text);

            fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Secret> {
                verbatim(reading, item).map(Secret::from)
            }

            fn show(_: &Secret) -> Json {
                json!("...")
            }
        }
    )*};
}

/// A URL that may contain a password.
pub(crate) struct Url;

secrets! {
    Secret: "secret";
    Url: "URL";
}

macro_rules! whole {
    ($($number:ty => $most:expr),*) => {$(
        impl Element for $number {
            type Value = $number;
            const TYPE: Type = Type::Whole($most);
            const MANY: &'static str = "numbers";

            fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<$number> {
                number(reading, item)
            }

            #[allow(clippy::useless_conversion, reason = "one of the types is u64")]
            fn check(value: &$number, bounds: &Bounds, at: &mut Checks<'_, '_>) {
                bounds.whole(u64::from(*value), at);
            }

            fn show(value: &$number) -> Json {
                json!(value)
            }
        }
    )*};
}

whole!(u16 => u16::MAX as u64, u32 => u32::MAX as u64, u64 => i64::MAX as u64);

impl Element for f64 {
    type Value = f64;
    const TYPE: Type = Type::Real;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<f64> {
        real(reading, item)
    }

    fn check(value: &f64, bounds: &Bounds, at: &mut Checks<'_, '_>) {
        bounds.real(*value, at);
    }

    fn show(value: &f64) -> Json {
        json!(value)
    }
}

impl Element for Duration {
    type Value = Duration;
    const TYPE: Type = Type::Duration;
    const MANY: &'static str = "durations";

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Duration> {
        duration(reading, item)
    }

    fn check(value: &Duration, bounds: &Bounds, at: &mut Checks<'_, '_>) {
        bounds.time(*value, at);
    }

    fn show(value: &Duration) -> Json {
        json!(units::Time(*value))
    }
}

/// A time from the start of the run.
impl Element for Time {
    type Value = Time;
    const TYPE: Type = Type::Duration;
    const MANY: &'static str = Duration::MANY;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Time> {
        duration(reading, item).map(|after| Time::ZERO + after)
    }

    fn check(value: &Time, bounds: &Bounds, at: &mut Checks<'_, '_>) {
        bounds.time(*value - Time::ZERO, at);
    }
}

/// A size in bytes, such as `"8MiB"`.
pub(crate) struct Size;

impl Element for Size {
    type Value = u64;
    const TYPE: Type = Type::Size;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<u64> {
        size(reading, item)
    }

    fn check(value: &u64, bounds: &Bounds, at: &mut Checks<'_, '_>) {
        bounds.size(*value, at);
    }

    fn show(value: &u64) -> Json {
        json!(value)
    }
}

impl<T: Element> Element for Option<T> {
    type Value = Option<T::Value>;
    const TYPE: Type = T::TYPE;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        T::read(reading, item).map(Some)
    }

    fn check<'c>(value: &'c Self::Value, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        if let Some(value) = value {
            T::check(value, bounds, at);
        }
    }

    fn show(value: &Self::Value) -> Json {
        value.as_ref().map_or(Json::Null, T::show)
    }
}

/// Strings, each with its reader, its name on the reference page, and its schema.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $read:ident, $what:literal, $schema:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Element for $name {
            type Value = String;
            const TYPE: Type = Type::Other($what, || $schema);
            const MANY: &'static str = concat!($what, "s such as [\"a\", \"b\"]");

            fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<String> {
                $read(reading, item)
            }

            fn show(value: &String) -> Json {
                json!(value)
            }
        }
    )*};
}

texts! {
    /// The name of a node.
    Name: text, "name", parts::name();
    /// The name of a node or of one copy of it.
    End: text, "name", parts::end();
    /// A text of the language.
    Text: text, "string", parts::text();
    /// Any text, byte for byte.
    Verbatim: verbatim, "string", parts::text();
    /// An address with a port.
    Address: verbatim, "address", json!({ "type": "string", "minLength": 1 });
    /// The path of a URL.
    UrlPath: verbatim, "path", json!({ "type": "string", "pattern": parts::whole_or_env("/.*") });
    /// The name of a header.
    Header: verbatim, "header", json!({ "type": "string", "minLength": 1 });
    /// A method of HTTP.
    Method: text, "name", parts::pattern(&format!("[{}]+", parts::TOKEN));
    /// A host, or `*`.
    Host: text, "name", parts::pattern(r"\*|[^\s/@*]+");
}

impl Element for PathBuf {
    type Value = PathBuf;
    const TYPE: Type = Type::Other("path", parts::text);

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<PathBuf> {
        path(reading, item)
    }

    fn show(value: &PathBuf) -> Json {
        json!(value)
    }
}

/// Two values in an array.
pub(crate) struct Pair<T>(std::marker::PhantomData<T>);

impl<T: Element<Value: Copy>> Element for Pair<T> {
    type Value = (T::Value, T::Value);
    const TYPE: Type = Type::List { of: &T::TYPE, alone: false, exactly: Some(2) };

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let values = values::items(reading, item, &format!("two {}", T::MANY), T::read)?;
        match values[..] {
            [least, most] => Some((least, most)),
            _ => {
                let message = format!("expected two {}: the least and the most", T::MANY);
                reading.report(item.error(Code::WrongType, message));
                None
            }
        }
    }
}

impl<T: Element> Element for Vec<T> {
    type Value = Vec<T::Value>;
    const TYPE: Type = Type::List { of: &T::TYPE, alone: false, exactly: None };

    /// A value that can't be read is left out, so that the others are checked.
    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let read = |reading: &Reading<'_>, item: Item<'_>| Some(T::read(reading, item));
        let values = values::items(reading, item, T::MANY, read)?;
        Some(values.into_iter().flatten().collect())
    }

    /// `min` is of the length.
    fn check<'c>(value: &'c Self::Value, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        bounds.whole(value.len() as u64, at);
        value.iter().for_each(|value| T::check(value, &Bounds::NONE, at));
    }

    fn show(value: &Self::Value) -> Json {
        value.iter().map(T::show).collect()
    }
}

/// An array, or one value that stands for an array of one.
pub(crate) struct OneOrMore<T>(std::marker::PhantomData<T>);

impl<T: Element> Element for OneOrMore<T> {
    type Value = Vec<T::Value>;
    const TYPE: Type = Type::List { of: &T::TYPE, alone: true, exactly: None };

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        match &item.node.kind {
            NodeKind::Array(_) => Vec::<T>::read(reading, item),
            _ => T::read(reading, item).map(|one| vec![one]),
        }
    }

    fn check<'c>(value: &'c Self::Value, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        Vec::<T>::check(value, bounds, at);
    }

    fn show(value: &Self::Value) -> Json {
        Vec::<T>::show(value)
    }
}

/// Distinct values in an array, or one value.
impl<T: Element<Value: Ord>> Element for BTreeSet<T> {
    type Value = BTreeSet<T::Value>;
    const TYPE: Type = OneOrMore::<T>::TYPE;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        OneOrMore::<T>::read(reading, item).map(BTreeSet::from_iter)
    }

    /// `min` is of the number of values.
    fn check<'c>(value: &'c Self::Value, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        bounds.whole(value.len() as u64, at);
    }
}

/// Types that are a whole number or a word: the word, the value for a number or for the word, and
/// the number of a value.
macro_rules! whole_or {
    ($($name:ty as $value:ty: $word:literal, $from:expr, $number:expr;)*) => {$(
        #[allow(clippy::map_identity, clippy::redundant_closure_call, reason = "as arguments are")]
        impl Element for $name {
            type Value = $value;
            const TYPE: Type = Type::WholeOr($word);

            fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<$value> {
                whole_or(reading, item, $word).map($from)
            }

            fn check(value: &$value, bounds: &Bounds, at: &mut Checks<'_, '_>) {
                if let Some(number) = $number(value) {
                    bounds.whole(number.into(), at);
                }
            }

            fn show(value: &$value) -> Json {
                $number(value).map_or(json!($word), |number: u32| json!(number))
            }
        }
    )*};
}

/// A number of queued requests, or `"unbounded"`, which is `None`.
pub(crate) struct Unbounded;

/// A number of failures, or `"unlimited"`, which is `u32::MAX`.
pub(crate) struct Unlimited;

whole_or! {
    Unbounded as Option<u32>: "unbounded", |number| number, Option::clone;
    // A number that is too large does not stand for no limit.
    Unlimited as u32: "unlimited",
        |number| number.map_or(u32::MAX, |number| number.min(u32::MAX - 1)),
        |value: &u32| Some(*value).filter(|value| *value != u32::MAX);
    ReplicateConfig as ReplicateConfig: "all",
        |number| number.map_or(ReplicateConfig::All, ReplicateConfig::Some),
        ReplicateConfig::number;
}

/// A whole number, or `None` for the word.
fn whole_or(reading: &Reading<'_>, item: Item<'_>, word: &str) -> Option<Option<u32>> {
    match &item.node.kind {
        NodeKind::String(text) if values::outside(item, text).trim() == word => Some(None),
        NodeKind::String(text) if !item.node.provenance.text || values::integer(text).is_none() => {
            let found = item.node.what();
            let message = format!("expected a whole number or \"{word}\", found {found}");
            reading.report(item.error(Code::WrongType, message).suggest(nearest(text, [word])));
            None
        }
        NodeKind::String(_) | NodeKind::Integer(_) => number(reading, item).map(Some),
        _ => reading.expected(&item, &format!("a whole number or \"{word}\"")),
    }
}

/// A table of nodes by name. If a node can't be read, the graph is incomplete, and missing
/// connections are not reported.
pub(crate) struct Nodes<T>(std::marker::PhantomData<T>);

impl<T: Element> Element for Nodes<T> {
    type Value = BTreeMap<String, T::Value>;
    const TYPE: Type = Type::Named(&T::TYPE);

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let NodeKind::Table(entries) = &item.node.kind else {
            reading.holes.set(true);
            return reading.expected(&item, "a table of tables by name");
        };
        let mut out = BTreeMap::new();
        for (name, node) in entries.iter() {
            let path = join(item.path, name);
            match T::read(reading, Item { node, path: &path }) {
                Some(value) => {
                    out.insert(name.clone(), value);
                }
                None => reading.holes.set(true),
            }
        }
        Some(out)
    }

    fn check<'c>(value: &'c Self::Value, _: &Bounds, at: &mut Checks<'c, '_>) {
        for (name, node) in value {
            at.key(name, |at| T::check(node, &Bounds::NONE, at));
        }
    }
}

/// Numbers of copies by axis.
pub(crate) struct Copies;

impl Element for Copies {
    type Value = BTreeMap<String, u32>;
    const TYPE: Type = Type::Copies;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let NodeKind::Table(axes) = &item.node.kind else {
            return reading.expected(&item, "a number, or a table of axes such as { lane = 2 }");
        };
        let axes = axes.iter().filter_map(|(axis, node)| {
            let path = join(item.path, axis);
            Some((axis.clone(), number(reading, Item { node, path: &path })?))
        });
        Some(axes.collect())
    }
}

/// Kinds of the catalog, each with its role.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Element for $name {
            type Value = KindConfig;
            const TYPE: Type = Type::Kind(Role::$name);

            fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<KindConfig> {
                options::kind(reading, item, Role::$name)
            }

            fn show(value: &KindConfig) -> Json {
                json!(value.kind)
            }
        }
    )*};
}

kinds! {
    /// A kind of source.
    Source,
    /// A kind of burn.
    Burn,
    /// What workers do.
    Service
}

/// The list of a crew's works.
pub(crate) struct Works;

impl Element for Works {
    type Value = Vec<KindConfig>;
    const TYPE: Type = Type::Works;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Vec<KindConfig>> {
        options::works(reading, item)
    }

    fn show(value: &Vec<KindConfig>) -> Json {
        value.iter().map(|work| json!(work.kind)).collect()
    }
}
