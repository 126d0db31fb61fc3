//! A figure is the drawing of one node or way: its size, its parts and the ports where lines
//! attach.

use super::super::model::{DiagramNode, DiagramWay, Role, Team};
use super::super::words::shorten;
use super::page::{Page, Weight, badge_width, width};
use super::shapes::{BELT, GOPHER, NODE};

/// Maximum number of columns of a text line in a figure.
const LONGEST: usize = 36;

/// Maximum number of workers drawn behind a balancer; a text gives their real number.
const WORKERS: u32 = 5;

/// Maximum number of clients drawn for a requester; a text gives their real number.
const CLIENTS: u32 = 4;

/// Horizontal distance of two gophers that stand side by side, in pixels.
const STEP: f64 = GOPHER.0 - 4.0;

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
    /// A horizontal line that ends in an arrowhead: start, end and height.
    Fan(f64, f64, f64),
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
                FigurePart::Fan(from, to, y) => {
                    let (from, to, y) = (left + from, left + to, top + y);
                    let [start, end, level] = [from, to - 8.0, y].map(super::page::number);
                    page.path("gw-fan", &format!("M{start} {level}H{end}"));
                    page.arrow("gw-head", to, y);
                }
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
    let small = |note: &String| (Weight::Small, shorten(note, LONGEST));
    let mut lines = vec![(Weight::Name, shorten(&node.name, LONGEST))];
    let clients = node.team.as_ref().filter(|_| node.role == Role::Requester);
    if let Some(clients) = clients {
        lines.push((Weight::Duty, clients.title.clone()));
        lines.extend(clients.notes.iter().map(small));
    }
    lines.extend(node.notes.iter().map(small));
    let shared = node.shared.then(|| "shared".to_owned());
    let badge = node.copies.clone().or(shared).map(|copies| shorten(&copies, LONGEST));
    let gophers = clients.map_or(1, |clients| clients.count.min(CLIENTS));
    let mut figure = standing(node.role.word(), NODE, gophers, badge, &lines);
    if let Some(team) = node.team.as_ref().filter(|_| node.role == Role::Balancer) {
        put_workers_behind(&mut figure, team);
    }
    if node.shared {
        let rect = [0.5, 22.0, figure.width - 1.0, figure.height - 22.5];
        figure.parts.insert(0, FigurePart::Rect("gw-meet", rect, 14.0));
        figure.ports = [0.0, figure.width];
    }
    figure
}

/// Adds a balancer's workers on its right.
fn put_workers_behind(figure: &mut Figure, team: &Team) {
    let mut lines = vec![(Weight::Duty, team.title.clone())];
    lines.extend(team.notes.iter().map(|note| (Weight::Small, shorten(note, LONGEST))));
    let drawn = team.count.min(WORKERS);
    let row = f64::from(drawn) * STEP + 4.0;
    let wide = row.max(widest(&lines)) + 20.0;
    let (left, top) =
        (figure.width.max(figure.ports[1] + 44.0), figure.axis - GOPHER.1 / 2.0 - 8.0);
    let mut parts = Vec::new();
    for one in 0..drawn {
        let x = left + (wide - row) / 2.0 + f64::from(one) * STEP;
        parts.push(FigurePart::Shape("gopher", x, top + 8.0));
    }
    let bottom = below(&mut parts, left + wide / 2.0, top + GOPHER.1 + 8.0, &lines) + 2.0;
    // Behind the shape, and its ghost if it has copies.
    let ghosts = figure.parts.iter().any(|part| matches!(part, FigurePart::Ghost(..)));
    let from = figure.ports[1] + if ghosts { 10.0 } else { -4.0 };
    figure.parts.push(FigurePart::Fan(from, left - 2.0, figure.axis));
    figure.parts.push(FigurePart::Rect("gw-team", [left, top, wide, bottom - top], 14.0));
    figure.parts.extend(parts);
    figure.width = left + wide + 6.0;
    figure.height = figure.height.max(bottom + 4.0);
}

/// Draws a relay as a belt.
pub fn relay(way: &DiagramWay, notes: &[String]) -> Figure {
    let mut lines =
        vec![(Weight::Name, shorten(&way.name, LONGEST)), (Weight::Small, "relay".to_owned())];
    let notes = way.ends.iter().chain(notes);
    lines.extend(notes.map(|note| (Weight::Small, shorten(note, LONGEST))));
    belt(way, &lines)
}

/// Draws a requester's requests as a belt.
pub fn requests(way: &DiagramWay) -> Figure {
    let mut lines = vec![(Weight::Duty, "requests".to_owned())];
    lines.extend(way.ends.iter().map(|end| (Weight::Small, shorten(end, LONGEST))));
    belt(way, &lines)
}

fn belt(way: &DiagramWay, lines: &[(Weight, String)]) -> Figure {
    let badge = way.copies.as_ref().map(|copies| shorten(copies, LONGEST));
    standing("belt", BELT, 1, badge, lines)
}

/// Draws a shape, or several gophers in its place, with lines of text below. A badge for copies
/// adds a faint second shape behind it.
fn standing(
    id: &'static str,
    (wide, tall): (f64, f64),
    gophers: u32,
    badge: Option<String>,
    lines: &[(Weight, String)],
) -> Figure {
    let badge_wide = badge.as_deref().map_or(0.0, badge_width);
    let row = f64::from(gophers) * STEP + 4.0;
    let wide = if gophers > 1 { wide.max(row) } else { wide };
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
    if gophers > 1 {
        let first = middle - row / 2.0;
        let x = (0..gophers).map(|one| first + f64::from(one) * STEP);
        parts.extend(x.map(|x| FigurePart::Shape("gopher", x, top + tall - GOPHER.1 - 4.0)));
    } else {
        parts.push(FigurePart::Shape(id, left, top));
    }
    let height = below(&mut parts, middle, top + tall + 2.0, lines) + 4.0;
    Figure {
        width: room,
        height,
        axis: top + tall * if id == "belt" { 0.62 } else { 0.58 },
        ports: [left - 2.0, left + wide + 2.0],
        parts,
    }
}
