//! Runs a topology in virtual time: a paused single-threaded runtime, a simulated clock, and a
//! limit for hangs.

use std::future::Future;
use std::time::Duration;

use actix_rt::System;
use gopherworks::catalog::Catalog;
use gopherworks::config::elements::TopologyConfig;
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{Options, Topology};

use super::watchdog::watchdog;

/// In virtual time, nothing that makes progress takes this long: a longer wait never ends.
pub const EVER: Duration = Duration::from_secs(3600);

/// Runs `body` inside an actix system with simulated time. A hang (nothing can run, or only timers
/// that change nothing) panics at once, because virtual time passes [`EVER`]; a livelock at one
/// instant is ended by the watchdog.
pub fn in_virtual_time<F, T>(body: impl FnOnce(Clock) -> F) -> T
where
    F: Future<Output = T>,
{
    let _watchdog = watchdog("a run in virtual time", Duration::from_secs(120));
    let system = System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime on this thread")
    });
    system.block_on(async move {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        let late = clock.sleep(EVER);
        let body = body(clock);
        tokio::select! {
            biased;
            done = body => done,
            () = late => panic!("HANG: nothing moves any more"),
        }
    })
}

/// A topology of `config` that uses `clock`.
pub fn topology(config: &TopologyConfig, catalog: &Catalog, clock: &Clock) -> Topology {
    let options = Options { clock: Some(clock.clone()), ..Options::default() };
    Topology::from_config(config, catalog)
        .unwrap_or_else(|mistakes| panic!("the config is refused: {mistakes:?}"))
        .with_options(options)
}
