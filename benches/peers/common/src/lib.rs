//! Code that the compared programs share, so that they differ only in what is compared.
//!
//! A program is started as `PROGRAM ROW THREADS COUNT` and prints one line of JSON: what it did and
//! how long that took. It checks its own result and fails if a count or a sum is wrong.

mod answer;
mod book;
mod crowd;
mod job;
mod memory;
mod order;
mod threads;
mod watch;

pub use answer::Answer;
pub use book::{Bare, Book, Burned, Carried, sum_of_ids};
pub use crowd::{Crowd, Requester};
pub use job::{Job, spin, spins_per_us};
pub use memory::resident;
pub use order::{Order, Row};
pub use threads::runtime;
pub use watch::{Moment, Took};
