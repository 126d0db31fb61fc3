//! Help, and messages about command lines that can't be parsed.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use gopherworks::config::nearest;

use super::{Cli, code, print};

/// Printed after the help of every command.
pub const EXIT_CODES: &str = "Exit codes:
  0    all books burned, all requests answered
  1    something else failed, an output could not be written, or the ledger does not balance
  2    wrong usage
  3    finished, but some books are dead letters or some requests failed
  70   the restart budget is spent
  75   the drain deadline passed, another process has the store, or a run does not answer
  78   a config is invalid
  130  stopped by a second SIGINT (129: SIGHUP, 143: SIGTERM), or 131 by one SIGQUIT; books in
       flight are back on their piles
  141  standard output was closed by its reader, as in `run FILE | head`

`gopherworks run --help` explains the ledger.";

/// Printed after the help of commands that print a report.
pub const LEDGER: &str = "The ledger: offered = burned + dead + dropped + unfinished
  offered     books that piles accepted from sources or from an application
  given_back  (JSON) books not begun that a drain returned to their sources; not part of offered
  burned      books whose burn succeeded
  dead        dead letters: books that failed permanently, with reasons (see `gopherworks dead`)
  dropped     books that a work dropped on purpose
  filtered    (JSON) books among the dropped that did not meet the condition of a work
  split       (JSON) books among the dropped that were split; their parts count as offered
  unfinished  (JSON: in_flight) books left on piles, in carts or at incinerators by a stopped run
  lost        difference in the sum above: always 0, otherwise a bug
  duplicates  books that ended twice: always 0, otherwise a bug
  reburned    books whose burn was repeated because an actor was lost during it

Requests: asked = answered + failed + rejected + cancelled + in flight
  failed      the worker answered with an error or was lost
  rejected    refused by the balancer: full queue, overload, or deadline passed
  cancelled   the client left before the answer

books/s and answers/s are per second of the time in the report's first line.";

/// Prints help, the version, or what is wrong with the command line.
pub fn unparsed(said: &clap::Error) -> i32 {
    if said.use_stderr() {
        // If stderr can't be written, there is no other place to report it.
        let _ = said.print();
        if let Some(help) = help_for_command(said) {
            print::note(&help);
        }
        return code::USAGE;
    }
    let printed = said.print().and_then(|()| io::stdout().flush());
    code::with(code::OK, [print::written_out(printed)])
}

/// The probable meaning of an unknown command: a config file to run, or a misspelt command, which
/// clap does not suggest for short words.
fn help_for_command(said: &clap::Error) -> Option<String> {
    let ContextValue::String(word) = said.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    if word.ends_with(".toml") || Path::new(word).is_file() {
        return Some(format!("  help: to run this design: `gopherworks run {word}`"));
    }
    if said.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let all = Cli::command();
    let near = |command: &clap::Command| {
        let near = nearest(word, command.get_subcommands().map(clap::Command::get_name));
        near.map(|near| format!("  help: did you mean `{near}`?"))
    };
    near(&all).or_else(|| all.get_subcommands().find_map(near))
}
