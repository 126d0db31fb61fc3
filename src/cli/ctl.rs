//! `ctl`: changes a run.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::reload::pair;
use super::remote::{Access, Remote, in_runtime};
use super::{Failed, Format, code, print};

#[derive(Debug, Args)]
pub struct CtlArgs {
    /// Address of the run's operations, as the run prints it, such as http://127.0.0.1:9400/
    url: String,
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    access: Access,
    /// Format of the output
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Finish what a crew, an incinerator or the source of a pile has in hand, and begin nothing
    /// new until it is resumed or the run drains
    Pause {
        /// Name of the node
        node: String,
    },
    /// End a pause
    Resume {
        /// Name of the node
        node: String,
    },
    /// Give a crew another number of gophers, until the next change or the end of the run
    Scale {
        /// Name of the crew
        node: String,
        /// Number of gophers, 1 to 100,000
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
        gophers: u32,
    },
    /// Kill the actor of a node, of a crew one of its gophers; it is restarted
    Kill {
        /// Name of the node
        node: String,
    },
    /// Close the sources and complete what has begun; the run then ends, as after SIGTERM
    Drain,
    /// Read the file of the run again, and go on with it; nothing changes if it has mistakes
    Reload {
        /// Print the changes only
        #[arg(long)]
        plan: bool,
        /// Put the books of the removed pile OLD on the pile or dump NEW (may be repeated)
        /// [default: crews carry them on before the pile is removed]
        #[arg(long = "move", value_name = "OLD=NEW", value_parser = pair)]
        moves: Vec<(String, String)>,
    },
}

impl Act {
    /// The word of the API, the node, and the body.
    fn request(&self) -> (&'static str, Option<&str>, Value) {
        match self {
            Act::Pause { node } => ("pause", Some(node), json!({})),
            Act::Resume { node } => ("resume", Some(node), json!({})),
            Act::Scale { node, gophers } => ("scale", Some(node), json!({ "gophers": gophers })),
            Act::Kill { node } => ("kill", Some(node), json!({})),
            Act::Drain => ("drain", None, json!({})),
            Act::Reload { plan, moves } => {
                let moves: BTreeMap<&str, &str> =
                    moves.iter().map(|(old, new)| (&**old, &**new)).collect();
                ("reload", None, json!({ "plan": plan, "moves": moves }))
            }
        }
    }
}

/// Has the run do something, and prints what it did.
pub fn ctl(args: &CtlArgs) -> Result<i32, Failed> {
    let remote = Remote::new(&args.url, &args.access)?;
    let (word, node, body) = args.act.request();
    let route = match node {
        Some(node) => vec!["api", "nodes", node, word],
        None => vec!["api", word],
    };
    let done: Value = in_runtime(remote.post(&route, &body))?;
    let text = match args.format {
        Format::Json => done.to_string(),
        Format::Text => {
            let changes = done["text"].as_str().filter(|text| !text.is_empty());
            let of = done["node"].as_str().map(|node| format!(" of {node}")).unwrap_or_default();
            match (changes, done["changed"].as_bool()) {
                (Some(changes), _) => changes.trim_end().to_owned(),
                (None, None) if word == "reload" => format!("{word}: nothing to do"),
                (None, Some(false)) => format!("{word}{of}: nothing to do"),
                (None, _) => format!("{word}{of}: done"),
            }
        }
    };
    print::line(&text, false)?;
    Ok(code::OK)
}
