//! Owners of sources. The last mark of a share names its owner, and each mark replaces the one with
//! the sequence that its writer expects: after a new owner has taken the share, no mark and no
//! append of the former one is stored, whatever its clock says.
//!
//! What is added to a position is a message of its own, in one batch with its mark. Its subject has
//! the sequence of the mark before, which tells whether it came before the position was replaced.

use bytes::Bytes;
use gopherworks_pipeline::store::{Checkpoint, Ownership, SourceOwner, SourceState};

use super::*;
use crate::encode::{mark, read_mark};
use crate::names::hex;

/// This process, as others see it.
fn process_name() -> String {
    let host = rustix::system::uname();
    format!("{}:{}", host.nodename().to_string_lossy(), std::process::id())
}

impl Engine {
    /// The last mark of a share, with its sequence.
    async fn mark(&self, source: &str, share: u32) -> Result<Option<Owned>, StoreError> {
        let subject = self.server.names.mark(source, share);
        let found = self.server.last(&subject).await.map_err(Fault::reading)?;
        let owned = found
            .map(|found| Ok(Owned { mark: read_mark(&found.payload)?, sequence: found.sequence }));
        owned.transpose()
    }

    /// All marks, with their sources and shares.
    async fn marks(&self) -> Result<Vec<(Arc<str>, u32, Owned)>, StoreError> {
        let filter = self.server.names.kind('m');
        let (_, subjects) = self.server.subjects(&filter).await.map_err(Fault::reading)?;
        let mut marks = Vec::new();
        for found in self.all_last(subjects.into_keys()).await? {
            if let Some((source, share)) = self.server.names.source_of(&found.subject) {
                let owned = Owned { mark: read_mark(&found.payload)?, sequence: found.sequence };
                marks.push((source.into(), share, owned));
            }
        }
        Ok(marks)
    }

    /// The position of a share, with what was added to it. Removes what was added to earlier ones.
    async fn position(
        &self,
        source: &str,
        share: u32,
        mark: &Mark,
    ) -> Result<Option<Bytes>, StoreError> {
        let filter = self.server.names.all_added(source, share);
        let (_, subjects) = self.server.subjects(&filter).await.map_err(Fault::reading)?;
        let after = |subject: &str| subject.rsplit('.').next()?.parse::<u64>().ok();
        let mut parts = BTreeMap::new();
        for found in self.all_last(subjects.into_keys()).await? {
            match after(&found.subject).filter(|after| *after >= mark.from) {
                Some(after) => _ = parts.insert(after, found.payload),
                None => _ = self.server.delete(found.sequence).await.map_err(Fault::reading)?,
            }
        }
        if parts.is_empty() {
            return Ok(mark.position.clone());
        }
        let mut position = mark.position.as_deref().unwrap_or_default().to_vec();
        parts.values().for_each(|part| position.extend_from_slice(part));
        Ok(Some(position.into()))
    }

    /// The positions of all sources.
    pub(super) async fn positions(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let mut positions = Vec::new();
        for (source, share, Owned { mark, .. }) in self.marks().await? {
            if let Some(position) = self.position(&source, share, &mark).await? {
                let owner = mark.token;
                positions.push(Checkpoint { source, share, position, adds: false, owner });
            }
        }
        Ok(positions)
    }

    /// The messages that store a position, unless the append `call` has stored it before.
    ///
    /// # Errors
    /// `Stale` if the checkpoint's owner lost the source.
    pub(super) async fn next_mark(
        &self,
        checkpoint: &Checkpoint,
        call: Uid,
    ) -> Result<Option<Vec<Outgoing>>, StoreError> {
        let Checkpoint { source, share, position, adds, owner } = checkpoint;
        let key = (source.clone(), *share);
        let known = lock(&self.owned).get(&key).cloned();
        let Owned { mark: last, sequence } = match known {
            Some(known) if known.mark.token == *owner => known,
            _ => {
                let last = self.mark(source, *share).await?.ok_or(StoreError::Stale)?;
                if last.mark.token != *owner {
                    return Err(StoreError::Stale);
                }
                let is_repeated = last.mark.append == call;
                lock(&self.owned).insert(key, last.clone());
                if is_repeated {
                    return Ok(None);
                }
                last
            }
        };
        let mut next = Mark { append: call, ..last };
        let mut messages = Vec::new();
        if *adds {
            let subject = self.server.names.added(source, *share, sequence);
            messages.push(Outgoing::new(subject, position.clone()).once(hex(&call)));
        } else {
            (next.position, next.from) = (Some(position.clone()), sequence);
        }
        let subject = self.server.names.mark(source, *share);
        messages.push(Outgoing::new(subject, mark(&next)).after(sequence).replacing());
        Ok(Some(messages))
    }

    /// The mark of a checkpoint was stored at `sequence`; `None`: it is not what is known of it.
    pub(super) fn mark_is_at(&self, checkpoint: Option<&Checkpoint>, sequence: Option<u64>) {
        let Some(Checkpoint { source, share, position, adds, .. }) = checkpoint else { return };
        let (key, mut owned) = ((source.clone(), *share), lock(&self.owned));
        match (owned.get_mut(&key), sequence) {
            (Some(known), Some(sequence)) => {
                if !adds {
                    let from = known.sequence;
                    (known.mark.position, known.mark.from) = (Some(position.clone()), from);
                }
                known.sequence = sequence;
            }
            _ => _ = owned.remove(&key),
        }
    }

    /// Replaces the mark of a share by what `change` makes of it; that may refuse to.
    async fn replace_mark(
        &self,
        source: &str,
        share: u32,
        change: impl Fn(Option<&Owned>) -> Result<Mark, StoreError>,
    ) -> Result<Owned, StoreError> {
        self.is_open()?;
        let subject = self.server.names.mark(source, share);
        for _ in 0..RACES {
            let last = self.mark(source, share).await?;
            let next = change(last.as_ref())?;
            let sequence = last.map_or(0, |last| last.sequence);
            let message = Outgoing::new(subject.clone(), mark(&next)).after(sequence).replacing();
            match self.server.publish(&[message]).await {
                Ok(stored) => return Ok(Owned { mark: next, sequence: stored.sequence }),
                Err(Fault::Raced) => {}
                Err(fault) => return Err(fault.error()),
            }
        }
        Err(busy())
    }

    /// Takes a share of a source, or renews the ownership.
    pub async fn own(
        &self,
        source: &str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Result<Ownership, StoreError> {
        let (least, most) = self.server.time();
        let until = most.saturating_add(lease.as_millis() as u64);
        let owned = self.replace_mark(source, share, |last| {
            let last = last.map(|last| &last.mark);
            match (token, last) {
                (Some(token), Some(last)) if last.token == token => {
                    return Ok(Mark { until, ..last.clone() });
                }
                (Some(_), _) => return Err(StoreError::Stale),
                (None, Some(last)) if last.until > least && last.holder != self.server.nonce => {
                    let what = format!("`{source}` is read by {}", last.name);
                    return Err(StoreError::InUse { pid: None, what: what.into() });
                }
                (None, _) => {}
            }
            let last = last.cloned().unwrap_or_default();
            // Greater than all before it: marks come in the order of their sequences.
            let (token, holder, name) = (last.token + 1, self.server.nonce, process_name());
            Ok(Mark { token, holder, name, since: most, until, ended: false, ..last })
        });
        let owned = owned.await?;
        // A renewal does not need what was added.
        let position = match token {
            None => self.position(source, share, &owned.mark).await?,
            Some(_) => owned.mark.position.clone(),
        };
        let token = owned.mark.token;
        lock(&self.owned).insert((source.into(), share), owned);
        Ok(Ownership { token, position })
    }

    /// Gives a share up, which is at its end if it has `ended`.
    pub async fn disown(
        &self,
        source: &str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Result<(), StoreError> {
        let given = self.replace_mark(source, share, |last| {
            let last = last.filter(|last| last.mark.token == token).ok_or(StoreError::Stale)?;
            Ok(Mark { until: 0, ended, ..last.mark.clone() })
        });
        given.await?;
        lock(&self.owned).remove(&(source.into(), share));
        Ok(())
    }

    /// Forgets the positions of a source. An owner loses it, by the new token.
    pub async fn rewind(&self, source: &str) -> Result<(), StoreError> {
        self.is_open()?;
        for (_, share, _) in self.marks().await?.into_iter().filter(|(name, ..)| **name == *source)
        {
            let rewound = self.replace_mark(source, share, |last| {
                let (token, from) = last.map_or((0, 0), |last| (last.mark.token, last.sequence));
                Ok(Mark { token: token + 1, from, ..Mark::default() })
            });
            rewound.await?;
            lock(&self.owned).remove(&(source.into(), share));
        }
        Ok(())
    }

    /// The owners of all sources.
    pub async fn sources(&self) -> Result<Vec<SourceState>, StoreError> {
        self.is_open()?;
        let marks = self.marks().await?;
        let (now, _) = self.server.time();
        let state = |(source, share, Owned { mark, .. })| SourceState {
            source,
            share,
            ended: mark.ended,
            owner: (mark.until > now).then(|| SourceOwner {
                name: mark.name.into(),
                since: Duration::from_millis(now.saturating_sub(mark.since)),
                left: Duration::from_millis(mark.until - now),
            }),
        };
        Ok(marks.into_iter().map(state).collect())
    }
}
