//! The command line.

use std::path::PathBuf;

pub const USAGE: &str = "\
benches/peers/run [OPTIONS]

  --rounds N        rounds; 7 by default, 2 with --quick
  --only ROW,...    only these rows: pipeline, ring, copies, balancer (or balancer-empty, ...), \
  idle, light, supervised, scale
  --peers PEER,...  only these programs: gopherworks, go, plain, tokio, raw-actix, ractor, kameo, \
  tower
  --quick           small counts and 2 rounds: to see that all works, not for figures
  --seconds S       how long a program is to run, where its count is not fixed; 1 by default
  --by wall|cpu     time of one-thread programs: on the wall (default), or of cores, \
  for a machine that others use too
  --json FILE       everything that was measured, as JSON
  --help";

#[derive(Debug, Clone)]
pub struct Args {
    pub rounds: usize,
    pub only: Vec<String>,
    pub peers: Vec<String>,
    pub quick: bool,
    pub seconds: f64,
    pub by_cpu: bool,
    pub json: Option<PathBuf>,
    /// The folder of the programs.
    pub bin: PathBuf,
    /// Facts about the machine from the script: `NAME=VALUE`.
    pub facts: Vec<(String, String)>,
}

impl Args {
    /// # Errors
    /// The mistake, or the usage.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut rounds = None;
        let mut args = Self {
            rounds: 7,
            only: Vec::new(),
            peers: Vec::new(),
            quick: false,
            seconds: 1.0,
            by_cpu: false,
            json: None,
            bin: PathBuf::from("target/release"),
            facts: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value\n\n{USAGE}"));
            match word.as_str() {
                "--rounds" => rounds = Some(number(&value()?)?),
                "--only" => args.only.extend(value()?.split(',').map(str::to_owned)),
                "--peers" => args.peers.extend(value()?.split(',').map(str::to_owned)),
                "--quick" => args.quick = true,
                "--seconds" => args.seconds = number(&value()?)?,
                "--by" => {
                    args.by_cpu = match value()?.as_str() {
                        "wall" => false,
                        "cpu" => true,
                        other => return Err(format!("--by wall or --by cpu, not {other}")),
                    }
                }
                "--json" => args.json = Some(value()?.into()),
                "--bin" => args.bin = value()?.into(),
                "--fact" => {
                    let fact = value()?;
                    let (name, value) = fact.split_once('=').ok_or("--fact NAME=VALUE")?;
                    args.facts.push((name.to_owned(), value.to_owned()));
                }
                "--help" | "-h" => return Err(USAGE.to_owned()),
                other => return Err(format!("what is {other}?\n\n{USAGE}")),
            }
        }
        args.rounds = rounds.unwrap_or(if args.quick { 2 } else { 7 }).max(1);
        if args.quick {
            args.seconds = 0.05;
        }
        Ok(args)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number\n\n{USAGE}"))
}
