//! Kinds for tests: sources that count, burns that record, works and burns that fail on chosen
//! books.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::pipeline::book::Book;
use gopherworks::supervision::failure::Failure;
use proptest::prelude::*;

/// `count` cases, times the variable `THOROUGH` if it is set. A failure prints its smallest case
/// and writes no file.
pub fn cases(count: u32) -> ProptestConfig {
    let factor = std::env::var("THOROUGH").ok();
    let factor = factor.and_then(|factor| factor.parse().ok()).unwrap_or(1);
    ProptestConfig { cases: count * factor, failure_persistence: None, ..ProptestConfig::default() }
}

/// Ids in the order of some event.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<u64>>>);

impl Record {
    /// Records a book.
    pub fn note(&self, book: &Book) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(book.id.0);
    }

    /// All ids, in order.
    pub fn all(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All ids, sorted.
    pub fn sorted(&self) -> Vec<u64> {
        let mut all = self.all();
        all.sort_unstable();
        all
    }

    /// How often each id was recorded.
    pub fn counts(&self) -> BTreeMap<u64, u32> {
        let mut counts = BTreeMap::new();
        for id in self.all() {
            *counts.entry(id).or_default() += 1;
        }
        counts
    }
}

/// How a work or burn treats one book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Panics at every attempt.
    Panic,
    /// Panics at the first attempts, this many.
    PanicFirst(u32),
    /// Fails at every attempt with a transient failure.
    Fail,
    /// Fails at the first attempts, this many, and requires a delay of this many ms.
    FailFirst(u32, u64),
    /// Fails permanently.
    Refuse,
    /// Drops the book on purpose (works only).
    Drop,
}

impl Mood {
    /// How many calls a book with this mood causes at a pile that allows `max` attempts, and its
    /// end.
    pub fn calls(self, max: u32) -> (u32, End) {
        match self {
            Mood::Panic | Mood::Fail => (max, End::Dead),
            Mood::PanicFirst(n) | Mood::FailFirst(n, _) if n >= max => (max, End::Dead),
            Mood::PanicFirst(n) | Mood::FailFirst(n, _) => (n + 1, End::Burned),
            Mood::Refuse => (1, End::Dead),
            Mood::Drop => (1, End::Dropped),
        }
    }

    /// A part of the reason of its dead letter.
    pub fn reason(self, id: u64) -> String {
        match self {
            Mood::Panic | Mood::PanicFirst(_) => format!("panicked: boom at {id}"),
            _ => format!("no luck with {id}"),
        }
    }
}

/// How a book ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Burned,
    Dead,
    Dropped,
}

/// Chosen books with their moods.
pub type Moods = BTreeMap<u64, Mood>;

/// Any mood; dropping only if `drops`.
pub fn mood(drops: bool) -> impl Strategy<Value = Mood> {
    prop_oneof![
        Just(Mood::Panic),
        (1u32..4).prop_map(Mood::PanicFirst),
        Just(Mood::Fail),
        (1u32..4, 0u64..5).prop_map(|(n, rest)| Mood::FailFirst(n, rest)),
        Just(Mood::Refuse),
        Just(if drops { Mood::Drop } else { Mood::Fail }),
    ]
}

/// A function that treats books by their moods and counts its calls for them.
pub fn moody(
    moods: Moods,
    calls: Record,
) -> impl Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static {
    move |book| {
        let id = book.id.0;
        let Some(mood) = moods.get(&id) else {
            return Ok(Some(book));
        };
        calls.note(&book);
        let call = calls.counts()[&id];
        let transient = || Failure::transient(format!("no luck with {id}"));
        match *mood {
            Mood::Panic => panic!("boom at {id}"),
            Mood::PanicFirst(n) if call <= n => panic!("boom at {id}"),
            Mood::Fail => Err(transient()),
            Mood::FailFirst(n, rest) if call <= n => {
                Err(transient().after(Duration::from_millis(rest)))
            }
            Mood::Refuse => Err(Failure::permanent(format!("no luck with {id}"))),
            Mood::Drop => Ok(None),
            _ => Ok(Some(book)),
        }
    }
}

/// The shipped kinds, a source `numbers` of `books` books with their numbers as bodies, and a burn
/// `record`.
pub fn catalog(books: u64, record: &Record) -> Catalog {
    let mut catalog = Catalog::standard();
    catalog.add_source_iter("numbers", "Books with their numbers in them", move || {
        (1..=books).map(|n| Book::new(n.to_string()))
    });
    let record = record.clone();
    catalog.add_inline_burn_fn("record", "Notes the ids", move |book| {
        record.note(book);
        Ok(())
    });
    catalog
}

/// Silences the panics that tests cause on purpose: texts that begin with `boom`.
pub fn hush() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("");
            if !text.contains("boom") {
                before(info);
            }
        }));
    });
}
