//! Draws a topology for a terminal. Each row holds at most two crews between boxes, which keeps a
//! lane on one row and lines within 120 columns.

use std::fmt::Write as _;

use crate::config::label::parse;

use super::model::{DiagramNode, DiagramWay, Graph, What};
use super::words::{columns, shorten, wrap};

/// Columns inside a box, without its borders and padding.
const BOX: usize = 18;

/// Columns between two boxes.
const BETWEEN: usize = 26;

/// Ways out of a node that are searched for one with matching copy labels. Bounds the time of a
/// draw.
const NEAR: usize = 256;

/// Most ways in a row.
const MOST: usize = 2;

pub fn draw(graph: &Graph) -> String {
    let mut out = format!("{}: {}\n", shorten(&graph.title, 60), graph.totals);
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
        while let Some(at) = way.filter(|_| row.len() < MOST) {
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
    for (at, node) in graph.nodes.iter().enumerate() {
        if !drawn[at] {
            out.push('\n');
            out.push_str(&join(&[boxed(node, &described(node), 0, [false; 2])]));
        }
    }
    out
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
    let notes: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            if std::mem::replace(&mut drawn[*node], true) {
                vec![shorten(&graph.nodes[*node].name, BOX), "(above)".to_owned()]
            } else {
                described(&graph.nodes[*node])
            }
        })
        .collect();
    let ways: Vec<Vec<String>> = row.iter().map(|way| lines(way)).collect();
    let tallest = notes.iter().map(Vec::len).chain(ways.iter().map(|way| way.len() + 2)).max();
    let height = tallest.unwrap_or(0);
    let mut parts = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let sides = [at > 0, at < row.len()];
        parts.push(boxed(&graph.nodes[*node], &notes[at], height, sides));
        if let Some(way) = row.get(at) {
            parts.push(between(way, &ways[at], height));
        }
    }
    join(&parts)
}

/// The lines of text in a node's box.
fn described(node: &DiagramNode) -> Vec<String> {
    let mut lines = vec![shorten(&node.name, BOX)];
    lines.extend(node.copies.as_ref().map(|copies| shorten(copies, BOX)));
    if node.shared {
        lines.push("shared by copies".to_owned());
    }
    for note in &node.notes {
        let words: Vec<String> = note.split(' ').map(str::to_owned).collect();
        lines.extend(wrap(&words, " ", BOX));
    }
    lines
}

/// Draws a box around `notes`. Its first line is open at the sides where a way is attached.
fn boxed(
    node: &DiagramNode,
    notes: &[String],
    height: usize,
    [left, right]: [bool; 2],
) -> Vec<String> {
    let word = node.role.word();
    let mut out = vec![format!("┌─ {word} {}┐", "─".repeat(BOX - 1 - word.len()))];
    for at in 0..height.max(notes.len()) {
        let text = notes.get(at).map_or("", String::as_str);
        let fill = " ".repeat(BOX - columns(text));
        let (before, behind) = if at == 0 {
            (if left { '>' } else { '│' }, if right { '├' } else { '│' })
        } else {
            ('│', '│')
        };
        out.push(format!("{before} {text}{fill} {behind}"));
    }
    out.push(format!("└{}┘", "─".repeat(BOX + 2)));
    out
}

/// The lines of text between two boxes.
fn lines(way: &DiagramWay) -> Vec<String> {
    let most = BETWEEN - 3;
    let mut out: Vec<String> = way.copies.iter().map(|copies| shorten(copies, most)).collect();
    out.extend(way.ends.iter().map(|end| shorten(end, most)));
    match &way.what {
        What::Relay { notes, .. } => out.extend(notes.iter().cloned()),
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
            if !crew.work.is_empty() {
                let mut work = crew.work.clone();
                work[0] = format!("work {}", work[0]);
                out.extend(wrap(&work, ", ", most));
            }
            out.extend(wrap(&crew.timed(|_| true), ", ", most));
        }
    }
    out
}

/// Draws the space between two boxes: full carts along the first line, empty carts along the last.
fn between(way: &DiagramWay, lines: &[String], height: usize) -> Vec<String> {
    let mut out = vec![" ".repeat(BETWEEN)];
    let belt = matches!(way.what, What::Relay { .. });
    let name = match &way.what {
        What::Relay { word, .. } => {
            format!("{word} {}", shorten(&way.name, BETWEEN - 7 - columns(word)))
        }
        What::Crew(_) => shorten(&way.name, BETWEEN - 6),
    };
    let rail = if belt { "=" } else { "─" };
    out.push(format!("{rail}{rail} {name} {}", rail.repeat(BETWEEN - 4 - columns(&name))));
    for at in 1..height {
        if at + 1 == height && !belt {
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
