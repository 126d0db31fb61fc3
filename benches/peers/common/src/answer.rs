//! The result of a program: one line of JSON.

use std::process::exit;

use serde_json::{Map, Value, json};

use crate::{Burned, Order, Took, sum_of_ids};

/// The line, as a JSON object.
#[derive(Debug)]
#[must_use = "an answer is to be printed"]
pub struct Answer(Map<String, Value>);

impl Answer {
    /// The result of `order`, done in the time `took`.
    pub fn new(order: &Order, took: Took) -> Self {
        let mut fields = Map::new();
        fields.insert("peer".into(), order.peer.into());
        fields.insert("row".into(), order.name.as_str().into());
        fields.insert("threads".into(), order.threads.into());
        fields.insert("count".into(), order.count.into());
        fields.insert("seconds".into(), json!(took.wall.as_secs_f64()));
        fields.insert("cpu_seconds".into(), json!(took.cpu.as_secs_f64()));
        fields.insert("per_s".into(), json!(order.count as f64 / took.wall.as_secs_f64()));
        Self(fields)
    }

    /// Adds the sum of the burned ids; ends the process unless every ordered book was burned
    /// exactly once.
    pub fn burned(self, order: &Order, burned: Burned) -> Self {
        let right = Burned { count: order.count, sum: sum_of_ids(order.count) };
        if burned != right {
            eprintln!("{} {}: burned {burned:?}, not {right:?}", order.peer, order.name);
            exit(1);
        }
        self.with("sum", burned.sum)
    }

    /// Adds the sum of the answers; each is the number of its request, from 1. Ends the process
    /// unless every request was answered exactly once.
    pub fn answered(self, order: &Order, sum: u64) -> Self {
        let right = sum_of_ids(order.count);
        if sum != right {
            eprintln!("{} {}: answers add up to {sum}, not {right}", order.peer, order.name);
            exit(1);
        }
        self.with("sum", sum)
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Prints the line.
    pub fn print(self) {
        println!("{}", Value::Object(self.0));
    }
}
