//! Durations that may be random. Pure: no clock.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, StandardNormal};

/// A duration or a distribution of durations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Span {
    /// No time.
    #[default]
    Zero,
    /// A constant.
    Fixed(Duration),
    /// Uniform between the first and the second.
    Uniform(Duration, Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// Log-normal: heavy-tailed, like the response times of services.
    LogNormal {
        /// Mean duration.
        mean: Duration,
        /// Squared coefficient of variation, that is variance / mean²; 1 equals that of an
        /// exponential.
        cv2: f64,
    },
    /// One of two values.
    Bimodal {
        /// The common value.
        short: Duration,
        /// The rare value.
        long: Duration,
        /// The probability of the rare value, from 0 to 1.
        share: f64,
    },
}

impl Span {
    /// True if every draw is zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Span::Zero => true,
            Span::Fixed(t) | Span::Exponential(t) | Span::LogNormal { mean: t, .. } => t.is_zero(),
            Span::Uniform(_, most) => most.is_zero(),
            Span::Bimodal { short, long, .. } => short.is_zero() && long.is_zero(),
        }
    }

    /// True if every draw is equal.
    pub fn is_fixed(&self) -> bool {
        match self {
            Span::Zero | Span::Fixed(_) => true,
            Span::Uniform(least, most) => least == most,
            Span::Exponential(mean) => mean.is_zero(),
            Span::LogNormal { mean, cv2 } => mean.is_zero() || *cv2 == 0.0,
            Span::Bimodal { short, long, share } => short == long || *share == 0.0 || *share == 1.0,
        }
    }

    /// The mean; saturates at [`Duration::MAX`].
    pub fn mean(&self) -> Duration {
        match self {
            Span::Zero => Duration::ZERO,
            Span::Fixed(t) | Span::Exponential(t) | Span::LogNormal { mean: t, .. } => *t,
            Span::Uniform(least, most) => least.saturating_add(*most) / 2,
            Span::Bimodal { short, long, share } => {
                times(*short, 1.0 - share).saturating_add(times(*long, *share))
            }
        }
    }

    /// Multiplies all durations by `factor`; the squared coefficient of variation stays.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Span {
        match self {
            Span::Zero => Span::Zero,
            Span::Fixed(time) => Span::Fixed(times(time, factor)),
            Span::Uniform(least, most) => Span::Uniform(times(least, factor), times(most, factor)),
            Span::Exponential(mean) => Span::Exponential(times(mean, factor)),
            Span::LogNormal { mean, cv2 } => Span::LogNormal { mean: times(mean, factor), cv2 },
            Span::Bimodal { short, long, share } => {
                Span::Bimodal { short: times(short, factor), long: times(long, factor), share }
            }
        }
    }

    /// Draws a duration. How many numbers are taken from `chance` does not depend on the parameters
    /// of the span.
    pub fn draw(self, chance: &mut impl Rng) -> Duration {
        match self {
            Span::Zero => Duration::ZERO,
            Span::Fixed(time) => time,
            Span::Uniform(least, most) => {
                let spread = times(most.saturating_sub(least), chance.random::<f64>());
                least.saturating_add(spread)
            }
            Span::Exponential(mean) => {
                let draw: f64 = Exp1.sample(chance);
                times(mean, draw)
            }
            Span::LogNormal { mean, cv2 } => {
                let normal: f64 = StandardNormal.sample(chance);
                // exp(m + s z) has the mean exp(m + s^2 / 2) and the squared coefficient of
                // variation exp(s^2) - 1.
                let variance = cv2.max(0.0).ln_1p();
                times(mean, variance.sqrt().mul_add(normal, -variance / 2.0).exp())
            }
            Span::Bimodal { short, long, share } => {
                if chance.random::<f64>() < share {
                    long
                } else {
                    short
                }
            }
        }
    }
}

/// `time` times `factor`. Saturates at [`Duration::MAX`]; zero if `factor` is not positive and the
/// product is not a valid duration.
#[doc(hidden)]
pub fn times(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(if factor > 0.0 {
        Duration::MAX
    } else {
        Duration::ZERO
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seed;

    const MS: Duration = Duration::from_millis(1);

    fn drawn(span: Span) -> (f64, f64) {
        let mut chance = Seed(7).stream("span", "test");
        let draws: Vec<f64> = (0..400_000).map(|_| span.draw(&mut chance).as_secs_f64()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let square = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>();
        (mean, square / draws.len() as f64 / mean / mean)
    }

    #[test]
    fn draws_have_the_configured_mean_and_width() {
        let spans = [
            (Span::Fixed(MS), 0.0, 0.001),
            (Span::Uniform(Duration::ZERO, 2 * MS), 1.0 / 3.0, 0.01),
            (Span::Exponential(MS), 1.0, 0.02),
            (Span::LogNormal { mean: MS, cv2: 2.0 }, 2.0, 0.2),
            (Span::Bimodal { short: MS / 2, long: 100 * MS + MS / 2, share: 0.005 }, 49.75, 2.5),
        ];
        for (span, cv2, within) in spans {
            assert_eq!(span.mean().as_micros(), 1000, "{span:?}");
            let (mean, width) = drawn(span);
            assert!((mean / 1e-3 - 1.0).abs() < 0.04, "{span:?}: {mean}");
            assert!((width - cv2).abs() <= within, "{span:?}: {width}");
            let (twice, _) = drawn(span.scaled(2.0));
            assert!((twice / mean - 2.0).abs() < 1e-4, "{span:?}: {twice}");
        }
    }

    #[test]
    fn the_longest_durations_saturate() {
        let most = Duration::MAX;
        assert_eq!(Span::Fixed(most).scaled(2.0), Span::Fixed(most));
        assert!(Span::Uniform(most, most).mean() > most / 3);
        let mut chance = Seed(1).stream("a", "b");
        for _ in 0..100 {
            Span::Exponential(most).draw(&mut chance);
            Span::LogNormal { mean: most, cv2: 9.0 }.draw(&mut chance);
        }
    }
}
