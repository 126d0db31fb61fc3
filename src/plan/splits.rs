//! Where crews may split books.

use super::Validator;
use crate::config::Code;
use crate::config::elements::TopologyConfig;
use crate::config::label::base;

/// Reports works `split` whose books could not be stored together with the end of the book that
/// they are made of.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    for (name, crew) in &config.crews {
        for (at, _) in crew.work.iter().enumerate().filter(|(_, work)| work.kind == "split") {
            let path = ["crews", name, "work", &at.to_string()];
            let (why, help) = if at + 1 < crew.work.len() {
                (
                    "`split` is not the last work of its crew",
                    "do the rest in a crew behind the dump",
                )
            } else if !config.dumps.contains_key(base(&crew.to)) {
                ("a crew that splits books has to fill a dump", "put a dump behind it")
            } else if config.store.is_some() {
                ("books can't be split in a design with a store", "leave out `[store]`")
            } else {
                continue;
            };
            let mistake = validator.error(Code::Contradiction, &path, why);
            validator.report(mistake.help(help));
        }
    }
}
