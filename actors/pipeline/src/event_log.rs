//! The last events of a run, numbered so that a reader can continue after the last one it has read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::Event;
use crate::reasons::printable;
use gopherworks_supervision::clock::Time;

/// Maximum number of events kept.
const KEPT: usize = 1024;

/// An event, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its number, from 1.
    pub number: u64,
    /// When it happened.
    pub at: Time,
    /// The event's name in lower case, such as `exited`.
    pub kind: &'static str,
    /// The node concerned, if there is one.
    pub node: Option<String>,
    /// Details in one line of at most 500 characters.
    pub text: String,
}

/// The last events of a run.
#[derive(Debug)]
pub struct EventLog {
    events: Mutex<VecDeque<LoggedEvent>>,
    /// Number of the last event.
    last: watch::Sender<u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { events: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl EventLog {
    pub(crate) fn add(&self, at: Time, event: &Event) {
        let (node, text) = (event.node().map(str::to_owned), printable(&event.details()));
        let mut events = self.lock();
        if events.len() == KEPT {
            events.pop_front();
        }
        self.last.send_modify(|last| {
            *last += 1;
            events.push_back(LoggedEvent { number: *last, at, kind: event.kind(), node, text });
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LoggedEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the last event, and its changes.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most `most` events after the one with the number `after`, the oldest first, and how many
    /// before them are no longer kept.
    pub fn since(&self, after: u64, most: usize) -> (Vec<LoggedEvent>, u64) {
        let events = self.lock();
        let first = events.front().map_or(0, |event| event.number);
        let missed = first.saturating_sub(after + 1);
        let skipped = (after + 1).saturating_sub(first);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (events.iter().skip(skipped).take(most).cloned().collect(), missed)
    }

    /// The last `most` events of a node, the newest first.
    pub fn of(&self, node: &str, most: usize) -> Vec<LoggedEvent> {
        let events = self.lock();
        let own = events.iter().rev().filter(|event| event.node.as_deref() == Some(node));
        own.take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_each_event_once_or_the_number_of_those_it_missed() {
        let log = EventLog::default();
        let numbers = |after, most| {
            let (events, missed) = log.since(after, most);
            (events.iter().map(|event| event.number).collect::<Vec<_>>(), missed)
        };
        assert_eq!(numbers(0, 10), (vec![], 0));
        let add = |count| {
            for epoch in 0..count {
                let node = format!("n{}", epoch % 2);
                log.add(Time::ZERO, &Event::Started { node, epoch });
            }
        };
        add(3);
        assert_eq!(numbers(0, 10), (vec![1, 2, 3], 0));
        assert_eq!(numbers(2, 10), (vec![3], 0));
        assert_eq!(numbers(0, 2), (vec![1, 2], 0));
        assert_eq!(numbers(3, 10), (vec![], 0));
        add(KEPT as u64);
        assert_eq!(numbers(0, 1), (vec![4], 3));
        assert_eq!(numbers(3, 1), (vec![4], 0));
        assert_eq!(*log.last().borrow(), KEPT as u64 + 3);
        let own = log.of("n1", 2);
        assert_eq!(own[0].text, format!("life {}", KEPT - 1));
        assert_eq!((own.len(), log.since(0, KEPT * 2).0.len()), (2, KEPT));
    }
}
