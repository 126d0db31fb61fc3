//! Runs a topology in virtual time, on one thread with a simulated clock and seeded random numbers.
//!
//! When no actor can run, time jumps to the next deadline; its resolution is one nanosecond.
//! Arbiters are logical: all actors share the thread, in an order that the seed and the design
//! determine, and `cores` bounds how many steps use a core at once. Works and burns run for real,
//! inline, and take the virtual time of the config.
//!
//! ```
//! use std::time::Duration;
//! use gopherworks::config::builder::{kind, wait};
//! use gopherworks::{Catalog, Topology, TopologyConfig};
//!
//! let hour = wait(Duration::from_secs(3600));
//! let config = TopologyConfig::builder("slow")
//!     .pile("manuals", |pile| pile.source(kind("generate").option("books", 10)))
//!     .incinerator("furnace", |fire| fire)
//!     .crew("haul", "manuals", "furnace", |crew| {
//!         let crew = crew.gophers(1, "load push unload return").cart_books(1);
//!         crew.load(hour).push(hour).unload(hour).return_(hour)
//!     })
//!     .build();
//! let report = Topology::from_config(&config, &Catalog::standard())?.simulate(None)?;
//! assert_eq!(report.makespan_s, Some(39.0 * 3600.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lives;
mod timeless;

use std::fs::File;
use std::future::Future;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_rt::System;
use gopherworks_pipeline::trace::{Record, Tracer};
use gopherworks_supervision::clock::{Clock, Stuck};
use sha2::{Digest, Sha256};

use crate::private;
use crate::report::Report;
use crate::topology::{Done, Options, RunningTopology, StartError, Topology};

pub(crate) use lives::StoreEnd;
pub use lives::{Ended, Lives};

/// Runs `body` on this thread, in an actix system of its own whose time the given clock simulates.
///
/// # Panics
/// Inside another runtime, or if the operating system has no file descriptors left for one.
pub fn in_virtual_time<F: Future>(body: impl FnOnce(Clock) -> F) -> F::Output {
    let system = System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"))
    });
    // Boxed: a runtime is compiled for each type of future.
    let body: Pin<Box<dyn Future<Output = F::Output> + '_>> = Box::pin(async move {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        body(clock).await
    });
    system.block_on(body)
}

impl Topology {
    /// Runs it in virtual time until everything is drained. With `limit`, sources that generate
    /// books do not end on their own, and all sources are closed after that virtual time. Blocks
    /// this thread and ignores the clock in the options.
    ///
    /// # Errors
    /// As [`Topology::start`].
    ///
    /// # Panics
    /// Inside another runtime: spawn a thread for it.
    pub fn simulate(&self, limit: Option<Duration>) -> Result<Report, StartError> {
        in_virtual_time(async |clock| {
            let running = self.clone().in_time_of(&clock, limit).start().await?;
            let done = until_done(&running, &clock, limit).await;
            Ok(running.finish(done).await)
        })
    }

    /// Returns this topology with a simulated clock.
    #[must_use]
    pub fn in_time_of(self, clock: &Clock, limit: Option<Duration>) -> Self {
        let options = Options {
            clock: Some(clock.clone()),
            endless: limit.is_some(),
            ..self.options().clone()
        };
        self.with_options(options)
    }
}

/// Waits for the end of a simulated run: drained on its own, drained after `limit`, or stuck.
pub async fn until_done(running: &RunningTopology, clock: &Clock, limit: Option<Duration>) -> Done {
    running.close_offers();
    if limit.is_some() && running.is_endless() {
        clock.never_ends(timeless::most_looks(&running.plan()));
    }
    let limit = clock.sleep_if(limit);
    tokio::select! {
        biased;
        done = running.done() => return done,
        how = clock.stuck() => return stuck(running, how),
        () = limit => running.close(),
    }
    let late = clock.sleep_if(running.drain_deadline());
    tokio::select! {
        biased;
        done = running.done() => done,
        how = clock.stuck() => stuck(running, how),
        () = late => Done::DeadlinePassed,
    }
}

/// Fails the run with a diagnosis.
fn stuck(running: &RunningTopology, how: Stuck) -> Done {
    let paused: Vec<String> = running.paused().into_keys().collect();
    running.fail(match how {
        Stuck::Idle if !paused.is_empty() => format!(
            "no actor can proceed before {} is resumed, and nothing is left that would do so",
            paused.join(", ")
        ),
        Stuck::Idle => "deadlock: no actor can proceed, and books are left".to_owned(),
        Stuck::Busy => {
            "livelock: 1,000,000 reads of the clock in one instant, and no book burned".to_owned()
        }
        Stuck::Timeless => timeless::said(&running.plan()),
    });
    Done::Stopped
}

/// Keeps the trace of a simulation: one line per record, hashed and optionally written to a file.
///
/// The same binary, config and seed give the same bytes on machines of the same kind.
#[derive(Debug)]
pub struct TraceLog(Mutex<Log>);

#[derive(Debug)]
struct Log {
    hash: Sha256,
    lines: Vec<u8>,
    file: Option<BufWriter<File>>,
    /// True if the file still has its old content.
    stale: bool,
    error: Option<io::Error>,
}

/// Size of the blocks that are hashed and written, in bytes.
const BLOCK: usize = 64 * 1024;

impl TraceLog {
    /// Hashes only.
    pub fn hashing() -> Self {
        Self(Mutex::new(Log {
            hash: Sha256::new(),
            lines: Vec::with_capacity(BLOCK + 1024),
            file: None,
            stale: false,
            error: None,
        }))
    }

    /// Hashes and writes to a file, which is created now and emptied before the first write.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn writing(path: &Path) -> io::Result<Self> {
        let file = private::open(path)?;
        let log = Self::hashing();
        {
            let mut log = log.lock();
            log.stale = file.metadata()?.is_file();
            log.file = Some(BufWriter::new(file));
        }
        Ok(log)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The SHA-256 of all lines, in hex, as `sha256sum` gives for the file.
    ///
    /// # Errors
    /// The file could not be written, now or earlier.
    pub fn finish(&self) -> io::Result<String> {
        let mut log = self.lock();
        log.flush();
        if let Some(Err(error)) = log.file.as_mut().map(BufWriter::flush) {
            log.error.get_or_insert(error);
        }
        if let Some(error) = &log.error {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        Ok(crate::catalog::names::hex(&log.hash.clone().finalize()))
    }
}

impl Log {
    fn flush(&mut self) {
        self.hash.update(&self.lines);
        if let Some(file) = &mut self.file {
            let emptied = match std::mem::take(&mut self.stale) {
                true => file.get_ref().set_len(0),
                false => Ok(()),
            };
            if let Err(error) = emptied.and_then(|()| file.write_all(&self.lines)) {
                self.error.get_or_insert(error);
                self.file = None;
            }
        }
        self.lines.clear();
    }
}

impl Tracer for TraceLog {
    fn record(&self, record: &Record<'_>) {
        let mut log = self.lock();
        // Writing to a vector can't fail.
        let _ = writeln!(log.lines, "{record}");
        if log.lines.len() >= BLOCK {
            log.flush();
        }
    }
}
