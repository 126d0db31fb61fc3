//! Pure: which keys of two configs differ, as text.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{How, NodeConfig, SettingChange};
use crate::config::element::Element;
use crate::config::elements::{
    BalancerConfig, Capacity, CartsConfig, Exclusive, ExecutionConfig, KindConfig, ModelConfig,
    OperationsConfig, PileStore, RequesterConfig, RetryConfig, Span, StepsConfig, StoreConfig,
    SupervisionConfig, TopologyConfig,
};
use crate::config::units::Time;

/// A key with the values that it had and gets.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct KeyChange {
    /// The key, such as `carts.count`.
    pub key: String,
    /// The value before; `None` if it had none, or one that is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// The value afterwards, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

impl KeyChange {
    /// True for `key` itself, and for keys below it.
    pub(crate) fn is_below(&self, key: &str) -> bool {
        let rest = self.key.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if self.was.is_none() && self.now.is_none() {
            return Ok(());
        }
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, " {} -> {}", said(&self.was), said(&self.now))
    }
}

/// Collects changes of keys.
#[derive(Default)]
struct Keys(Vec<KeyChange>);

impl Keys {
    fn add(&mut self, key: impl Into<String>, was: Option<String>, now: Option<String>) {
        self.0.push(KeyChange { key: key.into(), was, now });
    }

    /// Compares two values as the reference page shows them, tables key by key.
    fn json(&mut self, key: &str, was: &Json, now: &Json) {
        let empty = serde_json::Map::new();
        let table = |value: &'_ Json| match value {
            Json::Object(table) => Some(table.clone()),
            Json::Null => Some(empty.clone()),
            _ => None,
        };
        match (table(was), table(now)) {
            _ if was == now => {}
            (Some(was), Some(now)) => {
                let mut names: Vec<&String> = was.keys().chain(now.keys()).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    let of = |table: &serde_json::Map<String, Json>| {
                        table.get(name).cloned().unwrap_or_default()
                    };
                    self.json(&path, &of(&was), &of(&now));
                }
            }
            _ => self.add(key, shown(was), shown(now)),
        }
    }

    /// Compares the values of a key.
    fn value<E: Element<Value: PartialEq>>(&mut self, key: &str, was: &E::Value, now: &E::Value) {
        if was == now {
            return;
        }
        let before = self.0.len();
        self.json(key, &E::show(was), &E::show(now));
        if self.0.len() == before {
            // What differs is not shown.
            self.add(key, None, None);
        }
    }

    fn option<E: Element<Value: PartialEq>>(
        &mut self,
        key: &str,
        was: &Option<E::Value>,
        now: &Option<E::Value>,
    ) {
        match (was, now) {
            (Some(was), Some(now)) => self.value::<E>(key, was, now),
            (None, None) => {}
            _ => {
                let show = |value: &Option<E::Value>| {
                    value.as_ref().map_or(Json::Null, |value| E::show(value))
                };
                let (was, now) = (show(was), show(now));
                let before = self.0.len();
                self.json(key, &was, &now);
                if self.0.len() == before {
                    self.add(key, None, None);
                }
            }
        }
    }

    /// Compares kinds by name, and their options without values, which may be secret.
    fn kind(&mut self, key: &str, was: &KindConfig, now: &KindConfig) {
        if was.kind != now.kind {
            return self.add(key, Some(was.kind.clone()), Some(now.kind.clone()));
        }
        let mut names: Vec<&String> = was.options.keys().chain(now.options.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            if was.options.get(name) != now.options.get(name) {
                self.add(format!("{key}.{name}"), None, None);
            }
        }
    }

    fn text(&mut self, key: &str, was: &str, now: &str) {
        if was != now {
            self.add(key, Some(was.to_owned()), Some(now.to_owned()));
        }
    }
}

fn shown(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// The keys that differ between two nodes of one name.
pub(super) fn of(was: &NodeConfig, now: &NodeConfig) -> Vec<KeyChange> {
    use NodeConfig as Node;
    let mut keys = Keys::default();
    match (was, now) {
        (Node::Pile(was), Node::Pile(now)) => {
            match (&was.source, &now.source) {
                (Some(was), Some(now)) => keys.kind("source", was, now),
                (was, now) if was != now => {
                    let kind = |source: &Option<KindConfig>| Some(source.as_ref()?.kind.clone());
                    keys.add("source", kind(was), kind(now));
                }
                _ => {}
            }
            keys.value::<Capacity>("capacity", &was.capacity, &now.capacity);
            keys.value::<Exclusive>("exclusive", &was.exclusive.into(), &now.exclusive.into());
            keys.value::<u32>("max_attempts", &was.max_attempts, &now.max_attempts);
            keys.option::<RetryConfig>("retry", &was.retry, &now.retry);
            keys.option::<RetryConfig>("retry", &was.retry, &now.retry);
            keys.option::<PileStore>("store", &was.store, &now.store);
        }
        (Node::Dump(was), Node::Dump(now)) => {
            keys.value::<Capacity>("capacity", &was.capacity, &now.capacity);
            keys.value::<Exclusive>("exclusive", &was.exclusive, &now.exclusive);
            keys.value::<u32>("max_attempts", &was.max_attempts, &now.max_attempts);
            keys.option::<RetryConfig>("retry", &was.retry, &now.retry);
            keys.option::<RetryConfig>("retry", &was.retry, &now.retry);
            keys.option::<PileStore>("store", &was.store, &now.store);
        }
        (Node::Incinerator(was), Node::Incinerator(now)) => {
            keys.kind("burn", &was.burn, &now.burn);
            keys.value::<Exclusive>("exclusive", &was.exclusive.into(), &now.exclusive.into());
        }
        (Node::Crew(was), Node::Crew(now)) => {
            keys.text("from", &was.from, &now.from);
            keys.text("to", &was.to, &now.to);
            keys.text("gophers", &gophers(&was.gophers), &gophers(&now.gophers));
            keys.value::<CartsConfig>("carts", &was.carts, &now.carts);
            works(&mut keys, &was.work, &now.work);
            steps(&mut keys, &was.steps, &now.steps);
        }
        (Node::Relay(was), Node::Relay(now)) => {
            keys.text("from", &was.from, &now.from);
            keys.text("to", &was.to, &now.to);
            keys.option::<u64>("books", &was.books, &now.books);
        }
        (Node::Balancer(was), Node::Balancer(now)) => {
            keys.value::<BalancerConfig>("", was, now);
            if was.workers.work.kind == now.workers.work.kind {
                keys.kind("workers.work", &was.workers.work, &now.workers.work);
            }
        }
        (Node::Requester(was), Node::Requester(now)) => {
            keys.value::<RequesterConfig>("", was, now);
        }
        (was, now) => keys.add("kind", Some(was.kind().into()), Some(now.kind().into())),
    }
    // A table of which nothing that differs is shown.
    keys.0.retain(|change| !change.key.is_empty());
    keys.0
}

/// Gophers as in a file, equal ones in a row counted.
fn gophers(gophers: &[Vec<String>]) -> String {
    let runs = gophers.chunk_by(|a, b| a == b).map(|run| match run {
        [one] => format!("{:?}", one.join(" ")),
        [first, ..] => format!("\"{} * {}\"", run.len(), first.join(" ")),
        [] => String::new(),
    });
    format!("[{}]", runs.collect::<Vec<_>>().join(", "))
}

fn steps(keys: &mut Keys, was: &StepsConfig, now: &StepsConfig) {
    for (name, was, now) in [
        ("load", &was.load, &now.load),
        ("push", &was.push, &now.push),
        ("unload", &was.unload, &now.unload),
        ("return", &was.return_, &now.return_),
    ] {
        keys.text(&format!("steps.{name}.wait"), &span(&was.wait), &span(&now.wait));
        keys.text(&format!("steps.{name}.cpu"), &span(&was.cpu), &span(&now.cpu));
    }
}

fn span(span: &Span) -> String {
    let time = |time: &Duration| Time(*time).to_string();
    match span {
        Span::Zero => "0s".to_owned(),
        Span::Fixed(fixed) => time(fixed),
        Span::Uniform(least, most) => format!("{} to {}", time(least), time(most)),
        Span::Exponential(mean) => format!("exponential {}", time(mean)),
        Span::LogNormal { mean, cv2 } => format!("lognormal {} cv2 {cv2}", time(mean)),
        Span::Bimodal { short, long, share } => {
            format!("bimodal {} or {share} {}", time(short), time(long))
        }
    }
}

fn works(keys: &mut Keys, was: &[KindConfig], now: &[KindConfig]) {
    let names = |works: &[KindConfig]| {
        let names: Vec<&str> = works.iter().map(|work| work.kind.as_str()).collect();
        Some(names.join(", ")).filter(|names| !names.is_empty())
    };
    match names(was) == names(now) {
        false => keys.add("work", names(was), names(now)),
        true => was.iter().zip(now).for_each(|(was, now)| keys.kind("work", was, now)),
    }
}

/// The keys outside the nodes that differ. Faults and expectations are no part of a run.
pub(super) fn settings(was: &TopologyConfig, now: &TopologyConfig) -> Vec<SettingChange> {
    let mut keys = Keys::default();
    keys.option::<StoreConfig>("store", &was.store, &now.store);
    keys.option::<OperationsConfig>("operations", &was.operations, &now.operations);
    keys.value::<ExecutionConfig>("execution", &was.execution, &now.execution);
    keys.value::<SupervisionConfig>("supervision", &was.supervision, &now.supervision);
    keys.value::<ModelConfig>("model", &was.model, &now.model);
    let how =
        |key: &KeyChange| match key.is_below("execution.drain_deadline") || key.is_below("model") {
            true => How::InPlace,
            false => How::Restart("restart the run to change it".to_owned()),
        };
    keys.0.into_iter().map(|key| SettingChange { how: how(&key), key }).collect()
}
