//! Dead letters in a store.

use gopherworks::catalog::{RunId, names};
use gopherworks::pipeline::store::{Cursor, DeadBook, StoreError};
use serde_json::{Value, json};

use super::{headers, print_body, say_done};
use crate::cli::stored::Store;
use crate::cli::{Failed, Format, code, print};

/// How many letters are read at once.
const CHUNK: usize = 256;

/// How letters of a store are shown.
struct Shown {
    /// Identity of the books of the store.
    ids: RunId,
}

impl Shown {
    /// Shows all letters, oldest first, a part of them at a time; or the one with this number.
    fn each(
        store: &Store,
        number: Option<u64>,
        mut show: impl FnMut(&Self, &[DeadBook]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let shown = Self { ids: RunId::of_store(&store.survey()?.store) };
        let engine = store.engine()?;
        store.wait(async {
            let mut after = Cursor(number.map_or(0, |number| number.saturating_sub(1)));
            loop {
                let most = if number.is_some() { 1 } else { CHUNK };
                let mut some = engine.dead(after, most).await?;
                some.retain(|letter| number.is_none_or(|number| letter.at.0 == number));
                let Some(last) = some.last() else {
                    return Ok(number.map_or(Ok(()), |number| Err(unknown(store, number))));
                };
                after = last.at;
                let showed = show(&shown, &some);
                if showed.is_err() || number.is_some() {
                    return Ok::<_, StoreError>(showed);
                }
            }
        })?
    }

    fn title(&self, letter: &DeadBook) -> String {
        names::shown(&names::name_of(&letter.book, &self.ids))
    }

    fn json(&self, letter: &DeadBook) -> Value {
        json!({
            "number": letter.at.0,
            "id": names::key_of(&letter.book, &self.ids),
            "title": self.title(letter),
            "pile": letter.pile.to_string(),
            "node": letter.node.as_deref(),
            "attempts": letter.attempts,
            "reason": &*letter.reason,
        })
    }

    fn text(&self, letter: &DeadBook) -> String {
        format!(
            "{}: {}\n  id        {}\n  pile      {}\n  failed at {}\n  attempts  {}\n  reason    \
             {}\n  size      {} bytes\n{}",
            letter.at.0,
            self.title(letter),
            names::key_of(&letter.book, &self.ids),
            letter.pile,
            letter.node.as_deref().unwrap_or("-"),
            letter.attempts,
            letter.reason.escape_debug(),
            letter.book.size(),
            headers(&letter.book),
        )
    }
}

fn unknown(store: &Store, number: u64) -> Failed {
    let place = store.plan.store_place();
    Failed::new(format!("error: there is no letter {number} in {place}; `dead list` lists all"))
}

/// Prints a line for each letter. In text, each part of the letters is a table of its own.
pub(super) fn list(store: &Store, format: Format) -> Result<i32, Failed> {
    let table = |shown: &Shown, letters: &[DeadBook]| {
        let head = ["#", "book", "pile", "attempts", "reason"];
        let rows = letters.iter().map(|letter| {
            vec![
                letter.at.0.to_string(),
                shown.title(letter),
                letter.pile.to_string(),
                letter.attempts.to_string(),
                letter.reason.escape_debug().to_string(),
            ]
        });
        let table = print::Table { head: &head, words: 2, shed: &[] };
        let table = table.show(rows.collect(), print::width(false));
        print::text(table.trim_end(), false)
    };
    match format {
        Format::Json => {
            // One array, of which each line has a part.
            let mut before = "[";
            Shown::each(store, None, |shown, letters| {
                let letters = letters.iter().map(|letter| shown.json(letter).to_string());
                let letters = letters.collect::<Vec<_>>().join(",");
                print::line(&format!("{}{letters}", std::mem::replace(&mut before, ",")), false)
            })?;
            print::line(if before == "[" { "[]" } else { "]" }, false)?;
        }
        Format::Text => {
            let mut is_empty = true;
            Shown::each(store, None, |shown, letters| {
                is_empty = false;
                table(shown, letters)
            })?;
            if is_empty {
                table(&Shown { ids: RunId::of_store("") }, &[])?;
            }
        }
    }
    Ok(code::OK)
}

/// Prints one letter, or all; or the body of one.
pub(super) fn show(
    store: &Store,
    number: Option<u64>,
    body: bool,
    format: Format,
) -> Result<i32, Failed> {
    Shown::each(store, number, |shown, letters| {
        letters.iter().try_for_each(|letter| match format {
            _ if body => print_body(&letter.book),
            Format::Text => print::line(&shown.text(letter), false),
            Format::Json => {
                let mut json = shown.json(letter);
                json["bytes"] = letter.book.size().into();
                let headers = letter.book.headers.iter();
                json["headers"] = headers
                    .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
                    .collect();
                print::line(&json.to_string(), false)
            }
        })
    })?;
    Ok(code::OK)
}

/// What a command does with letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Replayed,
    Forgotten,
}

/// Puts letters back to the ends of the piles where they died.
pub(super) fn replay(store: &Store, numbers: &[u64], format: Format) -> Result<i32, Failed> {
    let count = end(store, numbers, End::Replayed)?;
    say_done("replayed", count, &store.plan.store_place(), format)
}

/// Removes letters.
pub(super) fn forget(store: &Store, numbers: &[u64], format: Format) -> Result<i32, Failed> {
    let count = end(store, numbers, End::Forgotten)?;
    say_done("forgotten", count, &store.plan.store_place(), format)
}

/// Opens the store, and ends the letters with these numbers; all, if there are none.
///
/// # Errors
/// There is no letter with such a number; then nothing is changed.
fn end(store: &Store, numbers: &[u64], end: End) -> Result<u64, Failed> {
    // Opening would create a store.
    store.survey()?;
    let engine = store.engine()?;
    let ended = store.wait(async {
        engine.open(&[]).await?;
        let ended = async {
            for number in numbers {
                let letter = engine.dead(Cursor(number.saturating_sub(1)), 1).await?;
                if letter.first().is_none_or(|letter| letter.at.0 != *number) {
                    return Ok(Err(*number));
                }
            }
            // All of them first: a letter that dies again meanwhile is another one.
            let mut chosen: Vec<Cursor> = numbers.iter().copied().map(Cursor).collect();
            while numbers.is_empty() {
                let after = chosen.last().copied().unwrap_or(Cursor::START);
                match engine.dead(after, CHUNK).await? {
                    more if more.is_empty() => break,
                    more => chosen.extend(more.iter().map(|letter| letter.at)),
                }
            }
            let mut count = 0;
            for some in chosen.chunks(CHUNK) {
                count += match end {
                    End::Replayed => engine.replay(some).await?,
                    End::Forgotten => engine.forget_dead(some).await?,
                };
            }
            Ok(Ok(count))
        };
        let ended = ended.await;
        engine.close().await?;
        ended
    })?;
    ended.map_err(|number| unknown(store, number))
}
