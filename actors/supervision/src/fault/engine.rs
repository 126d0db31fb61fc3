//! Evaluates the fault rules of a run and records what fired.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use super::{FaultAction, FaultSite, Kind, Point, Rule, What, When};
use crate::Strike;
use crate::clock::{Clock, Seed, Time};
use crate::failure::Failure;

/// Minimum interval between firings of one timed rule, on average for random ones; shorter
/// intervals are raised to this, since otherwise a run would do nothing else.
pub const LEAST_PERIOD: Duration = Duration::from_millis(1);

/// A fault that fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// When it fired.
    pub at: Time,
    /// The name of the rule.
    pub rule: Arc<str>,
    /// What was injected.
    pub kind: Kind,
    /// Where it was injected.
    pub site: FaultSite,
    /// The book or request affected, if any.
    pub item: Option<u64>,
}

/// Applies faults to actors from outside.
pub trait FaultInjector: Send + Sync {
    /// Applies a fault to an actor; see [`crate::SupervisorHandle::strike`].
    fn strike(&self, node: &str, strike: Strike);

    /// Sends a wake-up to a pile at `at`, when it stops being full.
    fn ring_at(&self, at: Time, node: &str);

    /// True when no more faults must be injected.
    fn is_over(&self) -> bool;

    /// Called for every fault that fired.
    fn fired(&self, fired: &Fired);

    /// Kills the process, which is started again after `span`. By default does nothing.
    fn crash(&self, span: Duration) {
        let _ = span;
    }
}

/// The faults of one run.
pub struct FaultEngine {
    clock: Clock,
    seed: Seed,
    rules: Vec<Mutex<RuleState>>,
    /// For each node, the indices of the rules that have a site there.
    points: BTreeMap<Arc<str>, Vec<usize>>,
    fired: Mutex<Vec<Fired>>,
    injector: Mutex<Option<Arc<dyn FaultInjector>>>,
    quiet: AtomicBool,
}

struct RuleState {
    rule: Rule,
    draws: ChaCha8Rng,
    /// Next firing time of a timed rule.
    due: Option<Time>,
    visits: u64,
    fired: u64,
    /// For each term of a script, how often it was used.
    used: Vec<u64>,
    /// Sites that are currently slow or full, and until when.
    lasting: Vec<(usize, Time)>,
}

impl fmt::Debug for FaultEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultEngine").field("rules", &self.rules.len()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RuleState {
    fn new(rule: Rule, seed: Seed) -> Self {
        let mut draws = seed.stream(&rule.name, "fault");
        let due = match &rule.what {
            What::Kind(_, When::At(times)) => times.iter().min().copied(),
            What::Kind(_, When::Every(span)) => Some(rule.from + (*span).max(LEAST_PERIOD)),
            What::Kind(_, When::Poisson(mean)) => {
                let mean = (*mean).max(LEAST_PERIOD);
                Some(rule.from + poisson(mean, &mut draws))
            }
            _ => None,
        };
        let terms = match &rule.what {
            What::Script(terms) => terms.len(),
            What::Kind(..) => 0,
        };
        Self { draws, due, visits: 0, fired: 0, used: vec![0; terms], lasting: Vec::new(), rule }
    }

    fn is_open(&self, now: Time) -> bool {
        self.rule.from <= now && now < self.rule.until && self.fired < self.rule.times
    }

    /// Computes the next firing time after a timed rule fired at `now`.
    fn next_due(&mut self, now: Time) {
        let due = self.due;
        self.due = match &self.rule.what {
            What::Kind(_, When::At(times)) => {
                times.iter().filter(|at| Some(**at) > due).min().copied()
            }
            What::Kind(_, When::Every(span)) => due.map(|due| {
                // Missed firings are skipped: the next one is later than `now`.
                let span = (*span).max(LEAST_PERIOD).as_nanos();
                let missed = (now - due).as_nanos() / span;
                let next = u128::from(due.0) + (missed + 1) * span;
                Time(u64::try_from(next).unwrap_or(u64::MAX))
            }),
            What::Kind(_, When::Poisson(mean)) => {
                let mean = (*mean).max(LEAST_PERIOD);
                Some(now + poisson(mean, &mut self.draws))
            }
            _ => None,
        };
    }

    /// Evaluates the rule at a visit.
    fn visit(&mut self, now: Time, item: Option<u64>, seed: Seed) -> Option<Kind> {
        if !self.is_open(now) {
            return None;
        }
        self.visits += 1;
        match &self.rule.what {
            What::Script(terms) => {
                for (at, term) in terms.iter().enumerate() {
                    if term.times.is_some_and(|times| self.used[at] >= times) {
                        continue;
                    }
                    if term.chance < 1.0 && self.draws.random::<f64>() >= term.chance {
                        continue;
                    }
                    self.used[at] += 1;
                    return term.kind.clone();
                }
                None
            }
            What::Kind(kind, when) => {
                let hit = match when {
                    When::At(_) | When::Every(_) | When::Poisson(_) => {
                        self.due.is_some_and(|due| due <= now)
                    }
                    When::Nth(number) => self.visits == *number,
                    When::Chance(chance) => self.draws.random::<f64>() < *chance,
                    When::Items(items) => item.is_some_and(|item| items.contains(&item)),
                    When::ItemChance(chance) => item.is_some_and(|item| {
                        let mut own = seed.stream(&self.rule.name, &format!("item {item}"));
                        own.random::<f64>() < *chance
                    }),
                };
                let kind = hit.then(|| kind.clone());
                if kind.is_some() && self.due.is_some() {
                    self.next_due(now);
                }
                kind
            }
        }
    }
}

fn poisson(mean: Duration, draws: &mut ChaCha8Rng) -> Duration {
    let unit: f64 = Exp1.sample(draws);
    Duration::try_from_secs_f64(mean.as_secs_f64() * unit).unwrap_or(mean)
}

impl FaultEngine {
    /// The faults of one run. Rules with the same name share a random stream, so names should be
    /// unique.
    pub fn new(clock: Clock, seed: Seed, rules: Vec<Rule>) -> Arc<Self> {
        let mut points: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate() {
            for site in &rule.sites {
                let here = points.entry(site.node.clone()).or_default();
                if here.last() != Some(&at) {
                    here.push(at);
                }
            }
        }
        Arc::new(Self {
            clock,
            seed,
            rules: rules.into_iter().map(|rule| Mutex::new(RuleState::new(rule, seed))).collect(),
            points,
            fired: Mutex::default(),
            injector: Mutex::default(),
            quiet: AtomicBool::new(false),
        })
    }

    /// Sets the injector that reaches actors, in place of one from an earlier life of the process.
    /// Without an injector only the faults that actors query themselves are applied.
    pub fn set_injector(&self, injector: Arc<dyn FaultInjector>) {
        *lock(&self.injector) = Some(injector);
    }

    fn injector(&self) -> Option<Arc<dyn FaultInjector>> {
        lock(&self.injector).clone()
    }

    /// Kills the process at once, as [`FaultAction::Crash`] does.
    pub fn crash(&self, span: Duration) {
        if let Some(injector) = self.injector() {
            injector.crash(span);
        }
    }

    /// Stops all further firings. Effects that last (slow, full) end at their own time.
    pub fn quiet(&self) {
        self.quiet.store(true, Ordering::Release);
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire)
    }

    /// All faults that fired so far, in order.
    pub fn fired(&self) -> Vec<Fired> {
        lock(&self.fired).clone()
    }

    /// Called by an actor at a point of its work, with the current item if there is one. Returns
    /// the action that the actor must take.
    pub fn visit(&self, node: &str, point: Point, item: Option<u64>) -> Option<FaultAction> {
        self.ask(node, point, None, item, false)
    }

    /// Called when a message of `sender` arrives at a point of `node`, or a settlement or wake-up
    /// is made there. Returns the action to take.
    pub fn message(&self, node: &str, point: Point, sender: Option<&str>) -> Option<FaultAction> {
        self.ask(node, point, sender, None, true)
    }

    fn ask(
        &self,
        node: &str,
        point: Point,
        sender: Option<&str>,
        item: Option<u64>,
        message: bool,
    ) -> Option<FaultAction> {
        if self.is_quiet() {
            return None;
        }
        for at in self.points.get(node)? {
            let mut state = lock(&self.rules[*at]);
            let kind = match &state.rule.what {
                What::Kind(kind, _) => Some(kind),
                What::Script(terms) => terms.iter().find_map(|term| term.kind.as_ref()),
            };
            if kind.is_none_or(|kind| kind.is_of_messages() != message) {
                continue;
            }
            let whole = matches!(kind, Some(Kind::Slow { .. }));
            let site = state.rule.sites.iter().position(|site| {
                let here = site.point == Some(point) || (site.point.is_none() && whole);
                let from = site.sender.as_deref();
                *site.node == *node && here && (from.is_none() || from == sender)
            });
            let Some(site) = site else {
                continue;
            };
            let now = self.clock.now();
            let slow = match &state.rule.what {
                What::Kind(Kind::Slow { by, .. }, _) => Some(*by),
                _ => None,
            };
            if let Some(by) = slow
                && state.lasting.iter().any(|(one, until)| *one == site && now < *until)
            {
                return Some(FaultAction::Slow(by));
            }
            let Some(mut kind) = state.visit(now, item, self.seed) else {
                continue;
            };
            if let Kind::UnknownOutcome { stored } | Kind::Crash { stored, .. } = &mut kind {
                // Drawn here, so that the record of the fired fault includes it.
                *stored = stored.or_else(|| Some(state.draws.random()));
            }
            state.fired += 1;
            if let Kind::Slow { span, .. } = &kind
                && !span.is_zero()
            {
                state.lasting.retain(|(_, until)| *until > now);
                state.lasting.push((site, now + *span));
            }
            let rule = state.rule.name.clone();
            let site = FaultSite { point: Some(point), ..state.rule.sites[site].clone() };
            drop(state);
            let action = action(&rule, &kind, item);
            let strike = strike(&rule, &kind);
            self.note(Fired { at: now, rule, kind, site, item });
            if action.is_some() {
                return action;
            }
            if let (Some(strike), Some(injector)) = (strike, self.injector()) {
                injector.strike(node, strike);
            }
        }
        None
    }

    /// True if `node` must report that it is full.
    pub fn is_full(&self, node: &str) -> bool {
        self.lasts(node, |kind| matches!(kind, Kind::Full { .. }))
    }

    /// True if `node` can't be reached.
    pub fn is_unavailable(&self, node: &str) -> bool {
        self.lasts(node, |kind| matches!(kind, Kind::Unavailable { .. }))
    }

    /// True while a fault whose kind satisfies `is_it` lasts at `node`.
    fn lasts(&self, node: &str, is_it: impl Fn(&Kind) -> bool) -> bool {
        let Some(rules) = self.points.get(node) else {
            return false;
        };
        let now = self.clock.now();
        rules.iter().any(|at| {
            let state = lock(&self.rules[*at]);
            matches!(&state.rule.what, What::Kind(kind, _) if is_it(kind))
                && (state.lasting.iter())
                    .any(|(site, until)| *state.rule.sites[*site].node == *node && now < *until)
        })
    }

    fn note(&self, fired: Fired) {
        if let Some(injector) = self.injector() {
            injector.fired(&fired);
        }
        lock(&self.fired).push(fired);
    }

    /// Fires the timed faults that apply to whole actors. Returns when none is left, after
    /// [`FaultEngine::quiet`], or when the present [`FaultInjector`] is over, replaced or missing.
    /// Its sleeps are background sleeps: they do not keep a simulation alive.
    pub async fn drive(self: Arc<Self>) {
        let Some(own) = self.injector() else {
            return;
        };
        while let Some(due) = self.next_due() {
            self.clock.sleep_in_background(due).await;
            let is_own = self.injector().is_some_and(|present| Arc::ptr_eq(&present, &own));
            if self.is_quiet() || !is_own || own.is_over() {
                return;
            }
            let now = self.clock.now();
            for at in 0..self.rules.len() {
                self.fire(at, now);
            }
            // A sleep whose deadline has passed does not yield to other tasks.
            tokio::task::yield_now().await;
        }
    }

    fn next_due(&self) -> Option<Time> {
        let rules = self.rules.iter().filter_map(|state| {
            let state = lock(state);
            let due = state.due.filter(|_| is_driven(&state.rule))?;
            (due < state.rule.until && state.fired < state.rule.times)
                .then_some(due.max(state.rule.from))
        });
        rules.min()
    }

    fn fire(&self, at: usize, now: Time) {
        let mut state = lock(&self.rules[at]);
        if !is_driven(&state.rule) || !state.is_open(now) || state.due.is_none_or(|due| due > now) {
            return;
        }
        state.next_due(now);
        state.fired += 1;
        let What::Kind(kind, _) = state.rule.what.clone() else {
            return;
        };
        let count = state.rule.sites.len();
        if count == 0 {
            return;
        }
        let site = match count {
            1 => 0,
            _ => state.draws.random_range(0..count),
        };
        if let Some(span) = kind.lasts() {
            state.lasting.retain(|(_, until)| *until > now);
            state.lasting.push((site, now + span));
        }
        let (rule, site) = (state.rule.name.clone(), state.rule.sites[site].clone());
        drop(state);
        let (strike, node) = (strike(&rule, &kind), site.node.clone());
        let (full, crash) = match &kind {
            Kind::Full { span } => (Some(*span), None),
            Kind::Crash { span, .. } => (None, Some(*span)),
            _ => (None, None),
        };
        self.note(Fired { at: now, rule, kind, site, item: None });
        if let (Some(strike), Some(injector)) = (strike, self.injector()) {
            injector.strike(&node, strike);
        }
        if let (Some(span), Some(injector)) = (full, self.injector()) {
            // Without this wake-up the pile would not notice that it can accept books again.
            injector.ring_at(now + span, &node);
        }
        if let Some(span) = crash {
            self.crash(span);
        }
    }
}

/// True for rules that fire by time rather than at a point.
fn is_driven(rule: &Rule) -> bool {
    let What::Kind(kind, When::At(_) | When::Every(_) | When::Poisson(_)) = &rule.what else {
        return false;
    };
    let pointless = rule.sites.iter().all(|site| site.point.is_none());
    pointless && kind.is_a_strike()
}

fn action(rule: &str, kind: &Kind, item: Option<u64>) -> Option<FaultAction> {
    let of = item.map_or_else(String::new, |item| format!(" with {item}"));
    Some(match kind {
        Kind::Panic { text } => FaultAction::Panic(format!("{text} (fault `{rule}`{of})")),
        Kind::Error { text, permanent } => {
            let text = format!("{text} (fault `{rule}`)");
            FaultAction::Error(match permanent {
                true => Failure::permanent(text),
                false => Failure::transient(text),
            })
        }
        Kind::Poison => FaultAction::Error(Failure::transient(format!("poison (fault `{rule}`)"))),
        Kind::Slow { by, .. } => FaultAction::Slow(*by),
        Kind::Delay { by } => FaultAction::Delay(*by),
        Kind::Drop => FaultAction::Drop,
        Kind::Duplicate => FaultAction::Duplicate,
        Kind::UnknownOutcome { stored } => {
            FaultAction::LoseAnswer { stored: stored.unwrap_or_default() }
        }
        Kind::LostSync => FaultAction::SkipSync,
        Kind::TornWrite { span } => FaultAction::Tear { span: *span },
        Kind::Redeliver => FaultAction::Redeliver,
        Kind::LostLease => FaultAction::LoseLeases,
        Kind::Crash { span, stored } => {
            FaultAction::Crash { span: *span, stored: stored.unwrap_or_default() }
        }
        Kind::Kill | Kind::Stop | Kind::Hang { .. } => return None,
        Kind::Full { .. } | Kind::Unavailable { .. } | Kind::Reload => return None,
    })
}

fn strike(rule: &str, kind: &Kind) -> Option<Strike> {
    Some(match kind {
        Kind::Panic { text } => Strike::Panic(format!("{text} (fault `{rule}`)")),
        Kind::Kill => Strike::Kill,
        Kind::Stop => Strike::Stop,
        Kind::Hang { span } => Strike::Hang(*span),
        _ => return None,
    })
}
