//! One run of one program.

use std::io::{IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::args::Args;
use crate::measured::Measured;
use crate::plan::{Cell, Group};

/// After this time a program is considered hung.
const PATIENCE: Duration = Duration::from_secs(300);

/// The output line of a program.
pub type Line = Map<String, Value>;

pub struct Programs {
    bin: std::path::PathBuf,
    spins: String,
    terminal: bool,
}

impl Programs {
    pub fn new(args: &Args) -> Self {
        let mut programs = Self {
            bin: args.bin.clone(),
            spins: String::new(),
            terminal: std::io::stderr().is_terminal(),
        };
        // The fastest of three tries: disturbances only ever slow it down.
        let tries = (0..3).filter_map(|_| {
            programs.start("plain", &["spins", "1", "1"]).ok()?.trim().parse::<f64>().ok()
        });
        let spins = tries.fold(0.0, f64::max);
        if spins > 0.0 {
            programs.spins = spins.to_string();
        }
        programs
    }

    /// Runs all rounds of a group. A failure is recorded, and the other programs continue.
    pub fn run(&mut self, group: &Group, args: &Args, measured: &mut Measured) {
        let mut counts = Vec::new();
        for cell in &group.cells {
            self.tell(&format!("{}: how much fills the time: {cell}", group.name));
            counts.push(match cell.count {
                Some(count) => Ok(count),
                None => self.count_for(cell, args.seconds),
            });
        }
        for round in 0..args.rounds {
            for (cell, count) in group.cells.iter().zip(&counts) {
                self.tell(&format!(
                    "{}: round {} of {}: {cell}",
                    group.name,
                    round + 1,
                    args.rounds
                ));
                let line = count.clone().and_then(|count| self.once(cell, count));
                measured.add(group.name, cell, round, line);
            }
        }
        self.tell("");
    }

    fn tell(&self, what: &str) {
        if self.terminal {
            eprint!("\r\x1b[2K{what}");
            let _ = std::io::stderr().flush();
        }
    }

    /// The count that takes about this many seconds.
    fn count_for(&self, cell: &Cell, seconds: f64) -> Result<u64, String> {
        let mut count = 64 * 64;
        loop {
            let line = self.once(cell, count)?;
            let took = number(&line, "seconds").max(1e-6);
            // In a short run the start-up weighs too much: measure again with a larger count.
            let next = (count as f64 * (seconds / took).min(32.0)) as u64;
            // A multiple of 64, so that two copies and 64 requesters get equal shares.
            count = next.div_ceil(64).max(1) * 64;
            if took > seconds / 8.0 {
                return Ok(count);
            }
        }
    }

    fn once(&self, cell: &Cell, count: u64) -> Result<Line, String> {
        let text =
            self.start(&cell.peer, &[&cell.row, &cell.threads.to_string(), &count.to_string()])?;
        let line: Line =
            serde_json::from_str(text.trim()).map_err(|error| format!("{error} in {text:?}"))?;
        if line.get("count").and_then(Value::as_u64) != Some(count) {
            return Err(format!("asked for {count}, done {:?}", line.get("count")));
        }
        Ok(line)
    }

    fn start(&self, peer: &str, args: &[&str]) -> Result<String, String> {
        let path = self.bin.join(format!("peer-{peer}"));
        let mut command = Command::new(&path);
        command.args(args).env("RUST_BACKTRACE", "0").env("PEERS_SPINS_PER_US", &self.spins);
        for knob in ["GOGC", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "RUST_LOG"] {
            command.env_remove(knob);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", path.display()))?;
        let (mut out, mut errors) =
            (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (say, said) = mpsc::channel();
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            let _ = say.send(text);
        });
        let Ok(text) = said.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not end within {} s", PATIENCE.as_secs()));
        };
        let status = child.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            let complaints = complaints.join().unwrap_or_default();
            return Err(format!("{status}: {}", complaints.trim()));
        }
        Ok(text)
    }
}

/// A number of an output line; NaN if it is missing.
pub fn number(line: &Line, field: &str) -> f64 {
    line.get(field).and_then(Value::as_f64).unwrap_or(f64::NAN)
}
