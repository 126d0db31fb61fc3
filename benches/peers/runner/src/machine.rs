//! Describes the machine, and measures how much of it other processes used.

use std::fmt;
use std::fs;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    /// Versions, as the script gives them.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    pub fn look(facts: &[(String, String)]) -> Self {
        let line = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
            line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
                .unwrap_or_default()
        };
        let kilobytes = line("/proc/meminfo", "MemTotal");
        let kilobytes: f64 =
            kilobytes.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or(f64::NAN);
        Self {
            cpu: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: kilobytes / 1e6,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            versions: facts.to_vec(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} cores, {:.0} GB, Linux {}",
            self.cpu, self.cores, self.memory_gb, self.kernel
        )?;
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "{}", versions.join(", "))
    }
}

/// Ticks of busy cores: of the whole machine, and of this process and its children.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    busy: u64,
    idle: u64,
    own: u64,
}

impl Load {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all: Vec<u64> = (stat.lines().next().unwrap_or_default().split_whitespace().skip(1))
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let at = |field: usize| all.get(field).copied().unwrap_or(0);
        // user nice system idle iowait irq softirq steal
        let idle = at(3) + at(4);
        let busy = at(0) + at(1) + at(2) + at(5) + at(6) + at(7);
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // After the name, which may contain blanks: utime and stime, also of children that were
        // waited for.
        let own = own.rsplit_once(')').map_or("", |(_, rest)| rest);
        let own = own
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        Self { busy, idle, own }
    }

    /// The share of the machine's core time that other processes used since then.
    pub fn others_share(self) -> f64 {
        let now = Self::now();
        let all = (now.busy + now.idle).saturating_sub(self.busy + self.idle);
        let others = (now.busy - self.busy).saturating_sub(now.own - self.own);
        others as f64 / all.max(1) as f64
    }
}
