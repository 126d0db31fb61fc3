//! Depths, dead letters, and piles that the opener did not name.

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::store::{Act, Cursor, DeadBook, Depth, Pass, Peeked, Want};
use serde_json::json;

use super::*;
use crate::encode::{read_death, read_record, unpack};
use crate::record::Record;

/// Books that are moved at a time.
const CHUNK: Want = Want { books: 4096, bytes: Some(16 << 20) };

impl Engine {
    pub async fn depth(&self, name: &PileName) -> Result<Depth, StoreError> {
        self.pile(name)?;
        self.depth_of(name).await
    }

    pub async fn dead(&self, from: Cursor, most: usize) -> Result<Vec<DeadBook>, StoreError> {
        self.is_open()?;
        let filter = self.server.names.kind('d');
        let (mut letters, mut next) = (Vec::new(), from.0.saturating_add(1));
        while letters.len() < most {
            let which = json!({ "seq": next, "next_by_subj": filter });
            let Some(found) = self.server.get(&which).await.map_err(Fault::reading)? else { break };
            next = found.sequence + 1;
            let Some(pile) = self.server.names.pile_of('d', &found.subject) else { continue };
            let died = read_death(&found.payload)?;
            letters.push(DeadBook {
                at: Cursor(found.sequence),
                book: died.book,
                pile,
                reason: died.reason.into(),
                node: died.node.map(Into::into),
                attempts: died.attempts,
            });
        }
        Ok(letters)
    }

    /// The first books of a pile, in the order of their messages.
    pub async fn peek(&self, name: &PileName, most: usize) -> Result<Vec<Peeked>, StoreError> {
        self.is_open()?;
        let filter = self.server.names.of('p', name);
        let (mut peeked, mut next, mut is_there) = (Vec::new(), 1, false);
        while peeked.len() < most {
            let which = json!({ "seq": next, "next_by_subj": filter });
            let Some(found) = self.server.get(&which).await.map_err(Fault::reading)? else { break };
            (next, is_there) = (found.sequence + 1, true);
            // One that can't be decoded is buried when it is delivered.
            let Ok(packed) = unpack(&found.payload) else { continue };
            let subject = self.server.names.record(name, &packed.uid);
            let record = self.server.last(&subject).await.map_err(Fault::reading)?;
            let record = match record {
                Some(record) => read_record(&record.payload)?,
                None => Record::new(packed.books.len()),
            };
            let (now, _) = self.server.time();
            let there =
                packed.books.into_iter().zip(record.slots).filter(|(_, slot)| !slot.is_gone);
            peeked.extend(there.map(|(book, slot)| Peeked {
                book,
                tries: slot.tries,
                due: slot.due.checked_sub(now).filter(|left| *left > 0).map(Duration::from_millis),
            }));
        }
        peeked.truncate(most);
        let consumer = format!("CONSUMER.INFO.{}", self.server.names.stream);
        let consumer = format!("{consumer}.{}", self.server.names.consumer(name)?);
        match self.server.api(&consumer, &json!({})).await {
            Err(Fault::Missing) if !is_there => Err(StoreError::Gone),
            Err(fault) if !is_there => Err(fault.reading()),
            _ => Ok(peeked),
        }
    }

    /// The dead letter at a position, which may be any number.
    async fn letter(&self, at: Cursor) -> Result<Option<(PileName, Book)>, StoreError> {
        if at.0 == 0 {
            return Ok(None);
        }
        let found = self.server.get(&json!({ "seq": at.0 })).await.map_err(Fault::reading)?;
        let Some(found) = found else { return Ok(None) };
        let Some(pile) = self.server.names.pile_of('d', &found.subject) else { return Ok(None) };
        Ok(Some((pile, read_death(&found.payload)?.book)))
    }

    pub async fn forget_dead(&self, letters: &[Cursor]) -> Result<u64, StoreError> {
        self.is_open()?;
        let mut known = 0;
        for at in letters {
            if self.letter(*at).await?.is_some() {
                known += u64::from(self.server.delete(at.0).await.map_err(Fault::error)?);
            }
        }
        Ok(known)
    }

    pub async fn replay(&self, letters: &[Cursor]) -> Result<u64, StoreError> {
        self.is_open()?;
        let mut known = 0;
        for at in letters {
            let Some((pile, book)) = self.letter(*at).await? else { continue };
            // A pile that this opener did not name gets its letters all the same.
            let index = self.pile(&pile).map(|pile| pile.index as usize);
            let to = match index.ok().and_then(|index| self.at(index)) {
                Some(to) => to,
                None => self.add(PileSpec::new(pile))?,
            };
            let packs = self.packs(format!("replay {}", at.0).as_bytes(), vec![book])?;
            match self.store(&to, &packs, None, vec![], &[]).await {
                Ok(_) | Err(Fault::Duplicate) => {}
                Err(fault) => return Err(fault.error()),
            }
            known += u64::from(self.server.delete(at.0).await.map_err(Fault::error)?);
        }
        Ok(known)
    }

    /// A pile that this opener did not name.
    ///
    /// # Errors
    /// `Gone` if the store has no such pile; `InUse` if this opener uses it.
    async fn orphan(&self, name: &PileName) -> Result<Arc<Pile>, StoreError> {
        self.is_open()?;
        if self.pile(name).is_ok() {
            let what = format!("the pile `{name}` is in use").into();
            return Err(StoreError::InUse { pid: None, what });
        }
        let filter = self.server.names.of('p', name);
        let (_, subjects) = self.server.subjects(&filter).await.map_err(Fault::reading)?;
        if subjects.is_empty() {
            return Err(StoreError::Gone);
        }
        self.add(PileSpec::new(name.clone()))
    }

    /// Moves what is not held by other processes.
    pub async fn move_pile(&self, from: &PileName, to: &PileName) -> Result<u64, StoreError> {
        self.pile(to)?;
        let pile = self.orphan(from).await?;
        let mut moved = 0;
        loop {
            let held = self.fetch_from(&pile, CHUNK, Duration::ZERO).await?;
            if held.is_empty() {
                break;
            }
            let receipts: Vec<_> = held.into_iter().map(|held| held.receipt).collect();
            let books = receipts.iter().map(|receipt| (receipt.clone(), None)).collect();
            let passed = self.pass(Pass { to: to.clone(), hold: false, books }).await;
            for (passed, receipt) in passed.into_iter().zip(receipts) {
                if !passed?.acked {
                    let acked = self.settle(&[(receipt, Act::Ack)]).await;
                    acked.into_iter().collect::<Result<(), _>>()?;
                }
                moved += 1;
            }
        }
        if self.depth_of(from).await?.books == 0 {
            self.remove_consumer(&pile).await?;
        }
        Ok(moved)
    }

    /// Drops the books of a pile; its dead letters stay.
    pub async fn drop_pile(&self, name: &PileName) -> Result<u64, StoreError> {
        let pile = self.orphan(name).await?;
        let dropped = self.depth_of(name).await?.books;
        for kind in ['p', 'r', 'k'] {
            let request = json!({ "filter": self.server.names.of(kind, name) });
            self.server.stream("STREAM.PURGE", &request).await.map_err(Fault::error)?;
        }
        self.remove_consumer(&pile).await?;
        Ok(dropped)
    }

    async fn remove_consumer(&self, pile: &Pile) -> Result<(), StoreError> {
        let what = format!("CONSUMER.DELETE.{}.{}", self.server.names.stream, pile.consumer);
        match self.server.api(&what, &json!({})).await {
            Ok(_) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault.error()),
        }
    }
}
