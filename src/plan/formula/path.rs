//! Follows the paths from piles to incinerators: one gopher's round trip, and the latency of a
//! cartload.

use super::network::Network;

/// Smaller relative differences are ignored as rounding errors.
const SAME: f64 = 1e-9;

/// Summary of all paths from a node to the incinerators, in units of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PathSummary {
    /// Number of crews on a path.
    hops: u32,
    /// Round trip: the first crew's load, all pushes, the last crew's unload and all returns. 0 at
    /// an incinerator.
    trip: f64,
    /// The round trip without the first crew's load.
    rest: f64,
    /// Sum of loads, pushes and unloads: the least and the greatest over all paths.
    soonest: f64,
    latest: f64,
    /// True if all paths agree in `trip` and in the number of crews; likewise for `rest`.
    trip_alike: bool,
    rest_alike: bool,
}

/// Path times of a design, in units of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paths {
    /// Round trip of one gopher without dumps; `None` if paths differ or there are none.
    pub t1: Option<f64>,
    /// Shortest time until a cartload is burned; `None` if no path leads to an incinerator.
    pub latency: Option<f64>,
    /// Longest time until a cartload is burned, from each class of nodes.
    pub latest: Vec<f64>,
}

/// Follows all paths from nodes that receive books from outside.
pub(super) fn paths(net: &Network) -> Paths {
    let out = net.out_of();
    let mut ways: Vec<Option<PathSummary>> = vec![None; net.nodes.len()];
    for node in (0..net.nodes.len()).rev() {
        if net.nodes[node].fire {
            ways[node] = Some(PathSummary {
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
                // Only the last crew's unload is part of a single gopher's trip: dumps add the
                // others.
                let rest = push + back + if next.hops == 0 { unload } else { next.rest };
                PathSummary {
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
        latest: ways.iter().map(|way| way.map_or(0.0, |way| way.latest)).collect(),
    }
}

fn merged(known: Option<PathSummary>, way: PathSummary) -> PathSummary {
    let Some(known) = known else { return way };
    let same = |a: f64, b: f64| (a - b).abs() <= SAME * a.max(b);
    let hops = known.hops == way.hops;
    PathSummary {
        soonest: known.soonest.min(way.soonest),
        latest: known.latest.max(way.latest),
        trip_alike: known.trip_alike && way.trip_alike && hops && same(known.trip, way.trip),
        rest_alike: known.rest_alike && way.rest_alike && hops && same(known.rest, way.rest),
        ..way
    }
}
