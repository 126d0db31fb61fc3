//! `"${env.NAME:-default}"`: a whole string value from the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What [`interpolate`] can replace, as a regular expression without anchors.
pub(crate) const PATTERN: &str = r"\$\{env\.[A-Za-z0-9_]+(:-[^}$]*)?\}";

/// The environment, as far as it is UTF-8.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Keeps what can be read as text.
    pub fn new(variables: &[(OsString, OsString)]) -> Self {
        let text = |(name, value): &(OsString, OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        Self(variables.iter().filter_map(text).collect())
    }
}

/// What stands for an interpolated value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub value: String,
    /// The variable that gave it; `None` where the default did.
    pub variable: Option<String>,
}

/// The replacement for `text`, or `None` if it asks for none.
pub(crate) fn interpolate(text: &str, environment: &Environment) -> Result<Option<Taken>, String> {
    if !text.contains("${env.") {
        return Ok(None);
    }
    let inner = text
        .strip_prefix("${env.")
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|inner| !inner.contains(['}', '$']))
        .ok_or("`${env.NAME}` replaces a whole value only, not a part of one")?;
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) {
        return Err(format!("`{name}` is no name of an environment variable"));
    }
    let set = environment.0.get(name);
    match (set, default) {
        // As in a shell, `:-` also stands in for an empty value.
        (Some(value), default) if default.is_none() || !value.is_empty() => Ok(Some(Taken {
            value: value.clone(),
            variable: Some(name.to_owned()),
        })),
        (_, Some(default)) => Ok(Some(Taken {
            value: default.to_owned(),
            variable: None,
        })),
        _ => Err(format!(
            "the environment variable `{name}` is not set, and there is no default"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<Option<Taken>, String> {
        let set = [("BOOKS", "4"), ("EMPTY", "")];
        let set = set.map(|(name, value)| (name.into(), value.into()));
        interpolate(text, &Environment::new(&set))
    }

    fn taken(value: &str, variable: Option<&str>) -> Result<Option<Taken>, String> {
        Ok(Some(Taken {
            value: value.into(),
            variable: variable.map(Into::into),
        }))
    }

    #[test]
    fn a_whole_value_is_replaced() {
        assert_eq!(ask("plain ${HOME}"), Ok(None));
        assert_eq!(ask("${env.BOOKS}"), taken("4", Some("BOOKS")));
        assert_eq!(ask("${env.BOOKS:-9}"), taken("4", Some("BOOKS")));
        assert_eq!(ask("${env.NONE:-9:-8}"), taken("9:-8", None));
        assert_eq!(ask("${env.NONE:-}"), taken("", None));
        assert_eq!(ask("${env.EMPTY}"), taken("", Some("EMPTY")));
        assert_eq!(ask("${env.EMPTY:-9}"), taken("9", None));
    }

    #[test]
    fn a_part_is_not() {
        for part in [
            "a${env.BOOKS}",
            "${env.BOOKS}b",
            "${env.BOOKS}${env.BOOKS}",
            "${env.BOOKS",
        ] {
            assert!(
                ask(part).unwrap_err().contains("whole value only"),
                "{part}"
            );
        }
        assert!(ask("${env.NONE}").unwrap_err().contains("is not set"));
        assert!(ask("${env.}").unwrap_err().contains("no name"));
    }
}
