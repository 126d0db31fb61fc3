//! Predicts the performance of a design without running it: one gopher's round trip, the speed-up,
//! the latency and the bottleneck.
//!
//! With fixed step times the throughput is the optimum of a linear program: books flow from piles
//! to incinerators, and gophers, carts, slots, space in dumps and cores limit the rates of the
//! crews. With random step times a throughput is given only if an exact formula is known.
//!
//! The model ignores the time of a crew's work beyond its steps, limits in bytes on carts and
//! dumps, and failures.

use std::time::Duration;

use super::{Plan, Target};
use limits::{Flow, Program};
use network::Network;

mod chance;
mod limits;
mod network;
mod path;
mod queues;
mod simplex;
#[cfg(test)]
mod tests;
mod wide;
mod words;

/// The predicted performance of a design.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Round trip of one gopher without dumps: the load of the first crew, all pushes, the unload
    /// of the last crew and all returns. `[model] t1` overrides it.
    pub t1: Option<Duration>,
    /// Throughput relative to one gopher: `cartloads_per_s` times `t1`.
    pub speed_up: Option<f64>,
    /// Throughput while books last, in cartloads of the first crews per second.
    pub cartloads_per_s: Option<f64>,
    /// Time from the start until the first cartload is burned, without any waiting: loads, pushes
    /// and unloads of the shortest path.
    pub latency: Option<Duration>,
    /// What limits the throughput by mean step times, as text. Either more of any one part raises
    /// it, or only more of all parts together does.
    pub bottleneck: Option<String>,
    /// Why some of the values above are `None`, as messages.
    pub unsaid: Vec<String>,
    /// One for each pile that receives books from outside.
    entries: Vec<EntryPrediction>,
    /// `t1` in seconds, without rounding to nanoseconds.
    trip: Option<f64>,
}

/// Prediction for a pile that receives books from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
struct EntryPrediction {
    /// Index into [`Plan::piles`].
    pile: usize,
    /// Mean number of books in a cart of the first crews.
    cart: f64,
    /// Cartloads per second.
    rate: f64,
    /// Longest path of a cartload to an incinerator without waiting, in seconds.
    latency: f64,
}

impl Plan {
    /// Predicts the performance with all step times and `[model] t1` multiplied by `time_scale`. A
    /// scale that is negative or not finite counts as 0: no step takes time.
    pub fn predict(&self, time_scale: f64) -> Prediction {
        self.predicted(time_scale, true)
    }

    /// Number of cartloads if the sources deal `books` books: the sum over piles of
    /// `ceil(share / books in a cart)`. `None` if the first crews of a pile have
    /// carts of different sizes, or a pile has no crew.
    pub fn cartloads(&self, books: u64) -> Option<u64> {
        let carts = first_carts(self);
        let dealt = network::deal(self, books);
        dealt.into_iter().try_fold(0u64, |sum, (pile, share)| {
            let cart = carts[pile]?;
            sum.checked_add(share.div_ceil(cart))
        })
    }

    /// With `fold`, equal copies are computed as one class.
    fn predicted(&self, time_scale: f64, fold: bool) -> Prediction {
        let scale = if time_scale.is_finite() { time_scale.max(0.0) } else { 0.0 };
        let net = Network::new(self, scale, fold);
        let paths = path::paths(&net);
        let mut unsaid = Vec::new();
        let seconds = |units: f64| units * net.unit;
        let trip = match self.t1 {
            Some(t1) => Some(t1.as_secs_f64() * scale),
            None => paths.t1.map(seconds),
        };
        if trip.is_none() && paths.latency.is_some() {
            unsaid.push(
                "no speed-up: paths from piles to incinerators differ, so one gopher's round trip \
                 is not defined; set [model] t1"
                    .into(),
            );
        }
        let trip = trip.filter(|trip| trip.is_finite() && *trip > 0.0);
        let mut prediction = Prediction {
            t1: trip.and_then(|trip| Duration::try_from_secs_f64(trip).ok()),
            speed_up: None,
            cartloads_per_s: None,
            latency: (paths.latency.map(seconds))
                .and_then(|time| Duration::try_from_secs_f64(time).ok()),
            bottleneck: None,
            unsaid,
            entries: Vec::new(),
            trip,
        };
        if net.unit == 0.0 {
            prediction.unsaid = vec!["no speed-up: no step takes time".into()];
            return prediction;
        }
        if trip.is_none() && prediction.unsaid.is_empty() {
            prediction.unsaid.push(
                "no speed-up: one gopher's round trip takes no time without dumps; set [model] t1"
                    .into(),
            );
        } else if trip.is_some() && prediction.t1.is_none() {
            prediction
                .unsaid
                .push("no t1: one gopher's round trip is longer than a duration can be".into());
        }
        prediction.flow(self, &net, &paths);
        prediction
    }
}

impl Prediction {
    /// Predicted seconds until the last of `books` books is burned: the maximum, over the piles
    /// that receive books, of the latency of the first cartload plus `1 / rate` per further one.
    /// `None` if no throughput is known, or if `plan` is not the predicted one.
    pub fn makespan_s(&self, plan: &Plan, books: u64) -> Option<f64> {
        let dealt = network::deal(plan, books);
        if self.entries.is_empty() || dealt.len() != self.entries.len() {
            return None;
        }
        let mut longest = 0.0f64;
        for (entry, (pile, share)) in self.entries.iter().zip(dealt) {
            if entry.pile != pile {
                return None;
            }
            // The mean cart size is a quotient: do not count a rounding error as one more cartload.
            let cartloads = (share as f64 / entry.cart * (1.0 - 1e-12)).ceil();
            if cartloads > 0.0 {
                longest = longest.max(entry.latency + (cartloads - 1.0) / entry.rate);
            }
        }
        longest.is_finite().then_some(longest)
    }

    /// Measured speed-up of a run that burned `books` books in `makespan_s` seconds:
    /// `cartloads * t1 / makespan_s`. `None` if `t1` or the number of cartloads is
    /// unknown, or if `makespan_s` is not positive.
    pub fn measured(&self, plan: &Plan, books: u64, makespan_s: f64) -> Option<f64> {
        let speed_up = plan.cartloads(books)? as f64 * self.trip? / makespan_s;
        (makespan_s > 0.0 && speed_up.is_finite()).then_some(speed_up)
    }

    /// Sets the throughput, the bottleneck and the reasons for missing values.
    fn flow(&mut self, plan: &Plan, net: &Network, paths: &path::Paths) {
        let Some(mut program) = Program::new(net, limits::limits(net)) else {
            self.unsaid.push("no throughput: the design forks too often to be computed".into());
            return;
        };
        let (books, rates) = match program.solve(|limit| limit.cap) {
            Flow::Steady { books, rates } if books > 0.0 => (books, rates),
            Flow::Steady { .. } => {
                self.unsaid.push(format!("no throughput: {}", stuck(net)));
                return;
            }
            Flow::Endless => {
                self.unsaid.push("no throughput: no step that limits it takes time".into());
                return;
            }
            Flow::Unknown => {
                self.unsaid
                    .push("no throughput: the numbers of this design are too far apart".into());
                return;
            }
        };
        self.bottleneck = words::bottleneck(&program.bottleneck(books, &rates));
        let entries = entries(plan, net, paths, &program.cartloads_a_book(&rates), books);
        let by_means = total(&entries);
        let exact = part_full(net).map_or_else(|| chance::known(net), Err);
        let known = match exact {
            Ok(known) => known,
            Err(why) => {
                let most = match (by_means, self.trip) {
                    (Some(rate), Some(trip)) => {
                        format!("; the speed-up is at most {:.3} by mean times", rate * trip)
                    }
                    (Some(rate), None) => {
                        format!("; at most {rate:.3} cartloads a second by mean times")
                    }
                    _ => String::new(),
                };
                self.unsaid.push(format!("no exact throughput: {why}{most}"));
                return;
            }
        };
        let mut entries = entries;
        if !known.is_empty() {
            program.limits.extend(known);
            let Flow::Steady { books: exactly, .. } = program.solve(|limit| limit.cap) else {
                self.unsaid
                    .push("no throughput: the numbers of this design are too far apart".into());
                return;
            };
            for entry in &mut entries {
                entry.rate *= exactly / books;
            }
        }
        let Some(rate) = total(&entries) else {
            self.unsaid.push("no throughput: the numbers of this design are too far apart".into());
            return;
        };
        self.cartloads_per_s = Some(rate);
        self.speed_up = self.trip.map(|trip| rate * trip).filter(|speed_up| speed_up.is_finite());
        self.entries = entries;
    }
}

/// Cartloads per second of all piles together; `None` unless positive and finite.
fn total(entries: &[EntryPrediction]) -> Option<f64> {
    let rate: f64 = entries.iter().map(|entry| entry.rate).sum();
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

fn entries(
    plan: &Plan,
    net: &Network,
    paths: &path::Paths,
    cartloads: &[Option<f64>],
    books: f64,
) -> Vec<EntryPrediction> {
    (network::shares(plan).into_iter())
        .map(|(pile, share)| {
            let class = net.class_of_pile[pile];
            // Without flow no cart is filled, so any size will do.
            let each = cartloads[class].unwrap_or(1.0);
            EntryPrediction {
                pile,
                cart: 1.0 / each,
                rate: share * books * each / net.unit,
                latency: paths.latest[class] * net.unit,
            }
        })
        .collect()
}

/// Reason for a throughput of 0.
fn stuck(net: &Network) -> String {
    for crew in &net.crews {
        if let Some(step) = crew.undone {
            return format!("no gopher of the crew `{}` does the step `{step}`", crew.name);
        }
        if crew.carts == 0 {
            return format!("the crew `{}` has no carts", crew.name);
        }
    }
    "no books reach an incinerator".into()
}

/// Finds a dump that cannot hold a cartload of each side while cart sizes differ: carts then leave
/// it partly full, with unknown frequency.
fn part_full(net: &Network) -> Option<String> {
    let at = net.nodes.iter().enumerate().position(|(at, node)| {
        let crews = net.crews.iter();
        node.books.is_some_and(|room| {
            let into = crews.clone().filter(|crew| crew.to == at);
            // A partly full relay costs no more than a full one.
            let out = crews.filter(|crew| crew.from == at && crew.trip() > 0.0);
            let most = |books: f64, crew: &network::CrewClass| books.max(crew.books);
            let (least, into) = into.fold((f64::INFINITY, 0.0), |(least, all), crew| {
                (crew.books.min(least), most(all, crew))
            });
            let (least, out) = out
                .fold((least, 0.0), |(least, all), crew| (crew.books.min(least), most(all, crew)));
            into > 0.0 && out > 0.0 && least < into.max(out) && into + out > room
        })
    })?;
    let name = &net.nodes[at].name;
    Some(format!(
        "`{name}` holds less than a cartload of each side, so carts leave it partly filled; \
         increase its capacity"
    ))
}

/// Books in a cart of each pile's first crews, if equal. A relay passes books on, so the crews
/// after it count.
fn first_carts(plan: &Plan) -> Vec<Option<u64>> {
    let mut out = vec![Vec::new(); plan.piles.len()];
    for crew in &plan.crews {
        out[crew.from].push(crew);
    }
    let mut carts: Vec<Option<u64>> = vec![None; plan.piles.len()];
    for pile in (0..plan.piles.len()).rev() {
        let mut each = out[pile].iter().map(|crew| match crew.to {
            Target::Dump(to) if crew.relay && !out[to].is_empty() => carts[to],
            _ => Some(crew.cart_books.max(1) as u64),
        });
        let first = each.next().flatten();
        let alike = each.all(|cart| cart == first);
        carts[pile] = first.filter(|_| alike);
    }
    carts
}
