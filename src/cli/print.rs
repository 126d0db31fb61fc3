//! Reports as text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use gopherworks::config::Diagnostics;
use gopherworks::report::{NodeReport, Report, RunOutcome};

use super::Failed;

mod balancing;
mod layout;

pub use balancing::{bar, room, seconds};
#[cfg(feature = "top")]
pub use layout::{Fitted, shortened};
pub use layout::{Table, failed, folded, strong, warned, width};

/// True if stderr is a terminal that may be coloured (`NO_COLOR` forbids it).
pub fn color_on_stderr() -> bool {
    io::stderr().is_terminal()
        && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// True if stdout may be coloured, as [`color_on_stderr`].
#[cfg(feature = "top")]
pub fn color_on_stdout() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Prints mistakes and warnings on stderr, with an empty line after them.
pub fn diagnostics(found: &Diagnostics) {
    note(&found.render(color_on_stderr()));
    note("");
}

/// Prints a text and a newline on stdout, or on stderr if books go to stdout. A closed pipe is no
/// error.
///
/// # Errors
/// Any other error of writing, such as a full disk.
pub fn line(text: &str, to_stderr: bool) -> Result<(), Failed> {
    let written = if to_stderr {
        writeln!(io::stderr(), "{text}")
    } else {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    written_out(written)
}

/// Prints a text with colours and a newline, as [`line`] does. A terminal gets colours unless
/// `NO_COLOR` is set, other outputs if `CLICOLOR_FORCE` is.
///
/// # Errors
/// As [`line`].
pub fn text(text: &str, to_stderr: bool) -> Result<(), Failed> {
    let written = if to_stderr {
        writeln!(anstream::stderr(), "{text}")
    } else {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    written_out(written)
}

/// The result of writing to standard output; a closed pipe is no error.
///
/// # Errors
/// Any other error of writing.
pub fn written_out(written: io::Result<()>) -> Result<(), Failed> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::new(format!("error: the output could not be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a message on stderr, past the progress bar. If stderr can't be written, there is no other
/// place to report it.
pub fn note(text: &str) {
    let mut err = anstream::stderr();
    if super::progress::past(|| super::logging::said(text, &mut err)) {
        return;
    }
    let text = match text.trim_end().split_once(':') {
        Some((word @ "error", rest)) => format!("{}:{rest}", failed(word)),
        Some((word @ "warning", rest)) => format!("{}:{rest}", warned(word)),
        _ => text.trim_end().to_owned(),
    };
    let _ = super::progress::past(|| writeln!(err, "{text}"));
}

/// A number with spaces between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The account of a run as text, in lines of at most `width` columns.
pub fn report(report: &Report, width: Option<usize>) -> String {
    folded(&account(report, width), width)
}

fn account(report: &Report, width: Option<usize>) -> String {
    let mut out = String::new();
    let how = match &report.outcome {
        RunOutcome::Running => "running".to_owned(),
        RunOutcome::Finished => "finished".to_owned(),
        RunOutcome::Stopped => warned("stopped"),
        RunOutcome::Escalated(_) => failed("gave up"),
        RunOutcome::SinkClosed(_) => warned("ended early"),
        RunOutcome::DeadlinePassed => failed("ran out of time"),
    };
    let (took, real) = match report.virtual_s {
        Some(virtually) => {
            (virtually, format!(" of virtual time ({:.3} s of real)", report.wall_s))
        }
        None => (report.wall_s, String::new()),
    };
    let _ = writeln!(
        out,
        "{} {how} in {}{real} on {} core{}: {}, {} restart{}\n",
        report.topology,
        passed(took),
        report.cores,
        plural(report.cores as u64),
        speed(report),
        report.restarts,
        plural(report.restarts),
    );
    out.push_str(&balancing::tables(report, width));
    if report.nodes.is_empty() {
        out.push_str(&prediction(report));
        out.push_str(&failures(report));
        return out;
    }
    let row = |node: &NodeReport| {
        let indent = if node.kind == "gopher" { "  " } else { "" };
        vec![
            format!("{indent}{}", node.name),
            node.kind.to_owned(),
            grouped(node.books),
            grouped(node.carts),
            format!("{:.1}%", node.busy * 100.0),
            grouped(node.waits),
            grouped(node.restarts),
        ]
    };
    let head = ["node", "kind", "books", "carts", "busy", "waits", "restarts"];
    let table = Table { head: &head, words: 2, shed: &["waits", "restarts", "carts", "kind"] };
    out.push_str(&table.show(report.nodes.iter().map(row).collect(), width));
    out.push_str(&prediction(report));
    let ledger = &report.ledger;
    let dead = format!("dead {}", grouped(ledger.dead));
    let _ = write!(
        out,
        "\nledger: offered {} = burned {} + {} + dropped {} + unfinished {}",
        grouped(ledger.offered),
        grouped(ledger.burned),
        if ledger.dead > 0 { failed(&dead) } else { dead },
        grouped(ledger.dropped),
        grouped(ledger.in_flight),
    );
    let _ = writeln!(
        out,
        "; lost {}, duplicates {}, reburned {}: {}",
        ledger.lost,
        ledger.duplicates,
        ledger.reburned,
        if ledger.balances() { "balanced".to_owned() } else { failed("DOES NOT BALANCE") },
    );
    for (count, before, after) in [
        (ledger.filtered, "", "of the dropped did not meet a condition"),
        (ledger.split, "", "of the dropped were split into others, which count as offered"),
        (ledger.recovered, "", "of earlier runs were on durable piles"),
        (ledger.kept, "kept ", "on durable piles; the next run goes on with them"),
        (ledger.given_back, "", "not begun went back to the source; another run reads them again"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "{before}{} book{} {after}", grouped(count), plural(count));
        }
    }
    out.push_str(&failures(report));
    out
}

/// A time with at least four significant digits, so that rates can be checked against it.
fn passed(time: f64) -> String {
    match time {
        0.0 => "0 s".to_owned(),
        time if time >= 1.0 => format!("{time:.3} s"),
        time if time >= 0.001 => format!("{time:.6} s"),
        time => format!("{time:.9} s"),
    }
}

/// A rate with at least three significant digits.
fn by_second(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => grouped(rate.round() as u64),
        rate if rate >= 1.0 || rate == 0.0 => format!("{rate:.1}"),
        rate => format!("{rate:.3}"),
    }
}

/// Reasons that are printed.
const MOST_REASONS: usize = 20;

/// What failed and why: a line for each reason at each node.
pub fn failures(report: &Report) -> String {
    let mut out = String::new();
    for failure in &report.failures {
        let _ = writeln!(out, "{}: {failure}", failed("failed"));
    }
    if report.reasons.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\n{}", failed("why books, requests and reads failed:"));
    for row in report.reasons.iter().take(MOST_REASONS) {
        let ends = match row.final_count {
            all if all == row.count => String::new(),
            0 => format!(", {}", warned("all retried")),
            some => format!(", {}", failed(&format!("{} permanently", grouped(some)))),
        };
        let _ = writeln!(
            out,
            "  {}: {} time{}{ends}, first {}, last after {}: {}",
            row.node,
            grouped(row.count),
            plural(row.count),
            row.first,
            passed(row.last_s),
            row.reason.as_deref().unwrap_or("other reasons"),
        );
    }
    if let Some(more) = report.reasons.len().checked_sub(MOST_REASONS)
        && more > 0
    {
        let _ = writeln!(out, "  and {more} more reasons: `--format json` has all");
    }
    out
}

/// Books or answers per second.
fn speed(report: &Report) -> String {
    let answers: f64 = (report.requesters.iter()).map(|asked| asked.per_s).sum();
    let books = format!("{} books/s", by_second(report.books_per_s));
    match (report.nodes.is_empty(), report.requesters.is_empty()) {
        (_, true) => books,
        (true, false) => format!("{} answers/s", by_second(answers)),
        (false, false) => format!("{books}, {} answers/s", by_second(answers)),
    }
}

/// Measured and predicted figures.
fn prediction(report: &Report) -> String {
    let mut out = String::new();
    let timed = report.speed_up.is_some() || report.speed_up_formula.is_some();
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    if timed {
        let _ = writeln!(
            out,
            "\nspeed-up {} over one gopher (formula {}), makespan {} s (formula {})",
            number(report.speed_up),
            number(report.speed_up_formula),
            number(report.makespan_s),
            number(report.makespan_formula_s),
        );
        if let Some(bottleneck) = &report.bottleneck {
            let _ = writeln!(out, "bottleneck: {}", strong(bottleneck));
        }
        for reason in &report.unsaid {
            let _ = writeln!(out, "{reason}");
        }
    }
    if let Some(hash) = &report.trace_sha256 {
        let _ = writeln!(out, "{}trace sha256: {hash}", if timed { "" } else { "\n" });
    }
    out
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Prints JSON on stdout, or on stderr if books go to stdout.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl serde::Serialize, to_stderr: bool) -> Result<(), Failed> {
    let json = serde_json::to_string(value);
    line(&json.map_err(io::Error::other).map_err(unprintable)?, to_stderr)
}

fn unprintable(error: io::Error) -> Failed {
    Failed::new(format!("error: the output could not be made: {error}"))
}
