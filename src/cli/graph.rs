//! `graph`.

use gopherworks::diagram::{Copies, Format, Picture};

use super::{Drawing, Failed, GraphArgs, code, load, overrides, print};

/// Draws a valid config on stdout; everything else goes to stderr.
pub fn graph(args: &GraphArgs, quiet: bool) -> Result<i32, Failed> {
    let loaded = load(&args.file, &overrides(&args.sets)?, quiet)?;
    let copies = if args.expand { Copies::Expanded } else { Copies::Folded };
    let format = match args.format {
        Drawing::Text => Format::Text,
        Drawing::Dot => Format::Dot,
        Drawing::Mermaid => Format::Mermaid,
        Drawing::Svg => Format::Svg,
        Drawing::Json => Format::Json,
    };
    let drawn = Picture::new(&loaded.config, copies).draw(format);
    print::line(drawn.trim_end_matches('\n'), false)?;
    Ok(code::OK)
}
