//! Pure: the four steps of a cart's trip, which gopher does which, and how long each takes.

use std::fmt;

use gopherworks_supervision::span::Span;

/// A step of a cart's round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Take books from the pile into the empty cart.
    Load,
    /// Carry the loaded cart, and do the crew's work on its books.
    Push,
    /// Hand the books to the dump or the incinerator.
    Unload,
    /// Bring the empty cart back.
    Return,
}

impl Step {
    /// All steps in the order of a trip.
    pub const ALL: [Step; 4] = [Step::Load, Step::Push, Step::Unload, Step::Return];

    /// The step's name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Step::Load => "load",
            Step::Push => "push",
            Step::Unload => "unload",
            Step::Return => "return",
        }
    }

    /// Parses a step's name.
    pub fn from_name(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.name() == name)
    }

    /// Position in [`Step::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The set of steps that one gopher does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Duties(u8);

impl Duties {
    /// The empty set.
    pub const NONE: Duties = Duties(0);
    /// All four steps.
    pub const ALL: Duties = Duties(0b1111);

    /// This set with `step` added.
    #[must_use]
    pub const fn with(self, step: Step) -> Duties {
        Duties(self.0 | 1 << step as u8)
    }

    /// True if `step` is in the set.
    pub const fn has(self, step: Step) -> bool {
        self.0 & (1 << step as u8) != 0
    }

    /// True if the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The steps in the order of a trip.
    pub fn iter(self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(move |step| self.has(*step))
    }
}

impl FromIterator<Step> for Duties {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        steps.into_iter().fold(Duties::NONE, Duties::with)
    }
}

impl fmt::Display for Duties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(step.name())?;
        }
        Ok(())
    }
}

/// Duration of a step: waiting, and time on a core.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTime {
    /// Time that needs no core.
    pub wait: Span,
    /// Time on a core; at most `cores` gophers spend it at once.
    pub cpu: Span,
}

impl StepTime {
    /// True if the step takes no time.
    pub fn is_zero(&self) -> bool {
        self.wait.is_zero() && self.cpu.is_zero()
    }
}

/// Durations of all four steps, by [`Step::index`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTimes(pub [StepTime; 4]);

impl StepTimes {
    /// Duration of `step`.
    pub fn of(&self, step: Step) -> StepTime {
        self.0[step.index()]
    }
}
