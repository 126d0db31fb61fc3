//! Calls for operators: they list piles, books and processes, and change piles and dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{State, process_name};
use crate::store::{Cursor, HeldLeases, Holder, Peeked, PileName, StoreError, Survey, Surveyed};

impl State {
    pub fn forget_dead(&mut self, letters: &[Cursor]) -> u64 {
        let known = letters.iter().filter(|at| self.dead.remove(&at.0).is_some()).count() as u64;
        self.account.dropped += known;
        known
    }

    pub fn replay(&mut self, letters: &[Cursor]) -> u64 {
        let dead: Vec<_> = letters.iter().filter_map(|at| self.dead.remove(&at.0)).collect();
        for letter in &dead {
            self.put(&letter.pile, letter.book.clone(), None);
        }
        dead.len() as u64
    }

    pub fn move_pile(&mut self, from: &PileName, to: &PileName) -> Result<u64, StoreError> {
        if !self.piles.contains_key(to) {
            return Err(StoreError::Gone);
        }
        let moved = self.piles.remove(from).ok_or(StoreError::Gone)?.entries;
        let count = moved.len() as u64;
        for (_, entry) in moved {
            self.put(to, entry.book, None);
        }
        Ok(count)
    }

    pub fn drop_pile(&mut self, name: &PileName) -> Result<u64, StoreError> {
        let dropped = self.piles.remove(name).ok_or(StoreError::Gone)?.entries;
        dropped.values().filter(|_| self.exclusive).for_each(|entry| {
            self.given.remove(&entry.book.id.0);
        });
        self.account.dropped += dropped.len() as u64;
        Ok(dropped.len() as u64)
    }

    pub fn survey(&self) -> Survey {
        let piles = self.piles.iter().map(|(name, pile)| {
            let depth = self.depth(name).unwrap_or_default();
            let delayed = pile.entries.values().filter(|entry| entry.due > self.now).count();
            Surveyed {
                name: name.clone(),
                books: depth.books,
                bytes: depth.bytes,
                held: Some(depth.held),
                delayed: Some(delayed as u64),
                oldest: None,
                dead: depth.dead,
            }
        });
        let (store, holders, account) = ("memory".into(), self.holders(), Some(self.account()));
        let sources = self.sources.states(self.now);
        Survey { store, piles: piles.collect(), holders, sources, account }
    }

    pub fn peek(&self, name: &PileName, most: usize) -> Result<Vec<Peeked>, StoreError> {
        let entries = &self.piles.get(name).ok_or(StoreError::Gone)?.entries;
        let peeked = entries.values().take(most).map(|entry| Peeked {
            book: entry.book.clone(),
            tries: entry.tries,
            due: entry.due.checked_sub(self.now).filter(|due| !due.is_zero()),
        });
        Ok(peeked.collect())
    }

    pub fn holders(&self) -> Vec<Holder> {
        let mut held: BTreeMap<u64, Vec<HeldLeases>> = BTreeMap::new();
        for (name, pile) in &self.piles {
            let holds = pile.entries.values().filter(|entry| self.is_held(entry));
            for hold in holds.filter_map(|entry| entry.hold) {
                let (leases, left) = (held.entry(hold.process).or_default(), hold.until - self.now);
                match leases.last_mut().filter(|last| last.pile == *name) {
                    Some(last) => {
                        last.books += 1;
                        last.left = (last.left.0.min(left), last.left.1.max(left));
                    }
                    None => {
                        let (pile, left) = (name.clone(), (left, left));
                        leases.push(HeldLeases { pile, books: 1, left });
                    }
                }
            }
        }
        let holder = |(process, leases): (u64, Vec<HeldLeases>)| Holder {
            name: process_name(process),
            run: None,
            held: Some(leases.iter().map(|leases| leases.books).sum()),
            since: Duration::ZERO,
            leases,
        };
        held.into_iter().map(holder).collect()
    }
}
