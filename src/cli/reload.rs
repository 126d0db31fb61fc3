//! `reload`.

use std::path::PathBuf;

use clap::Args;
use gopherworks::plan::changes::{Changes, Moves};
use serde_json::json;

use super::{Failed, Format, Sets, code, load, overrides, print};

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

fn pair(text: &str) -> Result<(String, String), String> {
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
