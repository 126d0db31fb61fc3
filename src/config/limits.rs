//! Bounds of numbers, durations and sizes in the config language, used by readers, plan checks, the
//! JSON Schema and flags. Bounds of the kinds' options are in the kinds' schemas.

use std::time::Duration;

use super::units;

/// Maximum number of gophers in a crew.
pub(crate) const MOST_GOPHERS: usize = 100_000;

/// Maximum number of copies of one node.
pub(crate) const MOST_COPIES: u64 = 10_000;

/// Maximum number of actors of a topology: gophers, workers, and one for each other node.
pub(crate) const MOST_ACTORS: u64 = 200_000;

/// Maximum number of requests that the workers of one balancer run at a time.
pub(crate) const MOST_PLACES: u32 = 100_000;

/// Maximum number of requests that the workers of all balancers run at a time.
pub(crate) const MOST_PLACES_IN_ALL: u64 = 1_000_000;

/// Maximum number of headers of a request over HTTP: the parser refuses more.
pub(crate) const MOST_HEADERS: u32 = 96;

/// Maximum number of carts of one crew. Their memory is allocated at the start.
pub(crate) const MOST_CARTS: u32 = 1_000_000;

/// Maximum number of carts of all crews and their copies.
pub(crate) const MOST_CARTS_IN_ALL: u64 = 10_000_000;

/// Maximum number of clients of one closed load, and of all. Their memory is allocated at the
/// start.
pub(crate) const MOST_CLIENTS: u32 = 1_000_000;

/// Maximum number of books in a pile, a cart or a relay.
pub(crate) const MOST_BOOKS: u64 = 1_000_000_000_000;

/// Maximum number of requests of a requester.
pub(crate) const MOST_REQUESTS: u64 = 1_000_000_000_000_000;

/// Maximum number of requests of a batch, which are queued at the start.
pub(crate) const MOST_IN_BATCH: u64 = 1_000_000_000;

/// Longest queue of a balancer; a longer one is `"unbounded"`.
pub(crate) const MOST_WAITING: u32 = 1_000_000_000;

/// Maximum number of slots of an `exclusive`.
pub(crate) const MOST_SLOTS: u32 = 1_000_000;

/// Maximum number of attempts of a book or a request, failures to count, and queued requests per
/// place.
pub(crate) const MOST_TIMES: u32 = 1_000_000;

/// Maximum number of distinct keys of requests.
pub(crate) const MOST_KEYS: u32 = 1_000_000_000;

/// Maximum number of cores: arbiters, and threads of the blocking pool.
pub(crate) const MOST_CORES: u32 = 1024;

/// Maximum number of connections of a requester that serves HTTP: each takes a file descriptor and
/// some 20 KiB.
pub(crate) const MOST_CONNECTIONS: u32 = 1_000_000;

/// Largest body of a request over HTTP, which is kept in memory: 1 GiB.
pub(crate) const LARGEST_BODY: u64 = 1 << 30;

/// Highest rate of one open load, in requests per second.
pub(crate) const MOST_RATE: f64 = 1e9;

/// Largest factor: of a utilisation, a width, a bound, a budget.
pub(crate) const LARGEST_FACTOR: f64 = 1e9;

/// Maximum number of faults of a mix.
pub(crate) const MOST_MIXED: u32 = 1_000;

/// Longest duration, 100 years.
pub(crate) const LONGEST: Duration = units::LONGEST;

/// Largest size, 1 PiB.
pub(crate) const LARGEST: u64 = units::LARGEST;

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (4_000_000_000, "4,000,000,000")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
