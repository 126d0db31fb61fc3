//! Draws a topology for a terminal. A row holds as many crews between boxes as the width allows,
//! which keeps a lane on one row.

use std::fmt::Write as _;

use crate::config::label::parse;

use super::model::{Asker, DiagramNode, DiagramWay, Graph, What};
use super::words::{columns, shorten, wrap};

/// Columns inside a box, without its borders and padding.
const BOX: usize = 18;

/// Columns between two boxes.
const BETWEEN: usize = 26;

/// Ways out of a node that are searched for one with matching copy labels. Bounds the time of a
/// draw.
const NEAR: usize = 256;

/// Draws with lines of at most `width` columns, but at least two boxes and a way between them.
pub fn draw(graph: &Graph, width: usize) -> String {
    let most = width.saturating_sub(BOX + 4).checked_div(BOX + 4 + BETWEEN).unwrap_or(0).max(1);
    let mut out = title(graph, width);
    let outs = graph.outs();
    let mut drawn = vec![false; graph.nodes.len()];
    let mut gone = vec![false; graph.ways.len()];
    let mut first = vec![0; graph.nodes.len()];
    // The first way out of `node` that is not drawn yet.
    let mut onward = |node: usize, gone: &[bool]| -> Option<usize> {
        while let Some(way) = outs[node].get(first[node]) {
            if !gone[*way] {
                return Some(*way);
            }
            first[node] += 1;
        }
        None
    };
    let mut next = 0;
    let mut last = None;
    loop {
        let continued = last.and_then(|node| onward(node, &gone));
        let start = continued.or_else(|| {
            while next < gone.len() && gone[next] {
                next += 1;
            }
            (next < gone.len()).then_some(next)
        });
        let Some(start) = start else { break };
        let mut row = Vec::new();
        let mut way = Some(start);
        while let Some(at) = way.filter(|_| row.len() < most) {
            let this = &graph.ways[at];
            gone[at] = true;
            row.push(this);
            // Behind a shared node, continue with the same copy that led to it.
            let mut near = outs[this.to].iter().filter(|way| !gone[**way]).take(NEAR);
            let own = near.find(|way| agree(&this.name, &graph.ways[**way].name));
            way = own.copied().or_else(|| onward(this.to, &gone));
        }
        last = row.last().map(|way| way.to);
        out.push('\n');
        out.push_str(&drawn_row(graph, &row, &mut drawn));
    }
    for (asker, to) in graph.asks() {
        out.push('\n');
        out.push_str(&asking(graph, asker, to, &mut drawn));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        if !drawn[at] {
            out.push('\n');
            let content = Content::of(node);
            out.push_str(&join(&[boxed(node.role.word(), &content, 0, [false; 2])]));
        }
    }
    out
}

/// The title and the totals, in as many lines as the width needs.
fn title(graph: &Graph, width: usize) -> String {
    let totals = graph.totals.split(", ").map(str::to_owned);
    let title = format!("{}:", shorten(&graph.title, width.min(60)));
    let mut parts: Vec<String> = totals.collect();
    match parts.first_mut() {
        Some(first) => *first = format!("{title} {first}"),
        None => parts.push(title),
    }
    wrap(&parts, ", ", width.saturating_sub(2)).join("\n  ") + "\n"
}

/// True for copies with equal positions on every axis that both have.
fn agree(one: &str, other: &str) -> bool {
    match (parse(one), parse(other)) {
        (Ok((_, one)), Ok((_, other))) => {
            let mut both = one.iter().filter_map(|(axis, at)| Some((at, other.get(axis)?)));
            both.all(|(one, other)| one == other)
        }
        _ => false,
    }
}

/// Draws one row: boxes alternating with the ways between them.
fn drawn_row(graph: &Graph, row: &[&DiagramWay], drawn: &mut [bool]) -> String {
    let nodes: Vec<usize> =
        row.iter().map(|way| way.from).chain(row.last().map(|way| way.to)).collect();
    let contents: Vec<Content> =
        nodes.iter().map(|node| Content::once(graph, *node, drawn)).collect();
    let ways: Vec<Vec<String>> = row.iter().map(|way| lines(way)).collect();
    let tallest = (contents.iter().map(Content::height))
        .chain(row.iter().zip(&ways).map(|(way, lines)| lines.len() + 1 + has_carts(way)));
    let height = tallest.max().unwrap_or(0);
    let mut parts = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let sides = [at > 0, at < row.len()];
        parts.push(boxed(graph.nodes[*node].role.word(), &contents[at], height, sides));
        if let Some(way) = row.get(at) {
            parts.push(between(way, &ways[at], height));
        }
    }
    join(&parts)
}

/// Draws one row: a crew or an incinerator, and the balancer that it asks.
fn asking(graph: &Graph, asker: Asker, to: usize, drawn: &mut [bool]) -> String {
    let (word, from) = match asker {
        Asker::Crew(way) => ("crew", Content::above(&graph.ways[way].name)),
        Asker::Incinerator(node) => ("incinerator", Content::once(graph, node, drawn)),
    };
    let to = (graph.nodes[to].role.word(), Content::once(graph, to, drawn));
    let height = from.height().max(to.1.height());
    let mut line = vec![" ".repeat(BETWEEN), format!("·· asks {}", "·".repeat(BETWEEN - 8))];
    line.resize(height + 2, " ".repeat(BETWEEN));
    let ends =
        [boxed(word, &from, height, [false, true]), boxed(to.0, &to.1, height, [true, false])];
    let [from, to] = ends;
    join(&[from, line, to])
}

/// The text in a box.
struct Content {
    lines: Vec<String>,
    /// Workers or clients, below a line with their number.
    team: Option<(String, Vec<String>)>,
}

impl Content {
    fn of(node: &DiagramNode) -> Self {
        let mut lines = vec![shorten(&node.name, BOX)];
        lines.extend(node.copies.as_ref().map(|copies| shorten(copies, BOX)));
        if node.shared {
            lines.push("shared by copies".to_owned());
        }
        let wrapped = |notes: &[String]| -> Vec<String> {
            let words = |note: &String| note.split(' ').map(str::to_owned).collect::<Vec<_>>();
            notes.iter().flat_map(|note| wrap(&words(note), " ", BOX)).collect()
        };
        lines.extend(wrapped(&node.notes));
        let team = node.team.as_ref().map(|team| (team.title.clone(), wrapped(&team.notes)));
        Self { lines, team }
    }

    /// A reference to a box in an earlier row.
    fn above(name: &str) -> Self {
        Self { lines: vec![shorten(name, BOX), "(above)".to_owned()], team: None }
    }

    /// The text of a node where it is drawn for the first time, then a reference.
    fn once(graph: &Graph, node: usize, drawn: &mut [bool]) -> Self {
        let of = &graph.nodes[node];
        match std::mem::replace(&mut drawn[node], true) {
            true => Self::above(&of.name),
            false => Self::of(of),
        }
    }

    fn height(&self) -> usize {
        self.lines.len() + self.team.as_ref().map_or(0, |(_, notes)| notes.len() + 1)
    }
}

/// Draws a box. Its first line is open at the sides where a way is attached.
fn boxed(word: &str, content: &Content, height: usize, [left, right]: [bool; 2]) -> Vec<String> {
    let ruled = |ends: [char; 2], title: &str| {
        let [left, right] = ends;
        format!("{left}─ {title} {}{right}", "─".repeat((BOX - 1).saturating_sub(columns(title))))
    };
    let row = |text: &str, before: char, behind: char| {
        format!("{before} {text}{} {behind}", " ".repeat(BOX - columns(text)))
    };
    let mut out = vec![ruled(['┌', '┐'], word)];
    for (at, text) in content.lines.iter().enumerate() {
        let attached = |side: bool, mark: char| if at == 0 && side { mark } else { '│' };
        out.push(row(text, attached(left, '>'), attached(right, '├')));
    }
    if let Some((title, notes)) = &content.team {
        out.push(ruled(['├', '┤'], &shorten(title, BOX - 1)));
        out.extend(notes.iter().map(|text| row(text, '│', '│')));
    }
    out.resize(out.len().max(height + 1), row("", '│', '│'));
    out.push(format!("└{}┘", "─".repeat(BOX + 2)));
    out
}

/// Number of lines for the way back of empty carts: 1 for a crew, else 0.
fn has_carts(way: &DiagramWay) -> usize {
    usize::from(matches!(way.what, What::Crew(_)))
}

/// The lines of text between two boxes.
fn lines(way: &DiagramWay) -> Vec<String> {
    let most = BETWEEN - 3;
    let mut out: Vec<String> = way.copies.iter().map(|copies| shorten(copies, most)).collect();
    out.extend(way.ends.iter().map(|end| shorten(end, most)));
    match &way.what {
        What::Relay(notes) => out.extend(notes.iter().cloned()),
        What::Requests => {}
        What::Crew(crew) => {
            for group in &crew.gophers {
                let line = group.line();
                let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                for (at, line) in wrap(&words, " ", most - 2).into_iter().enumerate() {
                    out.push(if at == 0 { line } else { format!("  {line}") });
                }
            }
            let load: Vec<String> = crew.load.split(", ").map(str::to_owned).collect();
            out.extend(wrap(&load, ", ", most));
            let mut work = crew.work.clone();
            if let Some(first) = work.first_mut().filter(|first| !first.starts_with("asks ")) {
                first.insert_str(0, "work ");
            }
            out.extend(wrap(&work, ", ", most));
            out.extend(wrap(&crew.timed(|_| true), ", ", most));
        }
    }
    out
}

/// Draws the space between two boxes: full carts along the first line, empty carts along the last.
fn between(way: &DiagramWay, lines: &[String], height: usize) -> Vec<String> {
    let mut out = vec![" ".repeat(BETWEEN)];
    let (rail, name) = match &way.what {
        What::Crew(_) => ("─", shorten(&way.name, BETWEEN - 6)),
        What::Relay(_) => ("=", format!("relay {}", shorten(&way.name, BETWEEN - 12))),
        What::Requests => ("=", "requests".to_owned()),
    };
    out.push(format!("{rail}{rail} {name} {}", rail.repeat(BETWEEN - 4 - columns(&name))));
    for at in 1..height {
        if at + 1 == height && has_carts(way) > 0 {
            out.push(format!("<{}", "─".repeat(BETWEEN - 1)));
            continue;
        }
        let text = lines.get(at - 1).map_or("", String::as_str);
        out.push(format!("  {text}{}", " ".repeat(BETWEEN - 2 - columns(text))));
    }
    out.push(" ".repeat(BETWEEN));
    out
}

/// Joins parts side by side.
fn join(parts: &[Vec<String>]) -> String {
    let mut out = String::new();
    let height = parts.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let row: String =
            parts.iter().filter_map(|part| part.get(line)).map(String::as_str).collect();
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out
}
