//! Writes SVG elements and estimates the width of text.

use std::fmt::Write as _;

/// Text styles. Widths are estimated generously because the font is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Title,
    Name,
    Duty,
    Small,
    Badge,
}

impl Weight {
    fn class(self) -> &'static str {
        match self {
            Self::Title => "gw-title",
            Self::Name => "gw-name",
            Self::Duty => "gw-duty",
            Self::Small => "gw-small",
            Self::Badge => "gw-badge",
        }
    }

    /// Font size in pixels, and the mean width of a character as a fraction of it.
    fn size(self) -> (f64, f64) {
        match self {
            Self::Title => (20.0, 0.66),
            Self::Name => (14.0, 0.68),
            Self::Duty => (12.0, 0.6),
            Self::Small => (11.0, 0.58),
            Self::Badge => (11.0, 0.64),
        }
    }

    /// Number of columns that fit in `width` pixels.
    pub fn fitting(self, width: f64) -> usize {
        let (size, share) = self.size();
        (width / (size * share)) as usize
    }
}

/// Estimated width of a text, in pixels.
pub fn width(text: &str, weight: Weight) -> f64 {
    let (size, share) = weight.size();
    super::super::words::columns(text) as f64 * size * share
}

/// Formats a coordinate, rounded to one decimal.
pub fn number(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Avoids `-0`.
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Escapes a text for XML elements and attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Elements, in painting order.
#[derive(Debug, Default)]
pub struct Page {
    pub out: String,
}

impl Page {
    pub fn text(&mut self, weight: Weight, anchor: &str, x: f64, y: f64, text: &str) {
        let _ = writeln!(
            self.out,
            "<text class=\"{}\" text-anchor=\"{anchor}\" x=\"{}\" y=\"{}\">{}</text>",
            weight.class(),
            number(x),
            number(y),
            escaped(text)
        );
    }

    /// Uses a shape from `<defs>`.
    pub fn shape(&mut self, id: &str, x: f64, y: f64) {
        let _ =
            writeln!(self.out, "<use href=\"#gw-{id}\" x=\"{}\" y=\"{}\"/>", number(x), number(y));
    }

    /// Uses a shape from `<defs>` faintly, to show a stack of copies.
    pub fn ghost(&mut self, id: &str, x: f64, y: f64) {
        let _ = writeln!(
            self.out,
            "<use href=\"#gw-{id}\" x=\"{}\" y=\"{}\" opacity=\".35\"/>",
            number(x),
            number(y)
        );
    }

    pub fn rect(&mut self, class: &str, [x, y, wide, tall]: [f64; 4], round: f64) {
        let [x, y, wide, tall, round] = [x, y, wide, tall, round].map(number);
        let _ = writeln!(
            self.out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{tall}\" \
             rx=\"{round}\"/>"
        );
    }

    pub fn path(&mut self, class: &str, d: &str) {
        let _ = writeln!(self.out, "<path class=\"{class}\" d=\"{d}\"/>");
    }

    /// Draws a line, straight or curved, whose ends are horizontal.
    pub fn connect(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let middle = number((x1 + x2) / 2.0);
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        if y1 == y2 {
            self.path(class, &format!("M{x1} {y1}H{x2}"));
        } else {
            self.path(class, &format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"));
        }
    }

    /// Draws an arrowhead that points right, with its tip at the given point.
    pub fn arrow(&mut self, class: &str, x: f64, y: f64) {
        let d = format!("M{} {}l-10 -6v12z", number(x), number(y));
        self.path(class, &d);
    }

    /// Draws a text on a pill-shaped label, centred at `x`.
    pub fn badge(&mut self, x: f64, y: f64, text: &str) {
        let wide = badge_width(text);
        self.rect("gw-pill", [x - wide / 2.0, y - 13.0, wide, 18.0], 9.0);
        self.text(Weight::Badge, "middle", x, y, text);
    }
}

pub fn badge_width(text: &str) -> f64 {
    width(text, Weight::Badge) + 18.0
}
