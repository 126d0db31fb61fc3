//! The command line: row, threads and count.

use std::process::exit;

use crate::Job;

/// What a program is to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The program's own name.
    pub peer: &'static str,
    /// The name of the row, as given.
    pub name: String,
    /// The row to run.
    pub row: Row,
    /// Threads, arbiters, GOMAXPROCS (>= 1).
    pub threads: usize,
    /// Books, requests, idle actors, hand-overs (>= 1).
    pub count: u64,
}

/// A row of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// `pipeline-N`: pile, gopher, dump, gopher, incinerator; N books a message.
    Pipeline(usize),
    /// `value-N`: as `pipeline-N`, with books of 64 bytes that are moved by value.
    Value(usize),
    /// `ring-N`: four gophers hand a cart of N books around.
    Ring(usize),
    /// `copies-N`: as many independent pipelines as threads.
    Copies(usize),
    /// `balancer-JOB`: requesters, a balancer, workers.
    Balancer(Job),
    /// `balancer-JOB-POLICY`: as `balancer-JOB`, with a policy other than the program's default.
    Policy(Job, String),
    /// `idle`: actors that wait.
    Idle,
    /// `light`: one cart goes around, without other load.
    Light,
    /// Any other word: a row that only one program has.
    Own,
}

impl Row {
    fn named(name: &str) -> Option<Self> {
        let (word, rest) = name.split_once('-').unwrap_or((name, ""));
        Some(match word {
            "pipeline" => Row::Pipeline(rest.parse().ok()?),
            "value" => Row::Value(rest.parse().ok()?),
            "ring" => Row::Ring(rest.parse().ok()?),
            "copies" => Row::Copies(rest.parse().ok()?),
            "balancer" => match rest.split_once('-') {
                Some((job, policy)) => Row::Policy(Job::named(job)?, policy.to_owned()),
                None => Row::Balancer(Job::named(rest)?),
            },
            "idle" => Row::Idle,
            "light" => Row::Light,
            _ => Row::Own,
        })
    }
}

impl Order {
    /// Reads the command line; if it is wrong, prints the usage and ends the process.
    pub fn read(peer: &'static str) -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let read = || {
            let [name, threads, count] = args.as_slice() else {
                return None;
            };
            Some(Self {
                peer,
                name: name.clone(),
                row: Row::named(name)?,
                threads: threads.parse().ok().filter(|threads| *threads >= 1)?,
                count: count.parse().ok().filter(|count| *count >= 1)?,
            })
        };
        read().unwrap_or_else(|| {
            eprintln!("usage: {peer} ROW THREADS COUNT, such as: {peer} pipeline-64 1 10000000");
            exit(2)
        })
    }

    /// Ends the process because this program does not have the row.
    pub fn unknown(&self) -> ! {
        eprintln!("{} has no row {}", self.peer, self.name);
        exit(2)
    }
}
