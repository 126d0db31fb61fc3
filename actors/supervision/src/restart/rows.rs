//! Children of one template: one byte per child that has never been restarted.

use std::sync::Arc;

use super::{ChildSpec, Kept, Life};

/// Maximum number of children in a batch.
pub(super) const LOT: usize = 256;

/// Children that share one specification, by index.
#[derive(Debug)]
pub(super) struct Row {
    spec: Arc<ChildSpec>,
    seats: Vec<Seat>,
    /// The number of [`Seat::Calm`] children, all below `top`.
    calm: usize,
    top: usize,
    /// All children below this index were started once or are gone.
    unborn: usize,
    gone: usize,
    /// A batch is being started.
    lot: bool,
}

/// The state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// Never started.
    Unborn,
    /// In its first life (starting or started), with no other state to remember.
    Calm,
    /// It has ended, and no child is restarted any more.
    Over,
    /// Its state is stored in `Kin::children`.
    Other,
    Gone,
}

impl Row {
    pub(super) fn new(spec: ChildSpec, count: usize) -> Self {
        Self {
            spec: Arc::new(spec),
            seats: vec![Seat::Unborn; count],
            calm: 0,
            top: 0,
            unborn: 0,
            gone: 0,
            lot: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn spec(&self) -> &Arc<ChildSpec> {
        &self.spec
    }

    fn first_epoch(&self) -> u64 {
        self.spec.first_epoch.max(1)
    }

    pub(super) fn set(&mut self, index: usize, to: Seat) {
        let before = std::mem::replace(&mut self.seats[index], to);
        self.calm -= usize::from(before == Seat::Calm);
        self.gone += usize::from(to == Seat::Gone && before != Seat::Gone);
        if to == Seat::Calm {
            self.calm += 1;
            self.top = self.top.max(index + 1);
        }
    }

    /// True if all children are gone and no batch is being started.
    pub(super) fn is_gone(&self) -> bool {
        self.gone == self.len() && !self.lot
    }

    /// The full state of a child; `None` if it is stored elsewhere or the child is gone.
    pub(super) fn kept(&self, index: usize) -> Option<Kept> {
        let (epoch, life) = match self.seats[index] {
            Seat::Unborn => (0, Life::None),
            Seat::Calm => (self.first_epoch(), Life::PEACE),
            Seat::Over => (self.first_epoch(), Life::None),
            Seat::Other | Seat::Gone => return None,
        };
        Some(Kept {
            epoch,
            starts: epoch.min(1),
            life,
            index: Some(index),
            dynamic: true,
            ..Kept::new(self.spec.clone())
        })
    }

    /// The children whose state is stored here.
    pub(super) fn settled(&self) -> impl Iterator<Item = usize> {
        let seats = self.seats.iter().enumerate();
        seats.filter(|(_, seat)| !matches!(seat, Seat::Other | Seat::Gone)).map(|(index, _)| index)
    }

    pub(super) fn last_calm(&mut self) -> Option<usize> {
        if self.calm == 0 {
            return None;
        }
        while self.seats[self.top - 1] != Seat::Calm {
            self.top -= 1;
        }
        Some(self.top - 1)
    }

    pub(super) fn next_unborn(&mut self) -> Option<usize> {
        while *self.seats.get(self.unborn)? != Seat::Unborn {
            self.unborn += 1;
        }
        Some(self.unborn)
    }

    pub(super) fn start_lot(&mut self, from: usize) -> Option<(usize, u64)> {
        let rest = self.seats[from..].iter();
        let count = rest.take(LOT).take_while(|seat| **seat == Seat::Unborn).count();
        if count == 0 {
            return None;
        }
        for index in from..from + count {
            self.set(index, Seat::Calm);
        }
        self.lot = true;
        Some((count, self.first_epoch()))
    }

    pub(super) fn has_lot(&self) -> bool {
        self.lot
    }

    pub(super) fn lot_done(&mut self) -> bool {
        std::mem::replace(&mut self.lot, false)
    }
}
