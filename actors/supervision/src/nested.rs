//! A supervisor as a child of another supervisor.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::child::{Child, ChildRunner, ChildThread};
use super::launch::{Life, launch};
use super::supervisor::Supervisor;
use super::switch::Strike;
use super::{ChildSpec, Exit, Restart, RestartPolicy, SupervisionEvent, SupervisorOutcome};

impl Child {
    /// A supervisor of `children` with its own policy. It counts as started once all of them have
    /// started.
    ///
    /// Its escalation is a failure of this child: the parent restarts it with all of its children
    /// in order, or escalates in turn. It ends only after all of its children have ended, so none
    /// is left when it is restarted; between two lives its ports are vacant, not closed. Events of
    /// its children are also published by the parent, under `name/child`.
    ///
    /// Its time to stop covers all of its children together, at most `shutdown` (default 30 s).
    /// Make the `kill_deadline` of the parent's policy longer than that of `policy`, or the
    /// children of a hung one are fenced twice.
    pub fn supervisor(
        name: impl Into<Arc<str>>,
        policy: RestartPolicy,
        children: impl IntoIterator<Item = Child>,
    ) -> Self {
        let children = children.into_iter().collect();
        Child {
            spec: ChildSpec {
                name: name.into(),
                restart: Restart::Permanent,
                shutdown: Duration::from_secs(30),
                first_epoch: 1,
            },
            place: ChildThread::Here,
            runner: Arc::new(NestedSupervisor { policy, children }),
        }
    }
}

struct NestedSupervisor {
    policy: RestartPolicy,
    children: Vec<Child>,
}

impl ChildRunner for NestedSupervisor {
    fn launch(&self, place: ChildThread, life: Life) {
        let (policy, children) = (self.policy, self.children.clone());
        launch(place, life, move |life| live(policy, children, life));
    }

    fn vacate(&self, _: u64) {
        self.rest();
    }

    fn rest(&self) {
        self.children.iter().for_each(|child| child.runner.rest());
    }

    fn close(&self) {
        self.children.iter().for_each(|child| child.runner.close());
    }

    fn last_epoch(&self) -> u64 {
        0
    }
}

async fn live(policy: RestartPolicy, children: Vec<Child>, life: Life) {
    let handle = Supervisor::nested(policy, &life, children);
    let mut events = handle.events();
    let (id, name, parent) = (life.child, life.name.clone(), life.context.events.clone());
    actix_rt::spawn(async move {
        loop {
            match events.recv().await {
                Ok(SupervisionEvent::Stopped { .. }) | Err(RecvError::Closed) => return,
                Ok(event) => {
                    let _ = parent.send(event.under(id, &name));
                }
                Err(RecvError::Lagged(_)) => {}
            }
        }
    });
    let (mut up, mut ended) = (pin!(handle.wait_started()), pin!(handle.ended()));
    let (mut is_up, mut stopping) = (false, false);
    let outcome = poll_fn(|cx| {
        life.switch.listen(cx.waker());
        while let Some(strike) = life.switch.struck() {
            match strike {
                Strike::Panic(text) => log::error!("{} was struck: {text}", life.name),
                Strike::Hang(_) | Strike::Kill | Strike::Stop => {}
            }
            life.switch.kill();
        }
        if life.switch.killed() {
            handle.kill_all();
        } else if life.switch.stopped() && !stopping {
            stopping = true;
            drop(handle.stop(life.shutdown));
        }
        if !is_up && let Poll::Ready(started) = up.as_mut().poll(cx) {
            is_up = true;
            if started.is_ok() {
                life.guard.started();
            }
        }
        ended.as_mut().poll(cx)
    })
    .await;
    life.switch.release();
    let exit = match outcome {
        _ if life.switch.killed() => Exit::Killed,
        SupervisorOutcome::Stopped => Exit::Normal,
        SupervisorOutcome::Escalated { reason } => Exit::Failed(reason),
    };
    life.guard.exited(exit);
}
