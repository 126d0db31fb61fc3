//! Room in a balancer's queue: so many requests, first come, first served.
//!
//! A semaphore would do, but for callers that hang: it hands a place over to the first that waits, and one whose thread is blocked neither
//! takes it nor gives it back. Here a place that was handed over and not collected can be offered anew ([`Room::offer_anew`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::pool::guarded;

/// The room of one balancer.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Places that are to go as they come back.
    owed: usize,
    closed: bool,
    next: u64,
    /// Who waits, by turn.
    waiting: BTreeMap<u64, Slot>,
    /// Who was given a place and has not collected it.
    granted: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    /// It has not been heard of since places were offered anew: it may hang, and is passed over.
    suspect: bool,
}

/// A place in the queue. Dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Now.
    Full,
    /// Any more.
    Closed,
}

impl State {
    /// A place has come back: whose it is now.
    fn give(&mut self) -> Option<Waker> {
        if self.owed > 0 {
            self.owed -= 1;
            return None;
        }
        let mut waiting = self.waiting.iter();
        let Some(turn) = waiting
            .find(|(_, slot)| !slot.suspect)
            .map(|(turn, _)| *turn)
        else {
            self.free += 1;
            return None;
        };
        self.granted.insert(turn);
        self.waiting.remove(&turn).and_then(|slot| slot.waker)
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        if let Err(text) = guarded(|| waker.wake()) {
            log::error!("a waker panicked: {text}");
        }
    }
}

impl Room {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: places,
            ..State::default()
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one now.
    pub(super) fn try_take(self: &Arc<Self>) -> Result<Place, NoPlace> {
        let mut state = self.lock();
        if state.closed {
            return Err(NoPlace::Closed);
        }
        match state.free.checked_sub(1) {
            Some(left) => {
                state.free = left;
                drop(state);
                Ok(Place(self.clone()))
            }
            None => Err(NoPlace::Full),
        }
    }

    /// A place, when it is this one's turn; an error where there will be none. Dropped, it gives up its turn.
    pub(super) fn take(self: &Arc<Self>) -> Taking {
        Taking {
            room: self.clone(),
            turn: None,
        }
    }

    /// What was handed over and not collected is offered to all who wait, and who does not answer is passed over until it does. To be
    /// called when somebody is known to hang.
    pub(super) fn offer_anew(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            let granted = std::mem::take(&mut state.granted);
            state.free += granted.len();
            for turn in granted {
                // It was woken when it got the place, and looks if it can.
                state.waiting.insert(turn, Slot::default());
            }
            let slots = state.waiting.values_mut();
            slots
                .filter_map(|slot| {
                    slot.suspect = true;
                    slot.waker.take()
                })
                .collect()
        };
        wake(wakers);
    }

    /// So many places more.
    pub(super) fn grow(&self, places: usize) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            (0..places).filter_map(|_| state.give()).collect()
        };
        wake(wakers);
    }

    /// So many places less; those that are taken go when they come back.
    pub(super) fn shrink(&self, places: usize) {
        let mut state = self.lock();
        let now = places.min(state.free);
        state.free -= now;
        state.owed += places - now;
    }

    /// There is no place any more.
    pub(super) fn close(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.closed = true;
            let slots = state.waiting.values_mut();
            slots.filter_map(|slot| slot.waker.take()).collect()
        };
        wake(wakers);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = self.0.lock().give();
        wake(waker);
    }
}

/// Waits for a place.
#[derive(Debug)]
pub(super) struct Taking {
    room: Arc<Room>,
    turn: Option<u64>,
}

impl Future for Taking {
    type Output = Result<Place, NoPlace>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Cloned before the lock: that is the caller's code.
        let waker = cx.waker().clone();
        let mut state = this.room.lock();
        if state.closed {
            return Poll::Ready(Err(NoPlace::Closed));
        }
        let granted = this.turn.is_some_and(|turn| state.granted.remove(&turn));
        if granted || state.free > 0 {
            if !granted {
                state.free -= 1;
            }
            let slot = this
                .turn
                .take()
                .and_then(|turn| state.waiting.remove(&turn));
            drop(state);
            drop(slot);
            return Poll::Ready(Ok(Place(this.room.clone())));
        }
        let turn = *this.turn.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let slot = state.waiting.entry(turn).or_default();
        slot.suspect = false;
        let before = slot.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let Some(turn) = self.turn else {
            return;
        };
        let (slot, waker) = {
            let mut state = self.room.lock();
            let slot = state.waiting.remove(&turn);
            let waker = match state.granted.remove(&turn) {
                true => state.give(),
                false => None,
            };
            (slot, waker)
        };
        drop(slot);
        wake(waker);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;

    use super::*;

    fn poll(taking: &mut Taking) -> Option<Result<Place, NoPlace>> {
        match Pin::new(taking).poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn first_come_first_served_and_nobody_overtakes() {
        let room = Room::new(1);
        let first = room.try_take().expect("there is one");
        assert_eq!(room.try_take().err(), Some(NoPlace::Full));
        let (mut a, mut b) = (room.take(), room.take());
        assert!(poll(&mut a).is_none() && poll(&mut b).is_none());
        drop(first);
        assert!(room.try_take().is_err(), "it is the first one's");
        assert!(poll(&mut b).is_none());
        let place = poll(&mut a).expect("its turn").expect("a place");
        drop(place);
        assert!(poll(&mut b).expect("its turn").is_ok());
        assert!(room.try_take().is_ok());
    }

    #[test]
    fn who_gives_up_passes_his_place_on() {
        let room = Room::new(1);
        let first = room.try_take().expect("there is one");
        let (mut a, mut b) = (room.take(), room.take());
        assert!(poll(&mut a).is_none() && poll(&mut b).is_none());
        drop(first);
        drop(a);
        let place = poll(&mut b).expect("its turn").expect("a place");
        drop(place);
        assert!(room.take().now_or_never().expect("a free one").is_ok());
    }

    #[test]
    fn who_hangs_keeps_no_place_and_stands_in_nobodys_way() {
        let room = Room::new(1);
        let first = room.try_take().expect("there is one");
        let (mut hung, mut b) = (room.take(), room.take());
        assert!(poll(&mut hung).is_none() && poll(&mut b).is_none());
        drop(first);
        // The place is the hung one's, who does not come for it.
        assert!(poll(&mut b).is_none());
        room.offer_anew();
        let place = poll(&mut b).expect("offered anew").expect("a place");
        let mut c = room.take();
        assert!(poll(&mut c).is_none());
        drop(place);
        let place = poll(&mut c)
            .expect("the hung one is passed over")
            .expect("a place");
        // Should it come back, it waits as everybody does.
        assert!(poll(&mut hung).is_none());
        drop(place);
        assert!(poll(&mut hung).expect("its turn").is_ok());
    }

    #[test]
    fn it_grows_and_shrinks_as_places_come_back() {
        let room = Room::new(3);
        let mut places: Vec<Place> = (0..3)
            .map(|_| room.try_take().expect("there are three"))
            .collect();
        room.shrink(2);
        places.pop();
        places.pop();
        assert_eq!(room.try_take().err(), Some(NoPlace::Full));
        places.pop();
        let one = room.try_take().expect("one is left");
        assert!(room.try_take().is_err());
        let mut waits = room.take();
        assert!(poll(&mut waits).is_none());
        room.grow(2);
        assert!(poll(&mut waits).expect("there is more").is_ok());
        assert!(room.try_take().is_ok());
        drop(one);
    }

    #[test]
    fn a_closed_room_has_no_place() {
        let room = Room::new(0);
        let mut waits = room.take();
        assert!(poll(&mut waits).is_none());
        room.close();
        assert_eq!(
            poll(&mut waits).expect("an answer").err(),
            Some(NoPlace::Closed)
        );
        assert_eq!(room.try_take().err(), Some(NoPlace::Closed));
    }
}
