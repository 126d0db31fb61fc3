//! Estimates the memory that a topology needs, and reads how much this machine has.

/// Bytes of an empty cart, including its entries in the crew's queues.
pub(super) const CART: u64 = 225;

/// Bytes of an actor and its mailbox.
const ACTOR: u64 = 4 << 10;

/// Bytes of a request's place at a worker or in a queue.
const PLACE: u64 = 512;

/// Bytes of a client of a closed load.
const CLIENT: u64 = 2 << 10;

/// Bytes of a connection of a requester that serves HTTP, without the body of its request.
pub(super) const CONNECTION: u64 = 20 << 10;

/// Bytes of a book on a pile, without its body.
pub(super) const BOOK: u64 = 160;

/// Quantities that need memory.
pub(super) struct Need {
    pub carts: u64,
    pub actors: u64,
    pub places: u64,
    pub clients: u64,
    /// Queued requests.
    pub waiting: u64,
    /// Bytes of the books on piles with a `generate` source.
    pub books: u64,
    /// Bytes of all connections that requesters serve, each with the largest body.
    pub connections: u64,
}

impl Need {
    fn parts(&self) -> [(&'static str, u64); 7] {
        [
            ("crews", self.carts.saturating_mul(CART)),
            ("crews", self.actors.saturating_mul(ACTOR)),
            ("balancers", self.places.saturating_mul(PLACE)),
            ("requesters", self.clients.saturating_mul(CLIENT)),
            ("requesters", self.waiting.saturating_mul(PLACE)),
            ("piles", self.books),
            ("requesters", self.connections),
        ]
    }

    /// Total bytes.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts();
        parts.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The config table whose nodes need most.
    pub fn largest(&self) -> &'static str {
        let parts = self.parts();
        let most = parts.iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or("crews", |(table, _)| table)
    }
}

/// Formats bytes with a decimal unit, such as `900 GB`.
pub(super) fn amount(bytes: u64) -> String {
    let units =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.iter().find(|(_, scale)| bytes >= *scale) {
        Some((unit, scale)) => {
            format!("{} {unit}", (bytes / scale) + u64::from(bytes % scale * 2 >= *scale))
        }
        None => format!("{bytes} B"),
    }
}

/// Memory available to this process in bytes: the machine's, or a lower cgroup or address-space
/// limit. `None` if unknown, as on systems other than Linux.
pub(super) fn machine() -> Option<u64> {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let meminfo = text("/proc/meminfo")?;
    let total = meminfo.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    })?;
    let group = text("/sys/fs/cgroup/memory.max").and_then(|limit| limit.trim().parse().ok());
    let own = text("/proc/self/limits").and_then(|limits| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    [Some(total), group, own].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_in_the_largest_unit() {
        for (bytes, text) in [
            (12, "12 B"),
            (225_000, "225 kB"),
            (2_500_000, "3 MB"),
            (4_000_000_000 * CART, "900 GB"),
            (1_000_000_000_000 * BOOK, "160 TB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
