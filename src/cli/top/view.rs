//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::super::print::{self, Fitted, Table, folded, grouped, shortened};
use super::feed::{Detail, Node};
use super::rows::{Column, Row};
use super::screen::Screen;

/// Columns that are left out first where space is short.
const SHED: [&str; 11] = [
    "leased",
    "kind",
    "idle",
    "failed",
    "restarts",
    "blocked",
    "oldest",
    "busy",
    "state",
    "ready",
    "last failure",
];

const HINTS: [&str; 7] =
    ["q quit", "enter details", "/ filter", "s sort", "r reverse", "g gophers", "arrows move"];
const DETAIL_HINTS: [&str; 3] = ["q quit", "esc back", "arrows scroll"];

/// The account and the table without a terminal.
pub fn plain(screen: &Screen, width: Option<usize>) -> String {
    let rows = screen.rows();
    let table = fitted(&rows, width);
    format!("{}\n\n{}{}", account(screen, width), table.lines(true), table.note(width))
}

/// Draws the table, or the details of a node.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen, colors: bool) {
    let area = frame.area();
    let width = Some(usize::from(area.width));
    let mut above: Vec<Line<'_>> = lines(&account(screen, width));
    let mut below = Vec::new();
    if let Some(problem) = &screen.problem {
        let text = format!("stale: {problem}; trying again");
        let style = look(colors, Color::Red).add_modifier(Modifier::BOLD);
        below.extend(lines(&folded(&text, width)).into_iter().map(|line| line.style(style)));
    }
    let hints = if screen.open.is_some() { &DETAIL_HINTS[..] } else { &HINTS };
    below.push(hint(screen, hints, usize::from(area.width)));
    above.push(Line::default());
    let height = usize::from(area.height);
    let room =
        |above: &[Line<'_>], below: &[Line<'_>]| height.saturating_sub(above.len() + below.len());
    let middle = match &screen.open {
        Some((name, detail)) => {
            let all = lines(&details(screen, name, detail.as_ref(), width));
            let room = room(&above, &below);
            let from = screen.scrolled.min(all.len().saturating_sub(room));
            all.into_iter().skip(from).take(room).collect()
        }
        None => {
            let (head, rows) = table(screen, width, colors);
            above.push(head);
            let (room, count) = (room(&above, &below), rows.len());
            let chosen = screen.place(&screen.rows());
            let from = chosen.saturating_sub(room / 2).min(count.saturating_sub(room));
            rows.into_iter().skip(from).take(room).collect::<Vec<_>>()
        }
    };
    let fill = height.saturating_sub(above.len() + middle.len() + below.len());
    let empty = std::iter::repeat_n(Line::default(), fill);
    let all = above.into_iter().chain(middle).chain(empty).chain(below);
    for (line, y) in all.zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

fn lines(text: &str) -> Vec<Line<'static>> {
    text.lines().map(|line| Line::raw(line.to_owned())).collect()
}

fn look(colors: bool, color: Color) -> Style {
    if colors { Style::new().fg(color) } else { Style::new() }
}

/// The state of the run and the account of its books.
fn account(screen: &Screen, width: Option<usize>) -> String {
    let now = &screen.now;
    let up = std::time::Duration::from_secs(now.at_s.max(0.0) as u64);
    let ready = if now.ready { "ready" } else { "NOT READY" };
    let ledger = &now.ledger;
    let text = format!(
        "{}  up {}  {ready}\noffered {} = burned {} + dead {} + dropped {} + in flight {}",
        now.topology,
        humantime::format_duration(up),
        grouped(ledger.offered),
        grouped(ledger.burned),
        grouped(ledger.dead),
        grouped(ledger.dropped),
        grouped(ledger.in_flight),
    );
    folded(&text, width)
}

/// Cells of these rows, fitted to the width: a failure gets at most a third of it.
fn fitted(rows: &[Row<'_>], width: Option<usize>) -> Fitted<'static> {
    let table = Table { head: &Column::HEADS, words: Column::WORDS, shed: &SHED };
    let most = width.map_or(usize::MAX, |width| width / 3);
    let cells = rows.iter().map(|row| {
        let cells = Column::ALL.iter().map(|column| match column {
            Column::Failure => shortened(&column.cell(row), most),
            _ => column.cell(row),
        });
        cells.collect()
    });
    table.fit(cells.collect(), width)
}

/// The head of the table, and its rows.
fn table(
    screen: &Screen,
    width: Option<usize>,
    colors: bool,
) -> (Line<'static>, Vec<Line<'static>>) {
    let rows = screen.rows();
    let text = fitted(&rows, width).lines(true);
    let mut texts = text.lines().map(str::to_owned);
    let head = texts.next().unwrap_or_default();
    let head = Line::styled(head, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let (chosen, bottleneck) = (screen.place(&rows), screen.bottleneck());
    let lines = texts.zip(&rows).enumerate().map(|(at, (text, row))| {
        let mut style = match row.node.state.as_str() {
            "down" => look(colors, Color::Red),
            "paused" => look(colors, Color::Yellow),
            "closed" => Style::new().add_modifier(Modifier::DIM),
            _ => Style::new(),
        };
        if bottleneck == Some(row.node.name.as_str()) {
            style = style.add_modifier(Modifier::BOLD);
        }
        if at == chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let wide = width.unwrap_or(0);
        Line::styled(format!("{text:<wide$}"), style)
    });
    (head, lines.collect())
}

/// The last line: the filter that is being typed, or the order, the filter, and keys as far as
/// they fit.
fn hint(screen: &Screen, hints: &[&str], width: usize) -> Line<'static> {
    if screen.typing {
        return Line::raw(format!("filter: {}_", screen.filter));
    }
    let mut parts = Vec::new();
    if screen.open.is_none() {
        let by = screen.sort.map(|column| format!("by {}", column.head()));
        let by = by.or(screen.reversed.then(|| "the run's order".to_owned()));
        let reversed = if screen.reversed { ", reversed" } else { "" };
        parts.extend(by.map(|by| format!("[{by}{reversed}]")));
        parts.extend((!screen.filter.is_empty()).then(|| format!("[filter {}]", screen.filter)));
    }
    let mut used: usize = parts.iter().map(|part| part.chars().count() + 2).sum();
    for hint in hints {
        if used + hint.len() <= width {
            parts.push((*hint).to_owned());
        }
        used += hint.len() + 2;
    }
    Line::styled(parts.join("  "), Style::new().add_modifier(Modifier::DIM))
}

/// A node's figures, its gophers, its failures and its events.
fn details(screen: &Screen, name: &str, detail: Option<&Detail>, width: Option<usize>) -> String {
    let nodes = &screen.now.nodes;
    let Some(node) = nodes.iter().find(|node| node.name == name) else {
        return format!("{name} is gone\n");
    };
    let mut out = format!("{name}: {}, {}\n", node.kind, node.state);
    out.push_str(&figures(screen, node));
    let parts = nodes.iter().filter(|other| {
        other.kind == "gopher" && other.name.rsplit_once('/').is_some_and(|(crew, _)| crew == name)
    });
    let rows: Vec<_> = parts.map(|node| screen.row(node)).collect();
    let mut out = folded(&out, width);
    if !rows.is_empty() {
        out.push_str(&format!("\n{}", fitted(&rows, width).lines(true)));
    }
    let Some(detail) = detail else {
        return out;
    };
    let mut more = String::new();
    if !detail.reasons.is_empty() {
        more.push_str("\nfailures\n");
    }
    for reason in &detail.reasons {
        let why = reason.reason.as_deref().unwrap_or("other reasons");
        more.push_str(&format!(
            "  {} times, {} for good, first {}, last after {}: {}\n",
            grouped(reason.count),
            grouped(reason.final_count),
            reason.first,
            print::seconds(reason.last_s),
            why.escape_debug(),
        ));
    }
    if !detail.events.is_empty() {
        more.push_str("\nevents, the newest first\n");
    }
    for event in &detail.events {
        let ago = print::seconds((detail.at_s - event.at_s).max(0.0));
        more.push_str(&format!("  {ago} ago  {}  {}\n", event.kind, event.text.escape_debug()));
    }
    out + &folded(&more, width)
}

fn figures(screen: &Screen, node: &Node) -> String {
    let row = screen.row(node);
    let cell = |column: Column| column.cell(&row);
    let mut out = format!(
        "books {}, {} per s, carts {}, waits {}, restarts {}, failed {}, dead {}\n",
        grouped(node.books),
        cell(Column::Rate),
        grouped(node.carts),
        grouped(node.waits),
        grouped(node.restarts),
        grouped(node.failed),
        grouped(node.dead),
    );
    if row.shares.busy.is_some() {
        let [busy, blocked, idle] = [Column::Busy, Column::Blocked, Column::Idle].map(cell);
        out.push_str(&format!("busy {busy}, blocked {blocked}, idle {idle}\n"));
    }
    if let Some(pile) = &node.pile {
        let capacity = pile.capacity.map_or("unbounded".to_owned(), grouped);
        out.push_str(&format!(
            "ready {}, delayed {}, leased {}, stored {}, capacity {capacity}, oldest {}{}\n\
             carts that wait: {} for books, {} for space\n",
            grouped(pile.ready),
            grouped(pile.delayed),
            grouped(pile.leased),
            grouped(pile.stored),
            cell(Column::Oldest),
            if pile.durable { ", durable" } else { "" },
            pile.carts_for_books,
            pile.carts_for_space,
        ));
    }
    if let Some(why) = &node.paused {
        out.push_str(&format!("paused: {why}\n"));
    }
    out
}
