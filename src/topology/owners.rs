//! Ownership of sources in a shared store: one task per source takes the ownership, renews it, and
//! releases it at the end of the source or of the run.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gopherworks_pipeline::__private::{FeederCore, PileCore, PipelineContext};
use gopherworks_pipeline::store::{Backend, StoreError};
use gopherworks_supervision::clock::{Clock, Time};

use super::inner::Inner;

/// Pause between two checks of an owned source.
const LOOK: Duration = Duration::from_millis(100);

/// Longest pause before the next attempt to own a source that another process owns.
const LATER: Duration = Duration::from_secs(1);

/// Starts the tasks for sources that other processes could read.
pub(super) fn start(inner: &Arc<Inner>, lease: Duration) {
    let Some(backend) = inner.context.custody.backend() else {
        return;
    };
    let nodes = inner.nodes();
    let owned = nodes.feeders.iter().filter_map(|feeder| Some((feeder, feeder.shares()?)));
    for (feeder, shares) in owned {
        let (inner, feeder) = (Arc::downgrade(inner), Arc::downgrade(feeder));
        let owner = Owner { backend: backend.clone(), lease, shares, held: None };
        actix_rt::spawn(owner.run(inner, feeder));
    }
    for (plan, pile) in nodes.plan.piles.iter().zip(&nodes.piles) {
        let elsewhere = plan.elsewhere.as_ref().filter(|elsewhere| elsewhere.awaited);
        if let Some(source) = elsewhere.and_then(|elsewhere| elsewhere.source.clone()) {
            let clock = inner.context.clock.clone();
            let pile = Arc::downgrade(pile);
            actix_rt::spawn(await_end(backend.clone(), clock, source, pile));
        }
    }
}

/// Tells a pile when the source that other processes read into it has ended.
async fn await_end(
    backend: Arc<dyn Backend>,
    clock: Clock,
    (source, shares): (String, usize),
    pile: Weak<PileCore>,
) {
    loop {
        clock.sleep(LATER).await;
        if pile.strong_count() == 0 {
            return;
        }
        match backend.sources().await {
            Ok(known) => {
                let ended = known.iter().filter(|known| *known.source == *source && known.ended);
                if ended.count() == shares {
                    break;
                }
            }
            // Without such answers, the run ends when it is stopped.
            Err(StoreError::Closed | StoreError::Unsupported(_)) => return,
            Err(error) => log::debug!("{source}: {error}"),
        }
    }
    if let Some(pile) = pile.upgrade() {
        pile.source_has_ended();
    }
}

struct Owner {
    backend: Arc<dyn Backend>,
    lease: Duration,
    shares: u32,
    /// Token of each share, and when the ownership is renewed; `None` while this process does not
    /// own the source.
    held: Option<(Vec<u64>, Time)>,
}

impl Owner {
    async fn run(mut self, inner: Weak<Inner>, feeder: Weak<FeederCore>) {
        loop {
            let context = inner.upgrade().map(|inner| inner.context.clone());
            let (Some(context), Some(feeder)) = (context, feeder.upgrade()) else {
                return;
            };
            let Some(pause) = self.step(&feeder, &context).await else {
                return feeder.release();
            };
            let clock = context.clock.clone();
            drop((context, feeder));
            clock.sleep(pause).await;
        }
    }

    /// Takes, renews or releases the ownership as due; returns the pause before the next step,
    /// `None` after the last one.
    async fn step(
        &mut self,
        feeder: &Arc<FeederCore>,
        context: &Arc<PipelineContext>,
    ) -> Option<Duration> {
        if feeder.is_exhausted() {
            if self.held.is_some() && !context.custody.flush().await {
                return None;
            }
            // If the store has refused the last books, the source has to be read again.
            if feeder.is_exhausted() {
                let ended = feeder.is_owned() && feeder.was_read_to_end();
                self.leave(feeder, ended).await;
                return None;
            }
        }
        if self.held.is_some() && !feeder.is_owned() {
            // The store must refuse books that are on their way with the former tokens.
            self.leave(feeder, false).await;
        }
        let now = context.clock.now();
        match &mut self.held {
            Some((_, renew)) if now < *renew => Some(LOOK),
            Some(_) => self.renew(feeder, now).await,
            None => self.take(feeder, context).await,
        }
    }

    async fn renew(&mut self, feeder: &FeederCore, now: Time) -> Option<Duration> {
        let (tokens, renew) = self.held.as_mut()?;
        *renew = now + self.lease / 3;
        for (share, token) in (0..).zip(tokens.iter()) {
            let owned = self.backend.own(&feeder.name, share, Some(*token), self.lease).await;
            match owned {
                Ok(_) => {}
                Err(StoreError::Closed) => return None,
                Err(StoreError::Stale) => {
                    log::warn!("{}: another process reads it now", feeder.name);
                    feeder.give_up();
                    return Some(Duration::ZERO);
                }
                Err(error) => {
                    log::debug!("{}: its ownership is not renewed: {error}", feeder.name);
                    *renew = now + self.lease / 8;
                }
            }
        }
        Some(LOOK)
    }

    /// Takes all shares, each with a new token, and continues at the stored position.
    async fn take(
        &mut self,
        feeder: &Arc<FeederCore>,
        context: &Arc<PipelineContext>,
    ) -> Option<Duration> {
        let now = context.clock.now();
        let mut owned = Vec::new();
        let mut failed = None;
        for share in 0..self.shares {
            match self.backend.own(&feeder.name, share, None, self.lease).await {
                Ok(ownership) => owned.push(ownership),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let tokens = owned.iter().map(|ownership| ownership.token).collect();
        self.held = Some((tokens, now + self.lease / 3));
        if let Some(error) = failed {
            self.leave(feeder, false).await;
            return match error {
                StoreError::Closed => None,
                StoreError::Unsupported(what) => {
                    context.fail(format!("{}: the store has no {what}", feeder.name));
                    feeder.end();
                    None
                }
                error => {
                    log::debug!("{}: {error}", feeder.name);
                    Some(LATER.min(self.lease / 4))
                }
            };
        }
        let reading = feeder.clone();
        let taken = context.pool.wait_for(move || reading.take_over(&owned)).await;
        match taken {
            Ok(Ok(())) => Some(LOOK),
            Ok(Err(failure)) => {
                context.fail(format!("{}: {failure}", feeder.name));
                self.leave(feeder, false).await;
                feeder.end();
                None
            }
            // The run ends.
            Err(_) => None,
        }
    }

    /// Releases all shares, so that another process may take them at once.
    async fn leave(&mut self, feeder: &FeederCore, ended: bool) {
        let (tokens, _) = self.held.take().unwrap_or_default();
        for (share, token) in (0..).zip(tokens) {
            if let Err(error) = self.backend.disown(&feeder.name, share, token, ended).await {
                log::debug!("{}: {error}", feeder.name);
            }
        }
    }
}
