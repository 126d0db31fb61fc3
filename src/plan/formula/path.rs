//! One gopher's round trip along the paths from piles to fires, and how long the first cartload takes.

use super::network::Network;

/// Relative differences below this are none.
const SAME: f64 = 1e-9;

/// What all ways from a node to the fires come to, in units of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    /// Crews on it.
    hops: u32,
    /// Of the first crew's load, all pushes, the last crew's unload and all returns; without a first crew, nothing.
    trip: f64,
    /// The same without the first crew's load.
    rest: f64,
    /// Loads, pushes and unloads.
    soonest: f64,
    latest: f64,
    /// True if all ways have the same `trip` and as many crews; and the same `rest`.
    trip_alike: bool,
    rest_alike: bool,
}

/// What paths say of a design.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paths {
    /// One round trip of one gopher without dumps; `None` where paths differ.
    pub t1: Option<f64>,
    /// The soonest that a cartload burns.
    pub latency: Option<f64>,
    /// The longest way of a cartload from each class of piles.
    pub latest: Vec<f64>,
}

/// Follows all paths from nodes that books come to.
pub(super) fn paths(net: &Network) -> Paths {
    let out = net.out_of();
    let mut ways: Vec<Option<Way>> = vec![None; net.nodes.len()];
    for node in (0..net.nodes.len()).rev() {
        if net.nodes[node].fire {
            ways[node] = Some(Way {
                hops: 0,
                trip: 0.0,
                rest: 0.0,
                soonest: 0.0,
                latest: 0.0,
                trip_alike: true,
                rest_alike: true,
            });
        }
    }
    for node in (0..net.nodes.len()).rev() {
        for crew in &out[node] {
            let crew = &net.crews[*crew];
            let Some(next) = ways[crew.to] else { continue };
            let way = if crew.relay {
                next
            } else {
                let [load, push, unload, back] = crew.times;
                // The last crew hands the books to the fire; at dumps they are handled more than one gopher would.
                let rest = push + back + if next.hops == 0 { unload } else { next.rest };
                Way {
                    hops: next.hops + 1,
                    trip: load + rest,
                    rest,
                    soonest: load + push + unload + next.soonest,
                    latest: load + push + unload + next.latest,
                    trip_alike: next.rest_alike,
                    rest_alike: next.rest_alike,
                }
            };
            ways[node] = Some(merged(ways[node], way));
        }
    }
    let used = (net.nodes.iter().zip(&ways)).filter(|(node, _)| !node.fire && node.share > 0.0);
    let all = used.fold(None, |all, (_, way)| match way {
        Some(way) => Some(merged(all, *way)),
        None => all,
    });
    Paths {
        t1: all.filter(|way| way.trip_alike).map(|way| way.trip),
        latency: all.map(|way| way.soonest),
        latest: ways
            .iter()
            .map(|way| way.map_or(0.0, |way| way.latest))
            .collect(),
    }
}

fn merged(known: Option<Way>, way: Way) -> Way {
    let Some(known) = known else { return way };
    let same = |a: f64, b: f64| (a - b).abs() <= SAME * a.max(b);
    let hops = known.hops == way.hops;
    Way {
        soonest: known.soonest.min(way.soonest),
        latest: known.latest.max(way.latest),
        trip_alike: known.trip_alike && way.trip_alike && hops && same(known.trip, way.trip),
        rest_alike: known.rest_alike && way.rest_alike && hops && same(known.rest, way.rest),
        ..way
    }
}
