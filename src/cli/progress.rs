//! The progress bar; drawn only on a terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use gopherworks::topology::RunningTopology;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Runs `write` while the bar is hidden.
pub fn past<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

/// Interval between two drawings.
const EVERY: Duration = Duration::from_millis(100);

const SPINNER: &str = "{spinner} {elapsed_precise} {msg}";
const WHOLE: &str = "{spinner} {elapsed_precise} [{bar:32}] {percent}% {msg}";

fn styled(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

/// The bar of one run.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Creates a bar on stderr if that is a terminal and `quiet` is not set.
    pub fn new(quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        styled(&bar, SPINNER);
        Self(Some(BAR.get_or_init(|| bar).clone()))
    }

    /// Draws until cancelled. Never returns, also without a bar.
    pub async fn follow(&self, running: &RunningTopology) {
        if self.0.is_none() {
            return std::future::pending().await;
        }
        let clock = gopherworks::supervision::clock::Clock::real();
        loop {
            self.draw(running);
            clock.sleep(EVERY).await;
        }
    }

    fn draw(&self, running: &RunningTopology) {
        let Some(bar) = &self.0 else {
            return;
        };
        let now = running.snapshot();
        let done = now.ledger.burned + now.ledger.dead + now.ledger.dropped;
        let (total, ended) = running.expected();
        let books = total.or(ended.then_some(now.ledger.offered)).map(|total| (total, done));
        let answers = match running.expected_answers() {
            (Some(total), over) if now.nodes.is_empty() => Some((total, over)),
            _ => None,
        };
        if let Some((total, over)) = answers.or(books) {
            if bar.length().is_none() {
                styled(bar, WHOLE);
            }
            bar.set_length(total);
            bar.set_position(over);
        }
        if now.nodes.is_empty() {
            let answered: u64 = now.requesters.iter().map(|asked| asked.answered).sum();
            let under_way: u64 = now.requesters.iter().map(|asked| asked.in_flight).sum();
            bar.set_message(format!("{answered} answered, {under_way} in flight"));
            bar.tick();
            return;
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
            now.ledger.burned, now.ledger.in_flight, now.books_per_s,
        ));
        bar.tick();
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A bar drawn from a thread of its own, for runs in virtual time.
pub struct SimulationProgress {
    progress: Arc<Progress>,
    stop: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl SimulationProgress {
    /// Begins to draw, if there is a terminal.
    pub fn new(running: &RunningTopology, quiet: bool) -> Self {
        let progress = Arc::new(Progress::new(quiet));
        let stop = progress.0.is_some().then(|| {
            let (stop, stopped) = mpsc::channel();
            let (progress, running) = (progress.clone(), running.clone());
            let drawing = std::thread::spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    progress.draw(&running);
                }
            });
            (stop, drawing)
        });
        Self { progress, stop }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some((stop, drawing)) = self.stop {
            drop(stop);
            let _ = drawing.join();
        }
        self.progress.finish();
    }
}
