//! Expressions in the Common Expression Language (CEL), checked when a file is loaded.
//!
//! CEL has no clock, environment, randomness or unbounded loops. Expressions see one book:
//! `body` (its JSON), `text` (its body as it is), `name` and `headers`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::common::types::{CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::{OptionalValue, Value};
use cel::{Context, Env, ExecutionError, Program};
use gopherworks_pipeline::book::{Book, header};
use gopherworks_supervision::failure::Failure;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::records::json::Json;
use super::records::{Record, failure};
use crate::config::units::Size;

mod functions;
mod values;

use functions::FUNCTIONS;

/// Format of expressions in the schema of options.
pub(crate) const FORMAT: &str = "expression";

/// Longest expression, in bytes.
const LONGEST: usize = 4096;

/// What an expression may name.
const VARIABLES: [&str; 4] = ["body", "headers", "name", "text"];

/// Names of types, which are values.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(functions::environment()));

/// A compiled expression.
pub(crate) struct Expression {
    program: Program,
    reads_body: bool,
    reads_text: bool,
}

/// A mistake in an expression.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    /// What is wrong.
    pub(crate) message: String,
    /// The bytes of the expression that it is about.
    pub(crate) at: Range<usize>,
    /// Names that could have been meant, if a name is wrong.
    pub(crate) known: Vec<&'static str>,
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn new(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LONGEST {
            let message = format!("an expression has at most {LONGEST} bytes");
            return Err(ExpressionError { message, at: 0..text.len(), known: Vec::new() });
        }
        // The parser of the library is not under our control: a panic is a mistake of the text.
        let compiled = std::panic::catch_unwind(|| ENV.compile(text));
        let program = match compiled {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => return Err(syntax(text, errors.errors.first())),
            Err(_) => return Err(syntax(text, None)),
        };
        let mut check = Check { text, program: &program, bound: Vec::new(), reads: [false; 4] };
        check.expression(program.expression())?;
        let [reads_body, _, _, reads_text] = check.reads;
        Ok(Self { program, reads_body, reads_text })
    }

    /// The value of the expression for `record`; `limit` bounds its body.
    ///
    /// # Errors
    /// Permanent: the body can't be read as the expression needs it, or the expression has no
    /// value, such as a field that is missing.
    pub(super) fn of(&self, record: &mut Record, limit: Size) -> Result<Value, Failure> {
        if self.reads_text {
            record.text(limit)?;
        }
        if self.reads_body {
            record.read(limit)?;
        }
        let scope = Scope { book: &record.book, body: record.body(), text: record.known_text() };
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&scope);
        let value = self.program.execute(&context);
        value.map_err(|error| failure(&record.book, format_args!("{}", Reason(&error))))
    }
}

/// Words for an error of execution; values in it are not printed, as they may be secret or long.
struct Reason<'a>(&'a ExecutionError);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ExecutionError::NoSuchKey(key) => {
                write!(f, "there is no `{key}`; `has(...)` asks for a field")
            }
            ExecutionError::NoSuchOverload(error) => write!(f, "{error}"),
            ExecutionError::FunctionError { function, message } => {
                write!(f, "`{function}`: {message}")
            }
            ExecutionError::UnexpectedType { got, want } => {
                write!(f, "expected {want}, found {got}")
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                f.write_str("division by zero")
            }
            ExecutionError::Overflow(..) => f.write_str("a number is out of range"),
            ExecutionError::IndexOutOfBounds(_) => f.write_str("a list is shorter than an index"),
            _ => f.write_str("values have types that do not fit the operation"),
        }
    }
}

/// The mistake of a text that is not an expression.
fn syntax(text: &str, error: Option<&cel::ParseError>) -> ExpressionError {
    let Some(error) = error else {
        let message = "this is not an expression".to_owned();
        return ExpressionError { message, at: 0..text.len(), known: Vec::new() };
    };
    let (line, column) = error.pos;
    let lines = text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0));
    let start: usize = lines.map(str::len).sum();
    let columns = usize::try_from(column - 1).unwrap_or(0);
    let rest = text.get(start..).unwrap_or_default();
    let at = start + rest.chars().take(columns).map(char::len_utf8).sum::<usize>();
    let at = at.min(text.len());
    let width = text[at..].chars().next().map_or(0, char::len_utf8);
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    // The list of all that could follow is long.
    let message = message.split(" expecting {").next().unwrap_or(message);
    let message = message.replace("input '<EOF>'", "end of the expression");
    ExpressionError { message, at: at..at + width, known: Vec::new() }
}

/// Checks names and loops.
struct Check<'a> {
    text: &'a str,
    program: &'a Program,
    /// Variables of loops around, innermost last.
    bound: Vec<&'a str>,
    /// Which of [`VARIABLES`] are read.
    reads: [bool; 4],
}

impl<'a> Check<'a> {
    fn mistake(&self, of: &IdedExpr, word: &str, message: String) -> ExpressionError {
        let found = self.program.source_info().offset_for(of.id);
        let start = found.map_or(0, |(start, _)| start as usize).min(self.text.len());
        let start = (0..=start).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        // The library's places of calls are those of their brackets: the name is before or behind.
        let at = match (self.text[start..].find(word), self.text[..start].rfind(word)) {
            (Some(0), _) => start,
            (_, Some(before)) if before + word.len() + 1 >= start => before,
            (Some(behind), _) => start + behind,
            (None, Some(before)) => before,
            (None, None) => return self.whole(message),
        };
        ExpressionError { message, at: at..at + word.len(), known: Vec::new() }
    }

    fn whole(&self, message: String) -> ExpressionError {
        ExpressionError { message, at: 0..self.text.len(), known: Vec::new() }
    }

    fn all(&mut self, of: impl IntoIterator<Item = &'a IdedExpr>) -> Result<(), ExpressionError> {
        of.into_iter().try_for_each(|part| self.expression(part))
    }

    fn expression(&mut self, of: &'a IdedExpr) -> Result<(), ExpressionError> {
        match &of.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(of, name),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::List(list) => self.all(&list.elements),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value]),
                EntryExpr::StructField(field) => self.expression(&field.value),
            }),
            Expr::Struct(made) => Err(self.mistake(
                of,
                &made.type_name,
                format!(
                    "there is no type `{}`; a table is written {{'key': value}}",
                    made.type_name
                ),
            )),
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic());
                // `optional.of(x)` is a call of `of` at the name `optional`.
                let space = call.target.as_deref().and_then(|target| match &target.expr {
                    Expr::Ident(space) => Some(format!("{space}.{name}")),
                    _ => None,
                });
                if space.is_some_and(|full| FUNCTIONS.contains(&full.as_str())) {
                    return self.all(&call.args);
                }
                if is_word && !FUNCTIONS.contains(&name) {
                    let mistake = self.mistake(of, name, format!("there is no function `{name}`"));
                    return Err(ExpressionError { known: FUNCTIONS.to_vec(), ..mistake });
                }
                self.all(call.target.as_deref().into_iter().chain(&call.args))
            }
            Expr::Comprehension(each) => {
                self.expression(&each.iter_range)?;
                // Otherwise the time would be that of one loop times that of the other.
                if !self.bound.is_empty() && !self.is_part(&each.iter_range) {
                    let message =
                        "a loop in a loop can only be over a part of the outer one's item";
                    return Err(self.mistake(of, &each.iter_var, message.to_owned()));
                }
                let depth = self.bound.len();
                self.bound.push(&each.iter_var);
                self.bound.extend(each.iter_var2.as_deref());
                self.bound.push(&each.accu_var);
                self.all([&each.accu_init, &each.loop_cond, &each.loop_step, &each.result])?;
                self.bound.truncate(depth);
                Ok(())
            }
        }
    }

    fn name(&mut self, of: &IdedExpr, name: &str) -> Result<(), ExpressionError> {
        if self.bound.contains(&name) || TYPES.contains(&name) {
            return Ok(());
        }
        if let Some(at) = VARIABLES.iter().position(|known| *known == name) {
            self.reads[at] = true;
            return Ok(());
        }
        let message = format!("there is no `{name}`; an expression sees {}", VARIABLES.join(", "));
        let mistake = self.mistake(of, name, message);
        Err(ExpressionError { known: VARIABLES.to_vec(), ..mistake })
    }

    /// True for a variable of a loop around, or a field or an item of it.
    fn is_part(&self, of: &IdedExpr) -> bool {
        match &of.expr {
            Expr::Ident(name) => self.bound.contains(&name.as_str()),
            Expr::Select(select) => self.is_part(&select.operand),
            Expr::Call(call) if call.func_name == "_[_]" => self.is_part(&call.args[0]),
            _ => false,
        }
    }
}

/// What an expression sees.
struct Scope<'a> {
    book: &'a Book,
    body: Option<&'a Json>,
    text: Cow<'a, str>,
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let text = |bytes: &'b [u8]| CelString::from(String::from_utf8_lossy(bytes));
        Some(match variable {
            "body" => CowVal::Owned(values::of(self.body?)),
            "text" => CowVal::owned(CelString::from(&*self.text)),
            "name" => {
                CowVal::owned(text(self.book.headers.get(header::NAME).map_or(b"", |name| name)))
            }
            "headers" => {
                let headers = self.book.headers.iter();
                let headers = headers.map(|(name, value)| {
                    (CelMapKey::from(name), Box::new(text(value)) as Box<dyn Val + 'b>)
                });
                CowVal::owned(CelMap::from(headers.collect::<HashMap<_, _>>()))
            }
            _ => return None,
        })
    }
}

/// The JSON for a value, or `None` for an optional without a value. The fields of a table are
/// sorted.
///
/// # Errors
/// Says what has no JSON.
pub(super) fn json(value: &Value) -> Result<Option<Json>, String> {
    let part = |value: &Value| json(value).map(|json| json.unwrap_or(Json::Null));
    Ok(Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::Int(*value),
        Value::UInt(value) => i64::try_from(*value).map_or(Json::UInt(*value), Json::Int),
        Value::Float(value) if value.is_finite() => Json::Float(*value),
        Value::Float(_) => return Err("JSON has no infinite numbers".to_owned()),
        Value::String(text) => Json::Text(text.to_string()),
        Value::Timestamp(time) => {
            Json::Text(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        }
        Value::List(items) => Json::List(items.iter().map(part).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let fields = map.map.iter().map(|(key, value)| Ok((key.to_string(), part(value)?)));
            let mut fields = fields.collect::<Result<Vec<_>, String>>()?;
            // The order of the library's map is random.
            fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Json::Table(fields)
        }
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => return optional.value().map_or(Ok(None), json),
            None => return Err("this value has no JSON".to_owned()),
        },
        _ => return Err("durations, bytes and types have no JSON: use `string(...)`".to_owned()),
    }))
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program.source_info().source)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(|error| serde::de::Error::custom(error.message))
    }
}

impl JsonSchema for Expression {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": FORMAT })
    }
}

#[cfg(test)]
mod tests;
