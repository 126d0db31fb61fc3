//! `tap`: the books that pass a node of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Access, Remote};
use super::{Failed, Format, code, print};

#[derive(Debug, Args)]
pub struct TapArgs {
    /// Address of the run's operations, as the run prints it, such as http://127.0.0.1:9400/
    url: String,
    /// Name of a pile, a dump, a crew, a relay or an incinerator
    node: String,
    #[command(flatten)]
    access: Access,
    /// End after this many books [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show only books with TEXT in their name or reason; with --bodies also in a header or the
    /// text of their body
    #[arg(long = "where", value_name = "TEXT")]
    text: Option<String>,
    /// Show headers and bodies up to 64 KiB as well; requires the token
    #[arg(long)]
    bodies: bool,
    /// Format of the output: lines of text, or an object of JSON a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What has been shown.
#[derive(Default)]
struct Account {
    shown: u64,
    missed: u64,
}

#[derive(Deserialize)]
struct Missed {
    books: u64,
}

#[derive(Deserialize)]
struct Row {
    at_s: f64,
    what: String,
    name: String,
    size: u64,
    attempt: u32,
    reason: Option<String>,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    headers: BTreeMap<String, String>,
    text: Option<String>,
    base64: Option<String>,
    left_out: Option<String>,
}

/// Prints books until the limit, the end of the run, or Ctrl-C.
pub fn tap(args: &TapArgs, quiet: bool) -> Result<i32, Failed> {
    let remote = Remote::new(&args.url, &args.access)?;
    super::remote::in_runtime(async {
        let mut account = Account::default();
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let ended = tokio::select! {
            biased;
            ended = follow(args, &remote, &mut account) => ended,
            _ = &mut interrupt => Ok(code::OK),
        };
        if !quiet && account.missed > 0 {
            print::note(&format!(
                "{} books are shown; {} more passed too fast to be sampled",
                print::grouped(account.shown),
                print::grouped(account.missed),
            ));
        }
        ended
    })
}

async fn follow(args: &TapArgs, remote: &Remote, account: &mut Account) -> Result<i32, Failed> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(args.text.as_deref().map(|text| ("text", text)));
    query.extend(args.bodies.then_some(("bodies", "true")));
    let mut events = remote.events(&["api", "nodes", &args.node, "tap"], &query).await?;
    while let Some(event) = events.next().await? {
        match event.name.as_str() {
            "book" => {
                let text = match args.format {
                    Format::Json => event.data::<Value>()?.to_string() + "\n",
                    Format::Text => event.data::<Row>()?.text(),
                };
                if !written(&text)? {
                    return Ok(code::PIPE);
                }
                account.shown += 1;
                if args.limit == Some(account.shown) {
                    return Ok(code::OK);
                }
            }
            "missed" => account.missed += event.data::<Missed>()?.books,
            "end" => return Ok(code::OK),
            _ => {}
        }
    }
    Err(Failed { code: code::LATE, message: format!("error: {} is gone", args.url) })
}

/// Writes to stdout; false if its reader has closed it.
fn written(text: &str) -> Result<bool, Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => print::written_out(written).map(|()| true),
    }
}

impl Row {
    fn text(&self) -> String {
        let mut out = format!(
            "{:.3} s  {}  {}  {} bytes",
            self.at_s,
            self.what,
            self.name,
            print::grouped(self.size)
        );
        if self.attempt > 1 {
            let _ = write!(out, "  attempt {}", self.attempt);
        }
        if let Some(reason) = &self.reason {
            let _ = write!(out, "  {reason}");
        }
        out.push('\n');
        if let Some(content) = &self.content {
            content.add_to(&mut out);
        }
        out
    }
}

impl Content {
    /// Adds indented lines. Control characters are escaped, since a terminal would obey them.
    fn add_to(&self, out: &mut String) {
        for (name, value) in &self.headers {
            let _ = writeln!(out, "    {}: {}", name.escape_debug(), value.escape_debug());
        }
        for line in self.text.iter().flat_map(|text| text.lines()) {
            let _ = writeln!(out, "    | {}", line.escape_debug());
        }
        if let Some(base64) = &self.base64 {
            let _ = writeln!(out, "    base64 {base64}");
        }
        if let Some(why) = &self.left_out {
            let _ = writeln!(out, "    the body is not shown: {why}");
        }
    }
}
