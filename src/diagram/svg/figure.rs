//! A figure is the drawing of one node or way: its size, its parts and the ports where lines
//! attach.

use super::super::model::{DiagramNode, DiagramWay};
use super::super::words::shorten;
use super::page::{Page, Weight, badge_width, width};
use super::shapes::{BELT, NODE};

/// Most columns of a text line in a figure.
const LONGEST: usize = 36;

/// A part of a figure. Coordinates are relative to the figure's upper left corner.
#[derive(Debug)]
pub enum FigurePart {
    Shape(&'static str, f64, f64),
    Ghost(&'static str, f64, f64),
    Rect(&'static str, [f64; 4], f64),
    Text(Weight, f64, f64, String),
    Badge(f64, f64, String),
    /// A chevron centred on a point; true if it points right, false if left.
    Chevron(f64, f64, bool),
}

/// The drawing of one node or way. Sizes are in pixels.
#[derive(Debug, Default)]
pub struct Figure {
    pub width: f64,
    pub height: f64,
    /// Vertical position of both ports.
    pub axis: f64,
    /// Horizontal positions where lines attach, on the left and on the right.
    pub ports: [f64; 2],
    pub parts: Vec<FigurePart>,
}

impl Figure {
    pub fn draw(&self, page: &mut Page, left: f64, top: f64) {
        for part in &self.parts {
            match part {
                FigurePart::Shape(id, x, y) => page.shape(id, left + x, top + y),
                FigurePart::Ghost(id, x, y) => page.ghost(id, left + x, top + y),
                FigurePart::Rect(class, [x, y, wide, tall], round) => {
                    page.rect(class, [left + x, top + y, *wide, *tall], *round);
                }
                FigurePart::Text(weight, x, y, text) => {
                    page.text(*weight, "middle", left + x, top + y, text)
                }
                FigurePart::Badge(x, y, text) => page.badge(left + x, top + y, text),
                FigurePart::Chevron(x, y, right) => {
                    let way = if *right { 1.0 } else { -1.0 };
                    let [x1, y1, x2, y2] =
                        [left + x - 3.0 * way, top + y - 5.0, left + x + 3.0 * way, top + y]
                            .map(super::page::number);
                    let y3 = super::page::number(top + y + 5.0);
                    page.path("gw-chevron", &format!("M{x1} {y1}L{x2} {y2}L{x1} {y3}"));
                }
            }
        }
    }
}

/// Adds centred lines of text below `y`; returns the `y` below the last one.
pub fn below(
    parts: &mut Vec<FigurePart>,
    middle: f64,
    mut y: f64,
    lines: &[(Weight, String)],
) -> f64 {
    for (weight, text) in lines {
        y += if *weight == Weight::Name { 18.0 } else { 15.0 };
        parts.push(FigurePart::Text(*weight, middle, y, text.clone()));
    }
    y + 5.0
}

pub fn widest(lines: &[(Weight, String)]) -> f64 {
    lines.iter().map(|(weight, text)| width(text, *weight)).fold(0.0, f64::max)
}

/// Draws a node with its name and notes below it.
pub fn node(node: &DiagramNode) -> Figure {
    let mut lines = vec![(Weight::Name, shorten(&node.name, LONGEST))];
    lines.extend(node.notes.iter().map(|note| (Weight::Small, shorten(note, LONGEST))));
    let shared = node.shared.then(|| "shared".to_owned());
    let badge = node.copies.clone().or(shared).map(|copies| shorten(&copies, LONGEST));
    let mut figure = standing(node.role.word(), NODE, badge, &lines);
    if node.shared {
        let rect = [0.5, 22.0, figure.width - 1.0, figure.height - 22.5];
        figure.parts.insert(0, FigurePart::Rect("gw-meet", rect, 14.0));
        figure.ports = [0.0, figure.width];
    }
    figure
}

/// Draws a relay or a requester's requests as a belt.
pub fn relay(way: &DiagramWay, word: &str, notes: &[String]) -> Figure {
    let mut lines =
        vec![(Weight::Name, shorten(&way.name, LONGEST)), (Weight::Small, word.to_owned())];
    let notes = way.ends.iter().chain(notes);
    lines.extend(notes.map(|note| (Weight::Small, shorten(note, LONGEST))));
    let badge = way.copies.as_ref().map(|copies| shorten(copies, LONGEST));
    standing("belt", BELT, badge, &lines)
}

/// Draws a shape with lines below it. A badge for copies adds a faint second shape behind it.
fn standing(
    id: &'static str,
    (wide, tall): (f64, f64),
    badge: Option<String>,
    lines: &[(Weight, String)],
) -> Figure {
    let badge_wide = badge.as_deref().map_or(0.0, badge_width);
    let room = (wide + 20.0).max(widest(lines) + 16.0).max(badge_wide + 16.0);
    let middle = room / 2.0;
    let left = middle - wide / 2.0;
    let top = 36.0;
    let mut parts = Vec::new();
    if let Some(badge) = badge {
        if badge != "shared" {
            parts.push(FigurePart::Ghost(id, left + 9.0, top - 9.0));
        }
        parts.push(FigurePart::Badge(middle, 21.0, badge));
    }
    parts.push(FigurePart::Shape(id, left, top));
    let height = below(&mut parts, middle, top + tall + 2.0, lines) + 4.0;
    Figure {
        width: room,
        height,
        axis: top + tall * if id == "belt" { 0.62 } else { 0.58 },
        ports: [left - 2.0, left + wide + 2.0],
        parts,
    }
}
