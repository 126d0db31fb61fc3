//! Reactions to the supervisor's events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gopherworks_pipeline::Event;
use gopherworks_supervision::{Exit, SupervisionEvent};

use super::inner::Inner;

/// Reacts to an event, besides publishing it.
pub(super) fn react(inner: &Arc<Inner>, event: &SupervisionEvent) {
    match event {
        SupervisionEvent::Exited {
            name,
            epoch,
            exit: exit @ (Exit::Hung | Exit::Blocked(_) | Exit::ArbiterDead),
            ..
        } => {
            let guilty = *exit == Exit::Hung;
            inner.revoke(name, *epoch, guilty);
            if inner.context.clock.is_simulated() {
                return;
            }
            // Another thread may still have been sending to that life when it was given up;
            // revoking again later finds what it sent.
            let (inner, name, epoch) = (Arc::downgrade(inner), name.clone(), *epoch);
            actix_rt::spawn(async move {
                for wait in [Duration::from_millis(20), Duration::from_secs(1)] {
                    let Some(clock) = inner.upgrade().map(|inner| inner.context.clock.clone())
                    else {
                        return;
                    };
                    clock.sleep(wait).await;
                    if let Some(inner) = inner.upgrade() {
                        inner.revoke(&name, epoch, guilty);
                    }
                }
            });
        }
        // No actor is left to empty a pile, so waiting offers are refused instead of waiting
        // indefinitely.
        SupervisionEvent::Escalated { .. } | SupervisionEvent::Stopped { .. } => {
            inner.over.store(true, Ordering::Release);
            inner.seal();
            inner.context.custody.unwatch();
        }
        _ => {}
    }
}

pub(super) fn translated(event: SupervisionEvent) -> Option<Event> {
    match event {
        SupervisionEvent::Started { name, epoch, .. } => {
            Some(Event::Started { node: name.to_string(), epoch })
        }
        SupervisionEvent::Exited { name, exit, .. } => {
            match &exit {
                // Logged by the supervisor.
                Exit::Panic { .. } => {}
                Exit::Normal | Exit::Killed => log::debug!(node = &*name; "{name} {exit}"),
                _ => log::warn!(node = &*name; "{name} {exit}"),
            }
            Some(Event::Exited { node: name.to_string(), exit: exit.to_string() })
        }
        SupervisionEvent::Restarting { name, after, .. } => {
            log::info!(node = &*name; "{name} is restarted in {after:?}");
            Some(Event::Restarting { node: name.to_string() })
        }
        SupervisionEvent::Escalated { reason, .. } => Some(Event::Escalated { reason }),
        SupervisionEvent::NestedEscalated { .. } | SupervisionEvent::Stopped { .. } => None,
    }
}
