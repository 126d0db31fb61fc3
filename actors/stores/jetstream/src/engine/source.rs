//! Owners of sources. The last mark of a share names its owner, and each mark replaces the one with
//! the sequence that its writer expects: after a new owner has taken the share, no mark and no
//! append of the former one is stored, whatever its clock says.

use gopherworks_pipeline::store::{Checkpoint, Ownership};

use super::*;
use crate::encode::{Mark, mark, read_mark};

impl Engine {
    /// The last mark of a share, with its sequence.
    async fn mark(&self, source: &str, share: u32) -> Result<Option<(Mark, u64)>, StoreError> {
        let subject = self.server.names.mark(source, share);
        let found = self.server.last(&subject).await.map_err(Fault::reading)?;
        found.map(|found| Ok((read_mark(&found.payload)?, found.sequence))).transpose()
    }

    /// The message that stores a position, if the append `call` has not stored it before.
    ///
    /// # Errors
    /// `Stale` if the checkpoint's owner lost the source.
    pub(super) async fn next_mark(
        &self,
        checkpoint: &Checkpoint,
        call: Uid,
    ) -> Result<Option<Outgoing>, StoreError> {
        let Checkpoint { source, share, position, adds, owner } = checkpoint;
        if *adds {
            return Err(StoreError::Unsupported("positions that grow".into()));
        }
        let key = (source.clone(), *share);
        let known = lock(&self.owned).get(&key).copied().filter(|known| known.token == *owner);
        let known = match known {
            Some(known) => known,
            None => {
                let found = self.mark(source, *share).await?;
                let (last, sequence) = found.ok_or(StoreError::Stale)?;
                if last.token != *owner {
                    return Err(StoreError::Stale);
                }
                let known = Owned { token: last.token, until: last.until, sequence };
                lock(&self.owned).insert(key, known);
                if last.append == call && last.position.as_ref() == Some(position) {
                    return Ok(None);
                }
                known
            }
        };
        let position = Some(position.clone());
        let (holder, until) = (self.server.nonce, known.until);
        let next = Mark { token: *owner, holder, until, position, append: call };
        let subject = self.server.names.mark(source, *share);
        Ok(Some(Outgoing::new(subject, mark(&next)).after(known.sequence).replacing()))
    }

    /// The mark of a checkpoint was stored.
    pub(super) fn mark_is_at(&self, checkpoint: Option<&Checkpoint>, sequence: u64) {
        let Some(Checkpoint { source, share, .. }) = checkpoint else { return };
        if let Some(known) = lock(&self.owned).get_mut(&(source.clone(), *share)) {
            known.sequence = sequence;
        }
    }

    /// The mark of a checkpoint is not what is known of it.
    pub(super) fn forget_mark(&self, checkpoint: Option<&Checkpoint>) {
        let Some(Checkpoint { source, share, .. }) = checkpoint else { return };
        lock(&self.owned).remove(&(source.clone(), *share));
    }

    /// Takes a share of a source, or renews the ownership.
    pub async fn own(
        &self,
        source: &str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Result<Ownership, StoreError> {
        self.is_open()?;
        let subject = self.server.names.mark(source, share);
        for _ in 0..RACES {
            let last = self.mark(source, share).await?;
            let (least, most) = self.server.time();
            let is_owned = last
                .as_ref()
                .is_some_and(|(last, _)| last.until > least && last.holder != self.server.nonce);
            match (token, &last) {
                (Some(token), Some((last, _))) if last.token == token => {}
                (Some(_), _) => return Err(StoreError::Stale),
                (None, Some(_)) if is_owned => {
                    let what = format!("the source `{source}` is read by another process").into();
                    return Err(StoreError::InUse { pid: None, what });
                }
                (None, _) => {}
            }
            let sequence = last.as_ref().map_or(0, |(_, sequence)| *sequence);
            let highest = last.as_ref().map_or(0, |(last, _)| last.token);
            let last = last.map(|(last, _)| (last.position, last.append));
            let (position, append) = last.unwrap_or_default();
            // Greater than all before it: marks come in the order of their sequences.
            let token = token.unwrap_or(highest + 1);
            let until = most.saturating_add(lease.as_millis() as u64);
            let holder = self.server.nonce;
            let next = Mark { token, holder, until, position: position.clone(), append };
            let message = Outgoing::new(subject.clone(), mark(&next)).after(sequence).replacing();
            match self.server.publish(&[message]).await {
                Ok(stored) => {
                    let known = Owned { token, until, sequence: stored.sequence };
                    lock(&self.owned).insert((source.into(), share), known);
                    return Ok(Ownership { token, position });
                }
                Err(Fault::Raced) => {}
                Err(fault) => return Err(fault.error()),
            }
        }
        Err(busy())
    }

    /// Gives a share up.
    pub async fn disown(&self, source: &str, share: u32, token: u64) -> Result<(), StoreError> {
        self.is_open()?;
        let found = self.mark(source, share).await?;
        let (last, sequence) =
            found.filter(|(last, _)| last.token == token).ok_or(StoreError::Stale)?;
        lock(&self.owned).remove(&(source.into(), share));
        let subject = self.server.names.mark(source, share);
        let next = Mark { until: 0, ..last };
        let message = Outgoing::new(subject, mark(&next)).after(sequence).replacing();
        self.server.publish(&[message]).await.map(drop).map_err(Fault::error)
    }
}
