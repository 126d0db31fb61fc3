//! `schema`.

use clap::{Args, ValueEnum};
use gopherworks::catalog::Catalog;
use gopherworks::config::{json_schema, reference};

use super::{Failed, code, print};

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    format: SchemaFormat,
}

/// Formats of the description of the config language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum SchemaFormat {
    /// JSON Schema, draft 2020-12
    #[default]
    Json,
    /// The page docs/reference/config.md
    Markdown,
    /// The page docs/reference/metrics.md
    #[cfg(feature = "actix-web")]
    Metrics,
    /// The API for operators as an OpenAPI document, version 3.1
    #[cfg(feature = "actix-web")]
    Openapi,
}

/// Prints the description of config files.
pub fn schema(args: &SchemaArgs) -> Result<i32, Failed> {
    let catalog = Catalog::standard();
    let text = match args.format {
        SchemaFormat::Json => format!("{:#}", json_schema(&catalog)),
        SchemaFormat::Markdown => reference(&catalog),
        #[cfg(feature = "actix-web")]
        SchemaFormat::Metrics => gopherworks::web::metrics_reference(),
        #[cfg(feature = "actix-web")]
        SchemaFormat::Openapi => format!("{:#}", gopherworks::web::openapi()),
    };
    print::line(text.trim_end(), false)?;
    Ok(code::OK)
}
