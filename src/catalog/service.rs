//! The shipped kinds of worker, for balancers.

use super::Catalog;

pub(super) fn register(catalog: &mut Catalog) {
    let _ = catalog;
}
