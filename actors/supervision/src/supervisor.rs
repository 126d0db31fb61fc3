//! Runs the decisions of the restart policy on live actors.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::Poll;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::catch::{catch, install_hook};
use super::child::Child;
use super::child_list::ChildList;
use super::handle::{Command, Progress, SupervisorShared, lost};
use super::launch::{LaunchContext, Life};
use super::report::{ExitGuard, LifeEvent, LifeReport, Reporter};
use super::restart::{RestartAction, Restarts};
use super::switch::{Strike, Switch};
use super::{
    ChildId, EventListener, Exit, RestartPolicy, SupervisionEvent, SupervisorHandle,
    SupervisorOutcome,
};
use crate::clock::{Clock, Seed, Time};

mod groups;
mod setup;

pub use setup::Setup;

use groups::TemplateGroups;

/// Keeps children running according to a [`RestartPolicy`].
///
/// It runs as a task on the arbiter where it was started. If that arbiter ends, all of its children
/// are killed, on whichever thread they run, and its outcome is [`SupervisorOutcome::Escalated`].
#[derive(Debug)]
pub struct Supervisor(());

impl Supervisor {
    /// Starts a supervisor on this thread. It starts `children` in order, each once `started` of
    /// the previous one has returned. `seed` seeds the jitter of the backoff.
    ///
    /// # Panics
    /// Outside an actix system or arbiter (a `LocalSet`).
    pub fn start(
        policy: RestartPolicy,
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
        let Setup { policy, clock, seed, fuzz, listener } = setup;
        let context = LaunchContext {
            clock,
            seed,
            fuzz,
            listener,
            events: broadcast::Sender::new(SupervisorHandle::EVENTS),
        };
        Self::begin(policy, context, children, None)
    }

    /// Starts a supervisor that is a child of another.
    pub(super) fn nested(
        policy: RestartPolicy,
        life: &Life,
        children: Vec<Child>,
    ) -> SupervisorHandle {
        let above = &*life.context;
        let listener = above.listener.clone().map(|listener| -> EventListener {
            let (id, name) = (life.child, life.name.clone());
            Arc::new(move |event| {
                // Its end is reported as the exit of a child.
                if !matches!(event, SupervisionEvent::Stopped { .. }) {
                    listener(&event.clone().under(id, &name));
                }
            })
        });
        let context = LaunchContext {
            events: broadcast::Sender::new(SupervisorHandle::EVENTS),
            listener,
            ..above.clone()
        };
        Self::begin(policy, context, children, Some((&life.name, life.epoch)))
    }

    fn begin(
        policy: RestartPolicy,
        context: LaunchContext,
        children: Vec<Child>,
        nested: Option<(&str, u64)>,
    ) -> SupervisorHandle {
        install_hook();
        let names: Vec<&str> = children.iter().map(Child::name).collect();
        let mut names = names.join(",");
        if let Some((name, epoch)) = nested {
            names = format!("{name} {epoch}: {names}");
        }
        let rng = context.seed.stream(&names, "supervision");
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let (reporter, reports) = mpsc::unbounded_channel();
        let entries: BTreeMap<ChildId, SupervisedChild> = (children.into_iter().enumerate())
            .map(|(index, child)| (ChildId(index), SupervisedChild::new(child)))
            .collect();
        let mut list = ChildList::default();
        for (id, entry) in &entries {
            list.insert(*id, entry.child.spec.name.clone());
        }
        let lives = watch::Sender::new(0);
        let shared = Arc::new(SupervisorShared {
            commands,
            children: RwLock::new(list),
            events: context.events.clone(),
            changed: watch::Sender::new(()),
            progress: watch::Sender::new(Progress::default()),
            lives: lives.clone(),
        });
        let specs = entries.values().map(|entry| entry.child.fresh_spec()).collect();
        let task = SupervisorTask {
            restarts: Restarts::new(policy, specs, rng),
            children: entries,
            groups: TemplateGroups::default(),
            context: Arc::new(context),
            shared: shared.clone(),
            commands_rx,
            reporter: Arc::new(Reporter { to: reporter, lives }),
            reports,
            nested: nested.is_some(),
        };
        actix_rt::spawn(task.run());
        SupervisorHandle { shared }
    }
}

/// A child, and the switch of its current life.
struct SupervisedChild {
    child: Child,
    switch: Arc<Switch>,
    /// Receives the id once the child has started.
    started: Option<oneshot::Sender<ChildId>>,
}

impl SupervisedChild {
    fn new(child: Child) -> Self {
        Self { child, switch: Arc::default(), started: None }
    }
}

struct SupervisorTask {
    restarts: Restarts,
    children: BTreeMap<ChildId, SupervisedChild>,
    /// The children of templates.
    groups: TemplateGroups,
    context: Arc<LaunchContext>,
    shared: Arc<SupervisorShared>,
    commands_rx: mpsc::UnboundedReceiver<Command>,
    reporter: Arc<Reporter>,
    reports: mpsc::UnboundedReceiver<LifeReport>,
    /// If true, the ports are not closed at the end, since another life may follow.
    nested: bool,
}

enum Input {
    Report(LifeReport),
    Command(Command),
    Timer,
}

impl SupervisorTask {
    async fn run(mut self) {
        let first = self.restarts.begin(self.context.clock.now());
        self.execute(first);
        while !self.restarts.is_over() {
            let input = self.next().await;
            let now = self.context.clock.now();
            let mut counted = None;
            let actions = match input {
                Input::Report(mut report) => {
                    counted = report.counted.take();
                    self.on_report(report, now)
                }
                Input::Command(command) => match command {
                    Command::Kill(child) => self.restarts.kill(child, now),
                    Command::Strike(child, Strike::Kill) => self.restarts.kill(child, now),
                    Command::Strike(child, strike) => {
                        self.strike(child, strike);
                        Vec::new()
                    }
                    Command::Start(child, reply) => self.add(*child, reply, now),
                    Command::StartMany(template, reply) => self.add_many(*template, reply, now),
                    Command::Remove(child) => self.restarts.remove(child, now),
                    Command::GiveUp(child, epoch) => self.restarts.give_up(child, epoch, now),
                    Command::Stop(within) => self.restarts.stop(within, now),
                    Command::KillAll => self.restarts.kill_all(now),
                    Command::Draining(draining) => self.restarts.set_draining(draining, now),
                },
                Input::Timer => self.restarts.on_timer(now),
            };
            self.execute(actions);
            // Dropped only now: a task that waits for the end of that life observes its
            // consequences.
            drop(counted);
        }
    }

    /// Reports before commands before the timer, so that simultaneous inputs have a fixed order.
    async fn next(&mut self) -> Input {
        let mut timer = self.restarts.next_timer().map(|at| self.context.clock.sleep_until(at));
        poll_fn(|cx| {
            if let Poll::Ready(Some(report)) = self.reports.poll_recv(cx) {
                return Poll::Ready(Input::Report(report));
            }
            // `None` if all handles are dropped: there are no more commands.
            if let Poll::Ready(Some(command)) = self.commands_rx.poll_recv(cx) {
                return Poll::Ready(Input::Command(command));
            }
            match &mut timer {
                Some(timer) => Pin::new(timer).poll(cx).map(|()| Input::Timer),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn on_report(&mut self, report: LifeReport, now: Time) -> Vec<RestartAction> {
        let LifeReport { child, epoch, event, .. } = report;
        match event {
            LifeEvent::Started => {
                let entry = self.children.get_mut(&child);
                if let Some(reply) = entry.and_then(|entry| entry.started.take()) {
                    let _ = reply.send(child);
                }
                if self.restarts.is_present(child, epoch) {
                    self.publish(|| SupervisionEvent::Started {
                        at: now,
                        child,
                        name: self.name(child),
                        epoch,
                    });
                }
                self.restarts.on_started(child, epoch, now)
            }
            LifeEvent::BatchDone => {
                let actions = self.restarts.on_batch_done(child, now);
                if !self.restarts.is_starting(child) {
                    self.groups.confirm_started(child);
                }
                actions
            }
            LifeEvent::Exited(exit) => {
                if self.restarts.is_present(child, epoch) {
                    self.exited(child, epoch, exit.clone(), now);
                } else {
                    log::info!("{} (life {epoch}), given up before, {exit}", self.name(child));
                }
                self.restarts.on_exit(child, epoch, &exit, now)
            }
            LifeEvent::Lost { exit, charged } => {
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

    fn execute(&mut self, actions: Vec<RestartAction>) {
        let now = self.context.clock.now();
        for action in actions {
            match action {
                RestartAction::Start { child, epoch, restarts } => {
                    self.launch(child, epoch, restarts)
                }
                RestartAction::StartBatch { first, count, epoch } => {
                    self.groups.launch_batch(first, count, epoch)
                }
                RestartAction::Stop { child } => self.strike(child, Strike::Stop),
                RestartAction::Kill { child } => self.strike(child, Strike::Kill),
                RestartAction::Fence { child, epoch, exit } => {
                    // If its thread resumes, the switch ends the life at its next poll.
                    self.strike(child, Strike::Kill);
                    match self.children.get(&child) {
                        Some(entry) => entry.child.runner.vacate(epoch),
                        None => self.groups.vacate(child, epoch),
                    }
                    self.exited(child, epoch, exit, now);
                }
                RestartAction::Forget { child } => {
                    match self.children.remove(&child) {
                        Some(entry) => entry.child.runner.close(),
                        None => self.forget_one(child),
                    }
                    self.shared.change(|list| list.remove(child));
                }
                RestartAction::Restarting { child, after } => self.publish(|| {
                    SupervisionEvent::Restarting { at: now, child, name: self.name(child), after }
                }),
                RestartAction::Up => {
                    self.shared.progress.send_modify(|progress| progress.up = true);
                }
                RestartAction::Escalate { reason } => {
                    log::error!("giving up: {reason}");
                    self.publish(|| SupervisionEvent::Escalated { at: now, reason });
                }
                RestartAction::End(outcome) => self.end(outcome, now),
            }
        }
    }

    fn add(
        &mut self,
        child: Child,
        reply: oneshot::Sender<ChildId>,
        now: Time,
    ) -> Vec<RestartAction> {
        let spec = child.fresh_spec();
        let Some((id, actions)) = self.restarts.add(spec, now) else {
            return Vec::new();
        };
        let entry = SupervisedChild { started: Some(reply), ..SupervisedChild::new(child) };
        let name = entry.child.spec.name.clone();
        self.shared.change(|list| list.insert(id, name));
        self.children.insert(id, entry);
        actions
    }

    fn strike(&self, child: ChildId, strike: Strike) {
        match self.children.get(&child) {
            Some(entry) => entry.switch.strike(strike),
            None => self.groups.strike(child, strike),
        }
    }

    fn launch(&mut self, child: ChildId, epoch: u64, restarts: u64) {
        if restarts > 0 {
            (self.shared).change(|list| list.set_restarts(child, restarts));
        }
        let Some(entry) = self.children.get_mut(&child) else {
            return self.groups.launch(child, epoch);
        };
        let switch = Arc::new(Switch::default());
        entry.switch = switch.clone();
        let life = Life {
            name: entry.child.spec.name.clone(),
            child,
            epoch,
            restarts,
            shutdown: entry.child.spec.shutdown,
            switch,
            guard: ExitGuard::new(self.reporter.clone(), child, epoch),
            context: self.context.clone(),
        };
        entry.child.runner.launch(entry.child.place.clone(), life);
    }

    fn exited(&self, child: ChildId, epoch: u64, exit: Exit, now: Time) {
        match &exit {
            Exit::Normal | Exit::Killed => {
                let name = self.name(child);
                log::debug!(node = &*name; "{name} (life {epoch}) {exit}");
            }
            // Logged where it was caught.
            Exit::Panic { .. } => {}
            Exit::Failed(_) | Exit::ArbiterDead | Exit::Hung | Exit::Blocked(_) => {
                let name = self.name(child);
                log::error!(node = &*name; "{name} (life {epoch}) {exit}");
            }
        }
        self.publish(|| SupervisionEvent::Exited {
            at: now,
            child,
            name: self.name(child),
            epoch,
            exit,
        });
    }

    fn end(&mut self, outcome: SupervisorOutcome, now: Time) {
        for entry in self.children.values_mut() {
            entry.started = None;
            if self.nested {
                entry.child.runner.rest();
            } else {
                entry.child.runner.close();
            }
        }
        self.groups.end(self.nested);
        self.publish(|| SupervisionEvent::Stopped { at: now });
        self.shared.progress.send_modify(|progress| progress.outcome = Some(outcome));
    }

    fn name(&self, child: ChildId) -> Arc<str> {
        let single = self.children.get(&child);
        let name = single.map(|entry| entry.child.spec.name.clone());
        name.or_else(|| self.groups.name(child))
            .unwrap_or_else(|| Arc::from("a child that is gone"))
    }

    /// Publishes an event; it is not constructed if there is no subscriber.
    fn publish(&self, event: impl FnOnce() -> SupervisionEvent) {
        if !self.context.listened() {
            return;
        }
        let event = event();
        if let Some(listener) = &self.context.listener
            && let Err(caught) = catch(|| listener(&event))
        {
            log::error!("a supervisor's listener panicked at {}: {}", caught.place, caught.text);
        }
        // Fails if there is no subscriber.
        let _ = self.shared.events.send(event);
    }
}

impl Drop for SupervisorTask {
    /// A task dropped before its end has lost its arbiter: its children are killed, since none
    /// would be restarted.
    fn drop(&mut self) {
        if self.restarts.is_over() {
            return;
        }
        for entry in self.children.values() {
            entry.switch.kill();
        }
        self.groups.kill_all();
        self.end(lost(), self.context.clock.now());
    }
}
