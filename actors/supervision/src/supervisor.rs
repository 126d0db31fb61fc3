//! Runs the decisions of the restart policy on live actors.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::Poll;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::catch::{catch, install_hook};
use super::child::Child;
use super::handle::{Command, Progress, Shared, lost};
use super::launch::{Launch, Life, Surroundings};
use super::listed::{Listed, Public};
use super::report::{Duty, News, Office, Report};
use super::restart::{Do, Restarts};
use super::switch::{Strike, Switch};
use super::{ChildId, Exit, Heard, Outcome, Policy, SupervisionEvent, SupervisorHandle};
use crate::clock::{Clock, Seed, Time};

mod many;
mod setup;

pub use setup::Setup;

use many::Rows;

/// Keeps children running according to a [`Policy`].
///
/// It runs as a task on the arbiter where it was started. If that arbiter ends, all of its children
/// are killed, on whichever thread they run, and its outcome is [`Outcome::Escalated`].
#[derive(Debug)]
pub struct Supervisor(());

impl Supervisor {
    /// Starts a supervisor on this thread. It starts `children` in order, each once `started` of
    /// the previous one has returned. `seed` seeds the jitter of the backoff.
    ///
    /// # Panics
    /// Outside an actix system or arbiter (a `LocalSet`).
    pub fn start(
        policy: Policy,
        clock: Clock,
        seed: Seed,
        children: Vec<Child>,
    ) -> SupervisorHandle {
        Self::start_with(Setup::new(policy, clock, seed), children)
    }

    /// Like [`Supervisor::start`], with all options.
    ///
    /// # Panics
    /// As [`Supervisor::start`].
    pub fn start_with(setup: Setup, children: Vec<Child>) -> SupervisorHandle {
        let Setup { policy, clock, seed, fuzz, heard } = setup;
        let around = Surroundings {
            clock,
            seed,
            fuzz,
            heard,
            events: broadcast::Sender::new(SupervisorHandle::EVENTS),
        };
        Self::begin(policy, around, children, None)
    }

    /// Starts a supervisor that is a child of another.
    pub(super) fn nested(
        policy: Policy,
        above: &Surroundings,
        life: &Life,
        children: Vec<Child>,
    ) -> SupervisorHandle {
        let heard = above.heard.clone().map(|heard| -> Heard {
            let (id, name) = (life.child, life.name.clone());
            Arc::new(move |event| {
                // Its end is reported as the exit of a child.
                if !matches!(event, SupervisionEvent::Stopped { .. }) {
                    heard(&event.clone().under(id, &name));
                }
            })
        });
        let around = Surroundings {
            events: broadcast::Sender::new(SupervisorHandle::EVENTS),
            heard,
            ..above.clone()
        };
        Self::begin(policy, around, children, Some((&life.name, life.epoch)))
    }

    fn begin(
        policy: Policy,
        around: Surroundings,
        children: Vec<Child>,
        nested: Option<(&str, u64)>,
    ) -> SupervisorHandle {
        install_hook();
        let names: Vec<&str> = children.iter().map(Child::name).collect();
        let mut names = names.join(",");
        if let Some((name, epoch)) = nested {
            names = format!("{name} {epoch}: {names}");
        }
        let rng = around.seed.stream(&names, "supervision");
        let (commands, orders) = mpsc::unbounded_channel();
        let (reporter, reports) = mpsc::unbounded_channel();
        let kept: BTreeMap<ChildId, Kept> = (children.into_iter().enumerate())
            .map(|(index, child)| (ChildId(index), Kept::new(child)))
            .collect();
        let public = kept.iter().map(|(id, kept)| (*id, kept.public()));
        let lives = watch::Sender::new(0);
        let shared = Arc::new(Shared {
            commands,
            children: RwLock::new(Listed::new(public.collect())),
            events: around.events.clone(),
            changed: watch::Sender::new(()),
            progress: watch::Sender::new(Progress::default()),
            lives: lives.clone(),
        });
        let specs = kept.values().map(|kept| kept.child.fresh_spec()).collect();
        let task = Task {
            restarts: Restarts::new(policy, specs, rng),
            children: kept,
            rows: Rows::default(),
            around: Arc::new(around),
            shared: shared.clone(),
            orders,
            office: Arc::new(Office { to: reporter, lives }),
            reports,
            nested: nested.is_some(),
        };
        actix_rt::spawn(task.run());
        SupervisorHandle { shared }
    }
}

/// A child, and the switch of its current life.
struct Kept {
    child: Child,
    switch: Arc<Switch>,
    /// Receives the id once the child has started.
    told: Option<oneshot::Sender<ChildId>>,
}

impl Kept {
    fn new(child: Child) -> Self {
        Self { child, switch: Arc::default(), told: None }
    }

    fn public(&self) -> Public {
        Public { name: self.child.spec.name.clone(), restarts: 0 }
    }
}

struct Task {
    restarts: Restarts,
    children: BTreeMap<ChildId, Kept>,
    /// The children of templates.
    rows: Rows,
    around: Arc<Surroundings>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Command>,
    office: Arc<Office>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// If true, the ports are not closed at the end, since another life may follow.
    nested: bool,
}

enum Input {
    Report(Report),
    Order(Command),
    Timer,
}

impl Task {
    async fn run(mut self) {
        let first = self.restarts.begin(self.around.clock.now());
        self.carry_out(first);
        while !self.restarts.is_over() {
            let input = self.next().await;
            let now = self.around.clock.now();
            let mut over = None;
            let wanted = match input {
                Input::Report(mut report) => {
                    over = report.over.take();
                    self.hear(report, now)
                }
                Input::Order(order) => match order {
                    Command::Kill(child) => self.restarts.kill(child, now),
                    Command::Strike(child, Strike::Kill) => self.restarts.kill(child, now),
                    Command::Strike(child, strike) => {
                        self.strike(child, strike);
                        Vec::new()
                    }
                    Command::Start(child, say) => self.add(*child, say, now),
                    Command::StartMany(template, say) => self.add_many(*template, say, now),
                    Command::Remove(child) => self.restarts.remove(child, now),
                    Command::GiveUp(child, epoch) => self.restarts.give_up(child, epoch, now),
                    Command::Stop(within) => self.restarts.stop(within, now),
                    Command::KillAll => self.restarts.kill_all(now),
                    Command::Draining(draining) => self.restarts.set_draining(draining, now),
                },
                Input::Timer => self.restarts.on_timer(now),
            };
            self.carry_out(wanted);
            // Dropped only now: a task that waits for the end of that life observes its
            // consequences.
            drop(over);
        }
    }

    /// Reports before commands before the timer, so that simultaneous inputs have a fixed order.
    async fn next(&mut self) -> Input {
        let mut timer = self.restarts.next_timer().map(|at| self.around.clock.sleep_until(at));
        poll_fn(|cx| {
            if let Poll::Ready(Some(report)) = self.reports.poll_recv(cx) {
                return Poll::Ready(Input::Report(report));
            }
            // `None` if all handles are dropped: there are no more commands.
            if let Poll::Ready(Some(order)) = self.orders.poll_recv(cx) {
                return Poll::Ready(Input::Order(order));
            }
            match &mut timer {
                Some(timer) => Pin::new(timer).poll(cx).map(|()| Input::Timer),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn hear(&mut self, report: Report, now: Time) -> Vec<Do> {
        let Report { child, epoch, news, .. } = report;
        match news {
            News::Started => {
                let kept = self.children.get_mut(&child);
                if let Some(say) = kept.and_then(|kept| kept.told.take()) {
                    let _ = say.send(child);
                }
                if self.restarts.is_present(child, epoch) {
                    self.tell(|| SupervisionEvent::Started {
                        at: now,
                        child,
                        name: self.name(child),
                        epoch,
                    });
                }
                self.restarts.on_started(child, epoch, now)
            }
            News::LotDone => {
                let wanted = self.restarts.on_lot_done(child, now);
                if !self.restarts.is_starting(child) {
                    self.rows.tell_started(child);
                }
                wanted
            }
            News::Exited(exit) => {
                if self.restarts.is_present(child, epoch) {
                    self.exited(child, epoch, exit.clone(), now);
                } else {
                    log::info!("{} (life {epoch}), given up before, {exit}", self.name(child));
                }
                self.restarts.on_exit(child, epoch, &exit, now)
            }
            News::Lost { exit, charged } => {
                let present = self.restarts.is_present(child, epoch);
                // The exit of a fenced life is published when it is fenced.
                if present && exit == Exit::ArbiterDead {
                    self.exited(child, epoch, exit.clone(), now);
                }
                match exit {
                    Exit::ArbiterDead if charged => self.restarts.on_exit(child, epoch, &exit, now),
                    exit if charged => self.restarts.give_up_as(child, epoch, &exit, now),
                    exit => self.restarts.on_lost(child, epoch, &exit, now),
                }
            }
        }
    }

    fn carry_out(&mut self, wanted: Vec<Do>) {
        let now = self.around.clock.now();
        for action in wanted {
            match action {
                Do::Start { child, epoch, restarts } => self.launch(child, epoch, restarts),
                Do::StartLot { first, count, epoch } => self.rows.launch_lot(first, count, epoch),
                Do::Stop { child } => self.strike(child, Strike::Stop),
                Do::Kill { child } => self.strike(child, Strike::Kill),
                Do::Fence { child, epoch, exit } => {
                    // If its thread resumes, the switch ends the life at its next poll.
                    self.strike(child, Strike::Kill);
                    match self.children.get(&child) {
                        Some(kept) => kept.child.body.vacate(epoch),
                        None => self.rows.vacate(child, epoch),
                    }
                    self.exited(child, epoch, exit, now);
                }
                Do::Forget { child } => {
                    match self.children.remove(&child) {
                        Some(kept) => kept.child.body.close(),
                        None => self.forget_one(child),
                    }
                    self.shared.change(|listed| listed.remove(child));
                }
                Do::Restarting { child, after } => self.tell(|| SupervisionEvent::Restarting {
                    at: now,
                    child,
                    name: self.name(child),
                    after,
                }),
                Do::Up => {
                    self.shared.progress.send_modify(|progress| progress.up = true);
                }
                Do::Escalate { reason } => {
                    log::error!("giving up: {reason}");
                    self.tell(|| SupervisionEvent::Escalated { at: now, reason });
                }
                Do::End(outcome) => self.end(outcome, now),
            }
        }
    }

    fn add(&mut self, child: Child, say: oneshot::Sender<ChildId>, now: Time) -> Vec<Do> {
        let spec = child.fresh_spec();
        let Some((id, wanted)) = self.restarts.add(spec, now) else {
            return Vec::new();
        };
        let kept = Kept { told: Some(say), ..Kept::new(child) };
        let public = kept.public();
        self.shared.change(|listed| listed.insert(id, public));
        self.children.insert(id, kept);
        wanted
    }

    fn strike(&self, child: ChildId, strike: Strike) {
        match self.children.get(&child) {
            Some(kept) => kept.switch.strike(strike),
            None => self.rows.strike(child, strike),
        }
    }

    fn launch(&mut self, child: ChildId, epoch: u64, restarts: u64) {
        if restarts > 0 {
            (self.shared).change(|listed| listed.set_restarts(child, restarts));
        }
        let Some(kept) = self.children.get_mut(&child) else {
            return self.rows.launch(child, epoch);
        };
        let switch = Arc::new(Switch::default());
        kept.switch = switch.clone();
        let duty = Duty::new(self.office.clone(), child, epoch);
        kept.child.body.launch(Launch {
            name: kept.child.spec.name.clone(),
            child,
            epoch,
            restarts,
            place: kept.child.place.clone(),
            shutdown: kept.child.spec.shutdown,
            switch,
            duty,
            around: self.around.clone(),
        });
    }

    fn exited(&self, child: ChildId, epoch: u64, exit: Exit, now: Time) {
        match &exit {
            Exit::Normal | Exit::Killed => {
                log::debug!("{} (life {epoch}) {exit}", self.name(child));
            }
            // Logged where it was caught.
            Exit::Panic { .. } => {}
            Exit::Failed(_) | Exit::ArbiterDead | Exit::Hung | Exit::Blocked(_) => {
                log::error!("{} (life {epoch}) {exit}", self.name(child));
            }
        }
        self.tell(|| SupervisionEvent::Exited {
            at: now,
            child,
            name: self.name(child),
            epoch,
            exit,
        });
    }

    fn end(&mut self, outcome: Outcome, now: Time) {
        for kept in self.children.values_mut() {
            kept.told = None;
            if self.nested {
                kept.child.body.rest();
            } else {
                kept.child.body.close();
            }
        }
        self.rows.end(self.nested);
        self.tell(|| SupervisionEvent::Stopped { at: now });
        self.shared.progress.send_modify(|progress| progress.outcome = Some(outcome));
    }

    fn name(&self, child: ChildId) -> Arc<str> {
        let single = self.children.get(&child);
        let name = single.map(|kept| kept.child.spec.name.clone());
        name.or_else(|| self.rows.name(child)).unwrap_or_else(|| Arc::from("a child that is gone"))
    }

    /// Publishes an event; it is not constructed if there is no subscriber.
    fn tell(&self, event: impl FnOnce() -> SupervisionEvent) {
        if !self.around.listened() {
            return;
        }
        let event = event();
        if let Some(heard) = &self.around.heard
            && let Err(caught) = catch(|| heard(&event))
        {
            log::error!("a supervisor's listener panicked at {}: {}", caught.place, caught.text);
        }
        // Fails if there is no subscriber.
        let _ = self.shared.events.send(event);
    }
}

impl Drop for Task {
    /// A task dropped before its end has lost its arbiter: its children are killed, since none
    /// would be restarted.
    fn drop(&mut self) {
        if self.restarts.is_over() {
            return;
        }
        for kept in self.children.values() {
            kept.switch.kill();
        }
        self.rows.kill_all();
        self.end(lost(), self.around.clock.now());
    }
}
