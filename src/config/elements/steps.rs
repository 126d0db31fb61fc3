//! `[crews.x.steps]`: what the steps of a crew cost, and durations that are drawn.

use std::time::Duration;

pub use gopherworks_pipeline::steps::StepTime;
pub use gopherworks_supervision::span::Span;

use crate::config::element::{Bounds, Checks, Element, Item, Reading, Type};
use crate::config::limits::LARGEST_FACTOR;

/// What the steps cost, by name; the engine has an array.
#[derive(Debug, Clone, Copy, PartialEq, Element)]
pub struct StepsConfig {
    /// What it costs to fill a cart: a wait such as "1ms", or a table. Without it nothing.
    #[key(default)]
    pub load: StepTime,
    /// What it costs to carry a full cart over, besides the work: a wait such as "1ms", or a
    /// table. Without it nothing.
    #[key(default)]
    pub push: StepTime,
    /// What it costs to empty a cart: a wait such as "1ms", or a table. Without it nothing.
    #[key(default)]
    pub unload: StepTime,
    /// What it costs to bring an empty cart back: a wait such as "1ms", or a table. Without it
    /// nothing.
    #[key(default)]
    pub return_: StepTime,
}

/// What one step costs. A bare duration is a fixed wait, and no time on a core.
#[derive(Element)]
#[element(remote = StepTime, short = wait, resets(cpu))]
struct StepTimeKeys {
    /// Time that passes without a core: a duration such as "1ms", or a distribution. Without it
    /// none.
    #[key(as = Cost, default)]
    wait: Span,
    /// Time on a core: a duration such as "1ms", or a distribution. Without it none.
    #[key(as = Cost, default)]
    cpu: Span,
}

/// A span of which a zero duration is [`Span::Zero`].
struct Cost;

impl Element for Cost {
    type Value = Span;
    const TYPE: Type = Span::TYPE;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Span> {
        let span = Span::read(reading, item)?;
        Some(if span == Span::Fixed(Duration::ZERO) { Span::Zero } else { span })
    }

    fn check<'c>(value: &'c Span, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        Span::check(value, bounds, at);
    }
}

/// A duration, or a distribution of durations.
#[derive(Element)]
#[element(by_key, remote = Span)]
#[allow(dead_code, reason = "it describes another enum")]
enum SpanKeys {
    /// No time; files have no word for it.
    #[key(skip)]
    Zero,
    /// Always the same.
    #[key(bare)]
    Fixed(Duration),
    /// Any time between two, such as ["0s", "10s"], the least first.
    Uniform(Duration, Duration),
    /// Times around this mean, such as "500us", short ones more often than long ones.
    Exponential(Duration),
    /// Times with a heavy tail: most are below the mean, a few far above it.
    #[key(name = "lognormal")]
    LogNormal {
        /// The mean, such as "1ms".
        mean: Duration,
        /// The variance divided by the square of the mean; 1 is as wide as an exponential.
        #[key(min = 0, most = LARGEST_FACTOR, because = "cv2 is a number of at least 0")]
        cv2: f64,
    },
    /// Mostly one time, now and then another.
    Bimodal {
        /// The usual time, such as "500us".
        short: Duration,
        /// The rare time, such as "100ms", not less than the usual one.
        long: Duration,
        /// The share of the rare time.
        #[key(min = 0, max = 1, because = "this is a share from 0 to 1")]
        share: f64,
    },
}
