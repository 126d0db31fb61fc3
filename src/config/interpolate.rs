//! `"${env.NAME:-default}"`: takes a whole string value from the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Texts that [`interpolate`] replaces, as a regular expression without anchors.
pub(crate) const PATTERN: &str = r"\$\{env\.[A-Za-z0-9_]+(:-[^}$]*)?\}";

/// Escape for a literal `${env.`.
const ESCAPED: &str = "$${env.";

/// Environment variables by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Keeps the variables that a file can name.
    pub fn new(variables: &[(OsString, OsString)]) -> Self {
        let named =
            |(name, value): &(OsString, OsString)| Some((name.to_str()?.to_owned(), value.clone()));
        Self(variables.iter().filter_map(named).collect())
    }
}

/// The result of an interpolation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub value: String,
    /// The variable; `None` for the default.
    pub variable: Option<String>,
    /// True if the text only had escapes, so that it is a string of the file.
    pub literal: bool,
}

/// The replacement for `text`, or `None` if it needs none. `$${env.` becomes `${env.` anywhere in a
/// text.
pub(crate) fn interpolate(text: &str, environment: &Environment) -> Result<Option<Taken>, String> {
    if !text.contains("${env.") {
        return Ok(None);
    }
    if text.contains(ESCAPED) && !text.replace(ESCAPED, "").contains("${env.") {
        return Ok(Some(Taken {
            value: text.replace(ESCAPED, "${env."),
            variable: None,
            literal: true,
        }));
    }
    let inner = text
        .strip_prefix("${env.")
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|inner| !inner.contains(['}', '$']))
        .ok_or(
            "`${env.NAME}` replaces a whole value only, not a part of one; \
             `$${env.` stands for itself",
        )?;
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) {
        return Err(format!("`{name}` is not a valid name of an environment variable"));
    }
    let set = match environment.0.get(name).map(|value| value.to_str()) {
        Some(Some(value)) => Some(value),
        Some(None) => {
            return Err(format!("the value of the environment variable `{name}` is not UTF-8"));
        }
        None => None,
    };
    match (set, default) {
        // As in a shell, `:-` also replaces an empty value.
        (Some(value), default) if default.is_none() || !value.is_empty() => Ok(Some(Taken {
            value: value.to_owned(),
            variable: Some(name.to_owned()),
            literal: false,
        })),
        (_, Some(default)) => {
            Ok(Some(Taken { value: default.to_owned(), variable: None, literal: false }))
        }
        _ => Err(format!("the environment variable `{name}` is not set, and there is no default")),
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
        Ok(Some(Taken { value: value.into(), variable: variable.map(Into::into), literal: false }))
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
    fn an_escape_stands_for_itself() {
        for (text, value) in [
            ("$${env.BOOKS}", "${env.BOOKS}"),
            ("a $${env.A} b $${env.B", "a ${env.A} b ${env.B"),
            ("$$${env.BOOKS}", "$${env.BOOKS}"),
        ] {
            let said = ask(text).unwrap().unwrap();
            assert_eq!((said.value.as_str(), said.literal), (value, true), "{text}");
        }
        assert!(ask("$${env.A}${env.BOOKS}").is_err());
        assert_eq!(ask("$${HOME} $$"), Ok(None));
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_text_is_not_taken_for_unset() {
        use std::os::unix::ffi::OsStringExt;
        let set = [("X".into(), OsString::from_vec(b"b\xff".to_vec()))];
        let environment = Environment::new(&set);
        for text in ["${env.X}", "${env.X:-default}"] {
            let message = interpolate(text, &environment).unwrap_err();
            assert!(message.contains("`X` is not UTF-8"), "{message}");
        }
    }

    #[test]
    fn a_part_is_not() {
        for part in ["a${env.BOOKS}", "${env.BOOKS}b", "${env.BOOKS}${env.BOOKS}", "${env.BOOKS"] {
            assert!(ask(part).unwrap_err().contains("whole value only"), "{part}");
        }
        assert!(ask("${env.NONE}").unwrap_err().contains("is not set"));
        assert!(ask("${env.}").unwrap_err().contains("not a valid name"));
    }
}
