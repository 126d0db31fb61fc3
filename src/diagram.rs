//! Draws a topology as text, Graphviz, Mermaid or SVG.
//!
//! ```
//! use gopherworks::TopologyConfig;
//! use gopherworks::diagram::{Copies, Format, Picture};
//!
//! let config = TopologyConfig::builder("two")
//!     .copies("lane", 2)
//!     .pile("manuals", |pile| pile)
//!     .incinerator("furnace", |fire| fire)
//!     .crew("crew", "manuals", "furnace", |crew| crew.gophers(1, "load push unload return"))
//!     .build();
//! let folded = Picture::new(&config, Copies::Folded).draw(Format::Text);
//! assert!(folded.contains("2 lanes"));
//! let expanded = Picture::new(&config, Copies::Expanded).draw(Format::Svg);
//! assert!(expanded.contains("crew[lane=1]"));
//! ```
//!
//! Output is deterministic: equal configs give byte-identical pictures.

use crate::config::elements::TopologyConfig;

mod dot;
mod draft;
mod mermaid;
mod model;
mod outline;
mod requests;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use outline::{Outline, OutlineAsk, OutlineNode, OutlineWay};

/// The output format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for a terminal of 120 columns; [`Picture::text`] draws for other widths.
    Text,
    /// A Graphviz digraph (DOT).
    Dot,
    /// A Mermaid flowchart.
    Mermaid,
    /// An SVG image without external fonts, styles or scripts.
    Svg,
    /// An [`Outline`] in JSON.
    Json,
}

/// How the copies of a node (see `[copies]` in the config) are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// One drawing for all copies of a node, labelled with their number.
    Folded,
    /// One drawing per copy; shared nodes are drawn once.
    Expanded,
}

/// A topology in a form that every [`Format`] can draw.
#[derive(Debug, Clone)]
pub struct Picture(model::Graph);

impl Picture {
    /// Builds a picture of a config, valid or not. Crews, relays and requesters with an unknown
    /// end, and those that close a cycle, are left out.
    #[must_use]
    pub fn new(config: &TopologyConfig, copies: Copies) -> Self {
        Self(model::Graph::new(config, copies))
    }

    /// Renders the picture; the output ends with a newline.
    #[must_use]
    pub fn draw(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(120),
            Format::Dot => dot::draw(&self.0),
            Format::Mermaid => mermaid::draw(&self.0),
            Format::Svg => svg::draw(&self.0),
            Format::Json => format!("{:#}\n", serde_json::json!(self.outline())),
        }
    }

    /// The content of the picture.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline::of(&self.0)
    }

    /// Renders the picture as text with lines of at most `columns` columns if that is
    /// 70 or more, which two boxes and a crew between them take.
    #[must_use]
    pub fn text(&self, columns: usize) -> String {
        text::draw(&self.0, columns)
    }
}
