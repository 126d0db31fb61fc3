//! `pile list|show|check|move|drop`.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use gopherworks::catalog::{RunId, names};
use gopherworks::pipeline::store::{
    Account, HeldLeases, Holder, Peeked, PileName, PileSpec, SourceOwner, SourceState, Survey,
    Surveyed,
};
use serde_json::{Value, json};

use super::stored::Store;
use super::{Failed, Format, Sets, code, load, overrides, print};

#[derive(Debug, Subcommand)]
pub enum PileCommand {
    /// Print what is on each pile of the store, and which process has the store open
    ///
    /// Works while a run has the store. A pile that the store has and the design has not is an
    /// `orphan`.
    List {
        #[command(flatten)]
        store: StoreArgs,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the first books of a pile, in the order in which they are delivered
    ///
    /// Works while a run has the store.
    Show {
        #[command(flatten)]
        store: StoreArgs,
        /// Name of the pile in `pile list`
        pile: String,
        /// Print this many books at most
        #[arg(long, value_name = "N", default_value_t = 20)]
        most: usize,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Check every record of the store, repair what follows from the rest, and report what is lost
    ///
    /// No book is removed. The exit code is 1 if something can't be repaired, and 75 while a run
    /// has the store.
    Check {
        #[command(flatten)]
        store: StoreArgs,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Move all books of a pile to the end of another one
    Move {
        #[command(flatten)]
        store: StoreArgs,
        /// Name of the pile in `pile list`
        from: String,
        /// A durable pile of the design, or another pile of the store
        to: String,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Drop all books of a pile, for good; they are counted as dropped
    Drop {
        #[command(flatten)]
        store: StoreArgs,
        /// Name of the pile in `pile list`
        pile: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The config file of the design, or - for standard input (paths start at the current folder)
    file: PathBuf,
    #[command(flatten)]
    sets: Sets,
}

/// Runs a `pile` command.
pub fn pile(command: &PileCommand, quiet: bool) -> Result<i32, Failed> {
    let (PileCommand::List { store, .. }
    | PileCommand::Show { store, .. }
    | PileCommand::Check { store, .. }
    | PileCommand::Move { store, .. }
    | PileCommand::Drop { store, .. }) = command;
    let store = Store::of(load(&store.file, &overrides(&store.sets)?, quiet)?.plan)?;
    match command {
        PileCommand::List { format, .. } => store.list(*format),
        PileCommand::Show { pile, most, format, .. } => store.show(pile, *most, *format),
        PileCommand::Check { format, .. } => store.check(*format),
        PileCommand::Move { from, to, format, .. } => store.move_pile(from, to, *format),
        PileCommand::Drop { pile, yes, format, .. } => store.drop_pile(pile, *yes, *format),
    }
}

impl Store {
    fn list(&self, format: Format) -> Result<i32, Failed> {
        let survey = self.survey()?;
        let promises = self.engine()?.promises();
        let rows = self.rows(&survey);
        match format {
            Format::Json => {
                let json = json!({
                    "store": &*survey.store,
                    "place": self.plan.store_place(),
                    "promises": promises.to_string(),
                    "holders": survey.holders.iter().map(|it| self.holder(it)).collect::<Vec<_>>(),
                    "sources": survey.sources.iter().map(source).collect::<Vec<_>>(),
                    "account": survey.account.map(account),
                    "piles": rows.iter().map(PileRow::json).collect::<Vec<_>>(),
                });
                print::line(&json.to_string(), false)?;
            }
            Format::Text => {
                let head = [
                    "pile", "kept", "books", "ready", "held", "delayed", "bytes", "oldest", "dead",
                ];
                let width = print::width(false);
                let shed = &["delayed", "held", "bytes", "oldest", "ready", "kept"];
                let table = print::Table { head: &head, words: 2, shed };
                let table = table.show(rows.iter().map(PileRow::cells).collect(), width);
                let mut text = format!("{table}\nstore {} at ", survey.store);
                text.push_str(&format!("{}: {promises}\n", self.plan.store_place()));
                if let Some(Account { offered, burned, dropped, dead, present }) = survey.account {
                    text.push_str(&format!(
                        "all runs: offered {offered} = burned {burned} + dropped {dropped} + \
                         dead {dead} + present {present}\n"
                    ));
                }
                for Holder { name, run, held, since, leases } in &survey.holders {
                    let held = held.map_or_else(String::new, |held| format!("; holds {held}"));
                    let run = run.as_ref().map_or_else(String::new, |run| format!(", run {run}"));
                    text.push_str(&format!("open in {name}{run} for {}{held}\n", rounded(*since)));
                    for HeldLeases { pile, books, left: (first, last) } in leases {
                        let (books, pile) = (print::grouped(*books), self.shown(pile));
                        let (first, last) = (rounded(*first), rounded(*last));
                        text.push_str(&format!(
                            "  {books} of {pile}; the leases end in {first} to {last}\n"
                        ));
                    }
                }
                survey.sources.iter().for_each(|state| text.push_str(&source_text(state)));
                print::text(print::folded(&text, width).trim_end(), false)?;
            }
        }
        Ok(code::OK)
    }

    /// A pile's name, without that of the design's works.
    fn shown(&self, name: &PileName) -> String {
        match *name == self.name(&name.pile) {
            true => name.pile.to_string(),
            false => name.to_string(),
        }
    }

    fn holder(&self, holder: &Holder) -> Value {
        let leases = holder.leases.iter().map(|HeldLeases { pile, books, left: (first, last) }| {
            let left = [first.as_secs_f64(), last.as_secs_f64()];
            json!({"pile": self.shown(pile), "books": books, "left_s": left})
        });
        json!({
            "name": &*holder.name, "run": holder.run.as_deref(), "held": holder.held,
            "since_s": holder.since.as_secs_f64(), "leases": leases.collect::<Vec<_>>(),
        })
    }

    /// The design's piles, and then orphans that are not empty.
    fn rows<'a>(&'a self, survey: &'a Survey) -> Vec<PileRow<'a>> {
        let stored = |name: &PileName| survey.piles.iter().find(|pile| pile.name == *name);
        let of_design = self.plan.piles.iter().map(|pile| PileRow {
            name: pile.name.clone(),
            kept: if pile.in_memory { "memory" } else { "store" },
            stored: stored(&self.name(&pile.name)).filter(|_| !pile.in_memory),
        });
        let orphans = survey.piles.iter().filter(|pile| !self.is_durable(&pile.name));
        let orphans = orphans.filter(|pile| pile.books + pile.dead > 0).map(|pile| PileRow {
            name: pile.name.to_string(),
            kept: "orphan",
            stored: Some(pile),
        });
        of_design.chain(orphans).collect()
    }

    fn show(&self, pile: &str, most: usize, format: Format) -> Result<i32, Failed> {
        let survey = self.survey()?;
        let name = &self.stored(&survey, pile)?.name;
        let books = self.wait(self.engine()?.peek(name, most))?;
        let ids = RunId::of_store(&survey.store);
        match format {
            Format::Json => {
                let books: Vec<Value> =
                    books.iter().map(|peeked| book_json(peeked, &ids)).collect();
                print::line(&Value::Array(books).to_string(), false)?;
            }
            Format::Text => {
                let head = ["id", "name", "bytes", "attempts", "due in", "headers"];
                let rows = books.iter().map(|peeked| {
                    vec![
                        names::key_of(&peeked.book, &ids),
                        names::shown(&names::name_of(&peeked.book, &ids)),
                        print::grouped(peeked.book.size()),
                        peeked.tries.attempts.to_string(),
                        peeked.due.map_or_else(|| "-".to_owned(), rounded),
                        headers_text(peeked),
                    ]
                });
                let table = print::Table { head: &head, words: 2, shed: &["bytes", "due in"] };
                let table = table.show(rows.collect(), print::width(false));
                print::text(table.trim_end(), false)?;
            }
        }
        Ok(code::OK)
    }

    fn check(&self, format: Format) -> Result<i32, Failed> {
        let found = self.wait(self.engine()?.check())?;
        let is_sound = found.iter().all(|finding| finding.is_repaired);
        match format {
            Format::Json => {
                let all: Vec<Value> = found
                    .iter()
                    .map(|finding| json!({"what": finding.what, "repaired": finding.is_repaired}))
                    .collect();
                print::line(&json!({"sound": is_sound, "findings": all}).to_string(), false)?;
            }
            Format::Text => {
                let mut text: String = found.iter().map(|finding| format!("{finding}\n")).collect();
                let place = self.plan.store_place();
                text.push_str(&match is_sound {
                    true => format!("{place} is sound"),
                    false => format!("{place} is damaged: what is not repaired is lost"),
                });
                print::line(&text, false)?;
            }
        }
        Ok(if is_sound { code::OK } else { code::FAILED })
    }

    fn move_pile(&self, from: &str, to: &str, format: Format) -> Result<i32, Failed> {
        let survey = self.survey()?;
        let source = &self.stored(&survey, from)?.name;
        let target = match self.is_durable(&self.name(to)) {
            // It may be new to the store.
            true => self.name(to),
            false if self.is_in_memory(to) => return Err(self.unknown(&survey, to)),
            false => self.stored(&survey, to)?.name.clone(),
        };
        if *source == target {
            let message = format!("error: `{from}` and `{to}` are the same pile");
            return Err(Failed { code: code::USAGE, message });
        }
        let engine = self.engine()?;
        let moved = self.wait(async {
            engine.open(&[PileSpec::new(target.clone())]).await?;
            let moved = engine.move_pile(source, &target).await;
            engine.close().await?;
            moved
        })?;
        match format {
            Format::Json => print::line(&json!({"moved": moved}).to_string(), false)?,
            Format::Text => {
                let text = format!("moved {} from `{from}` to `{to}`", books(moved));
                print::line(&text, false)?;
            }
        }
        Ok(code::OK)
    }

    fn drop_pile(&self, pile: &str, yes: bool, format: Format) -> Result<i32, Failed> {
        let survey = self.survey()?;
        let stored = self.stored(&survey, pile)?;
        if !yes {
            self.confirm(pile, stored.books)?;
        }
        let engine = self.engine()?;
        let dropped = self.wait(async {
            engine.open(&[]).await?;
            let dropped = engine.drop_pile(&stored.name).await;
            engine.close().await?;
            dropped
        })?;
        match format {
            Format::Json => print::line(&json!({"dropped": dropped}).to_string(), false)?,
            Format::Text => {
                let mut text = format!("dropped {} of `{pile}`", books(dropped));
                if stored.dead > 0 {
                    text.push_str("; its dead letters stay");
                }
                print::line(&text, false)?;
            }
        }
        Ok(code::OK)
    }

    /// Asks whether books are to be dropped.
    ///
    /// # Errors
    /// No person can be asked, or the answer is not yes.
    fn confirm(&self, pile: &str, count: u64) -> Result<(), Failed> {
        let what = format!("drop {} of `{pile}` in {}", books(count), self.plan.store_place());
        if !io::stdin().is_terminal() {
            let message = format!("error: to {what} needs --yes");
            return Err(Failed { code: code::USAGE, message });
        }
        print::note(&format!("{what}, for good? Type yes:"));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        match read.is_ok() && answer.trim() == "yes" {
            true => Ok(()),
            false => Err(Failed::new("nothing was dropped")),
        }
    }
}

/// A pile in `pile list`.
struct PileRow<'a> {
    name: String,
    kept: &'static str,
    /// The books of the pile in the store, if it has any.
    stored: Option<&'a Surveyed>,
}

impl PileRow<'_> {
    /// Books that are neither held nor delayed, if that is known.
    fn ready(pile: &Surveyed) -> Option<u64> {
        Some(pile.books.saturating_sub(pile.held? + pile.delayed?))
    }

    fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let number = |number: Option<u64>| number.map_or_else(dash, print::grouped);
        let of = |value: fn(&Surveyed) -> Option<u64>| match (self.stored, self.kept) {
            (Some(pile), _) => number(value(pile)),
            // Not in the store before its first run.
            (None, "store") => "0".to_owned(),
            (None, _) => dash(),
        };
        vec![
            self.name.clone(),
            self.kept.to_owned(),
            of(|pile| Some(pile.books)),
            of(Self::ready),
            of(|pile| pile.held),
            of(|pile| pile.delayed),
            of(|pile| Some(pile.bytes)),
            self.stored.and_then(|pile| pile.oldest).map_or_else(dash, rounded),
            of(|pile| Some(pile.dead)),
        ]
    }

    fn json(&self) -> Value {
        let mut json = json!({"pile": self.name, "kept": self.kept});
        if let Some(pile) = self.stored {
            json["books"] = pile.books.into();
            json["ready"] = Self::ready(pile).into();
            json["held"] = pile.held.into();
            json["delayed"] = pile.delayed.into();
            json["bytes"] = pile.bytes.into();
            json["oldest_s"] = pile.oldest.map(|age| age.as_secs_f64()).into();
            json["dead"] = pile.dead.into();
        }
        json
    }
}

fn books(count: u64) -> String {
    format!("{} book{}", print::grouped(count), if count == 1 { "" } else { "s" })
}

/// A time as text, in whole seconds.
fn rounded(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// The line of a source: which process reads it, since when and until when.
fn source_text(SourceState { source, share, owner, ended }: &SourceState) -> String {
    let share = if *share == 0 { String::new() } else { format!(" (share {share})") };
    let state = match owner {
        Some(SourceOwner { name, since, left }) => {
            format!("{name} for {}; the lease ends in {}", rounded(*since), rounded(*left))
        }
        None if *ended => "no process; it has ended".to_owned(),
        None => "no process".to_owned(),
    };
    format!("{source}{share} is read by {state}\n")
}

fn source(SourceState { source, share, owner, ended }: &SourceState) -> Value {
    let owner = owner.as_ref().map(|SourceOwner { name, since, left }| {
        json!({"name": &**name, "since_s": since.as_secs_f64(), "left_s": left.as_secs_f64()})
    });
    json!({"source": &**source, "share": share, "owner": owner, "ended": ended})
}

fn account(account: Account) -> Value {
    let Account { offered, burned, dropped, dead, present } = account;
    json!({
        "offered": offered, "burned": burned, "dropped": dropped, "dead": dead, "present": present,
    })
}

fn book_json(peeked: &Peeked, ids: &RunId) -> Value {
    let headers = peeked.book.headers.iter();
    let headers: Vec<_> =
        headers.map(|(name, value)| json!([name, String::from_utf8_lossy(value)])).collect();
    json!({
        "id": names::key_of(&peeked.book, ids),
        "name": String::from_utf8_lossy(&names::name_of(&peeked.book, ids)),
        "bytes": peeked.book.size(),
        "attempts": peeked.tries.attempts,
        "deliveries": peeked.tries.deliveries,
        "due_s": peeked.due.map(|due| due.as_secs_f64()),
        "headers": headers,
    })
}

fn headers_text(peeked: &Peeked) -> String {
    let headers = peeked.book.headers.iter();
    let headers: Vec<_> =
        headers.map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
    headers.join(" ")
}
