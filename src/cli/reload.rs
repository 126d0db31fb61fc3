//! `reload`, and what `run` needs to reload its file and to leave in good order.

use std::path::PathBuf;
#[cfg(feature = "http")]
use std::sync::Arc;

use clap::Args;
use gopherworks::Loaded;
use gopherworks::catalog::{Catalog, STANDARD_STREAM};
use gopherworks::config::Overrides;
use gopherworks::plan::changes::{Changes, Moves};
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{Reread, RunningTopology};
use serde_json::json;

use super::signals::{Signal, Signals};
use super::{Failed, Format, RunArgs, Sets, code, load, overrides, print};

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The config file of the new design; nothing is run or changed
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The config file of the design that runs
    #[arg(long, value_name = "FILE")]
    against: PathBuf,
    /// Put the books of the removed pile OLD on the pile or dump NEW (may be repeated) [default:
    /// crews carry them on before the pile is removed]
    #[arg(long = "move", value_name = "OLD=NEW", value_parser = pair)]
    moves: Vec<(String, String)>,
    #[command(flatten)]
    sets: Sets,
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn pair(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or("write it like old=new")?;
    Ok((old.trim().to_owned(), new.trim().to_owned()))
}

/// Prints the difference between two designs.
pub fn reload(args: &ReloadArgs, quiet: bool) -> Result<i32, Failed> {
    let overrides = overrides(&args.sets)?;
    let was = load(&args.against, &overrides, true)?.plan;
    let now = load(&args.plan, &overrides, quiet)?.plan;
    let moves: Moves = args.moves.iter().cloned().collect();
    let changes = Changes::between(&was, &now, &moves)
        .map_err(|why| Failed { code: code::USAGE, message: format!("error: --move: {why}") })?;
    let refusals = changes.refusals();
    match args.format {
        Format::Text => print::line(&changes.to_string(), false)?,
        Format::Json => {
            let steps = json!({ "changes": changes, "refused": refusals });
            print::line(&steps.to_string(), false)?;
        }
    }
    Ok(if refusals.is_empty() { code::OK } else { code::FAILED })
}

/// Reads the file of a run again, with the same flags; `None` if it can't be read twice.
pub fn rereads(args: &RunArgs, overrides: &Overrides) -> Option<Reread> {
    let (file, overrides) = (args.file.clone(), overrides.clone());
    #[cfg(feature = "http")]
    let operations = args.operations.is_some();
    (file.as_os_str() != STANDARD_STREAM).then(|| {
        Reread::new(move || {
            let mut plan = Loaded::read(&file, &Catalog::standard(), &overrides)?.plan;
            #[cfg(feature = "http")]
            if operations {
                let config = Arc::make_mut(&mut plan.config);
                plan.operations = Some(config.operations.get_or_insert_default().clone());
            }
            Ok(plan)
        })
    })
}

/// Fails readiness and waits for the grace period of `[operations]`, if a signal asks for the
/// drain; returns a further signal.
pub async fn grace(
    running: &RunningTopology,
    signals: &mut Signals,
    asked: Option<Signal>,
) -> Option<Signal> {
    let grace = running.grace().filter(|_| asked.is_some())?;
    running.leave();
    tokio::select! {
        biased;
        signal = signals.next() => Some(signal),
        () = Clock::real().sleep(grace) => None,
    }
}
