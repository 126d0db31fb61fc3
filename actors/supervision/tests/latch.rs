//! The latch, model-checked in every interleaving of two producers and one consumer (loom; Norris
//! and Demsky, CDSchecker, 2013).

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
}

#[path = "../src/latch.rs"]
mod latch;

use latch::Latch;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// When the consumer opens the latch.
#[derive(Clone, Copy)]
enum Looks {
    AfterOpening,
    BeforeOpening,
}

#[derive(Default)]
struct Desk {
    latch: Latch,
    /// Items produced. Relaxed, so that the latch alone has to make them visible.
    left: AtomicUsize,
    wake_ups: AtomicUsize,
}

impl Desk {
    fn leave(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
        if self.latch.close() {
            self.wake_ups.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Takes the items, if there is a wake-up.
    fn look(&self, how: Looks) -> usize {
        if self.wake_ups.swap(0, Ordering::AcqRel) == 0 {
            return 0;
        }
        match how {
            Looks::AfterOpening => {
                self.latch.open();
                self.left.swap(0, Ordering::Relaxed)
            }
            Looks::BeforeOpening => {
                let some = self.left.swap(0, Ordering::Relaxed);
                self.latch.open();
                some
            }
        }
    }
}

/// Every item is found by a consumer that was woken.
fn nothing_stays(how: Looks) {
    loom::model(move || {
        let desk = Arc::new(Desk { latch: Latch::new(), ..Desk::default() });
        let leaving: Vec<_> = (0..2)
            .map(|_| {
                let desk = desk.clone();
                thread::spawn(move || desk.leave())
            })
            .collect();
        let mut found = desk.look(how);
        for one in leaving {
            one.join().expect("not poisoned");
        }
        // Every wake-up arrives eventually.
        found += desk.look(how);
        assert_eq!(found, 2, "a wake-up was lost");
    });
}

#[test]
fn a_latch_that_is_opened_before_the_look_loses_no_wake_up() {
    nothing_stays(Looks::AfterOpening);
}

/// Checks that the test detects lost wake-ups.
#[test]
#[should_panic(expected = "a wake-up was lost")]
fn one_that_is_opened_after_the_look_does() {
    nothing_stays(Looks::BeforeOpening);
}
