//! The sources that a store in memory knows: positions and owners. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::state::process_name;
use crate::store::{Checkpoint, Ownership, SourceOwner, SourceState, StoreError};

#[derive(Clone, Default)]
struct Share {
    position: Option<Bytes>,
    token: u64,
    process: u64,
    /// From when and until when it is owned.
    since: Duration,
    until: Duration,
    ended: bool,
}

/// By source and share.
#[derive(Clone, Default)]
pub(super) struct Sources(BTreeMap<(Arc<str>, u32), Share>);

impl Sources {
    /// Stores a position, if its owner still owns the source.
    pub fn check_in(
        &mut self,
        checkpoint: &Checkpoint,
        is_repeated: bool,
    ) -> Result<(), StoreError> {
        let key = (checkpoint.source.clone(), checkpoint.share);
        let share = self.0.entry(key).or_default();
        if share.token != checkpoint.owner {
            return Err(StoreError::Stale);
        }
        let position = &checkpoint.position;
        match &share.position {
            Some(_) if checkpoint.adds && is_repeated => {}
            Some(stored) if checkpoint.adds => {
                share.position = Some([&stored[..], position].concat().into());
            }
            _ => share.position = Some(position.clone()),
        }
        Ok(())
    }

    pub fn positions(&self) -> Vec<Checkpoint> {
        let positions = self.0.iter().filter_map(|((source, share), kept)| {
            let (source, share, owner) = (source.clone(), *share, kept.token);
            Some(Checkpoint { source, share, position: kept.position.clone()?, adds: false, owner })
        });
        positions.collect()
    }

    /// Takes or renews a share; `next` is the token of a new owner.
    pub fn own(
        &mut self,
        (source, share): (&str, u32),
        (token, next, process): (Option<u64>, u64, u64),
        (now, lease): (Duration, Duration),
    ) -> Result<Ownership, StoreError> {
        let share = self.0.entry((source.into(), share)).or_default();
        match token {
            Some(token) if token != share.token => return Err(StoreError::Stale),
            Some(_) => {}
            None if share.until > now => {
                let what = format!("the source `{source}` is read by another process").into();
                return Err(StoreError::InUse { pid: None, what });
            }
            None => {
                (share.token, share.process, share.since) = (next, process, now);
                share.ended = false;
            }
        }
        share.until = now.saturating_add(lease);
        Ok(Ownership { token: share.token, position: share.position.clone() })
    }

    pub fn disown(
        &mut self,
        (source, share): (&str, u32),
        token: u64,
        ended: bool,
    ) -> Result<(), StoreError> {
        let share = self.0.entry((source.into(), share)).or_default();
        if share.token != token {
            return Err(StoreError::Stale);
        }
        (share.until, share.ended) = (Duration::ZERO, ended);
        Ok(())
    }

    /// Ends all ownerships of a process.
    pub fn release(&mut self, process: u64) {
        let own = self.0.values_mut().filter(|share| share.process == process);
        own.for_each(|share| share.until = Duration::ZERO);
    }

    /// Ends all ownerships.
    pub fn release_all(&mut self) {
        self.0.values_mut().for_each(|share| share.until = Duration::ZERO);
    }

    /// Forgets positions; `next` is a token that no owner has.
    pub fn rewind(&mut self, source: &str, next: u64) {
        for (_, share) in self.0.iter_mut().filter(|((name, _), _)| **name == *source) {
            *share = Share { token: next, ..Share::default() };
        }
    }

    pub fn states(&self, now: Duration) -> Vec<SourceState> {
        let state = |((source, share), kept): (&(Arc<str>, u32), &Share)| SourceState {
            source: source.clone(),
            share: *share,
            owner: kept.until.checked_sub(now).filter(|left| !left.is_zero()).map(|left| {
                let (name, since) = (process_name(kept.process), now - kept.since);
                SourceOwner { name, since, left }
            }),
            ended: kept.ended,
        };
        self.0.iter().map(state).collect()
    }
}
