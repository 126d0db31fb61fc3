//! The application's own source and burn. They take nanoseconds, so they run on the arbiter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gopherworks::pipeline::burn::Burn;
use gopherworks::pipeline::source::Source;
use gopherworks::{Book, Catalog, Failure};
use peers_common::{Burned, Moment, Took};

/// Measures from the first book that a source gives to the last that is burned.
#[derive(Default)]
pub struct Watch {
    first: Mutex<Option<Moment>>,
    last: Mutex<Option<Moment>>,
    fires: Mutex<Vec<Arc<Tally>>>,
}

/// The count of one incinerator. Only its arbiter writes it, so a load and a store suffice; it is
/// padded to keep it off its neighbours' cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Tally {
    count: AtomicU64,
    sum: AtomicU64,
}

impl Watch {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn first_is_now(&self) {
        let now = Moment::now();
        let mut first = self.first.lock().expect("not poisoned");
        *first = Some(first.map_or(now, |first| first.earlier(now)));
    }

    // A separate function, to keep it out of the code that runs for each book.
    #[cold]
    fn last_is_now(&self) {
        let now = Moment::now();
        let mut last = self.last.lock().expect("not poisoned");
        *last = Some(last.map_or(now, |last| last.later(now)));
    }

    /// How long moving the books took.
    pub fn took(&self) -> Took {
        let (first, last) = (
            self.first.lock().expect("not poisoned"),
            self.last.lock().expect("not poisoned"),
        );
        last.expect("books were burned") - first.expect("books were given")
    }

    /// What all incinerators burned.
    pub fn burned(&self) -> Burned {
        let mut all = Burned::default();
        for fire in self.fires.lock().expect("not poisoned").iter() {
            all.count += fire.count.load(Relaxed);
            all.sum = all.sum.wrapping_add(fire.sum.load(Relaxed));
        }
        all
    }

    /// The kinds `books`, a source of `count` books, and `tally`, a burn of which each of `fires`
    /// incinerators gets its share.
    pub fn catalog(self: &Arc<Self>, count: u64, fires: u64) -> Catalog {
        // A burn can't know its share of the books, so near the end it takes the time of every
        // book.
        let late = if fires > 1 { (count / fires).saturating_sub(2048) } else { count };
        let mut catalog = Catalog::standard();
        let watch = self.clone();
        catalog.add_source("books", "Gives 64-byte books", move |_: &NoOptions, _| {
            Ok(Library { begun: false, left: count, watch: watch.clone() })
        });
        let watch = self.clone();
        catalog.add_burn("tally", "Counts books and adds up ids", move |_: &NoOptions, _| {
            let tally = Arc::new(Tally::default());
            watch.fires.lock().expect("not poisoned").push(tally.clone());
            Ok(Furnace { tally, late, watch: watch.clone() })
        });
        catalog
    }
}

/// No options.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// All books share one body, as those of `generate` do.
struct Library {
    begun: bool,
    left: u64,
    watch: Arc<Watch>,
}

impl Source for Library {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        if !self.begun {
            self.begun = true;
            self.watch.first_is_now();
        }
        let count = self.left.min(want as u64);
        self.left -= count;
        let books = (0..count).map(|_| Book::new(Bytes::from_static(&[0; 64])));
        Ok((count > 0).then(|| books.collect()))
    }

    /// Each copy reads its own part.
    fn split(&mut self, copies: usize) -> Option<Vec<Box<dyn Source>>> {
        let copies = copies as u64;
        let part = |at: u64| -> Box<dyn Source> {
            Box::new(Library {
                begun: false,
                left: self.left.saturating_sub(at).div_ceil(copies),
                watch: self.watch.clone(),
            })
        };
        Some((0..copies).map(part).collect())
    }

    fn blocks(&self) -> bool {
        false
    }
}

struct Furnace {
    tally: Arc<Tally>,
    late: u64,
    watch: Arc<Watch>,
}

impl Burn for Furnace {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let count = self.tally.count.load(Relaxed) + 1;
        self.tally.count.store(count, Relaxed);
        let sum = self.tally.sum.load(Relaxed).wrapping_add(book.id.0);
        self.tally.sum.store(sum, Relaxed);
        if count >= self.late {
            self.watch.last_is_now();
        }
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }
}
