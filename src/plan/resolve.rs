//! Puts the plan together from what the judges let pass.

use std::collections::BTreeMap;

use gopherworks_actors::gopher::steps::{Duties, Span, Step, StepTime, StepTimes};

use super::graph::{self, Order};
use super::kinds::{self, Kinds};
use super::{
    CrewPlan, ExecutionPlan, IncineratorPlan, Judge, PilePlan, Plan, SupervisionPlan, Target,
    limits,
};
use crate::catalog::{Catalog, compose};
use crate::config::schema::{CrewConfig, SpanConfig, StepTimeConfig, StepsConfig, TopologyConfig};
use crate::config::{Diagnostics, Origin};

/// Resolves `config`. `holes`: a node could not be read, so nothing is said of what the graph lacks.
pub(crate) fn resolve(
    config: &TopologyConfig,
    catalog: &Catalog,
    locate: &dyn Fn(&[&str]) -> Origin,
    holes: bool,
) -> (Option<Plan>, Diagnostics) {
    let mut judge = Judge {
        locate,
        found: Diagnostics::default(),
    };
    limits::check(&mut judge, config);
    let order = graph::check(&mut judge, config, holes);
    let kinds = kinds::prepare(&mut judge, config, catalog);
    let plan = match order {
        Some(order) if !judge.found.has_errors() => assemble(config, &order, kinds),
        _ => None,
    };
    (plan, judge.found)
}

/// `None` only where a judge found an error that it did not report.
fn assemble(config: &TopologyConfig, order: &Order<'_>, mut kinds: Kinds) -> Option<Plan> {
    let piles: Option<Vec<PilePlan>> = (order.piles.iter())
        .map(|name| pile(config, name, &mut kinds))
        .collect();
    let incinerators: Option<Vec<IncineratorPlan>> = (config.incinerators.iter())
        .map(|(name, fire)| {
            let burn = kinds.burns.remove(name)?;
            Some(IncineratorPlan {
                name: name.clone(),
                burn: burn.factory,
                reads: burn.reads,
                writes: burn.writes,
                exclusive: fire.exclusive,
            })
        })
        .collect();
    let places: BTreeMap<&str, usize> = (order.piles.iter().enumerate())
        .map(|(at, name)| (*name, at))
        .collect();
    let fires: BTreeMap<&str, usize> = (config.incinerators.keys().enumerate())
        .map(|(at, name)| (name.as_str(), at))
        .collect();
    let crews: Option<Vec<CrewPlan>> = (order.crews.iter())
        .map(|name| {
            let crew = &config.crews[*name];
            let to = &crew.to.as_str();
            let dump = || places.get(to).copied().map(Target::Dump);
            let fire = || fires.get(to).copied().map(Target::Incinerator);
            let ends = (*places.get(crew.from.as_str())?, dump().or_else(fire)?);
            crew_plan(name, crew, ends, &mut kinds)
        })
        .collect();
    let execution = &config.execution;
    let supervision = &config.supervision;
    Some(Plan {
        name: config.name.clone(),
        piles: piles?,
        incinerators: incinerators?,
        crews: crews?,
        execution: ExecutionPlan {
            cores: execution.cores as usize,
            placement: execution.placement,
            seed: execution.seed,
            scratch: execution.scratch.clone().unwrap_or_else(std::env::temp_dir),
            drain_deadline: execution.drain_deadline,
        },
        supervision: SupervisionPlan {
            strategy: supervision.strategy,
            intensity: supervision.intensity,
            period: supervision.period,
            in_a_row: supervision.in_a_row,
            backoff: supervision.backoff,
            shutdown: supervision.shutdown,
        },
        t1: config.model.t1,
    })
}

fn pile(config: &TopologyConfig, name: &str, kinds: &mut Kinds) -> Option<PilePlan> {
    if let Some(dump) = config.dumps.get(name) {
        return Some(PilePlan {
            name: name.to_owned(),
            dump: true,
            source: None,
            reads: Vec::new(),
            writes: Vec::new(),
            capacity: dump.capacity,
            exclusive: dump.exclusive,
            max_attempts: dump.max_attempts,
        });
    }
    let pile = config.piles.get(name)?;
    let source = kinds.sources.remove(name);
    if source.is_none() && pile.source.is_some() {
        return None;
    }
    let (source, reads, writes) = match source {
        Some(source) => (Some(source.factory), source.reads, source.writes),
        None => (None, Vec::new(), Vec::new()),
    };
    Some(PilePlan {
        name: name.to_owned(),
        dump: false,
        source,
        reads,
        writes,
        capacity: pile.capacity,
        exclusive: pile.exclusive,
        max_attempts: pile.max_attempts,
    })
}

fn crew_plan(
    name: &str,
    crew: &CrewConfig,
    (from, to): (usize, Target),
    kinds: &mut Kinds,
) -> Option<CrewPlan> {
    let works = kinds.works.remove(name).unwrap_or_default();
    let (mut factories, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for work in works {
        factories.push(work.factory);
        reads.extend(work.reads);
        writes.extend(work.writes);
    }
    Some(CrewPlan {
        name: name.to_owned(),
        from,
        to,
        gophers: crew.gophers.iter().map(|words| duties(words)).collect(),
        carts: crew.carts.count,
        cart_books: usize::try_from(crew.carts.books).unwrap_or(usize::MAX),
        cart_bytes: crew.carts.bytes,
        work: (!factories.is_empty()).then(|| compose(factories)),
        reads,
        writes,
        steps: times(&crew.steps),
    })
}

fn duties(words: &[String]) -> Duties {
    words
        .iter()
        .filter_map(|word| Step::from_name(word))
        .collect()
}

fn times(steps: &StepsConfig) -> StepTimes {
    let step = |step: &StepTimeConfig| StepTime {
        wait: span(step.wait),
        cpu: span(step.cpu),
    };
    // In the order of `Step::ALL`.
    StepTimes([&steps.load, &steps.push, &steps.unload, &steps.return_].map(step))
}

fn span(span: Option<SpanConfig>) -> Span {
    match span {
        None => Span::Zero,
        Some(SpanConfig::Fixed(time)) => Span::Fixed(time),
        Some(SpanConfig::Uniform(least, most)) => Span::Uniform(least, most),
        Some(SpanConfig::Exponential(mean)) => Span::Exponential(mean),
    }
}
