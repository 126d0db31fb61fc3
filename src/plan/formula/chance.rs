//! Exact throughput of designs with random step times, if a formula is known.

use super::limits::{Family, Limit};
use super::network::{CrewClass, Network};
use super::queues::{self, Station};

/// Exact rates of the crews with random step times, as limits; empty if there are none.
///
/// # Errors
/// Why no exact formula applies, as a message.
pub(super) fn known(net: &Network) -> Result<Vec<Limit>, String> {
    let drawing = |crew: &CrewClass| crew.random.contains(&true);
    let mut limits = Vec::new();
    if !net.crews.iter().any(drawing) {
        return Ok(limits);
    }
    let (above, below) = timed_around(net);
    for (at, crew) in net.crews.iter().enumerate() {
        if !drawing(crew) {
            continue;
        }
        let name = &crew.name;
        if crew.cores.iter().any(|time| *time > 0.0) && busy_cores(net) > net.cores {
            return Err(format!("crew `{name}` has random step times, and shares the cores"));
        }
        if let Some(node) = crowded(net, crew) {
            return Err(format!("crew `{name}` has random step times, and queues at `{node}`"));
        }
        let rate = if !above[crew.from] && !below[crew.to] {
            alone(crew)?
        } else {
            beside_dump(net, at, &above, &below).ok_or_else(|| {
                format!("crew `{name}` has random step times, and shares a dump with other crews")
            })?
        };
        limits.push(Limit {
            family: Family::Known,
            loads: vec![(at, 1.0)],
            cap: crew.count * rate,
            each: rate,
        });
    }
    Ok(limits)
}

/// For each node, whether any step upstream of it takes time, and whether any step downstream does.
fn timed_around(net: &Network) -> (Vec<bool>, Vec<bool>) {
    let mut above = vec![false; net.nodes.len()];
    let mut below = above.clone();
    let out = net.out_of();
    for node in 0..net.nodes.len() {
        for crew in out[node].iter().map(|crew| &net.crews[*crew]) {
            above[crew.to] |= above[node] || crew.trip() > 0.0;
        }
    }
    for node in (0..net.nodes.len()).rev() {
        for crew in out[node].iter().map(|crew| &net.crews[*crew]) {
            below[node] |= below[crew.to] || crew.trip() > 0.0;
        }
    }
    (above, below)
}

/// Maximum number of gophers of a crew that can do one of `steps` at once.
fn at_once(crew: &CrewClass, steps: usize) -> f64 {
    crew.doing(steps).min(f64::from(crew.carts))
}

/// Maximum number of cores that gophers can occupy at once.
fn busy_cores(net: &Network) -> f64 {
    let wanted = net.crews.iter().map(|crew| {
        let steps = (0..4).filter(|step| crew.cores[*step] > 0.0).map(|step| 1 << step).sum();
        crew.count * at_once(crew, steps)
    });
    wanted.sum()
}

/// Name of an end of the crew where it may have to wait for a slot or for space.
fn crowded<'a>(net: &'a Network, crew: &CrewClass) -> Option<&'a str> {
    let users = |node: usize, step: usize, books: bool| -> f64 {
        (net.crews.iter())
            .filter(|other| {
                (if step == 0 { other.from } else { other.to }) == node && other.times[step] > 0.0
            })
            .map(|other| {
                let each = if books { other.books } else { 1.0 };
                other.count * at_once(other, 1 << step) * each
            })
            .sum()
    };
    for (node, step) in [(crew.from, 0), (crew.to, 2)] {
        let end = &net.nodes[node];
        let slots =
            end.slots[step / 2].is_some_and(|slots| users(node, step, false) > slots * end.count);
        let room =
            step == 2 && end.books.is_some_and(|room| users(node, 2, true) > room * end.count);
        if crew.times[step] > 0.0 && (slots || room) {
            return Some(&end.name);
        }
    }
    None
}

/// Rate of a crew that always finds books and space.
fn alone(crew: &CrewClass) -> Result<f64, String> {
    let timed = crew.timed();
    let all = f64::from(crew.gophers[timed]);
    let carts = f64::from(crew.carts);
    // A gopher that does every step works whenever it has a cart, and a single cart never waits for
    // a gopher. Both hold for any distribution.
    if crew.carts == 1 || crew.doing(timed) == all {
        return Ok(all.max(1.0).min(carts) / crew.trip());
    }
    let name = &crew.name;
    let own = (0..16usize).all(|duties| duties.count_ones() <= 1 || crew.gophers[duties] == 0);
    if !own {
        return Err(format!("crew `{name}` has random step times, and its gophers share steps"));
    }
    let mut stations = Vec::new();
    for step in (0..4).filter(|step| crew.times[*step] > 0.0) {
        if !crew.exponential[step] {
            return Err(format!(
                "crew `{name}` has random step times that are not all exponential"
            ));
        }
        stations.push(Station { mean: crew.times[step], servers: crew.gophers[1 << step] });
    }
    queues::round(&stations, crew.carts).ok_or_else(|| {
        format!("crew `{name}` has too many gophers and carts for the exact formula")
    })
}

/// Rate of the two crews around a dump, one of them at index `at`, if each has one cart and only an
/// exponential push takes time.
fn beside_dump(net: &Network, at: usize, above: &[bool], below: &[bool]) -> Option<f64> {
    let only =
        |found: &mut dyn Iterator<Item = usize>| found.next().filter(|_| found.next().is_none());
    let crew = &net.crews[at];
    let dump = if above[crew.from] { crew.from } else { crew.to };
    let crews = || 0..net.crews.len();
    let near = only(&mut crews().filter(|crew| net.crews[*crew].to == dump))?;
    let far = only(&mut crews().filter(|crew| net.crews[*crew].from == dump))?;
    let (near, far, dump) = (&net.crews[near], &net.crews[far], &net.nodes[dump]);
    let simple = |crew: &CrewClass| {
        crew.count == dump.count
            && crew.carts == 1
            && crew.timed() == 0b0010
            && crew.exponential[1]
            && crew.undone.is_none()
    };
    let fits = simple(near)
        && simple(far)
        && near.books == far.books
        && !dump.bytes
        && !above[near.from]
        && !below[far.to];
    if !fits {
        return None;
    }
    let room = dump.books.map(|books| (books / near.books).floor());
    if room.is_some_and(|room| room < 1.0) {
        return None;
    }
    Some(queues::around_dump(near.times[1], far.times[1], room))
}
