//! The functions of expressions: CEL's standard ones, its strings extension, and `matches` by a
//! linear-time engine that is part of the build anyway.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use cel::common::types::{CelBool, CelString};
use cel::{Env, ExecutionError, extensions};
use regex_lite::{Regex, RegexBuilder};

/// Names of all functions and macros.
pub(super) const FUNCTIONS: &[&str] = &[
    "all",
    "bool",
    "bytes",
    "charAt",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
    "hasValue",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "map",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "optFlatMap",
    "optMap",
    "or",
    "orValue",
    "replace",
    "reverse",
    "size",
    "split",
    "startsWith",
    "string",
    "strings.quote",
    "substring",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
    "value",
];

/// Bytes of memory that a compiled pattern may take.
const PATTERN: usize = 1 << 20;

/// Compiled patterns kept by each thread.
const PATTERNS: usize = 64;

/// All functions and macros.
pub(super) fn environment() -> Env {
    let mut env = Env::stdlib();
    type Text<'v> = CelString<'v>;
    let strings = env.add_extension(extensions::strings);
    let global = cel::add_overload!(
        env, fn matches: (Text<'_>, Text<'_>) -> Result<CelBool>, id = "matches");
    let member =
        cel::add_member_overload!(env, fn matches: (Text<'_>, Text<'_>) -> Result<CelBool>);
    strings.and(global).and(member).expect("the names are free");
    env
}

fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default();
    }
    let pattern = pattern.inner();
    let compiled = COMPILED.with_borrow_mut(|known| {
        if let Some(regex) = known.get(pattern) {
            return Ok(regex.clone());
        }
        let built = RegexBuilder::new(pattern).size_limit(PATTERN).build();
        let regex = built.map_err(|error| ExecutionError::function_error("matches", error))?;
        // Patterns may come from books, so their number is not bounded.
        if known.len() >= PATTERNS {
            known.clear();
        }
        let regex = Rc::new(regex);
        known.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })?;
    Ok(CelBool::from(compiled.is_match(text.inner())))
}
