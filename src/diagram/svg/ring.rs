//! Draws a crew as a ring: full carts along the upper lane, empty carts back along the lower one,
//! and each gopher at the mean position of its duties.

use super::super::model::{DiagramCrew, DiagramWay, Gophers};
use super::super::words::{shorten, wrap};
use super::figure::{Figure, FigurePart, below, widest};
use super::layout::spread;
use super::page::{Weight, badge_width, width};
use super::shapes::{CART, GOPHER};

/// Maximum number of gophers drawn for one set of duties; a larger number is also written in words.
const GOPHERS: usize = 3;

/// Maximum number of carts drawn for one crew.
const CARTS: u32 = 6;

/// Padding between the panel and its content, in pixels.
const PAD: f64 = 14.0;

/// Corner radius of the ring, in pixels.
const ROUND: f64 = 28.0;

/// Space at each end of a lane that stays free of gophers and carts, in pixels.
const TURN: f64 = 42.0;

const UPPER: usize = 0;
const MIDDLE: usize = 1;
const LOWER: usize = 2;

/// Gophers with equal duties, and where they are placed.
struct Group {
    row: usize,
    /// Mean position of the duties, from 0 at the pile to 1 at the other end.
    want: f64,
    drawn: usize,
    lines: Vec<(Weight, String)>,
    width: f64,
    x: f64,
}

impl Group {
    fn new(gophers: &Gophers, crew: &DiagramCrew) -> Self {
        const X: [f64; 4] = [0.0, 0.5, 1.0, 0.5];
        const Y: [i32; 4] = [0, -1, 0, 1];
        let does = || (0..4).filter(|step| gophers.does[*step]);
        let row = match does().map(|step| Y[step]).sum::<i32>() {
            ..0 => UPPER,
            0 => MIDDLE,
            1.. => LOWER,
        };
        let middle = match does().count() {
            0 => 0.5,
            number => does().map(|step| X[step]).sum::<f64>() / number as f64,
        };
        let mut lines = Vec::new();
        if gophers.count > GOPHERS {
            lines.push((Weight::Duty, format!("{} gophers", gophers.count)));
        }
        let duties = gophers.duties();
        lines.extend(duties.chunks(2).map(|pair| (Weight::Duty, pair.join(" "))));
        if let ([_], Some(step)) = (&duties[..], does().next()) {
            let time = crew.times[step].iter();
            lines.extend(time.map(|time| (Weight::Small, shorten(time, 30))));
        }
        let drawn = gophers.count.min(GOPHERS);
        let gophers = drawn as f64 * (GOPHER.0 - 4.0) + 4.0;
        Self { row, want: middle, drawn, width: gophers.max(widest(&lines)) + 8.0, lines, x: 0.0 }
    }

    fn depth(&self) -> f64 {
        self.lines.len() as f64 * 15.0 + 6.0
    }
}

pub fn crew(way: &DiagramWay, crew: &DiagramCrew) -> Figure {
    let mut groups: Vec<Group> = crew.gophers.iter().map(|group| Group::new(group, crew)).collect();
    let drawn = crew.carts.min(CARTS);
    let carts = [drawn.div_ceil(2), drawn / 2];

    let length = stretch(&mut groups, carts);
    let row = |row: usize| groups.iter().filter(move |group| group.row == row);
    let depth = |at: usize| row(at).map(Group::depth).fold(0.0, f64::max);
    let has = |at: usize| row(at).next().is_some();

    // Distances below the upper lane.
    let upper = if has(UPPER) { depth(UPPER) + 14.0 } else { 16.0 };
    let middle = if has(MIDDLE) { GOPHER.1 + depth(MIDDLE) + 4.0 } else { 0.0 };
    let rise = match (has(LOWER), carts[1]) {
        (true, _) => GOPHER.1,
        (false, 1..) => CART.1,
        (false, 0) => 8.0,
    };
    let needed = upper + middle + rise + 4.0;
    let lower = needed.max(84.0);
    let spare = lower - needed;
    let level = if has(MIDDLE) { upper + spare / 2.0 + GOPHER.1 * 0.62 } else { lower / 2.0 };

    let edge = |group: &Group, side: f64| group.x + side * group.width / 2.0;
    let left = row(MIDDLE).map(|group| edge(group, -1.0)).fold(-6.0, f64::min);
    let right = row(MIDDLE).map(|group| edge(group, 1.0)).fold(length + 6.0, f64::max);

    let head = head(way, crew);
    let foot = foot(crew, (right - left).max(widest(&head)));
    let badge = way.copies.as_ref().map(|copies| shorten(copies, 36));
    let badge_wide = badge.as_deref().map_or(0.0, badge_width);
    let inner = (right - left).max(widest(&head)).max(widest(&foot)).max(badge_wide);

    let stack = if badge.is_some() { 10.0 } else { 0.0 };
    let wide = inner + 2.0 * PAD;
    let shift = PAD + (inner - (right - left)) / 2.0 - left;
    let mut parts = Vec::new();
    let mut top = stack + if badge.is_some() { 14.0 } else { 4.0 };
    let panel_top = stack;
    top = below(&mut parts, wide / 2.0, top, &head);
    let lane = top + 6.0 + if has(UPPER) { GOPHER.1 } else { CART.1 };
    let at = |x: f64, y: f64| (shift + x, lane + y);

    let mut ring = track(at(0.0, 0.0), length, lower);
    let (x, y) = at(0.0, 0.0);
    for (from, right, y) in [(TURN - 12.0, true, y), (TURN - 12.0, false, y + lower)] {
        ring.push(FigurePart::Chevron(x + from, y, right));
        ring.push(FigurePart::Chevron(x + length - from, y, right));
    }
    for (number, y) in [(0, 0.0), (1, lower)] {
        let taken: Vec<(f64, f64)> =
            row(number * 2).map(|group| (edge(group, -1.0), edge(group, 1.0))).collect();
        for place in stops(length, &taken, carts[number]) {
            let (x, y) = at(place - CART.0 / 2.0, y - CART.1);
            ring.push(FigurePart::Shape(if number == 0 { "full" } else { "empty" }, x, y));
        }
    }
    for group in &groups {
        let feet = match group.row {
            UPPER => 0.0,
            MIDDLE => upper + spare / 2.0 + GOPHER.1,
            _ => lower,
        };
        let (x, feet) = at(group.x, feet);
        if group.row == MIDDLE {
            // Hide the track behind the gophers' labels.
            let rect = [x - group.width / 2.0, feet - 2.0, group.width, group.depth() + 4.0];
            ring.push(FigurePart::Rect("gw-ground", rect, 4.0));
        }
        for one in 0..group.drawn {
            let aside = (one as f64 - (group.drawn as f64 - 1.0) / 2.0) * (GOPHER.0 - 4.0);
            ring.push(FigurePart::Shape("gopher", x + aside - GOPHER.0 / 2.0, feet - GOPHER.1));
        }
        let lines = if group.row == MIDDLE { feet } else { feet + 4.0 };
        below(&mut ring, x, lines, &group.lines);
    }
    parts.extend(ring);
    let under = lane + lower + if has(LOWER) { depth(LOWER) + 4.0 } else { 6.0 };
    let bottom = below(&mut parts, wide / 2.0, under, &foot) + 6.0;

    let mut back = Vec::new();
    let panel = [0.5, panel_top + 0.5, wide - 1.0, bottom - panel_top - 1.0];
    if let Some(badge) = badge {
        let behind = [panel[0] + stack, panel[1] - stack + 3.0, panel[2], panel[3] - 6.0];
        back.push(FigurePart::Rect("gw-back", behind, 14.0));
        parts.push(FigurePart::Badge(wide / 2.0, panel_top + 5.0, badge));
    }
    back.push(FigurePart::Rect("gw-panel", panel, 14.0));
    back.extend(parts);
    Figure {
        width: wide + stack,
        height: bottom,
        axis: lane + level,
        ports: [0.0, wide + if stack > 0.0 { stack } else { 0.0 }],
        parts: back,
    }
}

/// Places the groups of each row; returns the length that the lanes need for groups and carts.
fn stretch(groups: &mut [Group], carts: [u32; 2]) -> f64 {
    const GAP: f64 = 8.0;
    let mut length: f64 = 220.0;
    for row in [UPPER, MIDDLE, LOWER] {
        let widths: Vec<f64> =
            groups.iter().filter(|group| group.row == row).map(|group| group.width).collect();
        let sum: f64 = widths.iter().map(|width| width + GAP).sum();
        let need = match row {
            MIDDLE => sum,
            _ => {
                // Gophers divide the lane into gaps, among which the carts are distributed.
                let gaps = widths.len() as u32 + 1;
                let carts = carts[row / 2].div_ceil(gaps) * gaps;
                2.0 * TURN + sum + f64::from(carts) * (CART.0 + 10.0)
            }
        };
        length = length.max(need);
    }
    for row in [UPPER, MIDDLE, LOWER] {
        let mut order: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].row == row).collect();
        order.sort_by(|a, b| groups[*a].want.total_cmp(&groups[*b].want).then(a.cmp(b)));
        let wants: Vec<f64> = order.iter().map(|at| groups[*at].want * length).collect();
        let apart: Vec<f64> = (order.windows(2))
            .map(|pair| (groups[pair[0]].width + groups[pair[1]].width) / 2.0 + GAP)
            .collect();
        let half = |at: Option<&usize>| at.map_or(0.0, |at| groups[*at].width / 2.0);
        let ends = match row {
            MIDDLE => [0.0, length],
            _ => [TURN + half(order.first()), length - TURN - half(order.last())],
        };
        let places = spread(&wants, &apart, Some(ends));
        for (at, x) in order.into_iter().zip(places) {
            groups[at].x = x;
        }
    }
    length
}

/// Draws the ring with its upper left corner at `(x, y)`.
fn track((x, y): (f64, f64), length: f64, lower: f64) -> Vec<FigurePart> {
    let rect = [x, y, length, lower];
    vec![FigurePart::Rect("gw-track", rect, ROUND), FigurePart::Rect("gw-rail", rect, ROUND)]
}

/// Positions of up to `count` carts on a lane, outside the ranges in `taken`; fewer if space is
/// short.
fn stops(length: f64, taken: &[(f64, f64)], count: u32) -> Vec<f64> {
    const APART: f64 = CART.0 + 8.0;
    let mut taken = taken.to_vec();
    taken.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut gaps: Vec<(f64, f64, u32)> = Vec::new();
    let mut from = TURN;
    for (left, right) in taken.into_iter().chain([(length - TURN, 0.0)]) {
        if left - from >= APART {
            gaps.push((from, left, 0));
        }
        from = right;
    }
    for _ in 0..count {
        // Choose the gap with the most space per cart after adding one; the first of equals.
        let mut best: Option<(usize, f64)> = None;
        for (at, (from, to, carts)) in gaps.iter().enumerate() {
            let room = (to - from) / f64::from(carts + 1);
            if room >= APART && best.is_none_or(|(_, most)| room > most + 1e-6) {
                best = Some((at, room));
            }
        }
        let Some((at, _)) = best else { break };
        gaps[at].2 += 1;
    }
    let places = gaps.into_iter().flat_map(|(from, to, carts)| {
        let room = (to - from) / f64::from(carts.max(1));
        (0..carts).map(move |cart| from + room * (f64::from(cart) + 0.5))
    });
    places.collect()
}

fn head(way: &DiagramWay, crew: &DiagramCrew) -> Vec<(Weight, String)> {
    let mut lines = vec![(Weight::Name, shorten(&way.name, 36))];
    lines.extend(way.ends.iter().map(|end| (Weight::Small, shorten(end, 40))));
    if !crew.work.is_empty() {
        let work: Vec<String> = crew.work.iter().map(|work| shorten(work, 30)).collect();
        let mut rows: Vec<String> = Vec::new();
        for work in work {
            match rows.last_mut() {
                Some(row) if width(row, Weight::Duty) + width(&work, Weight::Duty) < 230.0 => {
                    *row += &format!(" · {work}");
                }
                _ => rows.push(work),
            }
        }
        lines.extend(rows.into_iter().map(|row| (Weight::Duty, row)));
    }
    lines
}

/// The carts, and the step costs that are not shown below a gopher.
fn foot(crew: &DiagramCrew, room: f64) -> Vec<(Weight, String)> {
    let alone = |step: usize| {
        let mut groups = crew.gophers.iter();
        groups.any(|group| group.does[step] && group.duties().len() == 1)
    };
    let mut lines = vec![(Weight::Duty, shorten(&crew.load, 44))];
    let times = crew.timed(|step| !alone(step));
    let times: Vec<String> = times.iter().map(|time| shorten(time, 40)).collect();
    let rows = wrap(&times, ", ", Weight::Small.fitting(room).max(42));
    lines.extend(rows.into_iter().map(|row| (Weight::Small, row)));
    lines
}
