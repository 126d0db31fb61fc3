//! The same config, made in code.
//!
//! ```
//! use std::time::Duration;
//! use gopherworks::catalog::Catalog;
//! use gopherworks::config::builder::{kind, wait};
//! use gopherworks::config::elements::TopologyConfig;
//! use gopherworks::plan::Plan;
//!
//! let config = TopologyConfig::builder("two-gophers-staged")
//!     .pile("manuals", |pile| pile.source(kind("generate").option("books", 10_000)))
//!     .dump("middle", |dump| dump.capacity_books(80))
//!     .incinerator("furnace", |fire| fire.burn(kind("count")))
//!     .crew("near", "manuals", "middle", |crew| {
//!         crew.gophers(1, "load push unload return")
//!             .cart_books(10)
//!             .load(wait(Duration::from_millis(1)))
//!     })
//!     .crew("far", "middle", "furnace", |crew| {
//!         crew.gophers(1, "load push unload return").carts(2).cart_books(10)
//!     })
//!     .build();
//! let (plan, _warnings) = Plan::new(&config, &Catalog::standard())?;
//! assert_eq!(plan.crews[0].name, "near");
//! # Ok::<(), gopherworks::config::Diagnostics>(())
//! ```

use std::path::PathBuf;
use std::time::Duration;

use super::elements::{
    CrewConfig, DumpConfig, IncineratorConfig, KindConfig, OperationsConfig, PileConfig,
    RelayConfig, Span, StepTime, StoreConfig, SupervisionConfig, TopologyConfig,
};

mod balancing;

pub use balancing::{batch, closed, http, open, utilisation};

/// Methods that each set one value below a key; those of keys themselves are derived.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($value:ident: $type:ty) $($field:tt).+ = $set:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $value: $type) -> Self {
            self.$($field).+ = $set;
            self
        }
    )*};
}
use setters;

/// A kind without options; a name alone does where a kind is wanted.
pub fn kind(name: impl Into<String>) -> KindConfig {
    KindConfig { kind: name.into(), options: toml::Table::new() }
}

/// A step that takes a fixed time without a core.
pub fn wait(time: Duration) -> StepTime {
    StepTime { wait: Span::Fixed(time), cpu: Span::Zero }
}

/// A step that takes a fixed time on a core.
pub fn cpu(time: Duration) -> StepTime {
    StepTime { wait: Span::Zero, cpu: Span::Fixed(time) }
}

impl TopologyConfig {
    /// Starts a topology.
    pub fn builder(name: impl Into<String>) -> TopologyBuilder {
        TopologyBuilder(Self { name: name.into(), ..Self::default() })
    }
}

/// Makes a [`TopologyConfig`], node by node. A name that is given twice means the later node.
#[derive(Debug, Clone)]
pub struct TopologyBuilder(TopologyConfig);

impl TopologyBuilder {
    /// Adds a pile.
    #[must_use]
    pub fn pile(mut self, name: &str, make: impl FnOnce(PileConfig) -> PileConfig) -> Self {
        self.0.piles.insert(name.into(), make(PileConfig::default()));
        self
    }

    /// Adds a staging dump.
    #[must_use]
    pub fn dump(mut self, name: &str, make: impl FnOnce(DumpConfig) -> DumpConfig) -> Self {
        self.0.dumps.insert(name.into(), make(DumpConfig::default()));
        self
    }

    /// Adds an incinerator, which only counts what it burns unless `make` sets its burn.
    #[must_use]
    pub fn incinerator(
        mut self,
        name: &str,
        make: impl FnOnce(IncineratorConfig) -> IncineratorConfig,
    ) -> Self {
        self.0.incinerators.insert(name.into(), make(IncineratorConfig::new("count")));
        self
    }

    /// Adds a crew from a pile or dump to a dump or incinerator.
    #[must_use]
    pub fn crew(
        mut self,
        name: &str,
        from: &str,
        to: &str,
        make: impl FnOnce(CrewConfig) -> CrewConfig,
    ) -> Self {
        self.0
            .crews
            .insert(name.into(), make(CrewConfig::new(from, to, Vec::<Vec<String>>::new())));
        self
    }

    /// Adds a relay: it carries all books from a pile or dump to a pile without a source, a dump
    /// or an incinerator, in order.
    #[must_use]
    pub fn relay(mut self, name: &str, from: &str, to: &str) -> Self {
        self.0.relays.insert(name.into(), RelayConfig::new(from, to));
        self
    }

    /// Multiplies every node but the shared ones along an axis.
    #[must_use]
    pub fn copies(mut self, axis: &str, count: u32) -> Self {
        self.0.copies.insert(axis.into(), count);
        self
    }

    /// Names a node that all copies have in common.
    #[must_use]
    pub fn shared(mut self, node: &str) -> Self {
        self.0.shared.push(node.into());
        self
    }

    setters! {
        /// Sets the number of cores.
        cores(cores: u32) 0.execution.cores = cores;
        /// Sets the seed of all random streams.
        seed(seed: u64) 0.execution.seed = seed;
        /// Keeps piles and dumps in this store, so that they survive the process.
        store(config: StoreConfig) 0.store = Some(config);
        /// Serves health, metrics and the state of the run to operators.
        operations(config: OperationsConfig) 0.operations = Some(config);
        /// Sets the folder for bodies that are too large for memory.
        scratch(folder: impl Into<PathBuf>) 0.execution.scratch = Some(folder.into());
        /// Sets the most time for a drain.
        drain_deadline(time: Duration) 0.execution.drain_deadline = Some(time);
        /// Sets the time of one gopher's round trip.
        t1(time: Duration) 0.model.t1 = Some(time);
    }

    /// Sets what happens when an actor fails.
    #[must_use]
    pub fn supervision(
        mut self,
        change: impl FnOnce(SupervisionConfig) -> SupervisionConfig,
    ) -> Self {
        self.0.supervision = change(self.0.supervision);
        self
    }

    /// The topology, as if read from a file; a plan checks it.
    pub fn build(self) -> TopologyConfig {
        self.0
    }
}

impl PileConfig {
    setters! {
        /// Bounds the books that are ready at once.
        capacity_books(books: u64) capacity.books = Some(books);
        /// Bounds the bytes that are ready at once.
        capacity_bytes(bytes: u64) capacity.bytes = Some(bytes);
        /// Bounds the gophers that load at once.
        exclusive_load(slots: u32) exclusive.load = Some(slots);
    }
}

impl DumpConfig {
    setters! {
        /// Bounds the books that are admitted at once.
        capacity_books(books: u64) capacity.books = Some(books);
        /// Bounds the bytes that are admitted at once.
        capacity_bytes(bytes: u64) capacity.bytes = Some(bytes);
        /// Bounds the gophers that load at once.
        exclusive_load(slots: u32) exclusive.load = Some(slots);
        /// Bounds the gophers that unload at once.
        exclusive_unload(slots: u32) exclusive.unload = Some(slots);
    }
}

impl IncineratorConfig {
    setters! {
        /// Bounds the gophers that unload at once.
        exclusive_unload(slots: u32) exclusive.unload = Some(slots);
    }
}

impl CrewConfig {
    /// Adds `count` gophers with these duties, e.g. `"load push"`.
    #[must_use]
    pub fn gophers(mut self, count: usize, duties: &str) -> Self {
        let duties: Vec<String> = duties.split_whitespace().map(str::to_owned).collect();
        self.gophers.extend(std::iter::repeat_n(duties, count));
        self
    }

    /// Adds work on each book, after the work that is there.
    #[must_use]
    pub fn work(mut self, work: impl Into<KindConfig>) -> Self {
        self.work.push(work.into());
        self
    }

    /// Multiplies the crew alone along an axis: each copy has its own gophers and carts, and the
    /// same ends.
    #[must_use]
    pub fn copies(mut self, axis: &str, count: u32) -> Self {
        self.copies.insert(axis.into(), count);
        self
    }

    setters! {
        /// Sets how many carts circulate.
        carts(count: u32) carts.count = count;
        /// Bounds the books in a cart.
        cart_books(books: u64) carts.books = books;
        /// Bounds the bytes in a cart.
        cart_bytes(bytes: u64) carts.bytes = Some(bytes);
        /// Sets what loading costs.
        load(time: StepTime) steps.load = time;
        /// Sets what pushing costs.
        push(time: StepTime) steps.push = time;
        /// Sets what unloading costs.
        unload(time: StepTime) steps.unload = time;
        /// Sets what returning the empty cart costs.
        return_(time: StepTime) steps.return_ = time;
    }
}
