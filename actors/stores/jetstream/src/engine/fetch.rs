//! Delivers books: free ones of messages that this process holds, then those of new messages from
//! the consumer.

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Delivery, Want};

use super::change::{Change, look_again};
use super::*;
use crate::encode::{death, read_record, unpack};
use crate::pack::Mine;
use crate::record::Record;
use crate::server::Delivered;

/// Maximum number of messages that are asked for at once.
const MOST: u64 = 256;

/// What a fetch has so far.
struct Taken {
    /// When the call began, from which its caller counts the leases.
    start: Duration,
    want: Want,
    bytes: u64,
    deliveries: Vec<Delivery>,
    /// True if a book did not fit.
    is_full: bool,
}

impl Taken {
    fn left(&self) -> usize {
        self.want.books.max(1).saturating_sub(self.deliveries.len())
    }
}

impl Engine {
    pub async fn fetch(
        &self,
        name: &PileName,
        want: Want,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let pile = self.pile(name)?;
        self.fetch_from(&pile, want, wait).await
    }

    pub(super) async fn fetch_from(
        &self,
        pile: &Pile,
        want: Want,
        mut wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let _turn = pile.turn.lock().await;
        self.look_for_records().await?;
        let start = self.server.now();
        let mut taken = Taken { start, want, bytes: 0, deliveries: Vec::new(), is_full: false };
        for pack in pile.packs() {
            let mut pack = pack.lock().await;
            if !pack.sweep(self.server.now()) {
                // Its leases have ended: the server delivers it again.
                lock(&pile.packs).remove(&pack.sequence);
            } else if let Err(error) = self.take_kept(pile, &mut pack, &mut taken).await {
                log::debug!("{}: {error}", pile.spec.name);
            }
        }
        let mut repaired = false;
        while !taken.is_full && taken.left() > 0 {
            let typical = pile.typical.load(Ordering::Relaxed).max(1);
            let most = (taken.left() as u64 / typical).clamp(1, MOST) as usize;
            let is_first = taken.deliveries.is_empty();
            let mut from = self.server.now();
            let pulled = self.server.pull(&pile.consumer, most, Duration::ZERO).await;
            let pulled = match pulled {
                Ok(none) if none.is_empty() && is_first && !wait.is_zero() => {
                    let waited = self.server.pull(&pile.consumer, 1, wait).await;
                    wait = Duration::ZERO;
                    // When it came in the meantime is not known: its lease begins anew.
                    from = self.server.now();
                    let renew = |some: Vec<Delivered>| async move {
                        for delivered in &some {
                            self.server.ack(&delivered.ack, "+WPI").await?;
                        }
                        Ok((some, true))
                    };
                    match waited {
                        Ok(some) => renew(some).await,
                        Err(fault) => Err(fault),
                    }
                }
                Ok(some) => {
                    let is_all = some.len() < most;
                    Ok((some, !is_all))
                }
                Err(fault) => Err(fault),
            };
            let (mut some, more) = match pulled {
                Ok(some) => some,
                // The consumer was deleted: its messages are delivered by a new one.
                Err(Fault::Missing) if !repaired => {
                    repaired = true;
                    self.consumer(pile).await?;
                    continue;
                }
                Err(_) if !taken.deliveries.is_empty() => break,
                Err(fault) => return Err(fault.reading()),
            };
            if some.is_empty() {
                break;
            }
            // Messages whose leases have ended come first, in any order.
            some.sort_by_key(|delivered| delivered.sequence);
            let mut largest = 1;
            for delivered in some {
                match self.receive(pile, delivered, from, &mut taken).await {
                    Ok(books) => largest = largest.max(books as u64),
                    // What was not taken in comes back at the end of its lease.
                    Err(_) if !taken.deliveries.is_empty() => return Ok(taken.deliveries),
                    Err(error) => return Err(error),
                }
            }
            pile.typical.store(largest, Ordering::Relaxed);
            if !more {
                break;
            }
        }
        Ok(taken.deliveries)
    }

    /// Takes books of a message that this process has: returned ones, and those that it left.
    async fn take_kept(
        &self,
        pile: &Pile,
        pack: &mut Pack,
        taken: &mut Taken,
    ) -> Result<(), StoreError> {
        let start = self.server.now();
        let (now, _) = self.server.time();
        let is_free =
            |pack: &Pack, at: usize| pack.mine[at].is_none() && pack.record.is_free(at, now);
        if !(0..pack.books.len()).any(|at| is_free(pack, at)) {
            return Ok(());
        }
        match pack.ack.clone() {
            Some(ack) => {
                self.server.ack(&ack, "+WPI").await.map_err(Fault::error)?;
                let until = start + safe(pile.spec.lease);
                for mine in pack.mine.iter_mut().flatten() {
                    mine.until = until;
                }
                let books = self.choose(pack, taken, now);
                self.deliver(pile, pack, &books, until, taken);
                Ok(())
            }
            None => self.claim(pile, pack, taken).await,
        }
    }

    /// Free books of a message that fit, in order.
    fn choose(&self, pack: &Pack, taken: &mut Taken, now: u64) -> Vec<usize> {
        let (mut bytes, mut books) = (taken.bytes, Vec::new());
        for (at, book) in pack.books.iter().enumerate() {
            if pack.mine[at].is_some() || !pack.record.is_free(at, now) {
                continue;
            }
            let is_first = taken.deliveries.is_empty() && books.is_empty();
            let is_above = taken.want.bytes.is_some_and(|most| bytes + book.size() > most);
            if books.len() >= taken.left() || is_above && !is_first {
                taken.is_full = true;
                break;
            }
            bytes += book.size();
            books.push(at);
        }
        books
    }

    /// Delivers books to the caller of a fetch.
    fn deliver(
        &self,
        pile: &Pile,
        pack: &mut Pack,
        books: &[usize],
        until: Duration,
        taken: &mut Taken,
    ) {
        for at in books {
            let (book, number) = (pack.books[*at].clone(), self.number());
            pack.mine[*at] = Some(Mine { number, until });
            let slot = &mut pack.record.slots[*at];
            let tries = slot.tries;
            if !pack.record.is_shared {
                slot.tries.deliveries = tries.deliveries.saturating_add(1);
            }
            let ticket = Ticket {
                pile: pile.index,
                sequence: pack.sequence,
                at: *at as u32,
                number,
                id: book.id,
            };
            let receipt = ticket.receipt(self.server.nonce);
            taken.bytes += book.size();
            let lease = Some(until.saturating_sub(taken.start));
            taken.deliveries.push(Delivery { book, receipt, tries, lease });
        }
    }

    /// Holds free books of a message by its record, and delivers them.
    async fn claim(
        &self,
        pile: &Pile,
        pack: &mut Pack,
        taken: &mut Taken,
    ) -> Result<(), StoreError> {
        for _ in 0..RACES {
            let (now, _) = self.server.time();
            let (hold, until) = self.new_hold(pile.spec.lease);
            let books = self.choose(pack, taken, now);
            if books.is_empty() {
                return Ok(());
            }
            let before: Vec<_> =
                books.iter().map(|at| pack.record.slots[*at].tries.deliveries).collect();
            let mut change = Change::new(pack);
            change.record.is_shared = true;
            let mine = change.pack.mine.iter().enumerate().filter(|(_, mine)| mine.is_some());
            for (at, _) in mine {
                change.record.slots[at].hold = Some(hold);
            }
            for at in &books {
                let slot = &mut change.record.slots[*at];
                slot.hold = Some(hold);
                slot.tries.deliveries = slot.tries.deliveries.saturating_add(1);
            }
            let mut changes = [change];
            let records = self.records_of(&mut changes, false);
            match self.server.publish(&records).await {
                Ok(last) => self.are_recorded(&mut changes, last.sequence),
                Err(Fault::Raced) => {
                    self.refresh(pack).await?;
                    continue;
                }
                Err(fault) => {
                    self.are_refused(&mut changes, &fault);
                    return Err(fault.error());
                }
            }
            let first = taken.deliveries.len();
            self.deliver(pile, pack, &books, until, taken);
            for (delivery, before) in taken.deliveries[first..].iter_mut().zip(before) {
                delivery.tries.deliveries = before;
            }
            return Ok(());
        }
        Err(busy())
    }

    /// Takes in a message that the consumer has delivered since `from`; returns the number of books
    /// in it.
    async fn receive(
        &self,
        pile: &Pile,
        delivered: Delivered,
        from: Duration,
        taken: &mut Taken,
    ) -> Result<usize, StoreError> {
        let Delivered { ack, sequence, number, payload } = delivered;
        let packed = match unpack(&payload) {
            Ok(packed) => packed,
            Err(error @ StoreError::Unsupported(_)) => return Err(error),
            Err(error) => {
                self.bury_raw(pile, &ack, sequence, payload, &error).await;
                return Ok(0);
            }
        };
        let books = packed.books.len();
        let subject = self.server.names.record(&pile.spec.name, &packed.uid);
        let may_have_record = packed.has_record || number > 1 || self.was_recorded(&subject);
        let record = match may_have_record {
            true => self.server.last(&subject).await.map_err(Fault::reading)?,
            false => None,
        };
        let (mut record, stored) = match record {
            Some(found) => (read_record(&found.payload)?, found.sequence),
            // It was settled while this delivery was on its way: messages go before their records.
            None if packed.has_record || number > 1 && !self.is_stored(sequence).await? => {
                return Ok(books);
            }
            None => (Record::new(books), 0),
        };
        if record.slots.len() != books {
            return Err(StoreError::Corrupt("a record does not fit its message".into()));
        }
        if !record.is_shared {
            record.is_delivered(number);
        }
        let is_shared = record.is_shared;
        let known = pile.pack(sequence);
        let fresh = Pack {
            uid: packed.uid,
            sequence,
            subject,
            mine: vec![None; books],
            books: packed.books,
            record: Record::new(books),
            stored,
            unknown: None,
            ack: None,
        };
        let shared = known.unwrap_or_else(|| Arc::new(AsyncMutex::new(fresh)));
        let mut pack = shared.lock().await;
        pack.stored = stored;
        if is_shared {
            pack.adopt(stored, record, self.server.nonce);
            pack.ack = None;
            let outcome = self.claim(pile, &mut pack, taken).await;
            self.put_back(pile, &mut pack, &shared, &ack).await;
            return outcome.map(|()| books);
        }
        // Leases of an earlier delivery have ended, or the server would not deliver it.
        pack.mine.fill(None);
        (pack.record, pack.ack, pack.unknown) = (record, Some(ack.clone()), None);
        let (now, _) = self.server.time();
        if pack.record.is_gone() {
            let _ = self.server.ack(&ack, "+ACK").await;
            if stored > 0 {
                let _ = self.server.delete(stored).await;
            }
            return Ok(books);
        }
        let chosen = self.choose(&pack, taken, now);
        let rest = (0..books).any(|at| !chosen.contains(&at) && pack.record.is_free(at, now));
        if !chosen.is_empty() && rest && self.claim(pile, &mut pack, taken).await.is_ok() {
            // Others may have the rest.
            pack.ack = None;
            self.put_back(pile, &mut pack, &shared, &ack).await;
            return Ok(books);
        }
        // All that is free; or the record could not be written, and the rest is kept for later.
        let until = from + safe(pile.spec.lease);
        self.deliver(pile, &mut pack, &chosen, until, taken);
        if pack.is_held() {
            lock(&pile.packs).insert(sequence, shared.clone());
        } else {
            self.give_back(pile, &mut pack).await;
        }
        Ok(books)
    }

    /// Lists the records again once the connection was lost: a server that was killed may deliver
    /// messages of which it says that they were not delivered before.
    async fn look_for_records(&self) -> Result<(), StoreError> {
        let losses = self.server.losses();
        if lock(&self.recorded).1 == losses {
            return Ok(());
        }
        let filter = self.server.names.kind('r');
        let (_, subjects) = self.server.subjects(&filter).await.map_err(Fault::reading)?;
        *lock(&self.recorded) = (subjects.into_keys().collect(), losses);
        Ok(())
    }

    /// True if a message had a record when the connection was made.
    fn was_recorded(&self, subject: &str) -> bool {
        lock(&self.recorded).0.contains(subject)
    }

    async fn is_stored(&self, sequence: u64) -> Result<bool, StoreError> {
        let found = self.server.get(&serde_json::json!({ "seq": sequence })).await;
        Ok(found.map_err(Fault::reading)?.is_some())
    }

    /// Returns a message to its consumer whose books are leased by their record.
    async fn put_back(&self, pile: &Pile, pack: &mut Pack, shared: &Shared, ack: &str) {
        if pack.is_held() {
            lock(&pile.packs).insert(pack.sequence, shared.clone());
        } else {
            lock(&pile.packs).remove(&pack.sequence);
        }
        if pack.record.is_gone() {
            // Its last holder was killed between the last act and the removal.
            let _ = self.server.ack(ack, "+ACK").await;
            let _ = self.server.delete(pack.stored).await;
            return;
        }
        let (now, _) = self.server.time();
        let next = Duration::from_millis(pack.record.next_free(now).unwrap_or_default());
        self.nak(ack, next.min(look_again(pile.spec.lease))).await;
    }

    /// Buries a message that can't be decoded, with its bytes, so that it does not block its pile.
    async fn bury_raw(
        &self,
        pile: &Pile,
        ack: &str,
        sequence: u64,
        payload: bytes::Bytes,
        error: &StoreError,
    ) {
        log::error!("{}: message {sequence} is buried: {error}", pile.spec.name);
        let book = Book { id: BookId::UNASSIGNED, ..Book::new(payload) };
        let payload = death(&book, &error.to_string(), None, 0);
        let subject = self.server.names.dead(&pile.spec.name);
        let message = Outgoing::new(subject, payload).once(format!("{sequence}-raw"));
        if self.server.publish(&[message]).await.is_ok() {
            let _ = self.server.ack(ack, "+ACK").await;
        }
    }
}
