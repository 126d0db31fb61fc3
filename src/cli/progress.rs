//! Progress on a terminal; quiet in a pipe.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use gopherworks::topology::RunningTopology;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Runs `write` with the bar out of the way.
pub fn past<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

const SPINNER: &str = "{spinner} {elapsed_precise} {msg}";
const WHOLE: &str = "{spinner} {elapsed_precise} [{bar:32}] {percent}% {msg}";

/// The bar of one run.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar on stderr if that is a terminal and nobody asked for quiet.
    pub fn new(quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(SPINNER) {
            bar.set_style(style);
        }
        Self(Some(BAR.get_or_init(|| bar).clone()))
    }

    /// Draws until the run is over. Never returns where there is no bar to draw.
    pub async fn follow(&self, running: &RunningTopology) {
        let Some(bar) = &self.0 else {
            return std::future::pending().await;
        };
        let clock = gopherworks::actors::clock::Clock::real();
        let mut whole = false;
        loop {
            let now = running.snapshot();
            let done = now.ledger.burned + now.ledger.dead + now.ledger.dropped;
            let (total, ended) = running.expected();
            if let Some(total) = total.or(ended.then_some(now.ledger.offered)) {
                if !whole {
                    whole = true;
                    if let Ok(style) = ProgressStyle::with_template(WHOLE) {
                        bar.set_style(style.progress_chars("=> "));
                    }
                }
                bar.set_length(total);
                bar.set_position(done);
            }
            let dead = match now.ledger.dead {
                0 => String::new(),
                dead => format!(", {dead} dead"),
            };
            let restarts = match now.restarts {
                0 => String::new(),
                restarts => format!(", {restarts} restarts"),
            };
            bar.set_message(format!(
                "{} burned{dead}, {} in flight, {:.0} books/s{restarts}",
                now.ledger.burned,
                now.ledger.in_flight,
                now.ledger.burned as f64 / now.wall_s.max(1e-9),
            ));
            bar.tick();
            clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
