//! What the tests share.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gopherworks_pipeline::store::conformance::Fixture;
use gopherworks_pipeline::store::{Backend, Reply};
use gopherworks_sqlite::Sqlite;
use tempfile::TempDir;

/// A store in a folder of its own, with a clock of its own.
pub struct OnDisk {
    pub folder: TempDir,
    /// Milliseconds since 1970.
    pub now: Arc<AtomicU64>,
}

impl OnDisk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, now: Arc::new(AtomicU64::new(1_700_000_000_000)) }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("state").join("works.db")
    }

    pub fn store(&self) -> Sqlite {
        let now = self.now.clone();
        let time = move || Duration::from_millis(now.load(Ordering::Relaxed));
        Sqlite::new(self.path()).reserve(1 << 20).time(time)
    }
}

impl Fixture for OnDisk {
    fn start(&mut self) -> Arc<dyn Backend> {
        Arc::new(self.store())
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        self.now.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

/// A new seed each time; tests print it.
pub fn any_seed() -> u64 {
    RandomState::new().hash_one(0)
}
