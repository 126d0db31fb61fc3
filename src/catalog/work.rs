//! The shipped works. All but `balancer` are filters: adjacent filters in a chain share one pass
//! over the body.

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::transform::{Product, Transform};
use gopherworks_supervision::Guarded;
use gopherworks_supervision::failure::Failure;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Catalog, Factory, Site, WorkFactory};

#[cfg(feature = "expressions")]
mod conditions;
#[cfg(feature = "expressions")]
pub(crate) mod expression;
pub mod filter;
#[cfg(feature = "gzip")]
mod gunzip;
#[cfg(feature = "gzip")]
mod gzip;
mod parse;
pub(super) mod records;
pub(super) mod scratch;
mod sha256;
mod spill;
#[cfg(feature = "zstd")]
mod zstd;

use filter::{Filter, FilterMake, Streamed};
use records::{RecordWork, Records};

/// Size in bytes of the buffers for reading and writing bodies.
pub(super) const BUFFER: usize = 64 * 1024;

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_filter(
            "sha256",
            "Takes the SHA-256 of the body and passes the body on unchanged",
            sha256::make,
        )
        .add_work(
            "balancer",
            "Sends each book to the workers of a balancer and passes their answer on",
            asking,
        )
        .add_record_work(
            "parse",
            "Reads a body that is JSON, logfmt, a line of CSV or text with a pattern as fields",
            parse::steps,
        );
    #[cfg(feature = "expressions")]
    catalog
        .add_record_work(
            "filter",
            "Passes books that meet a condition; the others are counted as filtered",
            conditions::filter,
        )
        .add_record_work(
            "map",
            "Sets and removes fields and headers, or makes a new body, by expressions",
            conditions::map,
        )
        .add_record_work(
            "split",
            "Puts the items of a list as books of their own in place of the book that has the list",
            conditions::split,
        );
    #[cfg(feature = "gzip")]
    catalog
        .add_filter("gzip", "Compresses with gzip; appends .gz to the name", gzip::make)
        .add_filter("gunzip", "Expands gzip; takes .gz off the name", gunzip::make);
    #[cfg(feature = "zstd")]
    catalog
        .add_filter(
            "zstd",
            "Compresses with Zstandard; appends .zst to the name",
            zstd::make_encoder,
        )
        .add_filter("unzstd", "Expands Zstandard; takes .zst off the name", zstd::make_decoder);
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskOptions {
    /// Name of the balancer.
    #[expect(dead_code, reason = "the plan reads it: it is a name of the topology")]
    to: String,
}

/// Placeholder for a work or a burn that the workers of a balancer do.
pub(super) struct Elsewhere;

impl Transform for Elsewhere {
    fn apply(&mut self, _: Book) -> Result<Option<Book>, Failure> {
        Err(Failure::permanent("this is the work of a balancer"))
    }
}

impl Burn for Elsewhere {
    fn burn(&self, _: &Book) -> Result<(), Failure> {
        Err(Failure::permanent("this is the work of a balancer"))
    }
}

pub(super) fn asking(_: &AskOptions, _: &Site) -> Result<Elsewhere, Failure> {
    Ok(Elsewhere)
}

impl WorkFactory {
    /// Creates a factory of work that streams bodies. [`compose`] joins adjacent works of this kind
    /// into one pass.
    pub fn from_filter<F: Filter>(
        make: impl Fn(&Site) -> Result<F, Failure> + Send + Sync + 'static,
    ) -> Self {
        let make: FilterMake =
            std::sync::Arc::new(move |site| Ok(Box::new(make(site)?) as Box<dyn Filter>));
        Self::from_filters(vec![make])
    }

    fn from_filters(filters: Vec<FilterMake>) -> Self {
        let filters: std::sync::Arc<[FilterMake]> = filters.into();
        let parts = filters.clone();
        let mut factory =
            Self::new(move |site| Ok(Box::new(Streamed::new(&parts, site)?) as Box<dyn Transform>));
        factory.filters = filters;
        factory
    }

    pub(super) fn from_records(works: Vec<std::sync::Arc<dyn RecordWork>>) -> Self {
        let works: std::sync::Arc<[_]> = works.into();
        let parts = works.clone();
        let mut factory =
            Self::new(move |_| Ok(Box::new(Records(parts.clone())) as Box<dyn Transform>));
        factory.records = works;
        factory
    }
}

/// Combines works into one that applies them left to right. Adjacent filters share one pass over
/// the body, and adjacent works on records one parsing of it. With no works, books pass unchanged.
pub fn compose(parts: Vec<WorkFactory>) -> WorkFactory {
    let mut stages: Vec<WorkFactory> = Vec::with_capacity(parts.len());
    for part in parts {
        match stages.last_mut() {
            Some(last) if !last.filters.is_empty() && !part.filters.is_empty() => {
                let joined = last.filters.iter().chain(part.filters.iter()).cloned();
                *last = WorkFactory::from_filters(joined.collect());
            }
            Some(last) if !last.records.is_empty() && !part.records.is_empty() => {
                let joined = last.records.iter().chain(part.records.iter()).cloned();
                *last = WorkFactory::from_records(joined.collect());
            }
            _ => stages.push(part),
        }
    }
    if stages.len() == 1 {
        return stages.remove(0);
    }
    Factory::new(move |site| {
        let stages = stages.iter().map(|stage| stage.make(site).map(Guarded::new));
        Ok(Box::new(Chain(stages.collect::<Result<_, _>>()?)) as Box<dyn Transform>)
    })
}

/// Works applied in sequence. Panics in `drop` are caught for each, since a second one would abort.
struct Chain(Vec<Guarded<Box<dyn Transform>>>);

impl Transform for Chain {
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        Ok(match self.work(book)? {
            Product::Book(book) => Some(book),
            Product::Dropped | Product::Filtered => None,
            Product::Split(_) => return Err(Failure::permanent("only a crew splits books")),
        })
    }

    fn work(&mut self, book: Book) -> Result<Product, Failure> {
        let mut current = book;
        for stage in &mut self.0 {
            match stage.work(current)? {
                Product::Book(book) => current = book,
                ended => return Ok(ended),
            }
        }
        Ok(Product::Book(current))
    }

    fn blocks(&self) -> bool {
        self.0.iter().any(|stage| stage.blocks())
    }
}

#[cfg(test)]
mod tests;
