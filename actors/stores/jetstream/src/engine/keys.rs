//! Keys of offers: a second book with a key is not stored. Each key is a message that the server
//! removes after the pile's time.

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Appended, Receipt};

use bytes::Bytes;

use super::*;

/// A book of an append, as far as its key is concerned.
pub(super) struct Offer {
    id: BookId,
    /// Subject of its key.
    subject: Option<String>,
    /// An earlier book of the same append has the key.
    first: Option<usize>,
    /// What an earlier append has stored.
    answer: Option<Appended>,
}

impl Offer {
    /// True if it is to be stored.
    pub fn is_new(&self) -> bool {
        self.first.is_none() && self.answer.is_none()
    }

    /// The message that stores its key, unless it is there.
    pub fn message(&self, ttl: Duration) -> Option<Outgoing> {
        let subject = self.subject.clone().filter(|_| self.is_new())?;
        Some(Outgoing::new(subject, alone(self.id.0)).after(0).expiring(ttl))
    }
}

/// The answers to an append whose new books were stored, with these receipts in order.
pub(super) fn answers(
    offers: &[Offer],
    books: &[Book],
    receipts: Vec<Option<Receipt>>,
) -> Vec<Appended> {
    let mut receipts = receipts.into_iter();
    let answer = |offer: &Offer| match (offer.first, &offer.answer) {
        (Some(first), _) => match offers[first].answer {
            Some(Appended::Duplicate(id)) => Appended::Duplicate(id),
            _ => Appended::Duplicate(books[first].id),
        },
        (None, Some(answer)) => answer.clone(),
        (None, None) => Appended::Stored(receipts.next().flatten()),
    };
    offers.iter().map(answer).collect()
}

impl Engine {
    pub(super) fn offers(&self, to: &Pile, keys: &[Option<Bytes>], books: &[Book]) -> Vec<Offer> {
        let mut seen = HashMap::new();
        let offer = |(at, (key, book)): (usize, (&'_ Option<Bytes>, &Book))| {
            let first = key.as_ref().map(|key| *seen.entry(key.clone()).or_insert(at));
            let name = |key: &Bytes| self.server.names.key(&to.spec.name, &digest([&key[..]]));
            Offer {
                id: book.id,
                subject: key.as_ref().map(name),
                first: first.filter(|first| *first < at),
                answer: None,
            }
        };
        keys.iter().zip(books).enumerate().map(offer).collect()
    }

    /// Looks up which keys earlier appends have stored; true if there are some.
    pub(super) async fn look_up(&self, offers: &mut [Offer]) -> Result<bool, StoreError> {
        let mut is_changed = false;
        for offer in offers.iter_mut().filter(|offer| offer.is_new()) {
            let Some(subject) = &offer.subject else { continue };
            let found = self.server.last(subject).await.map_err(Fault::reading)?;
            let Some(found) = found else { continue };
            offer.answer = Some(match BookId(read_alone(&found.payload)?) {
                id if id == offer.id => Appended::Stored(None),
                id => Appended::Duplicate(id),
            });
            is_changed = true;
        }
        Ok(is_changed)
    }
}
