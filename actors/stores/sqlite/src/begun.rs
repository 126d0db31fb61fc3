//! Marks of books whose work has begun, so that a crash charges them and no others.
//!
//! A file of slots, each with an id or 0. A mark is one write to the page cache, on the thread that
//! begins the work: it survives the process, and costs no sync. After a loss of power marks may be
//! missing, or be there although the work had ended.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gopherworks_pipeline::store::Receipt;

/// Bytes before the first slot: the epoch of the marks.
const HEADER: u64 = 8;

#[derive(Debug, Default)]
struct Slots {
    file: Option<File>,
    /// Slot of each marked id.
    marked: HashMap<u64, u64>,
    /// Free slots below `end`.
    free: Vec<u64>,
    end: u64,
}

/// Shared by the threads that begin work and the engine, which removes marks.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<Slots>);

impl Begun {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids that were marked in `epoch` and whose marks were not removed.
    pub fn left(path: &Path, epoch: u64) -> Vec<u64> {
        let Ok(content) = std::fs::read(path) else {
            return Vec::new();
        };
        let mut numbers = content.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        match numbers.next() == Some(epoch) {
            true => numbers.filter(|id| *id != 0).collect(),
            false => Vec::new(),
        }
    }

    /// Empties the file, for the marks of `epoch`.
    pub fn start(&self, path: &Path, epoch: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(&epoch.to_le_bytes(), 0)?;
        *self.slots() = Slots { file: Some(file), ..Slots::default() };
        Ok(())
    }

    /// Ends marking.
    pub fn stop(&self) {
        *self.slots() = Slots::default();
    }

    /// Marks the books of these receipts.
    pub fn begin(&self, receipts: &[Receipt]) {
        let mut slots = self.slots();
        let slots = &mut *slots;
        let Some(file) = &slots.file else {
            return;
        };
        let mut writes = Vec::with_capacity(receipts.len());
        for id in receipts.iter().filter_map(Receipt::id).filter(|id| id.0 != 0) {
            if slots.marked.contains_key(&id.0) {
                continue;
            }
            let slot = slots.free.pop().unwrap_or_else(|| {
                slots.end += 1;
                slots.end - 1
            });
            slots.marked.insert(id.0, slot);
            writes.push((slot, id.0));
        }
        if let Err(error) = write(file, writes) {
            log::warn!("a crash will charge no attempt: marks can't be written: {error}");
        }
    }

    /// Removes the marks of these ids, if there are any.
    pub fn end(&self, ids: impl Iterator<Item = u64>) {
        let mut slots = self.slots();
        let slots = &mut *slots;
        let Some(file) = slots.file.as_ref().filter(|_| !slots.marked.is_empty()) else {
            return;
        };
        let mut writes: Vec<_> =
            ids.filter_map(|id| slots.marked.remove(&id)).map(|slot| (slot, 0)).collect();
        // The lowest slots are taken first, so that those of one cart are adjacent again.
        writes.sort_unstable();
        slots.free.extend(writes.iter().rev().map(|(slot, _)| slot));
        if let Err(error) = write(file, writes) {
            log::warn!("a crash may charge an attempt too many: {error}");
        }
    }
}

/// Writes ids to slots, adjacent ones at once.
fn write(file: &File, writes: Vec<(u64, u64)>) -> io::Result<()> {
    let mut bytes: Vec<u8> = Vec::with_capacity(writes.len() * 8);
    let mut first = 0;
    for (slot, id) in writes {
        if first + bytes.len() as u64 / 8 != slot {
            file.write_all_at(&bytes, HEADER + first * 8)?;
            bytes.clear();
            first = slot;
        }
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    file.write_all_at(&bytes, HEADER + first * 8)
}

#[cfg(test)]
mod tests {
    use gopherworks_pipeline::book::BookId;

    use super::*;

    fn left(path: &Path, epoch: u64) -> Vec<u64> {
        let mut left = Begun::left(path, epoch);
        left.sort_unstable();
        left
    }

    #[test]
    fn marks_are_found_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("begun");
        let begun = Begun::default();
        let receipts =
            |ids: &[u64]| ids.iter().map(|id| Receipt::of(BookId(*id))).collect::<Vec<_>>();
        begun.begin(&receipts(&[1]));
        assert_eq!(left(&path, 1), [0; 0], "not started");
        begun.start(&path, 7).unwrap();
        begun.begin(&receipts(&[3, 4, 5, 9]));
        begun.begin(&receipts(&[5, 6, 0]));
        begun.begin(&[Receipt(bytes::Bytes::from_static(b"?"))]);
        assert_eq!(left(&path, 7), [3, 4, 5, 6, 9]);
        assert_eq!(left(&path, 8), [0; 0], "marks of an earlier epoch");
        begun.end([4, 9, 100, 3].into_iter());
        assert_eq!(left(&path, 7), [5, 6]);
        begun.begin(&receipts(&[20, 21, 22, 23]));
        assert_eq!(left(&path, 7), [5, 6, 20, 21, 22, 23]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 + 6 * 8, "slots are used again");
        begun.start(&path, 8).unwrap();
        assert_eq!(left(&path, 8), [0; 0]);
    }
}
