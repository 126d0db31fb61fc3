//! Options for the simulated duration of requests.

use std::time::Duration;

use gopherworks_pipeline::job::Job;
use gopherworks_supervision::clock::Seed;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::span::Span;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalog::units::Time;

/// A duration such as `"10ms"`, or a distribution such as `{ exponential = "10ms" }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanOption(pub Span);

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    Uniform,
    Exponential,
    Lognormal,
    Bimodal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogNormal {
    mean: Time,
    cv2: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bimodal {
    short: Time,
    long: Time,
    share: f64,
}

impl<'de> Deserialize<'de> for SpanOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Span;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a duration such as \"10ms\", or a distribution such as { exponential = \
                     \"10ms\" }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let time = crate::catalog::units::parse_duration(text).map_err(E::custom)?;
                Ok(Span::Fixed(time))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Span, A::Error> {
                let Some(key) = map.next_key::<Key>()? else {
                    return Err(de::Error::custom(
                        "expected one of `uniform`, `exponential`, `lognormal` and `bimodal`",
                    ));
                };
                let span = match key {
                    Key::Uniform => {
                        let [least, most] = map.next_value::<[Time; 2]>()?;
                        if least > most {
                            return Err(de::Error::custom("the shortest time comes first"));
                        }
                        Span::Uniform(least.0, most.0)
                    }
                    Key::Exponential => Span::Exponential(map.next_value::<Time>()?.0),
                    Key::Lognormal => {
                        let LogNormal { mean, cv2 } = map.next_value()?;
                        if !(cv2 >= 0.0 && cv2.is_finite()) {
                            return Err(de::Error::custom("`cv2` is not negative"));
                        }
                        Span::LogNormal { mean: mean.0, cv2 }
                    }
                    Key::Bimodal => {
                        let Bimodal { short, long, share } = map.next_value()?;
                        if !(0.0..=1.0).contains(&share) {
                            return Err(de::Error::custom("`share` is from 0 to 1"));
                        }
                        Span::Bimodal { short: short.0, long: long.0, share }
                    }
                };
                if map.next_key::<Key>()?.is_some() {
                    return Err(de::Error::custom(
                        "expected one of `uniform`, `exponential`, `lognormal` and `bimodal`",
                    ));
                }
                Ok(span)
            }
        }

        deserializer.deserialize_any(Reader).map(Self)
    }
}

impl JsonSchema for SpanOption {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut out = Time::json_schema(generator);
        let time = Time::json_schema(generator);
        out.insert("type".to_owned(), json!(["string", "object"]));
        out.insert(
            "properties".to_owned(),
            json!({
                "uniform": { "type": "array", "items": time, "minItems": 2, "maxItems": 2 },
                "exponential": time,
                "lognormal": {
                    "type": "object",
                    "properties": {
                        "mean": time,
                        "cv2": { "type": "number", "minimum": 0, "maximum": 1e9 },
                    },
                    "required": ["mean", "cv2"],
                    "additionalProperties": false,
                },
                "bimodal": {
                    "type": "object",
                    "properties": {
                        "short": time, "long": time,
                        "share": { "type": "number", "minimum": 0, "maximum": 1 },
                    },
                    "required": ["short", "long", "share"],
                    "additionalProperties": false,
                },
            }),
        );
        out.insert("additionalProperties".to_owned(), json!(false));
        out.insert("minProperties".to_owned(), json!(1));
        out.insert("maxProperties".to_owned(), json!(1));
        out
    }
}

/// Makes the first workers of the balancer slower than the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Slow {
    /// Number of slow workers, counted from the first.
    #[schemars(range(max = 100_000))]
    pub workers: usize,
    /// Factor by which their requests take longer.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub factor: f64,
}

/// Executions that take much longer than usual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Stragglers {
    /// Share of all executions, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Factor by which they take longer.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub factor: f64,
}

/// Durations of requests, per worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) time: Span,
    pub(super) slow: Option<Slow>,
    pub(super) stragglers: Option<Stragglers>,
}

/// Random numbers for a request, derived from its requester and number, so that they are equal
/// under every policy and on every worker.
pub(super) fn chance(seed: Seed, job: &Job, purpose: &str) -> ChaCha8Rng {
    let mut chance = seed.stream(&job.from, purpose);
    chance.set_stream(job.number);
    chance
}

impl Times {
    /// # Errors
    /// A factor or a share out of range.
    pub(super) fn checked(self) -> Result<Self, Failure> {
        let factors = (self.slow.map(|slow| slow.factor)).into_iter();
        for factor in factors.chain(self.stragglers.map(|some| some.factor)) {
            if !(factor > 0.0 && factor <= 1e9) {
                return Err(Failure::permanent(format!("a factor is more than 0, not {factor}")));
            }
        }
        if let Some(Stragglers { share, .. }) = self.stragglers
            && !(0.0..=1.0).contains(&share)
        {
            return Err(Failure::permanent(format!("a share is from 0 to 1, not {share}")));
        }
        Ok(self)
    }

    /// Duration of the request on a worker of normal speed, if it does not straggle.
    pub(super) fn usual(&self, seed: Seed, scale: f64, job: &Job) -> Duration {
        let time = if self.time.is_fixed() {
            self.time.mean()
        } else {
            let mut chance = chance(seed, job, "service");
            // Each copy is a separate execution with its own draw.
            for _ in 0..job.copy {
                self.time.draw(&mut chance);
            }
            self.time.draw(&mut chance)
        };
        scaled(time, scale)
    }

    /// Duration of this execution on `worker`.
    pub(super) fn of(&self, seed: Seed, scale: f64, job: &Job, worker: usize) -> Duration {
        let mut factor = scale * self.slowness(worker);
        if let Some(Stragglers { share, factor: more }) = self.stragglers {
            let mut chance = chance(seed, job, "stragglers");
            // Each copy is a separate execution with its own draw.
            let draw = (0..=job.copy).map(|_| chance.random::<f64>()).last();
            if draw.is_some_and(|draw| draw < share) {
                factor *= more;
            }
        }
        self.usual(seed, factor, job)
    }

    fn slowness(&self, worker: usize) -> f64 {
        self.slow.filter(|slow| worker < slow.workers).map_or(1.0, |slow| slow.factor)
    }

    /// Mean duration on `worker`.
    pub(super) fn mean(&self, worker: usize) -> Duration {
        let straggling = self.stragglers.map_or(1.0, |some| 1.0 + some.share * (some.factor - 1.0));
        scaled(self.time.mean(), self.slowness(worker) * straggling)
    }
}

pub(super) fn scaled(time: Duration, factor: f64) -> Duration {
    match Span::Fixed(time).scaled(factor) {
        Span::Fixed(time) if factor != 1.0 => time,
        _ => time,
    }
}
