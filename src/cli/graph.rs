//! `graph`.

use gopherworks::diagram::{Copies, Format, Picture};

use super::{Drawing, Failed, GraphArgs, code, load, overrides, print};

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
