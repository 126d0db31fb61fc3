//! Pure: what a cart needs next, and sets of such steps.

use crate::crew::steps::{Duties, Step};

/// What a waiting cart needs next. Among carts that arrived together, earlier variants go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NextStep {
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

impl NextStep {
    pub(crate) const ALL: [NextStep; 6] = [
        NextStep::Return,
        NextStep::Unload,
        NextStep::Reserve,
        NextStep::Push,
        NextStep::Load,
        NextStep::Take,
    ];

    /// The step of the trip that it is part of; a gopher with this duty does it.
    pub fn duty(self) -> Step {
        match self {
            NextStep::Take | NextStep::Load => Step::Load,
            NextStep::Push => Step::Push,
            NextStep::Reserve | NextStep::Unload => Step::Unload,
            NextStep::Return => Step::Return,
        }
    }
}

/// A set of next steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NextSteps(pub(super) u8);

impl NextSteps {
    pub(super) const TAKE: Self = Self(1 << NextStep::Take as u8);
    /// All but [`NextSteps::TAKE`].
    pub(super) const UNDER_WAY: Self = Self(0x3f & !Self::TAKE.0);

    /// The steps that `duties` include.
    pub(crate) fn of(duties: Duties) -> Self {
        let steps = NextStep::ALL.into_iter().filter(|step| duties.has(step.duty()));
        NextSteps(steps.fold(0, |steps, step| steps | 1 << step as u8))
    }

    pub(super) fn set(&mut self, step: NextStep, there: bool) {
        self.0 = self.0 & !(1 << step as u8) | u8::from(there) << step as u8;
    }

    pub(super) fn and(self, other: NextSteps) -> NextSteps {
        NextSteps(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The steps in order of precedence.
    pub(super) fn iter(self) -> impl Iterator<Item = NextStep> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let step = *NextStep::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(step)
        })
    }
}
