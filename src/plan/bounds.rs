//! Checks the declared bounds of all values in a config, and totals over a topology.

use super::{Validator, memory};
use crate::config::Code;
use crate::config::element::{Checks, Group};
use crate::config::elements::{LoadConfig, TopologyConfig};
use crate::config::label::product;
use crate::config::limits::{self, grouped};
use crate::config::units::{Size, parse_size};

/// Reports each value out of its bounds, except in faults and expectations: those do not prevent a
/// plan, with which targets are checked.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    let report = &mut |path: &[&str], message: &str| {
        validator.ensure(matches!(path[0], "faults" | "expect"), Code::OutOfBounds, path, message);
    };
    config.check_keys(&mut Checks::new(report));
    for (name, crew) in &config.crews {
        let carts = crew.carts.count;
        if carts > limits::MOST_CARTS {
            let message = format!(
                "{} carts need {}: a crew has at most {}",
                grouped(carts.into()),
                memory::amount(u64::from(carts) * memory::CART),
                grouped(limits::MOST_CARTS.into())
            );
            validator.ensure(
                false,
                Code::OutOfBounds,
                &["crews", name, "carts", "count"],
                &message,
            );
        }
        let most = limits::MOST_GOPHERS;
        if crew.gophers.len() > most {
            let message = format!("a crew has at most {} gophers", grouped(most as u64));
            validator.ensure(false, Code::OutOfBounds, &["crews", name, "gophers"], &message);
        }
    }
}

/// Estimated bytes of books queued on piles with a `generate` source. The book sizes of other
/// sources are unknown.
fn generated(config: &TopologyConfig) -> u64 {
    let piles = config.piles.iter().filter_map(|(name, pile)| {
        let source = pile.source.as_ref().filter(|source| source.kind == "generate")?;
        let option = |key: &str| source.options.get(key);
        let books = option("books").and_then(|books| u64::try_from(books.as_integer()?).ok());
        let size = match option("size") {
            Some(toml::Value::String(text)) => parse_size(text).ok()?,
            Some(size) => u64::try_from(size.as_integer()?).ok()?,
            None => 64,
        };
        let distinct = option("distinct").and_then(toml::Value::as_bool) == Some(true);
        let room = super::unfold::copies_of(config, name)
            .saturating_mul(pile.capacity.books.unwrap_or(u64::MAX));
        let waiting = books.unwrap_or(1000).min(room);
        let bodies = if distinct {
            let most = pile.capacity.bytes.unwrap_or(u64::MAX);
            waiting.saturating_mul(size).min(most)
        } else {
            size
        };
        Some(waiting.saturating_mul(memory::BOOK).saturating_add(bodies))
    });
    piles.fold(0, u64::saturating_add)
}

/// Checks totals over all copies, and warns if the topology needs more memory than this machine
/// has. False if a total is too large.
pub(super) fn sums(validator: &mut Validator<'_>, config: &TopologyConfig) -> bool {
    let copies = |name: &str| super::unfold::copies_of(config, name);
    let mut whole = true;
    let mut most = |validator: &mut Validator<'_>, path: &str, said: u64, most: u64, what: &str| {
        if said > most {
            let message = format!("{} {what} in all: at most {}", grouped(said), grouped(most));
            validator.ensure(false, Code::OutOfBounds, &[path], &message);
            whole = false;
        }
    };
    let mut carts = 0u64;
    for (name, crew) in &config.crews {
        let own = copies(name).saturating_mul(product(&crew.copies));
        carts = carts.saturating_add(own.saturating_mul(crew.carts.count.into()));
    }
    most(validator, "crews", carts, limits::MOST_CARTS_IN_ALL, "carts");
    let (mut workers, mut places) = (0u64, 0u64);
    for (name, balancer) in &config.balancers {
        let own = u64::from(balancer.workers.count);
        workers = workers.saturating_add(copies(name).saturating_mul(own));
        let own = own.saturating_mul(balancer.workers.concurrency.into());
        places = places.saturating_add(copies(name).saturating_mul(own));
    }
    let what = "requests at a time";
    most(validator, "balancers", places, limits::MOST_PLACES_IN_ALL, what);
    let (mut clients, mut waiting) = (0u64, 0u64);
    // Bytes of each requester that serves HTTP, and what they are for.
    let mut connections: Vec<(u64, String)> = Vec::new();
    for (name, requester) in &config.requesters {
        match requester.load {
            LoadConfig::Closed { count, .. } => {
                clients = clients.saturating_add(copies(name).saturating_mul(count.into()));
            }
            LoadConfig::Batch { requests } => {
                let asked = config.balancers.get(&requester.to);
                let queue = asked.and_then(|balancer| balancer.queue);
                let most = requests.min(queue.map_or(u64::MAX, u64::from));
                waiting = waiting.saturating_add(copies(name).saturating_mul(most));
            }
            // A body that is too large is a mistake of its own.
            LoadConfig::Http(ref http) if http.body <= limits::LARGEST_BODY => {
                let all = copies(name).saturating_mul(http.connections.into());
                let bytes = all.saturating_mul(http.body.saturating_add(memory::CONNECTION));
                let (count, body, need) = (grouped(all), Size(http.body), memory::amount(bytes));
                connections.push((bytes, format!("{count} connections of {body} need {need}")));
            }
            LoadConfig::Open { .. } | LoadConfig::Http(_) => {}
        }
    }
    let what = "clients of closed loads";
    most(validator, "requesters", clients, limits::MOST_CLIENTS.into(), what);
    let actors = super::unfold::actors(config);
    let books = generated(config);
    let served = connections.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(*bytes));
    let need = memory::Need { carts, actors, places, clients, waiting, books, connections: served };
    if whole
        && let Some(machine) = memory::machine()
        && need.bytes() > machine
    {
        let message = format!(
            "this topology needs about {} of memory; this machine has {}",
            memory::amount(need.bytes()),
            memory::amount(machine)
        );
        let mut warning = validator.warning(Code::Memory, &[need.largest()], message);
        // Connections count as far as they may: the other parts are needed in any case.
        if let Some((_, why)) = connections.into_iter().max().filter(|_| served > need.bytes() / 2)
        {
            warning = warning.help(format!("{why}: lower `connections` or `body`"));
        }
        validator.report(warning);
    }
    whole
}
