//! Pictures of a topology: the same drawing as text, for Graphviz, for Mermaid and as SVG.
//!
//! ```
//! use gopherworks::TopologyConfig;
//! use gopherworks::graph::{Copies, Format, Picture};
//!
//! let config = TopologyConfig::builder("two")
//!     .copies("lane", 2)
//!     .pile("manuals", |pile| pile)
//!     .incinerator("furnace", |fire| fire)
//!     .crew("crew", "manuals", "furnace", |crew| crew.gophers(1, "load push unload return"))
//!     .build();
//! let folded = Picture::new(&config, Copies::Folded).draw(Format::Text);
//! assert!(folded.contains("x 2 lane"));
//! let expanded = Picture::new(&config, Copies::Expanded).draw(Format::Svg);
//! assert!(expanded.contains("crew[lane=1]"));
//! ```
//!
//! The same config gives the same picture, byte by byte.

use crate::config::schema::TopologyConfig;

mod dot;
mod mermaid;
mod model;
mod requests;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod words;

/// What a picture is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal, in at most 120 columns.
    Text,
    /// For Graphviz.
    Dot,
    /// A flowchart for Mermaid.
    Mermaid,
    /// A picture for a document, without outside fonts, styles or scripts.
    Svg,
}

/// How copies are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Each node once, with how many there are of it.
    Folded,
    /// Every copy as a node of its own, shared nodes once.
    Expanded,
}

/// A topology, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Picture(model::Graph);

impl Picture {
    /// Looks at a config. Of one that no plan would accept, crews and relays are left out that lead nowhere or in a circle.
    #[must_use]
    pub fn new(config: &TopologyConfig, copies: Copies) -> Self {
        Self(model::Graph::new(config, copies))
    }

    /// Draws it. What is drawn ends with a newline.
    #[must_use]
    pub fn draw(&self, format: Format) -> String {
        match format {
            Format::Text => text::draw(&self.0),
            Format::Dot => dot::draw(&self.0),
            Format::Mermaid => mermaid::draw(&self.0),
            Format::Svg => svg::draw(&self.0),
        }
    }
}
