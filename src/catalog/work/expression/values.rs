//! JSON as values of expressions, made as far as an expression looks.

use std::sync::{Arc, OnceLock};

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Type,
};
use cel::common::value::{Builtin, BuiltinRef, CowVal, Val};

use super::super::records::json::Json;

/// The value of `json`.
pub(super) fn of<'v>(json: &'v Json) -> Box<dyn Val + 'v> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Int(value) => Box::new(CelInt::from(*value)),
        Json::UInt(value) => Box::new(CelUInt::from(*value)),
        Json::Float(value) => Box::new(CelDouble::from(*value)),
        Json::Text(text) => Box::new(CelString::from(text.as_str())),
        Json::List(items) => Box::new(CelList::from(items.iter().map(of).collect::<Vec<_>>())),
        Json::Table(fields) => Box::new(JsonTable { fields, all: OnceLock::new() }),
    }
}

/// A table. A field is found without making values of the others.
#[derive(Debug)]
struct JsonTable<'v> {
    fields: &'v [(String, Json)],
    /// All fields, for loops and comparisons.
    all: OnceLock<CelMap<'v>>,
}

impl<'v> JsonTable<'v> {
    fn field(&self, key: &dyn Val) -> Option<Option<&'v Json>> {
        let key = key.downcast_ref::<CelString<'_>>()?;
        let found = self.fields.iter().find(|(name, _)| name == key.inner());
        Some(found.map(|(_, value)| value))
    }

    fn all(&self) -> &CelMap<'v> {
        self.all.get_or_init(|| {
            let fields = self.fields.iter();
            let fields = fields.map(|(name, value)| (CelMapKey::from(name.as_str()), of(value)));
            CelMap::from(fields.collect::<std::collections::HashMap<_, _>>())
        })
    }

    fn value(&self, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        match self.field(key) {
            Some(Some(value)) => Ok(of(value)),
            Some(None) => {
                let key = key.downcast_ref::<CelString<'_>>().map_or("", CelString::inner);
                Err(ExecutionError::NoSuchKey(Arc::new(key.to_owned())))
            }
            // A key that is no string is not there.
            None => self.all().get(key).map(CowVal::into_owned),
        }
    }
}

impl<'v> Val for JsonTable<'v> {
    fn get_type(&self) -> &Type {
        CelMap::cel_type()
    }

    fn cel_type() -> &'static Type {
        CelMap::cel_type()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn into_indexer<'w>(self: Box<Self>) -> Option<Box<dyn Indexer + 'w>>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        self.all().as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.all().equals(other)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(JsonTable { fields: self.fields, all: OnceLock::new() })
    }

    fn as_builtin<'b, 'w>(&'b self) -> BuiltinRef<'b, 'w>
    where
        Self: 'w,
    {
        BuiltinRef::Map(self.all())
    }

    fn into_builtin<'w>(self: Box<Self>) -> Option<Builtin<'w>>
    where
        Self: 'w,
    {
        self.all();
        self.all.into_inner().map(Builtin::Map)
    }
}

impl Container for JsonTable<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        match self.field(key) {
            Some(found) => Ok(found.is_some()),
            None => self.all().contains(key),
        }
    }
}

impl Sizer for JsonTable<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.fields.len() as i64)
    }
}

impl Indexer for JsonTable<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.value(key).map(CowVal::Owned)
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.value(key).map(|value| value as Box<dyn Val + 'w>)
    }
}
