//! Runs all checks and assembles the plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gopherworks_pipeline::steps::{Duties, Step, StepTimes};

use super::balancing;
use super::graph::{self, Order};
use super::kinds::{self, Kinds};
use super::{
    CrewPlan, ExecutionPlan, IncineratorPlan, PilePlan, Plan, SourcePlan, Target, Validator,
    bounds, limits, operations, splits, unfold,
};
use crate::catalog::{Catalog, STANDARD_STREAM, compose};
use crate::config::elements::{CrewConfig, KindConfig, LoadConfig, StepsConfig, TopologyConfig};
use crate::config::label::{base, unlabelled};
use crate::config::{Code, Diagnostic, Diagnostics, Origin};

/// Resolves `config`. With `holes`, some node could not be read, so errors that may only follow
/// from its absence are not reported.
pub(crate) fn resolve(
    config: &TopologyConfig,
    catalog: &Catalog,
    locate: &dyn Fn(&[&str]) -> Origin,
    holes: bool,
) -> (Option<Plan>, Diagnostics) {
    let mut validator = Validator { locate, found: Diagnostics::default() };
    bounds::check(&mut validator, config);
    limits::check(&mut validator, config);
    splits::check(&mut validator, config);
    operations::check(&mut validator, config);
    let kinds = kinds::prepare(&mut validator, config, catalog);
    streams(&mut validator, config, &kinds);
    if !unfold::check(&mut validator, config) {
        return (None, validator.found);
    }
    let mut copies = Validator { locate, found: Diagnostics::default() };
    let unfolded = unfold::reporting(&mut copies, config);
    // An unresolved reference is reported already; do not report what follows from it.
    let holes = holes || copies.found.has_errors();
    let order = graph::check(&mut copies, &unfolded, holes);
    validator.found.extend(folded(copies.found));
    let mut plan = match order {
        Some(order) if !validator.found.has_errors() => assemble(config, &unfolded, &order, kinds),
        _ => None,
    };
    let faults = super::faults::plans(&mut validator, config, plan.as_ref());
    if let Some(plan) = &mut plan {
        plan.faults = faults;
    }
    let plan = plan.filter(|_| !validator.found.has_errors());
    (plan, validator.found)
}

/// Reports sources of stored piles that read standard input, where another process would have to go
/// on.
fn streams(validator: &mut Validator<'_>, config: &TopologyConfig, kinds: &Kinds) {
    if config.store.as_ref().is_none_or(|store| !store.is_shared()) {
        return;
    }
    for (name, source) in &kinds.sources {
        let is_stored = config.piles.get(name).is_some_and(|pile| pile.store.is_none());
        if is_stored && source.reads.iter().any(|path| path.as_os_str() == STANDARD_STREAM) {
            let message = format!(
                "the source of `{name}` is standard input, and the store is shared: another \
                 process could not go on where this one ends"
            );
            let mistake = validator.error(Code::Contradiction, &["piles", name, "source"], message);
            validator.report(mistake.help(
                "give the pile `store = \"memory\"`, and have a crew bring the books to a dump",
            ));
        }
    }
}

/// Merges equal diagnostics of several copies into one without copy labels. A diagnostic of a
/// single copy keeps its label.
fn folded(found: Diagnostics) -> Vec<Diagnostic> {
    let mut groups: BTreeMap<(String, String), Vec<Diagnostic>> = BTreeMap::new();
    for diagnostic in found {
        let key = (diagnostic.path.clone(), unlabelled(&diagnostic.message));
        groups.entry(key).or_default().push(diagnostic);
    }
    let groups = groups.into_iter().filter_map(|((_, message), group)| {
        let alone = group.len() == 1;
        let mut first = group.into_iter().next()?;
        if !alone {
            first.message = message;
        }
        Some(first)
    });
    groups.collect()
}

/// Assembles the plan. Returns `None` only if a check rejected something without reporting it.
fn assemble(
    written: &TopologyConfig,
    config: &TopologyConfig,
    order: &Order<'_>,
    mut kinds: Kinds,
) -> Option<Plan> {
    let balancers = balancing::numbered(config);
    let asked =
        |kind: &KindConfig| balancing::named(kind).and_then(|to| balancers.get(to).copied());
    let (piles, sources) = piles(written, config, order, &mut kinds)?;
    let fires = balancing::sorted(&config.incinerators);
    let incinerators: Option<Vec<IncineratorPlan>> = (fires.iter())
        .map(|name| {
            let burn = kinds.burns.get(base(name))?;
            Some(IncineratorPlan {
                name: (*name).to_owned(),
                burn: burn.factory.clone(),
                reads: burn.reads.clone(),
                writes: burn.writes.clone(),
                exclusive: config.incinerators[*name].exclusive.into(),
                ask: asked(&config.incinerators[*name].burn),
            })
        })
        .collect();
    let (places, fires) = (numbered(&order.piles), numbered(&fires));
    let crews: Option<Vec<CrewPlan>> = (order.ways.iter())
        .map(|way| {
            let dump = || places.get(way.to).copied().map(Target::Dump);
            let fire = || fires.get(way.to).copied().map(Target::Incinerator);
            let ends = (*places.get(way.from)?, dump().or_else(fire)?);
            if way.is_relay() {
                Some(relay_plan(config, way.name, ends, &piles))
            } else {
                let crew = &config.crews[way.name];
                let ask = crew.work.first().and_then(asked);
                crew_plan((way.name, crew), ends, &kinds, ask)
            }
        })
        .collect();
    let (balancers, requesters) = balancing::plans(config, &kinds)?;
    let execution = &config.execution;
    Some(Plan {
        name: config.name.clone(),
        config: Arc::new(written.clone()),
        sources,
        piles,
        incinerators: incinerators?,
        crews: crews?,
        store: written.store.clone(),
        operations: written.operations.clone(),
        balancers,
        requesters,
        execution: ExecutionPlan {
            cores: execution.cores as usize,
            placement: execution.placement,
            seed: execution.seed,
            scratch: execution.scratch.clone().unwrap_or_else(std::env::temp_dir),
            drain_deadline: execution.drain_deadline,
        },
        supervision: config.supervision,
        t1: config.model.t1,
        outside: outside(written, &kinds),
        faults: Vec::new(),
        expect: config.expect,
    })
}

/// The index of each name.
fn numbered<'a>(names: &[&'a str]) -> HashMap<&'a str, usize> {
    names.iter().enumerate().map(|(at, name)| (*name, at)).collect()
}

/// Messages about what cannot be simulated, as it does not follow simulated time: programs,
/// networks and standard input.
fn outside(written: &TopologyConfig, kinds: &Kinds) -> Vec<String> {
    let burns = (written.incinerators.iter()).map(|(name, fire)| (name, &fire.burn.kind));
    let workers =
        (written.balancers.iter()).map(|(name, balancer)| (name, &balancer.workers.work.kind));
    let works = burns.chain(workers).filter_map(|(name, kind)| match kind.as_str() {
        "command" => Some(format!("`{name}` starts programs")),
        "http" => Some(format!("`{name}` asks over HTTP")),
        _ => None,
    });
    let served = (written.requesters.iter())
        .filter(|(_, requester)| matches!(requester.load, LoadConfig::Http(_)))
        .map(|(name, _)| format!("`{name}` serves HTTP"));
    let streams = (kinds.sources.iter())
        .filter(|(_, source)| source.reads.iter().any(|path| path.as_os_str() == STANDARD_STREAM))
        .map(|(name, _)| format!("`{name}` reads standard input"));
    works.chain(served).chain(streams).collect()
}

/// Plans piles and dumps in topological order, and the sources that fill them.
fn piles(
    written: &TopologyConfig,
    config: &TopologyConfig,
    order: &Order<'_>,
    kinds: &mut Kinds,
) -> Option<(Vec<PilePlan>, Vec<SourcePlan>)> {
    let mut sources: Vec<SourcePlan> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut piles = Vec::new();
    for (at, name) in order.piles.iter().enumerate() {
        if let Some(dump) = config.dumps.get(*name) {
            piles.push(PilePlan {
                name: (*name).to_owned(),
                dump: true,
                source: None,
                reads: Vec::new(),
                writes: Vec::new(),
                capacity: dump.capacity,
                exclusive: dump.exclusive,
                max_attempts: dump.max_attempts,
                retry: dump.retry,
                in_memory: dump.store.is_some(),
                elsewhere: None,
            });
            continue;
        }
        let pile = config.piles.get(*name)?;
        let (mut source, mut reads, mut writes) = (None, Vec::new(), Vec::new());
        if pile.source.is_some() {
            let made = kinds.sources.get(base(name))?;
            let key = *known.entry(base(name)).or_insert_with(|| {
                let options = written.piles.get(base(name)).and_then(|pile| pile.source.as_ref());
                sources.push(SourcePlan {
                    name: base(name).to_owned(),
                    factory: made.factory.clone(),
                    piles: Vec::new(),
                    books: options.and_then(books),
                });
                sources.len() - 1
            });
            // Copies of a pile come in the order of their numbers, which is the order of dealing.
            sources[key].piles.push(at);
            source = Some(key);
            reads.clone_from(&made.reads);
            writes.clone_from(&made.writes);
        }
        piles.push(PilePlan {
            name: (*name).to_owned(),
            dump: false,
            source,
            reads,
            writes,
            capacity: pile.capacity,
            exclusive: pile.exclusive.into(),
            max_attempts: pile.max_attempts,
            retry: pile.retry,
            in_memory: pile.store.is_some(),
            elsewhere: None,
        });
    }
    Some((piles, sources))
}

/// Number of books of a `generate` source, if its options state it.
fn books(source: &KindConfig) -> Option<u64> {
    let number = source.options.get("books")?.as_integer()?;
    u64::try_from(number).ok().filter(|_| source.kind == "generate")
}

/// Default of the most books that a relay carries at once.
const RELAYED: u64 = 64;

/// A relay as one gopher with all duties and one cart. It keeps the order of books, as a cartload
/// is settled before the next one is loaded.
fn relay_plan(
    config: &TopologyConfig,
    name: &str,
    (from, to): (usize, Target),
    piles: &[PilePlan],
) -> CrewPlan {
    let room = |pile: usize| piles[pile].capacity.books.unwrap_or(RELAYED);
    let least = match to {
        Target::Dump(to) => room(from).min(room(to)),
        Target::Incinerator(_) => room(from),
    };
    let said = config.relays.get(name).and_then(|relay| relay.books);
    let books = said.unwrap_or(RELAYED.min(least)).max(1);
    CrewPlan {
        name: name.to_owned(),
        relay: true,
        from,
        to,
        gophers: vec![Step::ALL.into_iter().collect()],
        carts: 1,
        cart_books: usize::try_from(books).unwrap_or(usize::MAX),
        cart_bytes: None,
        work: None,
        ask: None,
        reads: Vec::new(),
        writes: Vec::new(),
        steps: StepTimes::default(),
    }
}

fn crew_plan(
    (name, crew): (&str, &CrewConfig),
    (from, to): (usize, Target),
    kinds: &Kinds,
    ask: Option<usize>,
) -> Option<CrewPlan> {
    let (mut factories, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for work in kinds.works.get(base(name))? {
        factories.push(work.factory.clone());
        reads.extend(work.reads.iter().cloned());
        writes.extend(work.writes.iter().cloned());
    }
    Some(CrewPlan {
        name: name.to_owned(),
        relay: false,
        from,
        to,
        gophers: crew.gophers.iter().map(|words| duties(words)).collect(),
        carts: crew.carts.count,
        cart_books: usize::try_from(crew.carts.books).unwrap_or(usize::MAX),
        cart_bytes: crew.carts.bytes,
        work: (!factories.is_empty() && ask.is_none()).then(|| compose(factories)),
        ask,
        reads,
        writes,
        steps: times(&crew.steps),
    })
}

fn duties(words: &[String]) -> Duties {
    words.iter().filter_map(|word| Step::from_name(word)).collect()
}

fn times(steps: &StepsConfig) -> StepTimes {
    // In the order of `Step::ALL`.
    StepTimes([steps.load, steps.push, steps.unload, steps.return_])
}
