//! Layered graph layout: places figures in columns from left to right and routes lines around them.
//!
//! Columns alternate between nodes and the ways that leave them, by longest path. A line that
//! passes a column reserves a place in it (`ColumnItem::Pass`), so that it crosses no figure.

use super::super::model::{Asker, Graph};
use super::figure::Figure;

/// Vertical gap between two figures of a column, in pixels.
const GAP: f64 = 26.0;

/// Half of the height that a passing line reserves in a column, in pixels.
const PASS: f64 = 10.0;

/// Width of the gap between two columns, in pixels: where all lines in it are horizontal, and where
/// some are not.
const CHANNEL: [f64; 2] = [46.0, 84.0];

/// Sweeps that reorder the columns to reduce crossings.
const ROUNDS: usize = 12;

/// Something that takes a place in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnItem {
    /// Index of a figure.
    Figure(usize),
    /// A line that passes this column.
    Pass(LineKind),
}

/// Meaning of a line between two figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// Books, or a requester's requests.
    Way,
    /// Requests of a crew or an incinerator.
    Asks,
}

impl LineKind {
    /// Class of the line.
    pub fn class(self) -> &'static str {
        match self {
            Self::Way => "gw-line",
            Self::Asks => "gw-ask",
        }
    }

    /// Class of its arrowhead.
    pub fn head(self) -> &'static str {
        match self {
            Self::Way => "gw-head",
            Self::Asks => "gw-ask-head",
        }
    }
}

/// A line between items of adjacent columns.
struct Edge {
    from: usize,
    to: usize,
    kind: LineKind,
}

/// Final coordinates, in pixels.
#[derive(Debug)]
pub struct Layout {
    pub width: f64,
    pub height: f64,
    /// Items with their upper left corners.
    pub places: Vec<(ColumnItem, f64, f64)>,
    /// Lines, each from one point to another.
    pub lines: Vec<(LineKind, [(f64, f64); 2])>,
    /// Tips of arrows.
    pub arrows: Vec<(LineKind, (f64, f64))>,
}

/// Items assigned to columns, and edges between items of adjacent columns.
struct Draft {
    items: Vec<ColumnItem>,
    column: Vec<usize>,
    edges: Vec<Edge>,
    columns: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
}

impl Layout {
    pub fn new(graph: &Graph, figures: &[Figure]) -> Self {
        let mut draft = Draft::new(graph);
        draft.order();
        draft.place(figures)
    }
}

impl Draft {
    fn new(graph: &Graph) -> Self {
        let mut draft = Self {
            items: Vec::new(),
            column: Vec::new(),
            edges: Vec::new(),
            columns: Vec::new(),
            before: Vec::new(),
            behind: Vec::new(),
        };
        for (at, node) in graph.nodes.iter().enumerate() {
            draft.add(ColumnItem::Figure(at), node.layer * 2);
        }
        for (at, way) in graph.ways.iter().enumerate() {
            let column = graph.nodes[way.from].layer * 2 + 1;
            draft.add(ColumnItem::Figure(graph.nodes.len() + at), column);
        }
        for (at, way) in graph.ways.iter().enumerate() {
            let me = graph.nodes.len() + at;
            draft.edges.push(Edge { from: way.from, to: me, kind: LineKind::Way });
            draft.connect(me, way.to, LineKind::Way);
        }
        for (asker, to) in graph.asks() {
            let from = match asker {
                Asker::Crew(way) => graph.nodes.len() + way,
                Asker::Incinerator(node) => node,
            };
            draft.connect(from, to, LineKind::Asks);
        }
        draft.before = vec![Vec::new(); draft.items.len()];
        draft.behind = vec![Vec::new(); draft.items.len()];
        for Edge { from, to, .. } in &draft.edges {
            draft.behind[*from].push(*to);
            draft.before[*to].push(*from);
        }
        draft
    }

    /// Adds a line, with a place in each column that it passes.
    fn connect(&mut self, from: usize, to: usize, kind: LineKind) {
        let mut last = from;
        for column in self.column[from] + 1..self.column[to] {
            let pass = self.add(ColumnItem::Pass(kind), column);
            self.edges.push(Edge { from: last, to: pass, kind });
            last = pass;
        }
        self.edges.push(Edge { from: last, to, kind });
    }

    fn add(&mut self, item: ColumnItem, column: usize) -> usize {
        let at = self.items.len();
        self.items.push(item);
        self.column.push(column);
        if self.columns.len() <= column {
            self.columns.resize(column + 1, Vec::new());
        }
        self.columns[column].push(at);
        at
    }

    /// Reorders columns by the barycentre heuristic and keeps the order with the fewest crossings
    /// seen.
    fn order(&mut self) {
        let mut rank = vec![0usize; self.items.len()];
        for column in &self.columns {
            for (place, item) in column.iter().enumerate() {
                rank[*item] = place;
            }
        }
        let mut best = (self.crossings(&rank), self.columns.clone());
        for round in 0..ROUNDS {
            if best.0 == 0 && round > 1 {
                break;
            }
            let forth = round % 2 == 0;
            let count = self.columns.len();
            for step in 0..count {
                let at = if forth { step } else { count - 1 - step };
                let near = if forth { &self.before } else { &self.behind };
                let mut column = std::mem::take(&mut self.columns[at]);
                let mean = |item: &usize| {
                    let near = &near[*item];
                    if near.is_empty() {
                        return rank[*item] as f64;
                    }
                    near.iter().map(|other| rank[*other] as f64).sum::<f64>() / near.len() as f64
                };
                column.sort_by(|a, b| mean(a).total_cmp(&mean(b)).then(rank[*a].cmp(&rank[*b])));
                for (place, item) in column.iter().enumerate() {
                    rank[*item] = place;
                }
                self.columns[at] = column;
            }
            let crossings = self.crossings(&rank);
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    /// Number of crossing pairs of lines.
    fn crossings(&self, rank: &[usize]) -> u64 {
        let mut between: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.columns.len()];
        for Edge { from, to, .. } in &self.edges {
            between[self.column[*from]].push((rank[*from], rank[*to]));
        }
        let mut crossings = 0;
        for lines in &mut between {
            lines.sort_unstable();
            let most = lines.iter().map(|line| line.1).max().unwrap_or(0) + 1;
            // Fenwick tree: how many lines end at or above each place.
            let mut sums = vec![0u64; most + 1];
            for (seen, (_, end)) in lines.iter().enumerate() {
                let mut at = end + 1;
                let mut above = 0;
                while at > 0 {
                    above += sums[at];
                    at &= at - 1;
                }
                crossings += seen as u64 - above;
                at = end + 1;
                while at <= most {
                    sums[at] += 1;
                    at += at & at.wrapping_neg();
                }
            }
        }
        crossings
    }

    fn place(&self, figures: &[Figure]) -> Layout {
        // Extent of an item above and below the point where its lines attach.
        let reach = |item: usize| match self.items[item] {
            ColumnItem::Figure(at) => (figures[at].axis, figures[at].height - figures[at].axis),
            ColumnItem::Pass(_) => (PASS, PASS),
        };
        let y = self.levels(&reach);
        let top =
            (0..self.items.len()).map(|item| y[item] - reach(item).0).fold(f64::MAX, f64::min);
        let bottom =
            (0..self.items.len()).map(|item| y[item] + reach(item).1).fold(f64::MIN, f64::max);
        let (top, bottom) = if self.items.is_empty() { (0.0, 0.0) } else { (top, bottom) };

        let wide = |item: &usize| match self.items[*item] {
            ColumnItem::Figure(at) => figures[at].width,
            ColumnItem::Pass(_) => 0.0,
        };
        let mut left = Vec::new();
        let mut x = 0.0;
        for (at, column) in self.columns.iter().enumerate() {
            let width = column.iter().map(wide).fold(0.0, f64::max);
            left.push((x, width));
            let mut lines = self.edges.iter().filter(|edge| self.column[edge.from] == at);
            let level = lines.all(|edge| (y[edge.from] - y[edge.to]).abs() < 1.0);
            x += width + CHANNEL[usize::from(!level)];
        }
        let width = left.last().map_or(0.0, |(x, width)| x + width);
        let mut out = Layout {
            width,
            height: bottom - top,
            places: Vec::new(),
            lines: Vec::new(),
            arrows: Vec::new(),
        };
        // Where lines attach to an item, on the left and on the right.
        let ports = |item: usize| {
            let (x, width) = left[self.column[item]];
            match self.items[item] {
                ColumnItem::Figure(at) => {
                    let corner = x + (width - figures[at].width) / 2.0;
                    figures[at].ports.map(|port| corner + port)
                }
                ColumnItem::Pass(_) => [x, x + width],
            }
        };
        for (at, item) in self.items.iter().enumerate() {
            let (x, width) = left[self.column[at]];
            match item {
                ColumnItem::Figure(figure) => {
                    let corner = x + (width - figures[*figure].width) / 2.0;
                    out.places.push((*item, corner, y[at] - reach(at).0 - top));
                }
                ColumnItem::Pass(kind) => {
                    out.lines.push((*kind, ports(at).map(|x| (x, y[at] - top))));
                }
            }
        }
        for Edge { from, to, kind } in &self.edges {
            let (x, width) = left[self.column[*from]];
            let (start, end) = (x + width, left[self.column[*to]].0);
            let (from_y, to_y) = (y[*from] - top, y[*to] - top);
            let target = ports(*to)[0] - 3.0;
            // Level up to the end of the column; a change of height comes after it.
            if matches!(self.items[*from], ColumnItem::Figure(_)) {
                out.lines.push((*kind, [(ports(*from)[1], from_y), (start, from_y)]));
            }
            let arrives = matches!(self.items[*to], ColumnItem::Figure(_));
            let last = if arrives { target - 8.0 } else { end };
            out.lines.push((*kind, [(start, from_y), (end.min(last), to_y)]));
            if arrives {
                out.lines.push((*kind, [(end.min(last), to_y), (last, to_y)]));
                out.arrows.push((*kind, (target, to_y)));
            }
        }
        out.lines.retain(|(_, [from, to])| from != to);
        out
    }

    /// Vertical position of each item's lines: near its neighbours, in the order of its column.
    fn levels(&self, reach: &impl Fn(usize) -> (f64, f64)) -> Vec<f64> {
        let mut y = vec![0.0; self.items.len()];
        let apart: Vec<Vec<f64>> = self
            .columns
            .iter()
            .map(|column| {
                let pairs = column.windows(2);
                pairs.map(|pair| reach(pair[0]).1 + GAP + reach(pair[1]).0).collect()
            })
            .collect();
        for (column, apart) in self.columns.iter().zip(&apart) {
            let wants = vec![0.0; column.len()];
            for (item, place) in column.iter().zip(spread(&wants, apart, None)) {
                y[*item] = place;
            }
        }
        for round in 0..3 * ROUNDS {
            let count = self.columns.len();
            for step in 0..count {
                let at = if round % 2 == 0 { step } else { count - 1 - step };
                let column = &self.columns[at];
                let wants: Vec<f64> = column
                    .iter()
                    .map(|item| {
                        let near = || self.before[*item].iter().chain(&self.behind[*item]);
                        let number = near().count();
                        if number == 0 {
                            return y[*item];
                        }
                        near().map(|other| y[*other]).sum::<f64>() / number as f64
                    })
                    .collect();
                for (item, place) in column.iter().zip(spread(&wants, &apart[at], None)) {
                    y[*item] = place;
                }
            }
        }
        y.iter().map(|y| y.round()).collect()
    }
}

/// Positions as close to `wants` as possible (least squares) that keep their order, lie at least
/// `apart` from each other and stay within `ends`.
pub fn spread(wants: &[f64], apart: &[f64], ends: Option<[f64; 2]>) -> Vec<f64> {
    let mut offset = Vec::with_capacity(wants.len());
    let mut sum = 0.0;
    for at in 0..wants.len() {
        if at > 0 {
            sum += apart[at - 1];
        }
        offset.push(sum);
    }
    // Isotonic regression: with the gaps subtracted, places only need to be non-decreasing.
    // Adjacent places out of order are merged at their mean.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (want, offset) in wants.iter().zip(&offset) {
        let mut block = (want - offset, 1);
        while let Some((mean, count)) = blocks.last().copied().filter(|last| last.0 > block.0) {
            blocks.pop();
            let both = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / both as f64, both);
        }
        blocks.push(block);
    }
    let flat = blocks.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    let kept = flat.map(|place| match ends {
        Some([low, high]) => place.min(high - sum).max(low),
        None => place,
    });
    kept.zip(offset).map(|(place, offset)| place + offset).collect()
}
