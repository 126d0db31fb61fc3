//! What a program says in the end: one line of JSON.

use std::process::exit;

use serde_json::{Map, Value, json};

use crate::{Burned, Order, Took, sum_of_ids};

/// The line.
#[derive(Debug)]
#[must_use = "an answer is to be printed"]
pub struct Answer(Map<String, Value>);

impl Answer {
    /// What was ordered, done in this time.
    pub fn new(order: &Order, took: Took) -> Self {
        let mut fields = Map::new();
        fields.insert("peer".into(), order.peer.into());
        fields.insert("row".into(), order.name.as_str().into());
        fields.insert("threads".into(), order.threads.into());
        fields.insert("count".into(), order.count.into());
        fields.insert("seconds".into(), json!(took.wall.as_secs_f64()));
        fields.insert("cpu_seconds".into(), json!(took.cpu.as_secs_f64()));
        fields.insert(
            "per_s".into(),
            json!(order.count as f64 / took.wall.as_secs_f64()),
        );
        Self(fields)
    }

    /// Books that were burned: all that were ordered, each once. Ends the process where that is not so.
    pub fn burned(self, order: &Order, burned: Burned) -> Self {
        let right = Burned {
            count: order.count,
            sum: sum_of_ids(order.count),
        };
        if burned != right {
            eprintln!(
                "{} {}: burned {burned:?}, not {right:?}",
                order.peer, order.name
            );
            exit(1);
        }
        self.with("sum", burned.sum)
    }

    /// Answers of all that were asked, each its number from 1: all of them, each once. Ends the process where that is not so.
    pub fn answered(self, order: &Order, sum: u64) -> Self {
        let right = sum_of_ids(order.count);
        if sum != right {
            eprintln!(
                "{} {}: answers add up to {sum}, not {right}",
                order.peer, order.name
            );
            exit(1);
        }
        self.with("sum", sum)
    }

    /// A field more.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Prints the line.
    pub fn print(self) {
        println!("{}", Value::Object(self.0));
    }
}
