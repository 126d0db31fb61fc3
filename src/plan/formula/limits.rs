//! Limits on the flow of books, as a linear program over the crews' rates, and its bottlenecks.

use std::collections::{BTreeMap, BTreeSet};

use super::network::Network;
use super::simplex::{self, Constraint, SimplexOutcome};
use super::wide::Wide;

/// Maximum number of multiplications for one solution; designs with more forks are not computed.
const LARGEST: usize = 30_000_000;

/// Smaller relative differences are ignored as rounding errors.
const SAME: f64 = 1e-7;

/// Relative change of a limit to test whether the flow follows.
const NUDGE: f64 = 0.01;

/// Maximum number of multiplications to find the bottleneck; then all tight limits are reported.
const PATIENCE: usize = 10_000_000;

/// What a limit is about. Copies have a common family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// The gophers of a crew that do any of these steps (a bit set).
    Steps(String, usize),
    /// A crew's carts.
    Carts(String),
    /// Slots of a node; true for unloading, false for loading.
    Slots(String, bool),
    /// Capacity of a dump.
    Room(String),
    Cores,
    /// A rate that is known from elsewhere.
    Known,
}

/// `sum load * rate <= cap`, where a rate is that of a whole class of crews in cartloads per unit
/// of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limit {
    pub family: Family,
    pub loads: Vec<(usize, f64)>,
    pub cap: f64,
    /// Amount in each copy, for messages: gophers, carts, slots, books or cores.
    pub each: f64,
}

/// Result of [`Program::solve`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Flow {
    /// Total books per unit of time, and the rate of each class of crews.
    Steady { books: f64, rates: Vec<f64> },
    /// No limit applies, because no step takes time.
    Endless,
    /// The solver has no certified answer.
    Unknown,
}

/// All limits of the design.
///
/// Gophers that share steps can achieve a rate if and only if each set of steps has enough gophers
/// for it (Hall 1935). A cart is always in some step. A slot is held for the duration of its step.
/// Space in a dump is held from before the unload until the books are leased to be loaded again, so
/// at least for the unload.
pub(super) fn limits(net: &Network) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (at, crew) in net.crews.iter().enumerate() {
        let timed = crew.timed();
        for steps in (1..16usize).filter(|steps| steps & !timed == 0) {
            let time: f64 =
                (0..4).filter(|step| steps & (1 << step) != 0).map(|step| crew.times[step]).sum();
            limits.push(Limit {
                family: Family::Steps(crew.name.clone(), steps),
                loads: vec![(at, time)],
                cap: crew.count * crew.doing(steps),
                each: crew.doing(steps),
            });
        }
        if timed != 0 {
            limits.push(Limit {
                family: Family::Carts(crew.name.clone()),
                loads: vec![(at, crew.trip())],
                cap: crew.count * f64::from(crew.carts),
                each: f64::from(crew.carts),
            });
        }
        if crew.carts == 0 || crew.undone.is_some() {
            limits.push(Limit {
                family: Family::Known,
                loads: vec![(at, 1.0)],
                cap: 0.0,
                each: 0.0,
            });
        }
    }
    limits.extend(ends(net));
    let cores: Vec<(usize, f64)> = (net.crews.iter().enumerate())
        .map(|(at, crew)| (at, crew.cores.iter().sum()))
        .filter(|(_, time)| *time > 0.0)
        .collect();
    if !cores.is_empty() {
        limits.push(Limit { family: Family::Cores, loads: cores, cap: net.cores, each: net.cores });
    }
    limits
}

/// Limits by the slots and the capacities of nodes.
fn ends(net: &Network) -> Vec<Limit> {
    let mut loading = vec![Vec::new(); net.nodes.len()];
    let mut unloading = vec![Vec::new(); net.nodes.len()];
    for (at, crew) in net.crews.iter().enumerate() {
        loading[crew.from].push(at);
        unloading[crew.to].push(at);
    }
    let mut limits = Vec::new();
    for (at, node) in net.nodes.iter().enumerate() {
        let used = |crews: &[usize], step: usize| -> Vec<(usize, f64)> {
            (crews.iter().map(|crew| (*crew, net.crews[*crew].times[step])))
                .filter(|(_, time)| *time > 0.0)
                .collect()
        };
        for (crews, step, slots) in
            [(&loading[at], 0, node.slots[0]), (&unloading[at], 2, node.slots[1])]
        {
            let loads = used(crews, step);
            if let Some(slots) = slots
                && !loads.is_empty()
            {
                limits.push(Limit {
                    family: Family::Slots(node.name.clone(), step == 2),
                    loads,
                    cap: node.count * slots,
                    each: slots,
                });
            }
        }
        let Some(books) = node.books else { continue };
        let mut loads = used(&unloading[at], 2);
        for (crew, load) in &mut loads {
            *load *= net.crews[*crew].books;
        }
        if !loads.is_empty() {
            let carts = unloading[at].iter().map(|crew| net.crews[*crew].books);
            let (least, most) = carts.fold((f64::INFINITY, 0.0f64), |(least, most), books| {
                (least.min(books), most.max(books))
            });
            // Carts arrive full, so space for less than a cartload stays unused.
            let books = if least == most { (books / most).floor() * most } else { books };
            limits.push(Limit {
                family: Family::Room(node.name.clone()),
                loads,
                cap: node.count * books,
                each: node.books.unwrap_or(books),
            });
        }
    }
    limits
}

/// The linear program of a design. The flow of all books and its splits at forks determine all
/// rates.
pub(super) struct Program<'a> {
    net: &'a Network,
    pub limits: Vec<Limit>,
    variables: usize,
    /// Books per unit of time of each class of crews, as coefficients of the variables. Variable 0
    /// is the flow of all books. Counting books rather than cartloads keeps split coefficients
    /// whole, so that they cancel without rounding error.
    flows: Vec<Vec<f64>>,
    /// Linear combinations of the variables that must not be negative.
    kept: Vec<Vec<f64>>,
}

impl<'a> Program<'a> {
    /// `None` if the program would be too large.
    pub fn new(net: &'a Network, limits: Vec<Limit>) -> Option<Self> {
        let out = net.out_of();
        let forks: usize = out.iter().map(|crews| crews.len().saturating_sub(1)).sum();
        let variables = 1 + forks;
        let rows = net.crews.len() + net.nodes.len() + 1;
        if variables > 1 && rows.saturating_mul(variables.saturating_pow(2)) > LARGEST {
            return None;
        }
        let mut flows = vec![vec![0.0; variables]; net.crews.len()];
        let mut kept = Vec::new();
        let mut inflow = vec![vec![0.0; variables]; net.nodes.len()];
        let mut next = 1;
        for (node, crews) in out.iter().enumerate() {
            let mut left = std::mem::take(&mut inflow[node]);
            left[0] += net.nodes[node].share;
            let Some((last, others)) = crews.split_last() else {
                if !net.nodes[node].fire {
                    // Books that arrive here are never taken, so the flow into it must be 0.
                    kept.push(left.iter().map(|a| -a).collect());
                }
                continue;
            };
            for crew in others {
                flows[*crew][next] = 1.0;
                left[next] -= 1.0;
                next += 1;
            }
            flows[*last].clone_from(&left);
            if !others.is_empty() {
                kept.push(left);
            }
            for crew in crews {
                let Some(to) = inflow.get_mut(net.crews[*crew].to) else {
                    continue;
                };
                // Nodes come in topological order, so `to` has not been processed yet.
                for (to, flow) in to.iter_mut().zip(&flows[*crew]) {
                    *to += flow;
                }
            }
        }
        Some(Self { net, limits, variables, flows, kept })
    }

    /// Maximises the books per unit of time, with `cap` giving the cap of each limit.
    pub fn solve(&self, cap: impl Fn(&Limit) -> f64) -> Flow {
        // Limits on a single class of crews reduce to the tightest one.
        let mut alone: BTreeMap<usize, f64> = BTreeMap::new();
        let mut rows: Vec<Constraint> = Vec::new();
        for limit in &self.limits {
            match limit.loads[..] {
                [(crew, load)] => {
                    let most = cap(limit) / load * self.net.crews[crew].books;
                    let known = alone.entry(crew).or_insert(f64::INFINITY);
                    *known = known.min(most);
                }
                _ => rows.push(Constraint {
                    coefficients: self.combined(&limit.loads),
                    bound: cap(limit),
                }),
            }
        }
        rows.extend(alone.iter().filter(|(_, most)| most.is_finite()).map(|(crew, most)| {
            Constraint { coefficients: wide(&self.flows[*crew]), bound: *most }
        }));
        rows.extend(self.kept.iter().map(|kept| Constraint {
            coefficients: wide(kept).into_iter().map(|a| -a).collect(),
            bound: 0.0,
        }));
        match simplex::maximise(self.variables, &rows) {
            SimplexOutcome::Unbounded => Flow::Endless,
            SimplexOutcome::Lost => Flow::Unknown,
            SimplexOutcome::Best(x) => Flow::Steady {
                books: x[0].near(),
                rates: (self.flows.iter().zip(&self.net.crews))
                    .map(|(flow, crew)| {
                        let books: Wide = wide(flow).into_iter().zip(&x).map(|(a, x)| a * *x).sum();
                        books.at_least_zero().near() / crew.books
                    })
                    .collect(),
            },
        }
    }

    fn combined(&self, loads: &[(usize, f64)]) -> Vec<Wide> {
        let mut row = vec![Wide::ZERO; self.variables];
        for (crew, load) in loads {
            let each = Wide::from(*load) / self.net.crews[*crew].books.into();
            for (a, flow) in row.iter_mut().zip(&self.flows[*crew]) {
                *a = *a + each * (*flow).into();
            }
        }
        row
    }

    /// The flow after a relative change of one family's caps by `by`; `None` if it is unknown.
    fn nudged(&self, family: &Family, by: f64) -> Option<f64> {
        let flow = self.solve(|limit| match (family, &limit.family) {
            // One more gopher for these steps also counts for every set that contains one of them.
            (Family::Steps(crew, steps), Family::Steps(other, others))
                if crew == other && steps & others != 0 =>
            {
                let own = self
                    .limits
                    .iter()
                    .find(|own| own.family == *family && own.loads[0].0 == limit.loads[0].0);
                limit.cap + by * own.map_or(0.0, |own| own.cap)
            }
            (family, own) if family == own => limit.cap * (1.0 + by),
            _ => limit.cap,
        });
        match flow {
            Flow::Steady { books, .. } => Some(books),
            Flow::Endless => Some(f64::INFINITY),
            Flow::Unknown => None,
        }
    }

    /// Families whose increase alone increases the flow; if there are none, those whose decrease
    /// alone decreases it.
    pub fn bottleneck(&self, books: f64, rates: &[f64]) -> Vec<&Limit> {
        let mut known: BTreeSet<&Family> = BTreeSet::new();
        let mut tight: Vec<&Limit> = (self.limits.iter())
            .filter(|limit| {
                let used = limit.loads.iter().map(|(crew, load)| load * rates[*crew]);
                used.sum::<f64>() >= limit.cap * (1.0 - SAME) && known.insert(&limit.family)
            })
            .collect();
        // Drop a set of steps if a subset of it is also tight.
        tight.retain(|limit| match &limit.family {
            Family::Steps(crew, steps) => !(1..*steps).any(|fewer| {
                fewer & steps == fewer && known.contains(&Family::Steps(crew.clone(), fewer))
            }),
            _ => true,
        });
        let rows = self.net.crews.len() + self.kept.len();
        let each = self.limits.len() + rows.saturating_mul(self.variables.pow(2));
        if tight.len().saturating_mul(each) > PATIENCE {
            return tight;
        }
        let of = |by: f64, follows: &dyn Fn(f64) -> bool| -> Vec<&'_ Limit> {
            (tight.iter().copied())
                .filter(|limit| self.nudged(&limit.family, by).is_some_and(follows))
                .collect()
        };
        let alone = of(NUDGE, &|more| more > books * (1.0 + SAME));
        if !alone.is_empty() {
            return alone;
        }
        let together = of(-NUDGE, &|less| less < books * (1.0 - SAME));
        if together.is_empty() { tight } else { together }
    }

    /// Cartloads of the first crews per book, by the class of the pile where the book enters;
    /// `None` if nothing flows. A relay passes books on, so the crews after it count as first.
    pub fn cartloads_a_book(&self, rates: &[f64]) -> Vec<Option<f64>> {
        let net = self.net;
        let out = net.out_of();
        let mut known: Vec<Option<f64>> = vec![None; net.nodes.len()];
        for node in (0..net.nodes.len()).rev() {
            let (mut loads, mut books) = (0.0, 0.0);
            for crew in &out[node] {
                let here = &net.crews[*crew];
                let flow = rates[*crew] * here.books;
                let each = match known[here.to] {
                    Some(each) if here.relay && !net.nodes[here.to].fire => each,
                    _ => 1.0 / here.books,
                };
                loads += flow * each;
                books += flow;
            }
            if books > 0.0 {
                known[node] = Some(loads / books);
            }
        }
        known
    }
}

fn wide(numbers: &[f64]) -> Vec<Wide> {
    numbers.iter().copied().map(Wide::from).collect()
}
