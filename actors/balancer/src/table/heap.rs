//! Pure: an indexed heap of workers, least loaded first.

/// Sort key of a worker: pending requests, then the turn in which it last got one, so that equals
/// alternate.
pub(super) type Load = (usize, u64);

/// Workers by load. A worker's load can be changed in place.
#[derive(Debug, Default, Clone)]
pub(super) struct Heap {
    order: Vec<usize>,
    /// By worker: its index in `order`, and its load.
    places: Vec<Option<usize>>,
    loads: Vec<Load>,
}

impl Heap {
    /// An empty heap for workers 0 to `workers` - 1.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            order: Vec::with_capacity(workers),
            places: vec![None; workers],
            loads: vec![(0, 0); workers],
        }
    }

    pub(super) fn least(&self) -> Option<usize> {
        self.order.first().copied()
    }

    /// Sets a worker's load, inserting it if needed.
    pub(super) fn set(&mut self, worker: usize, load: Load) {
        self.loads[worker] = load;
        let at = self.places[worker].unwrap_or_else(|| {
            self.order.push(worker);
            self.places[worker] = Some(self.order.len() - 1);
            self.order.len() - 1
        });
        let at = self.up(at);
        self.down(at);
    }

    pub(super) fn remove(&mut self, worker: usize) {
        let Some(at) = self.places[worker].take() else {
            return;
        };
        let last = self.order.len() - 1;
        if at != last {
            self.order[at] = self.order[last];
            self.places[self.order[at]] = Some(at);
        }
        self.order.pop();
        if at < self.order.len() {
            let at = self.up(at);
            self.down(at);
        }
    }

    /// The workers in the heap, in an arbitrary but deterministic order.
    pub(super) fn workers(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn has(&self, worker: usize) -> bool {
        self.places[worker].is_some()
    }

    pub(super) fn turn(&self, worker: usize) -> u64 {
        self.loads[worker].1
    }

    /// Ties are broken by number, so that the order of insertion does not matter.
    fn load_at(&self, at: usize) -> (Load, usize) {
        let worker = self.order[at];
        (self.loads[worker], worker)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.order.swap(a, b);
        self.places[self.order[a]] = Some(a);
        self.places[self.order[b]] = Some(b);
    }

    fn up(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let above = (at - 1) / 2;
            if self.load_at(above) <= self.load_at(at) {
                break;
            }
            self.swap(above, at);
            at = above;
        }
        at
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2]
                .into_iter()
                .filter(|below| *below < self.order.len())
                .min_by_key(|below| self.load_at(*below));
            match below {
                Some(below) if self.load_at(below) < self.load_at(at) => {
                    self.swap(below, at);
                    at = below;
                }
                _ => return,
            }
        }
    }

    /// Checks the heap order and the index.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for at in 1..self.order.len() {
            assert!(self.load_at((at - 1) / 2) <= self.load_at(at));
        }
        for (worker, place) in self.places.iter().enumerate() {
            if let Some(at) = place {
                assert_eq!(self.order[*at], worker);
            }
        }
        let placed = self.places.iter().flatten().count();
        assert_eq!(placed, self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_least_loaded_is_always_first(
            steps in prop::collection::vec(
                (0..8usize, prop::option::of((0..9usize, 0..99u64))), 0..200
            )
        ) {
            let mut heap = Heap::new(8);
            let mut model = std::collections::BTreeMap::new();
            for (worker, load) in steps {
                match load {
                    Some(load) => {
                        heap.set(worker, load);
                        model.insert(worker, load);
                    }
                    None => {
                        heap.remove(worker);
                        model.remove(&worker);
                    }
                }
                heap.check();
                prop_assert_eq!(heap.workers().len(), model.len());
                let least = model.values().min();
                prop_assert_eq!(heap.least().map(|worker| &model[&worker]), least);
            }
        }
    }
}
