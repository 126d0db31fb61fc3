//! Resolves the targets of faults to actors and points in their work.

mod target;

use std::collections::BTreeSet;
use std::sync::Arc;

use gopherworks_pipeline::steps::Step;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::{FaultSite, Kind, Point, Rule, What, When};

use super::{Plan, Target, Validator};
use crate::config::element::{Bounds, Checks, Element, Group, Nodes};
use crate::config::elements::{FaultConfig, FaultWhatConfig, StoreConfig, TopologyConfig};
use crate::config::label::{is_name, unlabelled};
use crate::config::{Code, nearest};
use target::Pattern;

/// Target name of the store, unless a node has this name.
const STORE: &str = "store";

/// A fault with its resolved targets.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// Share of seeds for which it is active, above 0 and at most 1.
    pub odds: f64,
    /// Rule or mix of faults.
    pub what: FaultPlanWhat,
}

/// A rule, or a random mix of faults.
#[derive(Debug, Clone)]
pub enum FaultPlanWhat {
    /// A rule that injects one fault at fixed sites.
    Rule(Rule),
    /// One to `most` random faults, derived from the seed.
    Mix {
        /// Name of the fault in the config.
        name: Arc<str>,
        /// Maximum number of faults in a mix (>= 1).
        most: u32,
        /// Actors that may be hit.
        parts: Vec<FaultTarget>,
    },
}

/// An actor, as a target of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultTarget {
    /// Name of the actor in reports.
    pub node: Arc<str>,
    /// Name of its crew; `x/*` for a worker of the balancer `x`; otherwise its own name.
    pub family: Arc<str>,
    /// Type of the actor.
    pub sort: Sort,
    /// Points in its work at which faults can occur.
    pub points: Vec<Point>,
    /// Crews that send messages to it.
    pub senders: Vec<Arc<str>>,
}

/// Type of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A gopher of a crew, or a relay.
    Gopher,
    /// A pile or a dump.
    Pile,
    /// An incinerator.
    Incinerator,
    /// The reader of a source.
    Source,
    /// A balancer.
    Balancer,
    /// A worker of a balancer.
    Worker,
    /// A requester.
    Requester,
    /// The store, in simulations.
    Store {
        /// True if books are held by leases, as processes share it.
        leases: bool,
    },
}

/// All actors of a plan, in a fixed order.
pub fn parts(plan: &Plan) -> Vec<FaultTarget> {
    let mut piles = vec![Vec::new(); plan.piles.len()];
    let mut fires = vec![Vec::new(); plan.incinerators.len()];
    for crew in &plan.crews {
        let name: Arc<str> = crew.name.as_str().into();
        match crew.to {
            Target::Dump(to) => piles[to].push(name.clone()),
            Target::Incinerator(to) => fires[to].push(name.clone()),
        }
        piles[crew.from].push(name);
    }
    let mut out = Vec::new();
    let named = |node: &str, family: &str, sort, points: &[Point]| FaultTarget {
        node: node.into(),
        family: family.into(),
        sort,
        points: points.to_vec(),
        senders: Vec::new(),
    };
    for (pile, senders) in plan.piles.iter().zip(piles) {
        let points: &[Point] = match pile.dump {
            true => &[Point::Take, Point::Deliver, Point::Look, Point::Settle],
            false => &[Point::Take, Point::Look],
        };
        out.push(FaultTarget { senders, ..named(&pile.name, &pile.name, Sort::Pile, points) });
    }
    for (fire, senders) in plan.incinerators.iter().zip(fires) {
        let points: &[Point] = match fire.ask {
            Some(_) => &[Point::Deliver, Point::Settle],
            None => &[Point::Deliver, Point::Burn, Point::Settle],
        };
        out.push(FaultTarget {
            senders,
            ..named(&fire.name, &fire.name, Sort::Incinerator, points)
        });
    }
    for crew in &plan.crews {
        for (index, duties) in crew.gophers.iter().enumerate() {
            let name =
                if crew.relay { crew.name.clone() } else { format!("{}/{}", crew.name, index + 1) };
            let mut points: Vec<Point> = (duties.iter())
                .map(|step| match step {
                    Step::Load => Point::Load,
                    Step::Push => Point::Push,
                    Step::Unload => Point::Unload,
                    Step::Return => Point::Return,
                })
                .collect();
            if crew.work.is_some() && points.contains(&Point::Push) {
                points.push(Point::Work);
            }
            out.push(named(&name, &crew.name, Sort::Gopher, &points));
        }
    }
    for source in &plan.sources {
        let name = format!("{}.source", source.name);
        out.push(named(&name, &name, Sort::Source, &[Point::Read]));
    }
    for balancer in &plan.balancers {
        let name = &balancer.name;
        out.push(named(name, name, Sort::Balancer, &[]));
        for number in 1..=balancer.workers {
            let worker = format!("{name}/{number}");
            out.push(named(&worker, &format!("{name}/*"), Sort::Worker, &[Point::Work]));
        }
    }
    for requester in &plan.requesters {
        // Requests over HTTP are not sent by an actor.
        if requester.http.is_none() {
            out.push(named(&requester.name, &requester.name, Sort::Requester, &[]));
        }
    }
    let is_kept = plan.store.is_some() && plan.piles.iter().any(|pile| !pile.in_memory);
    if is_kept && out.iter().all(|part| *unlabelled(&part.node) != *STORE) {
        let leases = plan.store.as_ref().is_some_and(StoreConfig::is_shared);
        out.push(named(STORE, STORE, Sort::Store { leases }, &[Point::Commit, Point::Fetch]));
    }
    out
}

/// Points of an actor at which faults of a kind can occur; `None` means the actor as a whole.
pub fn points_of(kind: &Kind, part: &FaultTarget) -> Vec<Option<Point>> {
    let of = |points: &[Point]| -> Vec<Option<Point>> {
        let own = part.points.iter().filter(|point| points.contains(point));
        own.map(|point| Some(*point)).collect()
    };
    let whole = |mut more: Vec<Option<Point>>| {
        more.insert(0, None);
        more
    };
    if let Sort::Store { leases } = part.sort {
        return match kind {
            Kind::Redeliver if leases => of(&[Point::Fetch]),
            Kind::LostLease if leases => of(&[Point::Commit]),
            Kind::Crash { .. } => whole(of(&[Point::Commit])),
            Kind::Slow { .. } => whole(of(&Point::ALL)),
            Kind::Error { .. } | Kind::UnknownOutcome { .. } => of(&Point::ALL),
            Kind::LostSync | Kind::TornWrite { .. } => of(&[Point::Commit]),
            Kind::Unavailable { .. } | Kind::Full { .. } => vec![None],
            _ => Vec::new(),
        };
    }
    match kind {
        Kind::Panic { .. } | Kind::Kill | Kind::Stop | Kind::Hang { .. } => whole(of(&Point::ALL)),
        Kind::Slow { .. } => {
            let steps = [Point::Load, Point::Push, Point::Unload, Point::Return];
            match part.sort {
                Sort::Gopher => whole(of(&steps)),
                Sort::Worker => whole(of(&[Point::Work])),
                _ => Vec::new(),
            }
        }
        Kind::Error { .. } => of(&[Point::Work, Point::Burn, Point::Read]),
        Kind::Poison => of(&[Point::Work, Point::Burn]),
        Kind::Delay { .. } | Kind::Drop => of(&[Point::Take, Point::Deliver]),
        Kind::Duplicate => of(&[Point::Settle, Point::Look]),
        Kind::Full { .. } => match part.sort {
            Sort::Pile => vec![None],
            _ => Vec::new(),
        },
        Kind::Crash { .. } | Kind::Unavailable { .. } => Vec::new(),
        Kind::UnknownOutcome { .. } | Kind::LostSync | Kind::TornWrite { .. } => Vec::new(),
        Kind::Redeliver | Kind::LostLease => Vec::new(),
        Kind::Reload => match part.sort {
            Sort::Gopher | Sort::Pile => vec![None],
            _ => Vec::new(),
        },
    }
}

/// Checks faults and expectations, and resolves the targets of faults if there is a plan.
pub(super) fn plans(
    validator: &mut Validator<'_>,
    config: &TopologyConfig,
    plan: Option<&Plan>,
) -> Vec<FaultPlan> {
    let report = &mut |path: &[&str], message: &str| {
        validator.ensure(false, Code::OutOfBounds, path, message)
    };
    let mut at = Checks::new(report);
    at.key("faults", |at| Nodes::<FaultConfig>::check(&config.faults, &Bounds::NONE, at));
    at.key("expect", |at| config.expect.check_keys(at));
    let parts = plan.filter(|_| !config.faults.is_empty()).map(parts);
    let mut out = Vec::new();
    for (name, fault) in &config.faults {
        limits(validator, name, fault);
        if let Some(planned) = (parts.as_ref()).and_then(|parts| one(validator, name, fault, parts))
        {
            out.push(planned);
        }
    }
    out
}

fn limits(validator: &mut Validator<'_>, name: &str, fault: &FaultConfig) {
    let message = "the name of a fault consists of lower-case letters, digits and underscores, \
                   a letter first";
    validator.ensure(is_name(name), Code::InvalidName, &["faults", name], message);
    let right = fault.until.is_none_or(|until| fault.from < until);
    validator.ensure(
        right,
        Code::Contradiction,
        &["faults", name, "until"],
        "it ends before it begins",
    );
}

fn one(
    validator: &mut Validator<'_>,
    name: &str,
    fault: &FaultConfig,
    parts: &[FaultTarget],
) -> Option<FaultPlan> {
    let path = ["faults", name, "target"];
    let mut fail = |code, path: &[&str], message: String, help: Option<String>| {
        let mut mistake = validator.error(code, path, message);
        if let Some(help) = help {
            mistake = mistake.help(help);
        }
        validator.report(mistake);
    };
    let pattern = match Pattern::parse(&fault.target) {
        Ok(pattern) => pattern,
        Err(why) => {
            fail(Code::FaultTarget, &path, why, None);
            return None;
        }
    };
    let hit: Vec<&FaultTarget> = parts.iter().filter(|part| pattern.names(part)).collect();
    if hit.is_empty() {
        let names = parts.iter().flat_map(|part| [&*part.family, &*part.node]);
        let near = nearest(pattern.name(), names);
        fail(
            Code::UnknownNode,
            &path,
            format!("no node or actor is called `{}`", pattern.name()),
            near.map(|near| format!("did you mean `{near}`?")),
        );
        return None;
    }
    let what = match &fault.what {
        FaultWhatConfig::Mix { most } => {
            if pattern.point().is_some() || pattern.is_edge() {
                fail(
                    Code::FaultTarget,
                    &path,
                    "a mix draws its points: name nodes only".to_owned(),
                    None,
                );
                return None;
            }
            return Some(FaultPlan {
                odds: fault.odds,
                what: FaultPlanWhat::Mix {
                    name: name.into(),
                    most: *most,
                    parts: hit.into_iter().cloned().collect(),
                },
            });
        }
        FaultWhatConfig::Script(text) => {
            let read =
                gopherworks_supervision::fault::parse(text, crate::config::units::parse_duration);
            match read {
                Ok(terms) => What::Script(terms),
                Err(why) => {
                    fail(Code::InvalidValue, &["faults", name, "actions"], why, None);
                    return None;
                }
            }
        }
        FaultWhatConfig::Kind { kind, when } => What::Kind(kind.clone(), when.clone()),
    };
    let kinds: Vec<Kind> = match &what {
        What::Kind(kind, _) => vec![kind.clone()],
        What::Script(terms) => terms.iter().filter_map(|term| term.kind.clone()).collect(),
    };
    let messages = |kind: &Kind| matches!(kind, Kind::Delay { .. } | Kind::Drop | Kind::Duplicate);
    if kinds.iter().any(messages) && !kinds.iter().all(messages) {
        fail(
            Code::InvalidValue,
            &["faults", name, "actions"],
            "a script is about messages (delay, drop, duplicate) or about actors, not both"
                .to_owned(),
            None,
        );
        return None;
    }
    let by_visit = match &what {
        What::Script(_) => true,
        What::Kind(_, when) => !matches!(when, When::At(_) | When::Every(_) | When::Poisson(_)),
    };
    let mut sites = BTreeSet::new();
    let mut could = BTreeSet::new();
    for part in &hit {
        for kind in &kinds {
            for point in points_of(kind, part) {
                could.extend(point);
                let fits = match (pattern.point(), point) {
                    (Some(wanted), point) => point == Some(wanted),
                    // Rules that count visits or items apply at every point.
                    (None, None) => !by_visit,
                    (None, Some(_)) => {
                        // Kinds that apply to visits of a point, not to a whole actor.
                        by_visit
                            || messages(kind)
                            || matches!(kind, Kind::Error { .. } | Kind::Poison)
                            || matches!(kind, Kind::UnknownOutcome { .. } | Kind::LostSync)
                            || matches!(kind, Kind::TornWrite { .. })
                            || matches!(kind, Kind::Redeliver | Kind::LostLease)
                    }
                };
                if !fits {
                    continue;
                }
                for sender in pattern.senders(part) {
                    sites.insert(FaultSite { node: part.node.clone(), point, sender });
                }
            }
        }
    }
    if sites.is_empty() {
        let word = kinds.first().map_or("off", Kind::name);
        let could: Vec<&str> = could.iter().map(|point: &Point| point.name()).collect();
        let help = match could.as_slice() {
            [] => None,
            could => Some(format!("its points for this kind: {}", could.join(", "))),
        };
        fail(
            Code::FaultTarget,
            &path,
            format!("the fault `{word}` does not apply to `{}`", fault.target),
            help,
        );
        return None;
    }
    Some(FaultPlan {
        odds: fault.odds,
        what: FaultPlanWhat::Rule(Rule {
            name: name.into(),
            sites: sites.into_iter().collect(),
            what,
            from: Time::ZERO + fault.from,
            until: fault.until.map_or(Time::MAX, |until| Time::ZERO + until),
            times: fault.times.unwrap_or(u64::MAX),
        }),
    })
}
