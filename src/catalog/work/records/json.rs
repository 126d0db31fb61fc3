//! JSON values whose fields keep their order.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A JSON value. Integers are exact from -2^63 to 2^64 - 1; other numbers are 64-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// More than `i64::MAX`.
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Table(Vec<(String, Json)>),
}

impl Json {
    /// The table at the end of `path`, made where it is missing or something else.
    fn table(&mut self, path: &[String]) -> &mut Vec<(String, Json)> {
        if !matches!(self, Json::Table(_)) {
            *self = Json::Table(Vec::new());
        }
        let Json::Table(fields) = self else { unreachable!("it was made a table") };
        let Some((key, path)) = path.split_first() else {
            return fields;
        };
        let at = fields.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            fields.push((key.clone(), Json::Table(Vec::new())));
            fields.len() - 1
        });
        fields[at].1.table(path)
    }

    /// Sets the field at `path`, which is not empty; a new field becomes the last one.
    pub(in super::super) fn set(&mut self, path: &[String], value: Json) {
        let Some((key, above)) = path.split_last() else {
            return;
        };
        let fields = self.table(above);
        match fields.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => fields.push((key.clone(), value)),
        }
    }

    #[cfg(feature = "expressions")]
    /// Removes the field at `path`, if it is there.
    pub(in super::super) fn remove(&mut self, path: &[String]) {
        let (Json::Table(fields), Some((key, below))) = (self, path.split_first()) else {
            return;
        };
        if below.is_empty() {
            fields.retain(|(name, _)| name != key);
        } else if let Some((_, value)) = fields.iter_mut().find(|(name, _)| name == key) {
            value.remove(below);
        }
    }
}

/// Makes a table of fields; of fields with one name the last counts.
fn table(mut fields: Vec<(String, Json)>) -> Json {
    // Comparing each with each is faster for the usual number of fields.
    const FEW: usize = 24;
    let mut repeated = false;
    if fields.len() <= FEW {
        for at in 1..fields.len() {
            repeated |= fields[..at].iter().any(|(name, _)| *name == fields[at].0);
        }
    }
    if repeated || fields.len() > FEW {
        let mut places: HashMap<String, usize> = HashMap::with_capacity(fields.len());
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            match places.get(&name) {
                Some(at) => unique[*at].1 = value,
                None => {
                    places.insert(name.clone(), unique.len());
                    unique.push((name, value));
                }
            }
        }
        fields = unique;
    }
    Json::Table(fields)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Int(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(i64::try_from(value).map_or(Json::UInt(value), Json::Int))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    fields.push(entry);
                }
                Ok(table(fields))
            }
        }

        deserializer.deserialize_any(Values)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Int(value) => serializer.serialize_i64(*value),
            Json::UInt(value) => serializer.serialize_u64(*value),
            Json::Float(value) => serializer.serialize_f64(*value),
            Json::Text(value) => serializer.serialize_str(value),
            Json::List(items) => serializer.collect_seq(items),
            Json::Table(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}
