//! How tables of the config language are described: plain data, emitted by `#[derive(Element)]` for
//! each type in [`super::elements`]. The reader, bounds checks, short forms, the JSON Schema and
//! the reference page follow from these data.

pub(crate) use gopherworks_derive::Element;
pub(crate) use serde_json::Value as Json;

mod bounds;
mod readers;
pub(super) mod values;

pub(crate) use super::options::Role;
pub(crate) use super::tree::{Item, Reading, TableReader};
pub(crate) use bounds::{Bounds, Checks, Number};
pub(crate) use readers::{one_key, read_group, word};
pub(crate) use values::{Nodes, OneOrMore, Pair, Size};

/// A value of the config language. Markers that only say how a plain type is written, such as
/// [`values::Size`] for a `u64`, have another type as their `Value`.
pub(crate) trait Element {
    /// What is read.
    type Value;

    /// What the value may be.
    const TYPE: Type;

    /// What several are called, in messages.
    const MANY: &'static str = "values";

    /// Reads a value, or reports why it can't be read.
    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value>;

    /// Reports each violated bound, in this value and below it.
    fn check<'c>(_value: &'c Self::Value, _bounds: &Bounds, _at: &mut Checks<'c, '_>) {}

    /// How a default is written; null if it is not shown.
    fn show(_value: &Self::Value) -> Json {
        Json::Null
    }
}

/// A struct or an enum whose keys stand in one table.
pub(crate) trait Group: Sized {
    /// The keys, and what holds for the table as a whole.
    const TABLE: &'static TableSpec;

    /// Reads the keys of an open table.
    fn read_keys(table: &mut TableReader<'_>) -> Option<Self>;

    /// Reports each violated bound.
    fn check_keys<'c>(&'c self, at: &mut Checks<'c, '_>);

    /// The table with the keys that are shown.
    fn show_keys(&self) -> Json;
}

/// An enum whose variant is named by the key `kind`.
pub(crate) trait Tagged {
    /// The description of each variant.
    const VARIANTS: &'static [Variant];
}

/// The type of a value, for reading, the schema and the reference page.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    Boolean,
    /// A whole number, at most so much.
    Whole(u64),
    /// A number with or without a fraction.
    Real,
    Duration,
    /// A size in bytes.
    Size,
    /// Something else, as the reference page calls it, and its JSON Schema.
    Other(&'static str, fn() -> Json),
    /// One of a few words.
    Words(&'static [Word]),
    /// A whole number, or this word.
    WholeOr(&'static str),
    /// An array; with `alone`, one value may stand for an array of one.
    List {
        of: &'static Type,
        alone: bool,
        /// The only length.
        exactly: Option<u64>,
    },
    /// A table of values by the names of nodes.
    Named(&'static Type),
    /// Numbers by axis; a bare number is of the axis `copy`.
    Copies,
    Table(&'static TableSpec),
    /// A table whose key `kind` says which keys it has, and what is called so in definitions.
    Tagged(&'static str, &'static [Variant]),
    /// A kind of the catalog.
    Kind(Role),
    /// A list of works.
    Works,
}

impl Type {
    /// The table that it is.
    pub fn table(&self) -> Option<&'static TableSpec> {
        match self {
            Type::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The keys of a table.
    pub fn keys(&self) -> &'static [Key] {
        self.table().map_or(&[], |table| table.keys)
    }
}

/// A table.
pub(crate) struct TableSpec {
    /// Its name among the definitions of the JSON Schema; empty if it has none.
    pub name: &'static str,
    pub doc: &'static str,
    /// Help for a value that is not a table; empty if there is none.
    pub hint: &'static str,
    pub keys: &'static [Key],
    /// A value that is not a table is of this key.
    pub short: Option<&'static str>,
    /// Durations that a short form sets to zero.
    pub resets: &'static [&'static str],
    /// What a value that is not a table is read as, if that is no key.
    pub bare: Option<Type>,
    pub rule: Option<Rule>,
    /// Keys that are known here but handled before the table is read.
    pub extra: &'static [Key],
    /// Where this key stands, none is required.
    pub unless: Option<&'static str>,
    /// More of the schema of a table in a file that inherits nothing.
    pub complete: Option<fn() -> Json>,
}

impl TableSpec {
    /// All keys, those of flattened tables as well.
    pub fn all(&self) -> Vec<&'static Key> {
        let own = self.extra.iter().chain(self.keys);
        own.flat_map(|key| match key.ty {
            Type::Table(table) if key.flat => table.all(),
            _ => vec![key],
        })
        .collect()
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find_map(|key| match key.ty {
            Type::Table(table) if key.flat => table.key(name),
            _ => (key.name == name).then_some(key),
        })
    }
}

/// A key of a table.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub name: &'static str,
    pub doc: &'static str,
    pub ty: Type,
    pub bounds: Bounds,
    pub required: bool,
    /// The default, as it is written; null if it is not shown.
    pub default: Option<fn() -> Json>,
    /// True if the keys of this table stand in the table around it.
    pub flat: bool,
}

impl Key {
    /// An optional key without a name.
    pub const NONE: Key = Key {
        name: "",
        doc: "",
        ty: Type::Boolean,
        bounds: Bounds::NONE,
        required: false,
        default: None,
        flat: false,
    };

    /// That it is required, and its bounds, in words.
    pub fn notes(&self) -> Vec<String> {
        let required = self.required.then(|| "required".to_owned());
        required.into_iter().chain(self.bounds.notes(&self.ty)).collect()
    }

    /// The default, as the schema and the reference page show it.
    pub fn shown(&self) -> Option<Json> {
        self.default.map(|default| default()).filter(|default| !default.is_null())
    }
}

/// Which keys exclude each other.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    ExactlyOne(&'static [&'static str]),
    AtMostOne(&'static [&'static str]),
}

/// A word with its meaning.
pub(crate) struct Word {
    pub name: &'static str,
    pub doc: &'static str,
}

/// A variant of a [`Tagged`].
pub(crate) struct Variant {
    pub name: &'static str,
    pub doc: &'static str,
    pub table: &'static TableSpec,
}

/// Collects the keys of a table that are shown.
#[derive(Default)]
pub(crate) struct Shown(serde_json::Map<String, Json>);

impl Shown {
    /// Adds a key unless its value is null.
    pub fn add(&mut self, key: &str, value: Json) {
        if !value.is_null() {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Adds all keys of another table.
    pub fn all(&mut self, table: Json) {
        if let Json::Object(table) = table {
            self.0.extend(table);
        }
    }

    /// The table; null if it is empty.
    pub fn json(self) -> Json {
        if self.0.is_empty() { Json::Null } else { Json::Object(self.0) }
    }
}
