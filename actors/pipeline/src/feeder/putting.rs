//! Moving books from a feeder's outbox onto their pile.

use std::sync::atomic::Ordering;

use super::outbox::Outbox;
use super::position::Position;
use super::{Fed, FeederCore, marks};
use crate::book::BookId;
use crate::custody::{Numbered, PileFull};
use crate::source::Mark;
use crate::store::Checkpoint;
use crate::trace::Act;

impl FeederCore {
    /// Puts the books of the outbox of `share` on its pile, as far as there is space.
    pub(super) fn empty_outbox(&self, outbox: &mut Outbox, share: usize, pile: &dyn Fed) {
        let context = pile.context();
        // 1 after a refusal by the byte bound.
        let mut most = usize::MAX;
        while outbox.books > 0 {
            let room = context.custody.room(pile.key()).min(most);
            if room == 0 {
                return;
            }
            let some = outbox.pop(room);
            let ids: Option<Vec<BookId>> =
                (context.is_traced()).then(|| some.books().iter().map(|book| book.id).collect());
            match self.put(outbox, share, pile, some) {
                Ok(()) => {
                    if let Some(ids) = ids {
                        context.record(pile.name(), &Act::Put { books: &ids });
                    }
                }
                // The byte bound may refuse what the book bound admits: then one book at a time,
                // until one does not fit.
                Err(back) => {
                    let stuck = back.len() == 1;
                    outbox.push_front(back);
                    if stuck {
                        return;
                    }
                    most = 1;
                }
            }
        }
    }

    /// Puts books, with the position behind them if that is stored.
    fn put(
        &self,
        outbox: &mut Outbox,
        share: usize,
        pile: &dyn Fed,
        books: Numbered,
    ) -> Result<(), Numbered> {
        let (custody, count) = (&pile.context().custody, books.len());
        let checkpoint = (outbox.progress.as_ref()).and_then(|progress| progress.after(count)).map(
            |(index, anchor, taken)| Checkpoint {
                source: self.name.as_str().into(),
                share: share as u32,
                position: Position {
                    shares: self.piles.len() as u32,
                    split: self.is_split(),
                    index,
                    anchor,
                    taken,
                }
                .encode(),
                adds: false,
                owner: outbox.owner,
            },
        );
        let marks = outbox.marks.range(..count.min(outbox.marks.len()));
        let marks: Vec<Mark> = marks.copied().flatten().collect();
        let checkpoint = match marks.is_empty() {
            true => checkpoint,
            false => Some(Checkpoint {
                source: self.name.as_str().into(),
                share: share as u32,
                position: marks::encode(&marks),
                adds: true,
                owner: outbox.owner,
            }),
        };
        let put = custody.store_from_source(pile.key(), books, checkpoint);
        if let (Ok(()), Some(progress)) = (&put, &mut outbox.progress) {
            progress.take(count);
        }
        if put.is_ok() && self.resumed {
            self.has_news.store(true, Ordering::Release);
        }
        if put.is_ok() && self.keeps_marks {
            outbox.marks.drain(..count);
        }
        put.map_err(|PileFull(books)| books)
    }
}
