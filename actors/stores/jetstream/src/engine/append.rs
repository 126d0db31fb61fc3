//! Storing new books.

use super::keys::{Offer, answers};
use super::*;
use crate::encode::{self, PACK_BOOKS, book_size};
use crate::names::hex;
use crate::pack::Mine;
use crate::record::{Hold, Record, Slot};
use crate::server::BATCH;
use gopherworks_pipeline::book::{Body, Book};
use gopherworks_pipeline::store::{Append, Appended, Receipt};

/// Bytes of a message that are not reached if it has more than one book.
const PACK_BYTES: usize = 256 << 10;

/// Room for what a message has besides its books: the protocol's line and headers.
const OVERHEAD: usize = 1024;

/// How old the number of messages may be that a limit is compared with.
const COUNT_AGE: Duration = Duration::from_millis(100);

/// Books for one message, in order.
pub(super) struct NewPack {
    pub uid: Uid,
    pub books: Vec<Book>,
}

/// Where a pack was stored that is held.
pub(super) struct Place {
    pub sequence: u64,
    /// Sequence of its record.
    pub stored: u64,
    pub record: Record,
}

/// The books with their bodies in memory.
pub(super) async fn loaded(books: Vec<Book>, limit: u64) -> Result<Vec<Book>, StoreError> {
    if books.iter().all(|book| matches!(book.body, Body::Bytes(_))) {
        return Ok(books);
    }
    let load = move || {
        let read = |book: Book| {
            let body = book.body.read_all(limit).map_err(|error| match error.kind() {
                std::io::ErrorKind::FileTooLarge => StoreError::TooLarge { limit },
                _ => StoreError::Other(format!("a body: {error}").into()),
            })?;
            Ok(Book { body: Body::Bytes(body), ..book })
        };
        books.into_iter().map(read).collect()
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.map_err(|error| StoreError::Other(error.to_string().into()))?
}

impl Engine {
    /// The most bytes of a body.
    pub(super) fn largest(&self) -> u64 {
        self.server.client.max_payload().saturating_sub(OVERHEAD) as u64
    }

    /// Distributes books over messages. `source` distinguishes what they come from.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(super) fn packs(
        &self,
        source: &[u8],
        books: Vec<Book>,
    ) -> Result<Vec<NewPack>, StoreError> {
        let limit = self.largest();
        let mut packs: Vec<NewPack> = Vec::new();
        let mut bytes = 0;
        for book in books {
            let size = book_size(&book);
            if size as u64 > limit {
                return Err(StoreError::TooLarge { limit });
            }
            bytes += size;
            match packs.last_mut() {
                Some(last) if last.books.len() < PACK_BOOKS && bytes <= PACK_BYTES => {
                    last.books.push(book);
                }
                _ => {
                    bytes = size;
                    packs.push(NewPack { uid: Uid::default(), books: vec![book] });
                }
            }
        }
        for pack in &mut packs {
            let ids: Vec<u8> = pack.books.iter().flat_map(|book| book.id.0.to_be_bytes()).collect();
            pack.uid = digest([source, &ids]);
        }
        Ok(packs)
    }

    /// Adds the messages that store these books, each followed by its record if it is held; answers
    /// their places.
    fn messages(
        &self,
        to: &Pile,
        packs: &[NewPack],
        hold: Option<Hold>,
        messages: &mut Vec<Outgoing>,
    ) -> Vec<usize> {
        let names = &self.server.names;
        let mut places = Vec::with_capacity(packs.len());
        for NewPack { uid, books } in packs {
            places.push(messages.len());
            let bytes = books.iter().map(Book::size).sum();
            let subject = names.books(&to.spec.name, books.len(), bytes);
            let payload = encode::pack(uid, hold.is_some(), books);
            messages.push(Outgoing::new(subject, payload).once(hex(uid)));
            if let Some(hold) = hold {
                let record = self.held_record(books.len(), hold);
                let subject = names.record(&to.spec.name, uid);
                messages.push(Outgoing::new(subject, encode::record(&record)).after(0).replacing());
            }
        }
        places
    }

    /// The first record of books that are stored and held.
    fn held_record(&self, books: usize, hold: Hold) -> Record {
        let mut record = Record { is_shared: true, ..Record::new(books) };
        for slot in &mut record.slots {
            slot.hold = Some(hold);
            slot.tries.deliveries = 1;
        }
        record
    }

    /// A lease by this opener from now on: as the server sees it, and until when it is used.
    pub(super) fn new_hold(&self, lease: Duration) -> (Hold, Duration) {
        let (_, now) = self.server.time();
        let until = now.saturating_add(lease.as_millis() as u64);
        (Hold { holder: self.server.nonce, until }, self.server.now() + safe(lease))
    }

    /// Takes note of books that were stored and are held; answers their receipts.
    pub(super) fn register(
        &self,
        to: &Pile,
        new: NewPack,
        place: Place,
        until: Duration,
    ) -> Vec<Receipt> {
        let (NewPack { uid, books }, Place { sequence, stored, record }) = (new, place);
        let mine: Vec<_> =
            books.iter().map(|_| Some(Mine { number: self.number(), until })).collect();
        let receipts = books.iter().zip(&mine).zip(0..).map(|((book, mine), at)| {
            let number = mine.map_or(0, |mine| mine.number);
            let ticket = Ticket { pile: to.index, sequence, at, number, id: book.id };
            ticket.receipt(self.server.nonce)
        });
        let receipts = receipts.collect();
        let subject = self.server.names.record(&to.spec.name, &uid);
        let pack =
            Pack { uid, sequence, subject, books, record, stored, unknown: None, ack: None, mine };
        lock(&to.packs).insert(sequence, Arc::new(AsyncMutex::new(pack)));
        receipts
    }

    /// Stores packs, each with its record if it is held, and then `last`. All or none, unless the
    /// server has some of them already. Answers where each is that is held, and the sequence of
    /// `last`.
    pub(super) async fn store(
        &self,
        to: &Pile,
        packs: &[NewPack],
        hold: Option<Hold>,
        before: Vec<Outgoing>,
        last: &[Outgoing],
    ) -> Result<(Vec<Option<Place>>, u64), Fault> {
        let mut messages = before;
        let places = self.messages(to, packs, hold, &mut messages);
        messages.extend_from_slice(last);
        if messages.len() > BATCH {
            let what = format!("more than {BATCH} messages in one call");
            return Err(Fault::Failed(StoreError::Unsupported(what.into())));
        }
        let stored = self.server.publish(&messages).await?;
        if stored.duplicate && hold.is_some() {
            return Err(Fault::Duplicate);
        }
        let first = (stored.sequence + 1).saturating_sub(messages.len() as u64);
        let place = |(pack, at): (&NewPack, usize)| {
            let sequence = first + at as u64;
            let record = self.held_record(pack.books.len(), hold?);
            Some(Place { sequence, stored: sequence + 1, record })
        };
        Ok((packs.iter().zip(places).map(place).collect(), stored.sequence))
    }

    /// Stores packs one by one, of which the server has some. A held one that it has is answered
    /// if this opener holds it still.
    pub(super) async fn store_each(
        &self,
        to: &Pile,
        packs: &[NewPack],
        hold: Option<Hold>,
    ) -> Result<Vec<Option<Place>>, Fault> {
        let mut places = Vec::with_capacity(packs.len());
        for pack in packs {
            let one = std::slice::from_ref(pack);
            match self.store(to, one, hold, vec![], &[]).await {
                Ok((place, _)) => places.extend(place),
                Err(Fault::Duplicate) => places.push(self.stored_before(to, pack).await?),
                Err(fault) => return Err(fault),
            }
        }
        Ok(places)
    }

    /// Where a pack is that was stored before and is held.
    async fn stored_before(&self, to: &Pile, pack: &NewPack) -> Result<Option<Place>, Fault> {
        let mut again = Vec::new();
        self.messages(to, std::slice::from_ref(pack), None, &mut again);
        let sequence = self.server.publish(&again).await?.sequence;
        let subject = self.server.names.record(&to.spec.name, &pack.uid);
        let Some(found) = self.server.last(&subject).await? else { return Ok(None) };
        let record = encode::read_record(&found.payload).map_err(Fault::Failed)?;
        let is_ours = |slot: &Slot| slot.hold.is_some_and(|hold| hold.holder == self.server.nonce);
        let is_held = record.slots.len() == pack.books.len() && record.slots.iter().all(is_ours);
        Ok(is_held.then_some(Place { sequence, stored: found.sequence, record }))
    }

    /// Refuses books above the limit; the server refuses them a fourth above it, since records,
    /// marks and dead letters need room too.
    async fn has_room(&self, messages: u64) -> Result<(), StoreError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let mut count = self.count.lock().await;
        let (known, since, at) = *count;
        let is_old = at.is_zero() || self.server.now() >= at + COUNT_AGE;
        if is_old || known + since + messages > limit {
            let request = serde_json::json!({});
            let info = self.server.stream("STREAM.INFO", &request).await.map_err(Fault::reading)?;
            let known = info["state"]["messages"].as_u64().unwrap_or_default();
            *count = (known, 0, self.server.now());
        }
        if count.0 + count.1 + messages > limit {
            return Err(StoreError::Full);
        }
        count.1 += messages;
        Ok(())
    }

    /// An append of more messages than a batch has, which needs to have no checkpoint, is stored in
    /// parts.
    pub async fn append(&self, mut append: Append) -> Result<Vec<Appended>, StoreError> {
        // Each book may need a message, a record and a key.
        let most = if append.checkpoint.is_some() { usize::MAX } else { BATCH / 3 * PACK_BOOKS };
        let mut answers = Vec::with_capacity(append.books.len());
        while append.books.len() > most {
            let books = append.books.drain(..most).collect();
            let part = Append { to: append.to.clone(), books, checkpoint: None, ..append };
            answers.extend(self.append_all(part).await?);
        }
        answers.extend(self.append_all(append).await?);
        Ok(answers)
    }

    async fn append_all(&self, append: Append) -> Result<Vec<Appended>, StoreError> {
        let to = self.pile(&append.to)?;
        let (keys, books): (Vec<_>, Vec<_>) =
            append.books.into_iter().map(|new| (new.key, new.book)).unzip();
        let ids: Vec<u8> = books.iter().flat_map(|book| book.id.0.to_be_bytes()).collect();
        let position = append.checkpoint.as_ref().map(|at| &at.position[..]).unwrap_or_default();
        let call = digest([b"append".as_slice(), to.consumer.as_bytes(), &ids, position]);
        let books = loaded(books, self.largest()).await?;
        if let Some(last) = books.iter().map(|book| book.id.0).max() {
            let end = last.checked_add(1);
            self.give_ids(end.ok_or_else(|| StoreError::Other("no more ids".into()))?).await?;
        }
        self.has_room(books.len().div_ceil(PACK_BOOKS) as u64).await?;
        let mut offers = self.offers(&to, &keys, &books);
        for _ in 0..RACES {
            let new = |(book, offer): (&Book, &Offer)| offer.is_new().then(|| book.clone());
            let left: Vec<Book> = books.iter().zip(&offers).filter_map(new).collect();
            let packs = self.packs(to.consumer.as_bytes(), left)?;
            let ttl = self.dedupe.min(to.spec.dedupe);
            let keys = offers.iter().filter_map(|offer| offer.message(ttl)).collect();
            let mark = match &append.checkpoint {
                None => vec![],
                Some(checkpoint) => match self.next_mark(checkpoint, call).await? {
                    Some(mark) => mark,
                    // An earlier call has stored all of it.
                    None => return Ok(vec![Appended::Stored(None); books.len()]),
                },
            };
            let hold = append.hold.then(|| self.new_hold(to.spec.lease));
            let held = hold.map(|(hold, _)| hold);
            let places = match self.store(&to, &packs, held, keys, &mark).await {
                Ok((places, last)) => {
                    self.mark_is_at(append.checkpoint.as_ref(), Some(last));
                    places
                }
                Err(Fault::Raced) => {
                    self.mark_is_at(append.checkpoint.as_ref(), None);
                    self.look_up(&mut offers).await?;
                    continue;
                }
                Err(Fault::Duplicate) => {
                    if self.look_up(&mut offers).await? {
                        continue;
                    }
                    if append.checkpoint.is_some() {
                        // The position was stored in one batch with these books.
                        self.mark_is_at(append.checkpoint.as_ref(), None);
                        return Ok(vec![Appended::Stored(None); books.len()]);
                    }
                    self.store_each(&to, &packs, held).await.map_err(Fault::error)?
                }
                Err(fault) => return Err(fault.error()),
            };
            let mut receipts = Vec::new();
            for (pack, place) in packs.into_iter().zip(places) {
                let count = pack.books.len();
                match (place, hold) {
                    (Some(place), Some((_, until))) => {
                        let held = self.register(&to, pack, place, until);
                        receipts.extend(held.into_iter().map(Some));
                    }
                    _ => receipts.extend(vec![None; count]),
                }
            }
            return Ok(answers(&offers, &books, receipts));
        }
        Err(busy())
    }
}
