//! Double-double arithmetic: numbers of about 32 digits as sums of two floats (Dekker 1971, Knuth
//! 1969). The 16 digits of one float are too few for times from nanoseconds to hours.

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A float plus its rounding error.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub(super) struct Wide(f64, f64);

impl Wide {
    pub const ZERO: Wide = Wide(0.0, 0.0);
    pub const ONE: Wide = Wide(1.0, 0.0);

    /// The nearest float.
    pub fn near(self) -> f64 {
        self.0
    }

    /// Multiplies by a power of two, which is exact.
    pub fn times(self, power: f64) -> Wide {
        Wide(self.0 * power, self.1 * power)
    }

    /// The number, or 0 if it is negative.
    pub fn at_least_zero(self) -> Wide {
        if self > Wide::ZERO { self } else { Wide::ZERO }
    }

    /// `a + b` without rounding error, for `|a| >= |b|`.
    fn normal(a: f64, b: f64) -> Wide {
        let sum = a + b;
        Wide(sum, b - (sum - a))
    }
}

impl From<f64> for Wide {
    fn from(number: f64) -> Self {
        Wide(number, 0.0)
    }
}

impl Add for Wide {
    type Output = Wide;

    fn add(self, other: Wide) -> Wide {
        let sum = self.0 + other.0;
        let part = sum - self.0;
        let lost = (self.0 - (sum - part)) + (other.0 - part);
        Wide::normal(sum, lost + self.1 + other.1)
    }
}

impl Sum for Wide {
    fn sum<I: Iterator<Item = Wide>>(all: I) -> Wide {
        all.fold(Wide::ZERO, Add::add)
    }
}

impl Neg for Wide {
    type Output = Wide;

    fn neg(self) -> Wide {
        Wide(-self.0, -self.1)
    }
}

impl Sub for Wide {
    type Output = Wide;

    fn sub(self, other: Wide) -> Wide {
        self + -other
    }
}

impl Mul for Wide {
    type Output = Wide;

    fn mul(self, other: Wide) -> Wide {
        let product = self.0 * other.0;
        let lost = self.0.mul_add(other.0, -product);
        Wide::normal(product, lost + (self.0 * other.1 + self.1 * other.0))
    }
}

impl Div for Wide {
    type Output = Wide;

    fn div(self, other: Wide) -> Wide {
        let first = self.0 / other.0;
        let left = self - other * first.into();
        let second = left.0 / other.0;
        let left = left - other * second.into();
        Wide::normal(first, second) + Wide::from(left.0 / other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// True if `left`, what remains of quantities near `size`, is only rounding error.
    fn small(left: Wide, size: f64) -> bool {
        left.near().abs() <= size.abs() * 1e-29
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_done_is_undone(a in -1e6..1e6f64, b in 1e-6..1e6f64, c in -1.0..1.0f64) {
            let third = Wide::from(c) / Wide::from(3.0);
            let (a, b) = (Wide::from(a) + third, Wide::from(b) + third * Wide::from(1e-9));
            let size = a.near().abs().max(b.near());
            prop_assert!(small((a + b) - b - a, size * 10.0));
            prop_assert!(small((a * b) / b - a, size * 10.0));
            prop_assert!(small((a / b) * b - a, size * 10.0));
        }
    }

    #[test]
    fn small_parts_are_kept() {
        let sum = Wide::from(1e16) + Wide::from(1e-8);
        assert_eq!((sum - Wide::from(1e16)).near(), 1e-8);
        let third = Wide::ONE / Wide::from(3.0);
        assert!(small(third + third + third - Wide::ONE, 1.0));
        assert!(third > Wide::ZERO && -third < Wide::ZERO);
    }
}
