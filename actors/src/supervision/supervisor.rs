//! Carries out what the restart policy wants, on live actors.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio::sync::{broadcast, mpsc, watch};

use super::catch::install_hook;
use super::child::Child;
use super::handle::{Command, Progress, Public, Shared, lost};
use super::report::{Duty, News, Report};
use super::restart::{Do, Restarts};
use super::switch::Switch;
use super::{ChildId, Exit, Outcome, Policy, SupervisionEvent, SupervisorHandle};
use crate::clock::{Clock, Seed, Time};

/// Keeps children alive by a [`Policy`].
///
/// It runs as a task on the arbiter where it was started. If that arbiter ends, its children everywhere are killed and its
/// outcome is an escalation.
#[derive(Debug)]
pub struct Supervisor(());

impl Supervisor {
    /// Starts a supervisor on this thread; it starts `children` in order, each when the `started` of the one before has
    /// returned. `seed` is used for the jitter of the backoff.
    ///
    /// # Panics
    /// Outside an actix system or arbiter (a `LocalSet`).
    pub fn start(
        policy: Policy,
        clock: Clock,
        seed: Seed,
        children: Vec<Child>,
    ) -> SupervisorHandle {
        install_hook();
        let names: Vec<&str> = children.iter().map(Child::name).collect();
        let rng = seed.stream(&names.join(","), "supervision");
        let (commands, orders) = mpsc::unbounded_channel();
        let (reporter, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            commands,
            children: children
                .iter()
                .map(|child| Public {
                    name: child.spec.name.clone(),
                    restarts: AtomicU64::new(0),
                })
                .collect(),
            events: broadcast::Sender::new(SupervisorHandle::EVENTS),
            progress: watch::Sender::new(Progress::default()),
            lives: watch::Sender::new(0),
        });
        let specs = children.iter().map(|child| child.spec.clone()).collect();
        let task = Task {
            restarts: Restarts::new(policy, specs, rng),
            switches: children.iter().map(|_| Arc::default()).collect(),
            children,
            clock,
            shared: shared.clone(),
            orders,
            reporter,
            reports,
        };
        actix_rt::spawn(task.run());
        SupervisorHandle { shared }
    }
}

struct Task {
    restarts: Restarts,
    children: Vec<Child>,
    switches: Vec<Arc<Switch>>,
    clock: Clock,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Command>,
    reporter: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
}

enum Input {
    Report(Report),
    Order(Command),
    Timer,
}

impl Task {
    async fn run(mut self) {
        let first = self.restarts.begin(self.clock.now());
        self.carry_out(first);
        while !self.restarts.is_over() {
            let input = self.next().await;
            let now = self.clock.now();
            let wanted = match input {
                Input::Report(report) => self.hear(report, now),
                Input::Order(order) => match order {
                    Command::Kill(child) => self.restarts.kill(child, now),
                    Command::GiveUp(child, epoch) => self.restarts.give_up(child, epoch, now),
                    Command::Stop(within) => self.restarts.stop(within, now),
                    Command::KillAll => self.restarts.kill_all(now),
                    Command::Draining(draining) => self.restarts.set_draining(draining, now),
                },
                Input::Timer => self.restarts.on_timer(now),
            };
            self.carry_out(wanted);
        }
    }

    /// Reports before orders before the timer, so that one moment always has the same order.
    async fn next(&mut self) -> Input {
        let mut timer = self
            .restarts
            .next_timer()
            .map(|at| self.clock.sleep_until(at));
        poll_fn(|cx| {
            if let Poll::Ready(Some(report)) = self.reports.poll_recv(cx) {
                return Poll::Ready(Input::Report(report));
            }
            // `None` where all handles are gone: then there are no more orders.
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
        let Report { child, epoch, news } = report;
        match news {
            News::Started => {
                if self.restarts.is_present(child, epoch) {
                    self.tell(SupervisionEvent::Started {
                        at: now,
                        child,
                        name: self.name(child),
                        epoch,
                    });
                }
                self.restarts.on_started(child, epoch, now)
            }
            News::Exited(exit) => {
                if self.restarts.is_present(child, epoch) {
                    self.exited(child, epoch, exit.clone(), now);
                } else {
                    log::info!(
                        "{} (life {epoch}), given up before, {exit}",
                        self.name(child)
                    );
                }
                self.restarts.on_exit(child, epoch, &exit, now)
            }
        }
    }

    fn carry_out(&mut self, wanted: Vec<Do>) {
        let now = self.clock.now();
        for action in wanted {
            match action {
                Do::Start {
                    child,
                    epoch,
                    restarts,
                } => self.launch(child, epoch, restarts),
                Do::Stop { child } => self.switches[child.0].stop(),
                Do::Kill { child } => self.switches[child.0].kill(),
                Do::Fence { child, epoch } => {
                    // Should its thread ever wake, the switch ends it at its next poll.
                    self.switches[child.0].kill();
                    self.children[child.0].body.vacate(epoch);
                    self.exited(child, epoch, Exit::Hung, now);
                }
                Do::Restarting { child, after } => self.tell(SupervisionEvent::Restarting {
                    at: now,
                    child,
                    name: self.name(child),
                    after,
                }),
                Do::Up => {
                    self.shared
                        .progress
                        .send_modify(|progress| progress.up = true);
                }
                Do::Escalate { reason } => {
                    log::error!("giving up: {reason}");
                    self.tell(SupervisionEvent::Escalated { at: now, reason });
                }
                Do::End(outcome) => self.end(outcome, now),
            }
        }
    }

    fn launch(&mut self, child: ChildId, epoch: u64, restarts: u64) {
        let switch = Arc::new(Switch::default());
        self.switches[child.0] = switch.clone();
        self.shared.children[child.0]
            .restarts
            .store(restarts, Ordering::Release);
        let duty = Duty::new(
            self.reporter.clone(),
            self.shared.lives.clone(),
            child,
            epoch,
        );
        let kept = &self.children[child.0];
        kept.body.launch(&kept.place, epoch, restarts, switch, duty);
    }

    fn exited(&self, child: ChildId, epoch: u64, exit: Exit, now: Time) {
        let name = self.name(child);
        match &exit {
            Exit::Normal | Exit::Killed => log::debug!("{name} (life {epoch}) {exit}"),
            // Logged where it was caught.
            Exit::Panic { .. } => {}
            Exit::Failed(_) | Exit::ArbiterDead | Exit::Hung => {
                log::error!("{name} (life {epoch}) {exit}");
            }
        }
        self.tell(SupervisionEvent::Exited {
            at: now,
            child,
            name,
            epoch,
            exit,
        });
    }

    fn end(&self, outcome: Outcome, now: Time) {
        for child in &self.children {
            child.body.close();
        }
        self.tell(SupervisionEvent::Stopped { at: now });
        self.shared
            .progress
            .send_modify(|progress| progress.outcome = Some(outcome));
    }

    fn name(&self, child: ChildId) -> Arc<str> {
        self.shared.children[child.0].name.clone()
    }

    fn tell(&self, event: SupervisionEvent) {
        // Refused where nobody listens.
        let _ = self.shared.events.send(event);
    }
}

impl Drop for Task {
    /// A task that is dropped unfinished has lost its arbiter; nobody would restart its children any more.
    fn drop(&mut self) {
        if self.restarts.is_over() {
            return;
        }
        for switch in &self.switches {
            switch.kill();
        }
        self.end(lost(), self.clock.now());
    }
}
