//! Option for a random or fixed duration.

use std::fmt;

use gopherworks_supervision::span::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::config::units::{Time, parse_duration};

/// A duration such as `"10ms"`, or a distribution such as `{ exponential = "10ms" }`.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(with = "DurationOrDistribution", inline)]
pub struct SpanOption(pub Span);

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum DurationOrDistribution {
    Duration(Time),
    Distribution(Distribution),
}

/// A table with exactly one of these keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline, extend("minProperties" = 1, "maxProperties" = 1))]
struct Distribution {
    /// Uniform between two durations; the smaller one comes first.
    uniform: Option<[Time; 2]>,
    /// Exponential with this mean.
    exponential: Option<Time>,
    /// Log-normal.
    lognormal: Option<LogNormal>,
    /// One of two durations.
    bimodal: Option<Bimodal>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct LogNormal {
    /// Mean duration.
    mean: Time,
    /// Variance divided by the square of the mean.
    #[schemars(range(min = 0.0, max = 1e9))]
    cv2: f64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Bimodal {
    /// The common duration.
    short: Time,
    /// The rare duration.
    long: Time,
    /// Probability of the rare duration.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
}

impl Distribution {
    fn span<E: Error>(self) -> Result<Span, E> {
        Ok(match (self.uniform, self.exponential, self.lognormal, self.bimodal) {
            (Some([least, most]), None, None, None) if least <= most => {
                Span::Uniform(least.0, most.0)
            }
            (Some(_), None, None, None) => {
                return Err(E::custom("the shortest time comes first"));
            }
            (None, Some(mean), None, None) => Span::Exponential(mean.0),
            (None, None, Some(LogNormal { mean, cv2 }), None) => {
                Span::LogNormal { mean: mean.0, cv2 }
            }
            (None, None, None, Some(Bimodal { short, long, share })) => {
                Span::Bimodal { short: short.0, long: long.0, share }
            }
            _ => {
                return Err(E::custom(
                    "expected one of `uniform`, `exponential`, `lognormal` and `bimodal`",
                ));
            }
        })
    }
}

impl<'de> Deserialize<'de> for SpanOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;

        impl<'de> Visitor<'de> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration such as \"10ms\", or a distribution such as { exponential = \
                     \"10ms\" }",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                parse_duration(text).map(Span::Fixed).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Span, A::Error> {
                Distribution::deserialize(MapAccessDeserializer::new(map))?.span()
            }
        }

        deserializer.deserialize_any(SpanVisitor).map(Self)
    }
}
