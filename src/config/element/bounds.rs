//! Bounds of values, and where violations are reported.

use std::time::Duration;

use super::Type;
use crate::config::limits::{self, grouped};
use crate::config::units::{Size, Time};

/// A bound. Macros cast literals of any type to both numbers; durations are in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    pub whole: u64,
    pub real: f64,
}

/// The bounds of a key. `because` is the message if one but `most` is violated; if it is empty, the
/// plan checks them.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub min: Option<Number>,
    pub above: Option<Number>,
    pub max: Option<Number>,
    pub below: Option<Number>,
    /// A maximum whose violation is reported with the number.
    pub most: Option<Number>,
    pub because: &'static str,
    /// True if the plan checks `most`, for a message of its own.
    pub by_plan: bool,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Bounds = Bounds {
        min: None,
        above: None,
        max: None,
        below: None,
        most: None,
        because: "",
        by_plan: false,
    };

    /// The least whole number, and the largest, which is at most `most`.
    pub fn range(&self, most: u64) -> (u64, u64) {
        let least = self.min.map_or(0, |min| min.whole);
        let max = self.max.or(self.most).map_or(most, |max| max.whole);
        (least, max.min(most))
    }

    /// True if zero is refused.
    pub fn positive(&self) -> bool {
        self.above.is_some() || self.min.is_some_and(|min| min.real > 0.0)
    }

    /// The bounds in words, for descriptions.
    pub fn notes(&self, ty: &Type) -> Vec<String> {
        let said = |bound: Number| match ty {
            Type::Duration => Time(Duration::from_secs_f64(bound.real)).to_string(),
            Type::Size => Size(bound.whole).to_string(),
            Type::Real => bound.real.to_string(),
            _ => grouped(bound.whole),
        };
        let most = self.max.or(self.most);
        if let (Some(min), Some(most)) = (self.min, most) {
            return vec![format!("{} to {}", said(min), said(most))];
        }
        let words = [
            ("at least", self.min),
            ("more than", self.above),
            ("at most", most),
            ("less than", self.below),
        ];
        let there = words.iter().filter_map(|(word, bound)| Some((word, (*bound)?)));
        there.map(|(word, bound)| format!("{word} {}", said(bound))).collect()
    }

    fn holds<T: PartialOrd>(&self, value: T, bound: impl Fn(Number) -> T) -> bool {
        // Comparisons with NaN are false.
        self.min.is_none_or(|min| value >= bound(min))
            && self.above.is_none_or(|above| value > bound(above))
            && self.max.is_none_or(|max| value <= bound(max))
            && self.below.is_none_or(|below| value < bound(below))
    }

    fn checked_most(&self) -> Option<Number> {
        self.most.filter(|_| !self.by_plan)
    }

    /// Checks a whole number.
    pub fn whole(&self, number: u64, at: &mut Checks<'_, '_>) {
        if !self.holds(number, |bound| bound.whole) {
            at.refuse(self.because);
        } else if let Some(most) =
            self.checked_most().map(|most| most.whole).filter(|most| number > *most)
        {
            let least_saturated = u64::from(u32::MAX - 1);
            let most_said = grouped(most);
            at.refuse(if number >= least_saturated && most < u64::from(u32::MAX) {
                // The reader saturates numbers that do not fit their type.
                format!("this number is too large: at most {most_said}")
            } else {
                format!("{} is too large: at most {most_said}", grouped(number))
            });
        }
    }

    /// Checks a number with a fraction; infinite ones and NaN violate every bound.
    pub fn real(&self, number: f64, at: &mut Checks<'_, '_>) {
        if !number.is_finite() || !self.holds(number, |bound| bound.real) {
            at.refuse(self.because);
        } else if let Some(most) =
            self.checked_most().map(|most| most.real).filter(|most| number > *most)
        {
            at.refuse(format!("{number} is too large: at most {most}"));
        }
    }

    /// Checks a duration, which is at most [`limits::LONGEST`].
    pub fn time(&self, time: Duration, at: &mut Checks<'_, '_>) {
        if !self.holds(time.as_secs_f64(), |bound| bound.real) {
            at.refuse(self.because);
        } else if time > limits::LONGEST {
            at.refuse(format!("{} is too long: at most 100 years", Time(time)));
        }
    }

    /// Checks a size in bytes, which is at most [`limits::LARGEST`].
    pub fn size(&self, bytes: u64, at: &mut Checks<'_, '_>) {
        let most = self.most.map_or(limits::LARGEST, |most| most.whole);
        if !self.holds(bytes, |bound| bound.whole) {
            at.refuse(self.because);
        } else if bytes > most {
            at.refuse(format!("{} is too large: at most {}", Size(bytes), Size(most)));
        }
    }
}

/// The path of the value that is checked, and where messages go.
pub(crate) struct Checks<'c, 'r> {
    path: Vec<&'c str>,
    report: &'r mut dyn FnMut(&[&str], &str),
}

impl<'c, 'r> Checks<'c, 'r> {
    /// Checks from the root on; `report` gets paths with messages.
    pub fn new(report: &'r mut dyn FnMut(&[&str], &str)) -> Self {
        Self { path: Vec::new(), report }
    }

    /// Checks the value of a key.
    pub fn key(&mut self, key: &'c str, check: impl FnOnce(&mut Self)) {
        self.path.push(key);
        check(self);
        self.path.pop();
    }

    /// Reports a violated bound.
    pub fn refuse(&mut self, message: impl AsRef<str>) {
        let message = message.as_ref();
        if !message.is_empty() {
            (self.report)(&self.path, message);
        }
    }
}
