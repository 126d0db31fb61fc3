//! Signals, and the thread that handles them independently of the topology's load.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gopherworks::catalog::kill_all;
use gopherworks::plan::changes::{Changes, Moves};
use gopherworks::report::Report;
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{ReloadError, RunningTopology};
use parking_lot::Mutex;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::{code, print};

/// A run that is stopped at once ends within this time, with its current report, even if one of its
/// threads is stuck.
pub const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A run whose drain has passed its deadline ends within this time, as one that is stopped.
pub const LATE_WITHIN: Duration = Duration::from_millis(900);

/// A start that does not react to a signal within this time is aborted.
const START_WITHIN: Duration = Duration::from_secs(2);

/// Longest drain after SIGHUP if the design sets no deadline.
const HUNG_UP_WITHIN: Duration = Duration::from_secs(10);

/// Exit code of SIGHUP.
const HUNG_UP: i32 = 129;

/// The control thread enforces a drain deadline if the main thread has not done so by then.
const GRACE: Duration = Duration::from_millis(300);

/// Progress of the command: it decides what the next signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs yet. A signal ends the command.
    Starting,
    /// A signal begins the drain.
    Running,
    /// A signal stops at once. The drain ends within this time, if there is a bound.
    Draining(Option<Duration>),
    /// Everything is drained; files are being completed. One signal is tolerated, a second ends the
    /// process.
    Finishing,
    /// A signal was tolerated while finishing. Exit code of a command that has more to run.
    FinishingAsked(i32),
    /// Stopped before it had started, with this exit code. One more signal ends the process.
    Abandoned(i32),
    /// Being stopped at once, with this exit code, and by force after this time. One more signal
    /// ends the process.
    Stopping(i32, Duration),
}

impl Phase {
    /// Time in this phase before the control thread acts.
    fn bound(self) -> Option<Duration> {
        match self {
            Phase::Draining(within) => within.map(|within| within.saturating_add(GRACE)),
            Phase::Abandoned(_) => Some(START_WITHIN),
            Phase::Stopping(_, within) => Some(within),
            _ => None,
        }
    }
}

/// A signal that asks the command to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// 128 plus its number.
    pub code: i32,
    /// Stop without a drain.
    pub at_once: bool,
    /// Longest drain if nothing else bounds it. Set for SIGHUP: without its terminal, the process
    /// gets no second signal.
    pub within: Option<Duration>,
}

type Account = Box<dyn Fn(Report) + Send>;

/// The run that the control thread acts on.
#[derive(Default)]
struct Attached(Mutex<Option<(RunningTopology, Account)>>, AtomicBool);

impl Attached {
    fn with(&self, act: impl FnOnce(&RunningTopology, &Account)) {
        let attached = self.0.lock();
        if let Some((running, account)) = &*attached {
            act(running, account);
        }
    }
}

/// Signals that ask the command to end, received by a thread that ends when this is dropped.
pub struct Signals {
    heard: UnboundedReceiver<Signal>,
    phase: watch::Sender<Phase>,
    attached: Arc<Attached>,
}

impl Signals {
    /// Starts listening.
    pub fn new() -> io::Result<Self> {
        let (say, heard) = unbounded_channel();
        let phase = watch::Sender::new(Phase::Starting);
        let attached = Arc::<Attached>::default();
        let control =
            Control { say, phase: phase.clone(), attached: attached.clone(), clock: Clock::real() };
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new()
            .name("gopherworks-control".to_owned())
            .spawn(move || control.run(&ready))?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { heard, phase, attached })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        match self.heard.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Records the progress of the command.
    pub fn enter(&self, next: Phase) {
        self.enter_from(|phase| match phase {
            // A stop that the control thread has begun is final.
            Phase::Stopping(..) | Phase::Abandoned(_) => phase,
            _ => next,
        });
    }

    /// Prepares for another run of the same command, or returns the exit code of a signal that came
    /// after the last one had ended.
    pub fn again(&self) -> Option<i32> {
        let mut asked = None;
        self.enter_from(|phase| match phase {
            Phase::FinishingAsked(code) | Phase::Abandoned(code) => {
                asked = Some(code);
                phase
            }
            _ => Phase::Starting,
        });
        asked
    }

    fn enter_from(&self, next: impl FnOnce(Phase) -> Phase) {
        self.phase.send_if_modified(|phase| {
            let before = std::mem::replace(phase, next(*phase));
            before != *phase
        });
    }

    /// Sets the run to be stopped. `account` gets the report of a run that is ended by force.
    pub fn attach(&self, running: &RunningTopology, account: impl Fn(Report) + Send + 'static) {
        *self.attached.0.lock() = Some((running.clone(), Box::new(account)));
        self.enter_from(|phase| match phase {
            Phase::Starting => Phase::Running,
            phase => phase,
        });
    }

    /// From now on SIGHUP makes the run read its file again, instead of draining it.
    pub fn reload_at_hangup(&self) {
        self.attached.1.store(true, Ordering::Release);
    }

    /// The run has ended, so nothing of it is to be stopped; the caller prints its report.
    pub fn detach(&self) {
        self.enter_from(|phase| match phase {
            Phase::FinishingAsked(_) | Phase::Abandoned(_) => phase,
            _ => Phase::Finishing,
        });
        let gone = self.attached.0.lock().take();
        // Dropping the last handle may stop the run, so do it without the lock.
        drop(gone);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The control thread. It depends on no other thread.
struct Control {
    say: UnboundedSender<Signal>,
    phase: watch::Sender<Phase>,
    attached: Arc<Attached>,
    clock: Clock,
}

impl Control {
    fn run(self, ready: &mpsc::Sender<io::Result<()>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        runtime.block_on(async move {
            let listening = match Listening::new() {
                Ok(listening) => listening,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            self.watch(listening).await;
        });
    }

    async fn watch(self, mut listening: Listening) {
        let mut phases = self.phase.subscribe();
        let mut bound = std::pin::pin!(self.clock.sleep_if(None));
        loop {
            tokio::select! {
                biased;
                signal = listening.next() => self.heard(signal),
                changed = phases.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    bound.set(self.clock.sleep_if(phases.borrow().bound()));
                }
                () = &mut bound => {
                    bound.set(self.clock.sleep_if(None));
                    self.is_late();
                }
                () = self.say.closed() => return,
            }
        }
    }

    fn heard(&self, signal: Signal) {
        let phase = *self.phase.borrow();
        if signal.code == HUNG_UP && self.attached.1.load(Ordering::Acquire) {
            if phase == Phase::Running {
                self.attached.with(|running, _| {
                    let reload = running.reload_file(Moves::new(), false);
                    tokio::spawn(async move { said(reload.await) });
                });
            }
            return;
        }
        match phase {
            Phase::Starting => _ = self.phase.send_replace(Phase::Abandoned(signal.code)),
            Phase::Running if !signal.at_once => {
                self.phase.send_replace(Phase::Draining(None));
            }
            Phase::Running | Phase::Draining(_) => self.stop(signal.code, STOPPED_WITHIN),
            Phase::Finishing => {
                self.phase.send_replace(Phase::FinishingAsked(signal.code));
                return;
            }
            Phase::FinishingAsked(_) | Phase::Abandoned(_) | Phase::Stopping(..) => {
                exit(signal.code)
            }
        }
        let _ = self.say.send(signal);
    }

    /// Halts the run from this thread too: work checks the halt after each book, even if the
    /// supervisor is stuck.
    fn stop(&self, code: i32, most: Duration) {
        self.phase.send_replace(Phase::Stopping(code, most));
        let attached = self.attached.clone();
        within(Duration::from_millis(500), move || {
            attached.with(|running, _| running.halt());
            kill_all();
        });
    }

    /// The bound of the present phase has passed.
    fn is_late(&self) {
        match *self.phase.borrow() {
            Phase::Draining(_) => {}
            Phase::Abandoned(code) => {
                print::note("error: stopped while starting; nothing had begun");
                exit(code);
            }
            Phase::Stopping(code, after) => {
                let (attached, phase) = (self.attached.clone(), self.phase.clone());
                // Printing may block on a full pipe.
                within(Duration::from_secs(1), move || {
                    attached.with(|running, account| {
                        // The main thread can't detach and print a report of its own meanwhile.
                        phase.send_replace(Phase::Abandoned(code));
                        print::note(&format!(
                            "error: a thread is stuck; the run is ended by force, \
                             {after:?} after it was stopped"
                        ));
                        account(running.snapshot());
                        exit(code);
                    });
                });
                // Else the run has ended just now.
                if *self.phase.borrow() == Phase::Abandoned(code) {
                    exit(code);
                }
                return;
            }
            _ => return,
        }
        self.stop(code::LATE, LATE_WITHIN.saturating_sub(GRACE));
    }
}

/// Prints what SIGHUP has changed, or why nothing.
fn said(done: Result<Changes, ReloadError>) {
    print::note(&match done {
        Ok(changes) => format!("SIGHUP: the file is read again\n{changes}"),
        Err(why) => format!("error: SIGHUP: {why}"),
    });
}

/// Runs `act` on a thread of its own and waits at most `most` for it.
fn within(most: Duration, act: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let spawned = std::thread::Builder::new().spawn(move || {
        act();
        let _ = done.send(());
    });
    if spawned.is_ok() {
        let _ = ended.recv_timeout(most);
    }
}

/// Kills the programs that the run started and ends the process, without waiting for anything else.
fn exit(code: i32) -> ! {
    within(Duration::from_millis(500), || _ = kill_all());
    std::process::exit(code)
}

struct Listening {
    interrupt: Listener,
    terminate: Listener,
    quit: Listener,
    /// `None` if it was ignored from the start, as under `nohup`: it stays ignored.
    hangup: Option<Listener>,
}

impl Listening {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: match ignores_hangup() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let (code, at_once, within) = tokio::select! {
            biased;
            _ = self.quit.recv() => (131, true, None),
            _ = self.interrupt.recv() => (130, false, None),
            _ = self.terminate.recv() => (143, false, None),
            _ = hangup => (HUNG_UP, false, Some(HUNG_UP_WITHIN)),
        };
        Signal { code, at_once, within }
    }
}

/// True if SIGHUP was ignored when the process began. Only Linux shows that without unsafe code;
/// elsewhere, a process without a terminal is assumed to run under `nohup`.
fn ignores_hangup() -> bool {
    use std::io::IsTerminal;
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        return has_hangup(&status);
    }
    !(io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal())
}

/// True if the ignored signals in `/proc/<pid>/status` include SIGHUP, which is number 1 and bit 0.
fn has_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_told_from_other_ignored_signals() {
        assert!(has_hangup("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!has_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!has_hangup("Name:\tgopherworks\n"));
    }
}
