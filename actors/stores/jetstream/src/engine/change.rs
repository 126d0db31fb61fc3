//! Settling and extending: what changes in the messages of which this process holds books.

use futures_util::{StreamExt, stream};
use gopherworks_pipeline::store::{Act, Receipt};

use super::*;
use crate::encode::{death, read_record, record};
use crate::names::hex;
use crate::record::Record;

/// Messages that are changed at the same time.
const AT_ONCE: usize = 256;

/// How long a process that finds all books of a message held waits for the next look.
pub(super) fn look_again(lease: Duration) -> Duration {
    lease / 8
}

/// The next record of a message.
pub(super) struct Change<'a> {
    pub pack: &'a mut Pack,
    pub record: Record,
    /// Books that this process holds no longer after it.
    pub ended: Vec<usize>,
    /// True if the record is among the messages that are published.
    pub is_written: bool,
}

impl<'a> Change<'a> {
    pub fn new(pack: &'a mut Pack) -> Self {
        let record = pack.record.clone();
        Self { pack, record, ended: Vec::new(), is_written: false }
    }
}

/// Some receipts of one message, with their places in a call.
type Group = (Arc<Pile>, Shared, Vec<(usize, Ticket)>);

impl Engine {
    /// Receipts by message; calls `refuse` for those of no message.
    fn groups<'a>(
        &self,
        receipts: impl Iterator<Item = &'a Receipt>,
        mut refuse: impl FnMut(usize, StoreError),
    ) -> Vec<Group> {
        let mut groups: BTreeMap<(u32, u64), Group> = BTreeMap::new();
        for (at, receipt) in receipts.enumerate() {
            let ticket = Ticket::read(receipt, self.server.nonce).ok_or(StoreError::Gone);
            let found = ticket.and_then(|ticket| Ok((ticket, self.find(&ticket)?)));
            match found {
                Ok((ticket, (pile, pack))) => {
                    let key = (ticket.pile, ticket.sequence);
                    groups.entry(key).or_insert((pile, pack, vec![])).2.push((at, ticket));
                }
                Err(error) => refuse(at, error),
            }
        }
        groups.into_values().collect()
    }

    /// The messages that write the records of these changes. A message whose books are all gone
    /// gets one only if it has to be `atomic` with others: then no later delivery revives them.
    pub(super) fn records_of(&self, changes: &mut [Change<'_>], atomic: bool) -> Vec<Outgoing> {
        let differs = |change: &&mut Change<'_>| {
            change.record != change.pack.record && (atomic || !change.record.is_gone())
        };
        let write = |change: &mut Change<'_>| {
            change.is_written = true;
            let nonce = self.server.nonce.wrapping_add(self.number());
            (change.record.nonce, change.record.pack) = (nonce, change.pack.sequence);
            change.pack.unknown = Some(nonce);
            let message = Outgoing::new(change.pack.subject.clone(), record(&change.record));
            message.after(change.pack.stored).replacing()
        };
        changes.iter_mut().filter(differs).map(write).collect()
    }

    /// The records were written, the last of them at `last`.
    pub(super) fn are_recorded(&self, changes: &mut [Change<'_>], last: u64) {
        let mut sequence = last;
        for change in changes.iter_mut().rev() {
            if change.is_written {
                change.pack.stored = sequence;
                sequence = sequence.saturating_sub(1);
            } else if change.record.is_gone() {
                continue;
            }
            change.pack.unknown = None;
            change.pack.record = std::mem::take(&mut change.record);
            for at in &change.ended {
                change.pack.mine[*at] = None;
            }
        }
    }

    /// The records were not written.
    pub(super) fn are_refused(&self, changes: &mut [Change<'_>], fault: &Fault) {
        if !matches!(fault, Fault::Unknown(_)) {
            changes.iter_mut().for_each(|change| change.pack.unknown = None);
        }
    }

    /// Reads the record of a message that another process may have changed, or this one.
    pub(super) async fn refresh(&self, pack: &mut Pack) -> Result<(), StoreError> {
        match self.server.last(&pack.subject).await.map_err(Fault::reading)? {
            Some(found) => {
                let record = read_record(&found.payload)?;
                if record.slots.len() != pack.books.len() {
                    return Err(StoreError::Corrupt("a record does not fit its message".into()));
                }
                pack.adopt(found.sequence, record, self.server.nonce);
            }
            // The message was settled by others.
            None if pack.stored > 0 => pack.mine.fill(None),
            None => pack.unknown = None,
        }
        Ok(())
    }

    /// Removes a message whose books are all gone. Without success it stays as it was.
    pub(super) async fn finish(&self, pile: &Pile, change: Change<'_>) -> Result<(), StoreError> {
        let Change { pack, record, .. } = change;
        // Between the check of the receipt and here may have been a pause.
        let until = pack.until().filter(|until| self.server.now() < *until);
        let until = until.ok_or(StoreError::Stale)?;
        let removed = match &pack.ack {
            Some(ack) => self.server.ack(ack, "+ACK").await.map_err(Fault::error),
            None => match self.server.delete(pack.sequence).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError::Gone),
                Err(fault) => Err(fault.error()),
            },
        };
        if let Err(error) = removed {
            if error.is_lost() {
                pack.ack = None;
                pack.mine.fill(None);
                lock(&pile.packs).remove(&pack.sequence);
            }
            return Err(error);
        }
        pack.record = record;
        pack.mine.fill(None);
        lock(&pile.packs).remove(&pack.sequence);
        if pack.stored > 0 {
            // A record that stays is removed when the store is opened next.
            let _ = self.server.delete(pack.stored).await;
        }
        // The answer says nothing about an ack that may have come after another delivery.
        match pack.ack.take().is_some() && self.server.now() >= until {
            true => Err(StoreError::Unknown("an ack was answered after the lease".into())),
            false => Ok(()),
        }
    }

    /// Removes a message whose stored record says that all books are gone. If that fails, the
    /// message is removed when it is delivered again.
    async fn clear(&self, pile: &Pile, pack: &mut Pack) {
        lock(&pile.packs).remove(&pack.sequence);
        let removed = match pack.ack.take() {
            Some(ack) => self.server.ack(&ack, "+ACK").await.is_ok(),
            None => self.server.delete(pack.sequence).await.is_ok(),
        };
        // The message goes before its record.
        if removed {
            let _ = self.server.delete(pack.stored).await;
        }
    }

    /// Gives a message back of which this process holds no book.
    pub(super) async fn give_back(&self, pile: &Pile, pack: &mut Pack) {
        if pack.is_held() {
            return;
        }
        if pack.stored > 0 && pack.record.is_gone() {
            return self.clear(pile, pack).await;
        }
        lock(&pile.packs).remove(&pack.sequence);
        if let Some(ack) = pack.ack.take() {
            let (now, _) = self.server.time();
            let delay = Duration::from_millis(pack.record.next_free(now).unwrap_or_default());
            self.nak(&ack, delay).await;
        }
    }

    /// Returns a delivery to its consumer. If that fails, its lease ends by itself.
    pub(super) async fn nak(&self, ack: &str, delay: Duration) {
        let how = match delay.is_zero() {
            true => "-NAK".to_owned(),
            false => format!("-NAK {{\"delay\": {}}}", delay.as_nanos()),
        };
        let _ = self.server.ack(ack, how).await;
    }

    /// Ends all leases of a message by this process.
    pub(super) async fn release(&self, pack: &mut Pack) -> Result<(), StoreError> {
        if let Some(ack) = pack.ack.take() {
            pack.mine.fill(None);
            self.nak(&ack, Duration::ZERO).await;
            return Ok(());
        }
        for _ in 0..RACES {
            let mut change = Change::new(pack);
            let held = change.pack.mine.iter().enumerate().filter(|(_, mine)| mine.is_some());
            change.ended = held.map(|(at, _)| at).collect();
            for at in &change.ended {
                change.record.slots[*at].hold = None;
            }
            let mut changes = [change];
            let records = self.records_of(&mut changes, false);
            match self.server.publish(&records).await {
                Ok(last) => {
                    self.are_recorded(&mut changes, last.sequence);
                    return Ok(());
                }
                Err(Fault::Raced) => self.refresh(pack).await?,
                Err(fault) => return Err(fault.error()),
            }
        }
        Err(busy())
    }

    pub async fn settle(&self, acts: &[(Receipt, Act)]) -> Vec<Result<(), StoreError>> {
        if let Err(error) = self.is_open() {
            return vec![Err(error); acts.len()];
        }
        let mut answers: Vec<Result<(), StoreError>> = vec![Ok(()); acts.len()];
        let receipts = acts.iter().map(|(receipt, _)| receipt);
        let groups = self.groups(receipts, |at, error| answers[at] = Err(error));
        let settle = |(pile, pack, tickets): Group| async move {
            let mut pack = pack.lock().await;
            self.settle_pack(&pile, &mut pack, &tickets, acts).await
        };
        let mut settled = stream::iter(groups).map(settle).buffer_unordered(AT_ONCE);
        while let Some(some) = settled.next().await {
            some.into_iter().for_each(|(at, answer)| answers[at] = answer);
        }
        drop(settled);
        answers
    }

    async fn settle_pack(
        &self,
        pile: &Pile,
        pack: &mut Pack,
        tickets: &[(usize, Ticket)],
        acts: &[(Receipt, Act)],
    ) -> Vec<(usize, Result<(), StoreError>)> {
        let all =
            |error: &StoreError| tickets.iter().map(|(at, _)| (*at, Err(error.clone()))).collect();
        let mut has_deaths = true;
        for _ in 0..RACES {
            if pack.unknown.is_some()
                && let Err(error) = self.refresh(pack).await
            {
                return all(&error);
            }
            let (now, (_, time)) = (self.server.now(), self.server.time());
            let mut answers = Vec::with_capacity(tickets.len());
            let mut messages = Vec::new();
            let mut change = Change::new(pack);
            for (at, ticket) in tickets {
                let book = ticket.at as usize;
                let held = change.pack.held(book, ticket.number, now).map(drop);
                answers.push((*at, held.clone()));
                if held.is_err() || change.record.slots[book].is_gone {
                    continue;
                }
                let slot = &mut change.record.slots[book];
                match &acts[*at].1 {
                    Act::Ack | Act::Drop => slot.is_gone = true,
                    Act::Return { delay, tries, hold } => {
                        slot.tries = *tries;
                        let millis = delay.as_nanos().div_ceil(1_000_000) as u64;
                        slot.due = if millis == 0 { 0 } else { time.saturating_add(millis) };
                        if *hold {
                            continue;
                        }
                    }
                    Act::Bury { reason, node, attempts } => {
                        slot.is_gone = true;
                        let died = &change.pack.books[book];
                        let payload = death(died, reason, node.as_deref(), *attempts);
                        let subject = self.server.names.dead(&pile.spec.name);
                        let id = format!("{}-{book}-dead", hex(&change.pack.uid));
                        messages.push(Outgoing::new(subject, payload).once(id));
                    }
                    // Acts of newer versions of the contract.
                    _ => {
                        let what = StoreError::Unsupported("this act".into());
                        answers.last_mut().into_iter().for_each(|last| last.1 = Err(what.clone()));
                        continue;
                    }
                }
                slot.hold = None;
                change.ended.push(book);
            }
            if !has_deaths {
                messages.clear();
            }
            let mut changes = [change];
            let records = self.records_of(&mut changes, !messages.is_empty());
            messages.extend(records);
            let is_done = changes[0].record.is_gone() && !changes[0].is_written;
            let error = match self.server.publish(&messages).await {
                Ok(last) => {
                    self.are_recorded(&mut changes, last.sequence);
                    let [change] = changes;
                    if !is_done {
                        self.give_back(pile, pack).await;
                        return answers;
                    }
                    match self.finish(pile, change).await {
                        Ok(()) => return answers,
                        Err(error) => error,
                    }
                }
                Err(Fault::Duplicate) => {
                    // The dead letters are there already.
                    has_deaths = false;
                    continue;
                }
                Err(Fault::Raced) => match self.refresh(pack).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(fault) => {
                    self.are_refused(&mut changes, &fault);
                    fault.error()
                }
            };
            let fail = |(at, answer): (usize, Result<(), StoreError>)| {
                (at, answer.and(Err(error.clone())))
            };
            return answers.into_iter().map(fail).collect();
        }
        all(&busy())
    }

    pub async fn extend(&self, receipts: &[Receipt], by: Duration) -> Vec<Result<(), StoreError>> {
        if let Err(error) = self.is_open() {
            return vec![Err(error); receipts.len()];
        }
        let mut answers: Vec<Result<(), StoreError>> = vec![Ok(()); receipts.len()];
        let groups = self.groups(receipts.iter(), |at, error| answers[at] = Err(error));
        let extend = |(pile, pack, tickets): Group| async move {
            let mut pack = pack.lock().await;
            self.extend_pack(&pile, &mut pack, &tickets, by).await
        };
        let mut extended = stream::iter(groups).map(extend).buffer_unordered(AT_ONCE);
        while let Some(some) = extended.next().await {
            some.into_iter().for_each(|(at, answer)| answers[at] = answer);
        }
        drop(extended);
        answers
    }

    async fn extend_pack(
        &self,
        pile: &Pile,
        pack: &mut Pack,
        tickets: &[(usize, Ticket)],
        by: Duration,
    ) -> Vec<(usize, Result<(), StoreError>)> {
        let mut error = busy();
        for _ in 0..RACES {
            let now = self.server.now();
            let held = |(at, ticket): &(usize, Ticket)| {
                (*at, pack.held(ticket.at as usize, ticket.number, now).map(drop))
            };
            let answers: Vec<_> = tickets.iter().map(held).collect();
            if answers.iter().all(|(_, held)| held.is_err()) {
                return answers;
            }
            let extended = match pack.ack.clone() {
                // The server extends by the consumer's time, whatever is asked for.
                Some(ack) => {
                    let until = now + by.min(safe(pile.spec.lease));
                    let asked = self.server.ack(&ack, "+WPI").await;
                    asked.map(|()| (0..pack.books.len()).collect()).map(|all| (all, until))
                }
                None => {
                    // So that the part of it that is used is as long as asked for.
                    let (hold, until) = self.new_hold(by * SAFE.1 / SAFE.0);
                    let mut change = Change::new(pack);
                    let valid = tickets.iter().zip(&answers).filter(|(_, (_, held))| held.is_ok());
                    let books: Vec<usize> = valid.map(|((_, t), _)| t.at as usize).collect();
                    for at in &books {
                        change.record.slots[*at].hold = Some(hold);
                    }
                    let mut changes = [change];
                    let records = self.records_of(&mut changes, false);
                    let written = self.server.publish(&records).await;
                    match &written {
                        Ok(last) => self.are_recorded(&mut changes, last.sequence),
                        Err(fault) => self.are_refused(&mut changes, fault),
                    }
                    written.map(|_| (books, until))
                }
            };
            match extended {
                Ok((books, until)) => {
                    let books: Vec<usize> = books;
                    for at in books {
                        if let Some(mine) = pack.mine[at].as_mut() {
                            mine.until = mine.until.max(until);
                        }
                    }
                    return answers;
                }
                Err(Fault::Raced) => match self.refresh(pack).await {
                    Ok(()) => continue,
                    Err(why) => error = why,
                },
                Err(fault) => error = fault.error(),
            }
            let fail = |(at, answer): (usize, Result<(), StoreError>)| {
                (at, answer.and(Err(error.clone())))
            };
            return answers.into_iter().map(fail).collect();
        }
        tickets.iter().map(|(at, _)| (*at, Err(error.clone()))).collect()
    }
}
