//! `ctl`: changes a run.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

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
            let of = done["node"].as_str().map(|node| format!(" of {node}")).unwrap_or_default();
            match done["changed"].as_bool() {
                Some(false) => format!("{word}{of}: nothing to do"),
                _ => format!("{word}{of}: done"),
            }
        }
    };
    print::line(&text, false)?;
    Ok(code::OK)
}
