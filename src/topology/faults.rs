//! Turns the faults of a file into rules, and connects them to the actors.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use gopherworks_pipeline::trace::Act;
use gopherworks_supervision::clock::{Seed, Time};
use gopherworks_supervision::fault::{
    FOR_EVER, FaultInjector, FaultSite, Fired, Kind, Point, Rule, What, When,
};
use gopherworks_supervision::{Strike, SupervisorHandle};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::inner::Inner;
use super::reload::ReloadError;
use super::running::{Handle, RunningTopology};
use crate::config::label::{self, base};
use crate::plan::Plan;
use crate::plan::changes::Moves;
use crate::plan::faults::{FaultPlan, FaultPlanWhat, FaultTarget, points_of};

/// The faults of a run.
#[derive(Debug, Clone, Default)]
pub enum Faulting {
    /// None, also if the file defines some.
    #[default]
    None,
    /// The faults of the file, drawn by the seed.
    Planned {
        /// Approximate duration of the run; a mix draws times within it.
        horizon: Duration,
    },
    /// Exactly these.
    Exactly(Vec<Rule>),
}

/// The rules that the seed draws from the faults of the file.
pub(super) fn rules(plan: &Plan, faulting: &Faulting) -> Vec<Rule> {
    let horizon = match faulting {
        Faulting::None => return Vec::new(),
        Faulting::Exactly(rules) => return rules.clone(),
        Faulting::Planned { horizon } => *horizon,
    };
    let seed = Seed(plan.execution.seed);
    let mut out = Vec::new();
    for FaultPlan { odds, what } in &plan.faults {
        let name = match what {
            FaultPlanWhat::Rule(rule) => &rule.name,
            FaultPlanWhat::Mix { name, .. } => name,
        };
        if *odds < 1.0 && seed.stream(name, "odds").random::<f64>() >= *odds {
            continue;
        }
        match what {
            FaultPlanWhat::Rule(rule) => out.push(rule.clone()),
            FaultPlanWhat::Mix { name, most, parts } => {
                let mut draws = seed.stream(name, "mix");
                let count = draws.random_range(1..=*most);
                for number in 1..=count {
                    let name = format!("{name}_{number}");
                    out.extend(drawn(name.into(), parts, horizon, &mut draws));
                }
            }
        }
    }
    out
}

/// Range of visits from which a mix draws one.
const VISITS: u64 = 60;

/// Draws a fault of a mix.
fn drawn(
    name: Arc<str>,
    parts: &[FaultTarget],
    horizon: Duration,
    draws: &mut ChaCha8Rng,
) -> Option<Rule> {
    let moment = |draws: &mut ChaCha8Rng| horizon.mul_f64(draws.random::<f64>());
    let part = &parts[draws.random_range(0..parts.len())];
    let text = || "a fault".to_owned();
    let short = moment(draws) / 20 + Duration::from_nanos(1);
    let kinds = [
        Kind::Panic { text: text() },
        Kind::Panic { text: text() },
        Kind::Kill,
        Kind::Stop,
        Kind::Hang { span: FOR_EVER },
        Kind::Hang { span: short },
        Kind::Slow { by: short, span: short * 4 },
        Kind::Error { text: text(), permanent: false },
        Kind::Poison,
        Kind::Delay { by: short },
        Kind::Drop,
        Kind::Duplicate,
        Kind::Full { span: short },
        Kind::Crash { span: short, stored: None },
        Kind::Unavailable { span: short },
        Kind::UnknownOutcome { stored: None },
        Kind::TornWrite { span: short },
        Kind::Redeliver,
        Kind::LostLease,
    ];
    let able: Vec<(&Kind, Option<Point>)> = (kinds.iter())
        .flat_map(|kind| {
            let points = points_of(kind, part).into_iter();
            points.map(move |point| (kind, point))
        })
        .collect();
    if able.is_empty() {
        return None;
    }
    // First a kind, then a point; otherwise kinds with many points would dominate.
    let mut names: Vec<&str> = able.iter().map(|(kind, _)| kind.name()).collect();
    names.dedup();
    let chosen = names[draws.random_range(0..names.len())];
    let able: Vec<_> = able.into_iter().filter(|(kind, _)| kind.name() == chosen).collect();
    let (kind, point) = able[draws.random_range(0..able.len())];
    let when = match (kind, point) {
        (Kind::Poison, _) => When::ItemChance(0.02),
        (_, None) => When::At(vec![Time::ZERO + moment(draws)]),
        (_, Some(_)) => When::Nth(draws.random_range(1..=VISITS)),
    };
    Some(Rule {
        name,
        sites: vec![FaultSite { node: part.node.clone(), point, sender: None }],
        what: What::Kind(kind.clone(), when),
        from: Time::ZERO,
        until: Time::MAX,
        times: u64::MAX,
    })
}

/// Connects faults to the actors of a running topology.
pub(super) struct Reach {
    pub(super) inner: Weak<Inner>,
    pub(super) supervisor: SupervisorHandle,
    /// Set once the handle exists.
    pub(super) handle: Arc<OnceLock<Weak<Handle>>>,
}

impl Reach {
    fn running(&self) -> Option<RunningTopology> {
        Some(RunningTopology { shared: self.handle.get()?.upgrade()? })
    }
}

impl RunningTopology {
    /// Reloads with other settings of a gopher's crew, or of a pile. What was reloaded before is
    /// undone, so that the plan differs from the file in one node at most.
    async fn reload_drawn(&self, node: &str, at: Time) {
        let inner = self.inner();
        let mut plan = Plan::clone(&inner.sites.plan);
        let mut draws = inner.context.seed.stream(&format!("{node} {}", at.0), "reload");
        vary(&mut plan, node.split('/').next().unwrap_or(node), &mut draws);
        match self.reload(plan, &Moves::new()).await {
            Ok(_) | Err(ReloadError::Failed(_) | ReloadError::Busy | ReloadError::Ended) => {}
            Err(why) => inner.context.fail(format!("a fault of kind `reload`: {why}")),
        }
    }
}

/// Changes the settings of a crew or a pile, in the plan and in the config of which it is made; one
/// time in four leaves them as in the file.
fn vary(plan: &mut Plan, node: &str, draws: &mut ChaCha8Rng) {
    let (carts, books, more) =
        (draws.random_range(1..=6), draws.random_range(1..=3), draws.random::<bool>());
    if draws.random_range(0..4) == 0 {
        return;
    }
    let config = Arc::make_mut(&mut plan.config);
    let base = base(node);
    if let Some(crew) = config.crews.get_mut(base) {
        crew.carts.count = carts;
        // A further gopher that does what the first one does.
        let twin = crew.gophers.first().cloned().filter(|_| more);
        crew.gophers.extend(twin);
        for crew in plan.crews.iter_mut().filter(|crew| label::base(&crew.name) == base) {
            crew.carts = carts;
            let twin = crew.gophers.first().copied().filter(|_| more);
            crew.gophers.extend(twin);
        }
        return;
    }
    // A smaller bound could be less than a cartload.
    let wider = |most: Option<u64>| most.map(|most| most.saturating_mul(books));
    let of = config.piles.get_mut(base).map(|pile| &mut pile.capacity);
    if let Some(capacity) = of.or(config.dumps.get_mut(base).map(|dump| &mut dump.capacity)) {
        capacity.books = wider(capacity.books);
        for pile in plan.piles.iter_mut().filter(|pile| label::base(&pile.name) == base) {
            pile.capacity.books = wider(pile.capacity.books);
        }
    }
}

impl FaultInjector for Reach {
    fn strike(&self, node: &str, strike: Strike) {
        self.supervisor.strike(node, strike);
    }

    fn ring_at(&self, at: Time, node: &str) {
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        let Some(pile) = inner.nodes().pile(node).cloned() else {
            return;
        };
        let clock = inner.context.clock.clone();
        actix_rt::spawn(async move {
            clock.sleep_until(at).await;
            pile.has_room();
        });
    }

    fn fired(&self, fired: &Fired) {
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        let point = (fired.site.point).map_or_else(String::new, |point| format!(" at {point}"));
        let item = fired.item.map_or_else(String::new, |item| format!(" with {item}"));
        let what = format!("{}{point}{item}", fired.kind.name());
        log::debug!("fault `{}`: {what} of {}", fired.rule, fired.site.node);
        let act = Act::Fault { rule: &fired.rule, what: &what };
        inner.context.record(&fired.site.node, &act);
        if fired.kind == Kind::Reload
            && let Some(running) = self.running()
        {
            let (node, at) = (fired.site.node.clone(), fired.at);
            actix_rt::spawn(async move { running.reload_drawn(&node, at).await });
        }
    }

    fn crash(&self, span: Duration) {
        if let Some(inner) = self.inner.upgrade() {
            let _ = inner.crash.0.set(span);
            inner.crash.1.notify_one();
        }
    }

    fn is_over(&self) -> bool {
        (self.inner.upgrade())
            .is_none_or(|inner| inner.end.initialized() || inner.context.is_halting())
    }
}
