//! Fits text to the columns of a terminal, and colours it.

use std::fmt::Write as _;

use anstream::adapter::strip_str;
use clap::builder::styling::{AnsiColor, Style};
use console::Term;

/// Fewest columns that a table is fitted to.
const NARROWEST: usize = 40;

/// Fewest columns that a cell is shortened to.
const CELL: usize = 8;

/// Columns for text on stdout or stderr: the variable `COLUMNS`, else those of the terminal. `None`
/// without both: text then takes the columns that it needs.
pub fn width(to_stderr: bool) -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = set.filter(|columns| *columns > 0).or_else(|| {
        let term = if to_stderr { Term::stderr() } else { Term::stdout() };
        term.size_checked().map(|(_, columns)| usize::from(columns))
    })?;
    Some(columns.max(NARROWEST))
}

/// A failure, in red. [`super::line`] removes colours that the output can't show.
pub fn failed(text: &str) -> String {
    painted(AnsiColor::Red.on_default(), text)
}

/// Something to look at that is no failure, in yellow.
pub fn warned(text: &str) -> String {
    painted(AnsiColor::Yellow.on_default(), text)
}

/// What matters most, in bold.
pub fn strong(text: &str) -> String {
    painted(Style::new().bold(), text)
}

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Breaks each line that is longer than `width` between words; what follows is indented by two
/// columns more. A longer word has a line of its own.
pub fn folded(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let columns = |text: &str| strip_str(text).to_string().chars().count();
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if columns(line.trim_end()) <= width {
            out.push_str(line);
            continue;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        let mut used = 0;
        for (at, word) in line.trim().split(' ').enumerate() {
            let wide = columns(word);
            if at == 0 {
                out.push_str(&" ".repeat(indent));
                used = indent;
            } else if used + 1 + wide <= width {
                out.push(' ');
                used += 1;
            } else {
                let _ = write!(out, "\n{}", " ".repeat(indent + 2));
                used = indent + 2;
            }
            out.push_str(word);
            used += wide;
        }
        if line.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// Columns padded to their widest cell: the first `words` are flush left, the others flush right.
pub struct Table<'a> {
    pub head: &'a [&'a str],
    pub words: usize,
    /// Columns that are left out, in this order, as far as the width demands.
    pub shed: &'a [&'a str],
}

/// A table cut to a width: the first row is its head.
pub struct Fitted<'a> {
    rows: Vec<Vec<String>>,
    words: usize,
    hidden: Vec<&'a str>,
}

impl Fitted<'_> {
    /// The lines, the last column flush right as well unless it is `prose`.
    pub fn lines(&self, prose: bool) -> String {
        aligned(&self.rows, self.words, prose)
    }

    /// Names what is left out in `width` columns; empty if nothing is.
    pub fn note(&self, width: Option<usize>) -> String {
        let (Some(most), false) = (width, self.hidden.is_empty()) else {
            return String::new();
        };
        folded(&format!("not shown in {most} columns: {}\n", self.hidden.join(", ")), width)
    }
}

impl<'a> Table<'a> {
    /// The table in at most `width` columns if it can be: columns are left out, then the widest one
    /// is shortened. A last line names what is left out.
    pub fn show(&self, rows: Vec<Vec<String>>, width: Option<usize>) -> String {
        let fitted = self.fit(rows, width);
        fitted.lines(false) + &fitted.note(width)
    }

    /// The rows in at most `width` columns, as [`Table::show`] prints them.
    pub fn fit(&self, mut rows: Vec<Vec<String>>, width: Option<usize>) -> Fitted<'a> {
        rows.insert(0, self.head.iter().map(|word| (*word).to_owned()).collect());
        let most = width.unwrap_or(usize::MAX);
        let mut words = self.words;
        let mut hidden = Vec::new();
        // Columns that say nothing go first.
        let mut shed: Vec<(bool, &'a str)> = (self.shed.iter())
            .map(|column| {
                let at = self.head.iter().position(|head| head == column);
                let mut cells = rows[1..].iter().filter_map(|row| row.get(at?));
                (cells.any(|cell| cell != "0" && cell != "-"), *column)
            })
            .collect();
        shed.sort_by_key(|(matters, _)| *matters);
        for (_, column) in shed {
            if total(&widths(&rows)) <= most {
                break;
            }
            if let Some(at) = rows[0].iter().position(|head| *head == column) {
                rows.iter_mut().for_each(|row| drop(row.remove(at)));
                words -= usize::from(at < words);
                hidden.push(column);
            }
        }
        let now = widths(&rows);
        let over = total(&now).saturating_sub(most);
        let widest = now.iter().enumerate().max_by_key(|(_, width)| **width);
        if let Some((at, width)) = widest.filter(|_| over > 0) {
            let room = width.saturating_sub(over).max(CELL);
            for row in &mut rows {
                row[at] = shortened(&row[at], room);
            }
        }
        Fitted { rows, words, hidden }
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

/// Columns of a row, with two between its cells.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

/// The text cut to `most` columns, after a word if it has several.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most - 1).collect();
    let ends_at_a_word = text[start.len()..].starts_with(' ');
    let kept = match start.rsplit_once(' ') {
        Some((words, _)) if !ends_at_a_word && words.trim() != "" => words,
        _ => &start,
    };
    format!("{}…", kept.trim_end())
}

fn aligned(rows: &[Vec<String>], words: usize, prose: bool) -> String {
    let widths = widths(rows);
    let last = widths.len().saturating_sub(1);
    let mut out = String::new();
    for row in rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column < words || (prose && column == last) {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let table = Table { head: &["id", "pile", "bytes", "reason"], words: 2, shed: &["bytes"] };
        let reason = "the server said: come back when there is space";
        let row = ["1", "inbox", "12,345", reason].map(str::to_owned).to_vec();
        table.show(vec![row], width)
    }

    #[test]
    fn tables_leave_out_columns_and_then_cut_at_words() {
        assert!(table(None).contains("12,345") && table(Some(80)).contains("12,345"));
        let narrow = table(Some(56));
        assert!(!narrow.contains("12,345"), "{narrow}");
        assert!(narrow.contains("not shown in 56 columns: bytes"), "{narrow}");
        let narrower = table(Some(40));
        assert!(narrower.contains("the server said: come back…"), "{narrower}");
        for most in 40..80 {
            let shown = table(Some(most));
            assert!(shown.lines().all(|line| line.chars().count() <= most), "{most}:\n{shown}");
        }
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let line = format!("  a {} b c\nshort\n", failed("red"));
        assert_eq!(folded(&line, None), line);
        let expected = format!("  a {}\n    b c\nshort\n", failed("red"));
        assert_eq!(folded(&line, Some(8)), expected);
        assert_eq!(folded("abcdefghij k", Some(4)), "abcdefghij\n  k");
    }
}
