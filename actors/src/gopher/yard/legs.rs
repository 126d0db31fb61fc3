//! Pure: what carts need next, and sets of that.

use crate::gopher::steps::{Duties, Step};

/// What a waiting cart needs next. In the order of precedence among carts that wait equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Empty at the far end: to be brought back.
    Return,
    /// Loaded at the far end, with room or without need of it: to be unloaded.
    Unload,
    /// Loaded at the far end: room is to be asked for.
    Reserve,
    /// Loaded: to be carried over, and its books worked on.
    Push,
    /// Its books are leased: to be loaded.
    Load,
    /// Empty at the pile: books are to be asked for.
    Take,
}

impl Leg {
    pub(crate) const ALL: [Leg; 6] = [
        Leg::Return,
        Leg::Unload,
        Leg::Reserve,
        Leg::Push,
        Leg::Load,
        Leg::Take,
    ];

    /// Whose duty it is.
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

    /// Those that `duties` cover.
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

    /// In the order of precedence.
    pub(super) fn iter(self) -> impl Iterator<Item = Leg> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let leg = *Leg::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(leg)
        })
    }
}
