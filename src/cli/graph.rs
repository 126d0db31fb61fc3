//! `graph`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gopherworks::diagram::{Copies, Format, Picture};

use super::{Failed, Sets, code, load, overrides, print};

#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The config file of the design, or - for standard input (paths start at the current folder)
    file: PathBuf,
    /// Format of the drawing
    #[arg(long, value_enum, default_value_t)]
    format: Drawing,
    /// Draw every copy, and what they share once
    #[arg(long)]
    expand: bool,
    #[command(flatten)]
    sets: Sets,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// Text for a terminal
    #[default]
    Text,
    /// A graph for Graphviz
    Dot,
    /// A flowchart for Mermaid
    Mermaid,
    /// An SVG picture
    Svg,
    /// Nodes and ways in JSON, for programs that draw them
    Json,
}

/// Draws a valid config on stdout; everything else goes to stderr.
pub fn graph(args: &GraphArgs, quiet: bool) -> Result<i32, Failed> {
    let loaded = load(&args.file, &overrides(&args.sets)?, quiet)?;
    let copies = if args.expand { Copies::Expanded } else { Copies::Folded };
    let picture = Picture::new(&loaded.config, copies);
    let drawn = match args.format {
        Drawing::Text => picture.text(print::width(false).unwrap_or(80)),
        Drawing::Dot => picture.draw(Format::Dot),
        Drawing::Mermaid => picture.draw(Format::Mermaid),
        Drawing::Svg => picture.draw(Format::Svg),
        Drawing::Json => picture.draw(Format::Json),
    };
    print::line(drawn.trim_end_matches('\n'), false)?;
    Ok(code::OK)
}
