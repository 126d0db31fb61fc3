//! Pure: what a cart needs next, and sets of that.

use crate::crew::steps::{Duties, Step};

/// What a waiting cart needs next; in order of precedence among carts that have waited equally
/// long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Empty at the destination: to be brought back.
    Return,
    /// Loaded at the destination, with space reserved if needed: to be unloaded.
    Unload,
    /// Loaded at the destination: space has to be reserved.
    Reserve,
    /// Loaded: to be carried to the destination, after work on its books.
    Push,
    /// Books were leased: to be loaded.
    Load,
    /// Empty at the pile: to be sent for books.
    Take,
}

impl Leg {
    pub(crate) const ALL: [Leg; 6] =
        [Leg::Return, Leg::Unload, Leg::Reserve, Leg::Push, Leg::Load, Leg::Take];

    /// The step that the leg belongs to.
    pub fn step(self) -> Step {
        match self {
            Leg::Take | Leg::Load => Step::Load,
            Leg::Push => Step::Push,
            Leg::Reserve | Leg::Unload => Step::Unload,
            Leg::Return => Step::Return,
        }
    }
}

/// A set of legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Legs(pub(super) u8);

impl Legs {
    pub(super) const TAKE: Self = Self(1 << Leg::Take as u8);
    /// All but [`Legs::TAKE`].
    pub(super) const UNDER_WAY: Self = Self(0x3f & !Self::TAKE.0);

    /// Those that `duties` include.
    pub(super) fn of(duties: Duties) -> Self {
        let legs = Leg::ALL.into_iter().filter(|leg| duties.has(leg.step()));
        Legs(legs.fold(0, |legs, leg| legs | 1 << leg as u8))
    }

    pub(super) fn set(&mut self, leg: Leg, there: bool) {
        self.0 = self.0 & !(1 << leg as u8) | u8::from(there) << leg as u8;
    }

    pub(super) fn and(self, other: Legs) -> Legs {
        Legs(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In order of precedence.
    pub(super) fn iter(self) -> impl Iterator<Item = Leg> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let leg = *Leg::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(leg)
        })
    }
}
