//! `[crews.x]` and `[relays.x]`: what carries books from one node to another.

use std::collections::BTreeMap;

use super::{Copies, End, Gophers, KindConfig, Name, StepsConfig, Works};
use crate::config::element::{Element, Key};
use crate::config::limits::{MOST_BOOKS, MOST_CARTS};

/// Keys that are handled before the table is read.
const LIKE: [Key; 1] = [Key {
    name: "like",
    doc: "The crew that this one copies except for its own keys; that one has no `like` itself.",
    ty: Name::TYPE,
    ..Key::NONE
}];

/// A crew of gophers with its carts.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = crew, extra = LIKE, unless = like)]
pub struct CrewConfig {
    /// The pile or dump that it empties; one copy of it is written like middle[lane=1].
    #[key(as = End, stand_in)]
    pub from: String,
    /// The dump or incinerator that it fills; one copy of it is written like middle[lane=1].
    #[key(as = End, stand_in)]
    pub to: String,
    /// One entry for each gopher: the steps that it does, such as "load push"; "2 * load push" is
    /// two gophers. Each step is done by at least one gopher.
    #[key(as = Gophers, stand_in)]
    pub gophers: Vec<Vec<String>>,
    /// The carts that circulate, and how much one holds.
    #[key(default)]
    pub carts: CartsConfig,
    /// What is done to each book on the way, from left to right: a kind, a table with `kind` and
    /// its options, or a list of these.
    #[key(as = Works, default)]
    pub work: Vec<KindConfig>,
    /// What the steps cost for a whole cart.
    #[key(default)]
    pub steps: StepsConfig,
    /// Copies of this crew alone, with gophers and carts of their own: a number, or a table of
    /// numbers by axis.
    #[key(as = Copies, default)]
    pub copies: BTreeMap<String, u32>,
}

/// The carts of a crew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
pub struct CartsConfig {
    /// How many carts circulate.
    #[key(
        default = 1, min = 1, most = MOST_CARTS, by_plan, because = "a crew needs at least one cart"
    )]
    pub count: u32,
    /// Most books in one cart.
    #[key(default = 64, min = 1, most = MOST_BOOKS, because = "a cart holds at least one book")]
    pub books: u64,
    /// Most bytes in one cart, such as "8MiB" or a number of bytes; a larger book travels alone.
    /// Without it they are not bounded.
    #[key(as = Size, min = 1, because = "a cart holds at least one byte")]
    pub bytes: Option<u64>,
}

/// A relay, which carries all books from one pile to another, in order.
#[derive(Debug, Clone, PartialEq, Eq, Element)]
#[element(def = relay)]
pub struct RelayConfig {
    /// The pile or dump that it empties; one copy of it is written like middle[lane=1].
    #[key(as = End, stand_in)]
    pub from: String,
    /// The pile without a source, dump or incinerator that it fills; one copy of it is written
    /// like middle[lane=1].
    #[key(as = End, stand_in)]
    pub to: String,
    /// Most books that it carries at once. Without it 64, or fewer if an end holds fewer.
    #[key(min = 1, most = MOST_BOOKS, because = "a relay carries at least one book")]
    pub books: Option<u64>,
}
