//! Mistakes in expressions, with their places.

use super::Validator;
use crate::catalog::Kind;
use crate::catalog::work::expression::{Expression, FORMAT};
use crate::config::{Code, Diagnostic, nearest};

/// The mistake in the expression among `options` that an error refers to by `keys`, if it is one.
pub(super) fn mistake<T: ?Sized + 'static>(
    validator: &Validator<'_>,
    path: &[&str],
    kind: &Kind<T>,
    options: &toml::Table,
    keys: &[String],
) -> Option<Diagnostic> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (first, below) = keys.split_first()?;
    let value = below.iter().try_fold(options.get(*first)?, |value, key| value.get(*key))?;
    let text = value.as_str().filter(|_| kind.shape().at(&keys).has_format(FORMAT))?;
    let error = Expression::new(text).err()?;
    let mut mistake = validator.error(Code::Expression, &[path, &keys].concat(), error.message);
    let said = text.get(error.at.clone()).unwrap_or_default();
    mistake.origin = mistake.origin.within(error.at);
    Some(mistake.suggest(nearest(said, error.known.iter().copied())))
}
