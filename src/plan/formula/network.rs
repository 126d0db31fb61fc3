//! The plan as numbers: classes of equal crews and nodes, mean times in a common unit, and shares
//! of books.

use std::collections::BTreeMap;

use gopherworks_pipeline::steps::{Duties, Step, StepTime};
use gopherworks_supervision::span::Span;

use crate::config::label::base;
use crate::plan::{CrewPlan, Plan, Target};

/// Maximum number of rounds of colour refinement; beyond that, copies are not folded.
const ROUNDS: usize = 64;

/// Index into [`Network::nodes`].
pub(super) type NodeAt = usize;

/// A class of equal piles, dumps or incinerators.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeClass {
    /// Common name, without copy labels.
    pub name: String,
    /// Number of members.
    pub count: f64,
    /// True for incinerators.
    pub fire: bool,
    /// Maximum number of concurrent loads and unloads of each member; `None` for no limit.
    pub slots: [Option<f64>; 2],
    /// Capacity of each member in books; `None` for no limit.
    pub books: Option<f64>,
    /// True if the capacity is also limited in bytes.
    pub bytes: bool,
    /// Share of all incoming books that enters at this class, over all members.
    pub share: f64,
}

/// A class of equal crews.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CrewClass {
    /// Common name, without copy labels.
    pub name: String,
    /// Number of members.
    pub count: f64,
    /// Class of nodes from which they load.
    pub from: NodeAt,
    /// Class of nodes into which they unload.
    pub to: NodeAt,
    /// True for relays.
    pub relay: bool,
    /// Maximum number of books in a cart.
    pub books: f64,
    /// Carts of each member.
    pub carts: u32,
    /// Mean duration of each step, in units of time.
    pub times: [f64; 4],
    /// CPU time contained in `times`.
    pub cores: [f64; 4],
    /// True for steps with a random duration.
    pub random: [bool; 4],
    /// True for steps whose whole duration is exponentially distributed.
    pub exponential: [bool; 4],
    /// Gophers of each member by their duties among the steps that take time. Bit `i` of the index
    /// represents step `i`.
    pub gophers: [u32; 16],
    /// A step that no gopher does, if there is one.
    pub undone: Option<Step>,
}

impl CrewClass {
    /// Mean duration of a round trip, in units of time.
    pub fn trip(&self) -> f64 {
        self.times.iter().sum()
    }

    /// Steps that take time, as a bit set.
    pub fn timed(&self) -> usize {
        (0..4).filter(|step| self.times[*step] > 0.0).map(|step| 1 << step).sum()
    }

    /// Number of gophers of each member that do at least one of `steps`.
    pub fn doing(&self, steps: usize) -> f64 {
        let doing = (self.gophers.iter().enumerate()).filter(|(duties, _)| duties & steps != 0);
        doing.map(|(_, count)| f64::from(*count)).sum()
    }
}

/// The plan as numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    /// Length of a unit of time in seconds: the longest mean duration of a step. 0 if no step takes
    /// time.
    pub unit: f64,
    /// Upstream before downstream; incinerators last.
    pub nodes: Vec<NodeClass>,
    /// Classes of crews, in the order of the plan.
    pub crews: Vec<CrewClass>,
    pub cores: f64,
    /// Class of each pile of the plan, as an index into `nodes`.
    pub class_of_pile: Vec<usize>,
}

impl Network {
    /// Builds the network with step times multiplied by `scale`. With `fold`, equal copies are
    /// merged into classes.
    pub fn new(plan: &Plan, scale: f64, fold: bool) -> Self {
        let unit = (plan.crews.iter().filter(|crew| !crew.relay))
            .flat_map(|crew| crew.steps.0)
            .map(|time| seconds(time.wait) * scale + seconds(time.cpu) * scale)
            .fold(0.0, f64::max);
        let unit = if unit.is_finite() && unit > 0.0 { unit } else { 0.0 };
        let factor = if unit > 0.0 { scale / unit } else { 0.0 };
        let nodes = nodes(plan);
        let crews: Vec<CrewClass> =
            (plan.crews.iter()).map(|crew| numbers(crew, factor, plan.piles.len())).collect();
        let classes = if fold { classes(&nodes, &crews) } else { None };
        let (node_class, crew_class) =
            classes.unwrap_or_else(|| ((0..nodes.len()).collect(), (0..crews.len()).collect()));
        let mut folded_nodes: Vec<NodeClass> = Vec::new();
        for (node, class) in nodes.iter().zip(&node_class) {
            match folded_nodes.get_mut(*class) {
                Some(first) => {
                    first.count += 1.0;
                    first.share += node.share;
                }
                None => folded_nodes.push(node.clone()),
            }
        }
        let mut folded_crews: Vec<CrewClass> = Vec::new();
        for (crew, class) in crews.iter().zip(&crew_class) {
            match folded_crews.get_mut(*class) {
                Some(first) => first.count += 1.0,
                None => folded_crews.push(CrewClass {
                    from: node_class[crew.from],
                    to: node_class[crew.to],
                    ..crew.clone()
                }),
            }
        }
        Self {
            unit,
            nodes: folded_nodes,
            crews: folded_crews,
            cores: plan.execution.cores as f64,
            class_of_pile: node_class[..plan.piles.len()].to_vec(),
        }
    }

    /// For each node, the crews that load from it.
    pub fn out_of(&self) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); self.nodes.len()];
        for (at, crew) in self.crews.iter().enumerate() {
            out[crew.from].push(at);
        }
        out
    }
}

fn seconds(span: Span) -> f64 {
    match span {
        Span::Zero => 0.0,
        Span::Fixed(time) | Span::Exponential(time) | Span::LogNormal { mean: time, .. } => {
            time.as_secs_f64()
        }
        // `Span::mean` adds the two durations, which may overflow.
        Span::Uniform(least, most) => f64::midpoint(least.as_secs_f64(), most.as_secs_f64()),
        Span::Bimodal { short, long, share } => {
            short.as_secs_f64() * (1.0 - share) + long.as_secs_f64() * share
        }
    }
}

fn drawn(span: Span) -> bool {
    !span.is_fixed()
}

fn memoryless(time: StepTime) -> bool {
    let exponential = |span: Span| matches!(span, Span::Exponential(mean) if !mean.is_zero());
    (exponential(time.wait) && time.cpu.is_zero()) || (exponential(time.cpu) && time.wait.is_zero())
}

fn nodes(plan: &Plan) -> Vec<NodeClass> {
    let slots = |exclusive: crate::config::elements::Exclusive| {
        [exclusive.load, exclusive.unload].map(|slots| slots.map(f64::from))
    };
    let mut nodes: Vec<NodeClass> = (plan.piles.iter())
        .map(|pile| NodeClass {
            name: base(&pile.name).to_owned(),
            count: 1.0,
            fire: false,
            slots: slots(pile.exclusive),
            books: pile.capacity.books.map(|books| books as f64),
            bytes: pile.capacity.bytes.is_some(),
            share: 0.0,
        })
        .collect();
    for (pile, share) in shares(plan) {
        nodes[pile].share += share;
    }
    nodes.extend(plan.incinerators.iter().map(|fire| NodeClass {
        name: base(&fire.name).to_owned(),
        count: 1.0,
        fire: true,
        slots: slots(fire.exclusive),
        books: None,
        bytes: false,
        share: 0.0,
    }));
    nodes
}

fn numbers(crew: &CrewPlan, factor: f64, piles: usize) -> CrewClass {
    let mut times = [0.0; 4];
    let mut cores = [0.0; 4];
    let mut random = [false; 4];
    let mut exponential = [false; 4];
    for step in Step::ALL.into_iter().filter(|_| !crew.relay) {
        let (time, at) = (crew.steps.of(step), step.index());
        times[at] = (seconds(time.wait) + seconds(time.cpu)) * factor;
        cores[at] = seconds(time.cpu) * factor;
        let takes = times[at] > 0.0;
        random[at] = takes && (drawn(time.wait) || drawn(time.cpu));
        exponential[at] = takes && memoryless(time);
    }
    let timed = |duties: Duties| -> usize {
        (duties.iter().map(Step::index))
            .filter(|step| times[*step] > 0.0)
            .map(|step| 1 << step)
            .sum()
    };
    let mut gophers = [0u32; 16];
    for duties in &crew.gophers {
        gophers[timed(*duties)] = gophers[timed(*duties)].saturating_add(1);
    }
    CrewClass {
        name: base(&crew.name).to_owned(),
        count: 1.0,
        from: crew.from,
        to: match crew.to {
            Target::Dump(pile) => pile,
            Target::Incinerator(fire) => piles + fire,
        },
        relay: crew.relay,
        books: crew.cart_books.max(1) as f64,
        carts: crew.carts,
        times,
        cores,
        random,
        exponential,
        gophers,
        undone: (Step::ALL.into_iter())
            .find(|step| !crew.gophers.iter().any(|duties| duties.has(*step))),
    }
}

/// Piles that receive books from outside, each with its share of all books. The piles of one source
/// get equal shares; sources are weighted by their numbers of books if all are known. Without any
/// source, the piles that no crew or relay fills get equal shares.
pub(super) fn shares(plan: &Plan) -> Vec<(usize, f64)> {
    let (groups, weights) = dealt(plan);
    let all: f64 = weights.iter().map(|weight| *weight as f64).sum();
    (groups.iter().zip(weights))
        .flat_map(|(piles, weight)| {
            let share = weight as f64 / all / piles.len() as f64;
            piles.iter().map(move |pile| (*pile, share))
        })
        .collect()
}

/// Distributes `books` books among the piles as their sources would.
pub(super) fn deal(plan: &Plan, books: u64) -> Vec<(usize, u64)> {
    let (groups, weights) = dealt(plan);
    let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut out = Vec::new();
    let (mut before, mut given) = (0u128, 0u64);
    for (piles, weight) in groups.iter().zip(weights) {
        before += u128::from(weight);
        // Computed from running totals, so that the shares add up to `books` despite rounding. The
        // product stays below 2^128, as both factors have about 64 bits.
        let until = u128::from(books).saturating_mul(before) / all.max(1);
        let until = u64::try_from(until).unwrap_or(u64::MAX).min(books);
        let here = until.saturating_sub(given);
        given = until;
        let count = piles.len() as u64;
        for (at, pile) in (0u64..).zip(piles) {
            out.push((*pile, here / count + u64::from(at < here % count)));
        }
    }
    out
}

/// Groups of piles that are filled in turn, and the weights of the groups.
fn dealt(plan: &Plan) -> (Vec<Vec<usize>>, Vec<u64>) {
    let inside = |pile: &usize| *pile < plan.piles.len();
    let sources = plan.sources.iter().map(|source| {
        let piles: Vec<usize> = source.piles.iter().copied().filter(inside).collect();
        (piles, source.books)
    });
    let (groups, books): (Vec<Vec<usize>>, Vec<Option<u64>>) =
        sources.filter(|(piles, _)| !piles.is_empty()).unzip();
    if groups.is_empty() {
        let mut fed = vec![false; plan.piles.len()];
        for crew in &plan.crews {
            if let Target::Dump(pile) = crew.to
                && let Some(fed) = fed.get_mut(pile)
            {
                *fed = true;
            }
        }
        let free: Vec<usize> =
            (0..plan.piles.len()).filter(|pile| !fed[*pile] && !plan.piles[*pile].dump).collect();
        return if free.is_empty() { (Vec::new(), Vec::new()) } else { (vec![free], vec![1]) };
    }
    let known: Option<Vec<u64>> = books.into_iter().collect();
    let weights = known
        .filter(|known| known.iter().any(|books| *books > 0))
        .unwrap_or_else(|| vec![1; groups.len()]);
    (groups, weights)
}

/// Classes of nodes and of crews, numbered by their first members; `None` if refinement takes too
/// many rounds.
///
/// Colour refinement ends when all members of a class have equally many neighbours in each class.
/// In such an equitable partition the mean of a solution over its classes is also a solution with
/// that value, so the folded program has the same optimum (Grohe, Kersting, Mladenov and Selman
/// 2014). Initial colours include names, which keeps differently named nodes apart and makes most
/// designs stable after one round.
fn classes(nodes: &[NodeClass], crews: &[CrewClass]) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut node_class = numbered(nodes.iter().map(|node| {
        let bits = |x: f64| x.to_bits();
        (
            &node.name,
            node.fire,
            node.slots.map(|s| s.map(bits)),
            node.books.map(bits),
            node.bytes,
            bits(node.share),
        )
    }));
    let own = numbered(crews.iter().map(|crew| {
        let bits = |times: [f64; 4]| times.map(f64::to_bits);
        let kind = (crew.relay, crew.books.to_bits(), crew.carts, crew.undone);
        let times = (bits(crew.times), bits(crew.cores), crew.random, crew.exponential);
        (&crew.name, kind, times, crew.gophers)
    }));
    let mut count = 0;
    for _ in 0..ROUNDS {
        let crew_class = numbered(
            (crews.iter().zip(&own))
                .map(|(crew, own)| (*own, node_class[crew.from], node_class[crew.to])),
        );
        let mut around: Vec<(usize, Vec<(bool, usize)>)> =
            node_class.iter().map(|class| (*class, Vec::new())).collect();
        for (crew, class) in crews.iter().zip(&crew_class) {
            around[crew.from].1.push((false, *class));
            around[crew.to].1.push((true, *class));
        }
        for (_, around) in &mut around {
            around.sort_unstable();
        }
        node_class = numbered(around.into_iter());
        let now = highest(&node_class) + highest(&crew_class);
        if now == count {
            return Some((node_class, crew_class));
        }
        count = now;
    }
    None
}

fn highest(classes: &[usize]) -> usize {
    classes.iter().max().map_or(0, |most| most + 1)
}

/// Numbers distinct keys from 0 in the order of first occurrence.
fn numbered<K: Ord>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let mut known = BTreeMap::new();
    keys.map(|key| {
        let next = known.len();
        *known.entry(key).or_insert(next)
    })
    .collect()
}
