//! The same config, made in code.
//!
//! ```
//! use std::time::Duration;
//! use gopherworks::catalog::Catalog;
//! use gopherworks::config::builder::{kind, wait};
//! use gopherworks::config::schema::TopologyConfig;
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

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::schema::{
    CartsConfig, CrewConfig, DumpConfig, Exclusive, IncineratorConfig, KindConfig, PileConfig,
    RelayConfig, SpanConfig, StepTimeConfig, StepsConfig, SupervisionConfig, TopologyConfig,
};

mod balancing;

pub use balancing::{batch, closed, http, open, utilisation};

/// A kind without options; a name alone does where a kind is wanted.
pub fn kind(name: impl Into<String>) -> KindConfig {
    KindConfig { kind: name.into(), options: toml::Table::new() }
}

/// A step that takes a fixed time without a core.
pub fn wait(time: Duration) -> StepTimeConfig {
    StepTimeConfig { wait: Some(SpanConfig::Fixed(time)), cpu: None }
}

/// A step that takes a fixed time on a core.
pub fn cpu(time: Duration) -> StepTimeConfig {
    StepTimeConfig { wait: None, cpu: Some(SpanConfig::Fixed(time)) }
}

impl KindConfig {
    /// Sets an option.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<toml::Value>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }
}

impl From<&str> for KindConfig {
    fn from(name: &str) -> Self {
        kind(name)
    }
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

    /// Adds an incinerator, which only counts what it burns until it is told otherwise.
    #[must_use]
    pub fn incinerator(
        mut self,
        name: &str,
        make: impl FnOnce(IncineratorConfig) -> IncineratorConfig,
    ) -> Self {
        let fire = IncineratorConfig { burn: kind("count"), exclusive: Exclusive::default() };
        self.0.incinerators.insert(name.into(), make(fire));
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
        let crew = CrewConfig {
            from: from.into(),
            to: to.into(),
            gophers: Vec::new(),
            carts: CartsConfig::default(),
            work: Vec::new(),
            steps: StepsConfig::default(),
            copies: BTreeMap::new(),
        };
        self.0.crews.insert(name.into(), make(crew));
        self
    }

    /// Adds a relay: it carries everything from a pile or dump to a pile without a source, a dump or an incinerator, in order.
    #[must_use]
    pub fn relay(mut self, name: &str, from: &str, to: &str) -> Self {
        let relay = RelayConfig { from: from.into(), to: to.into(), books: None };
        self.0.relays.insert(name.into(), relay);
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

    /// Sets how many cores run it.
    #[must_use]
    pub fn cores(mut self, cores: u32) -> Self {
        self.0.execution.cores = cores;
        self
    }

    /// Sets the seed of every random stream.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.execution.seed = seed;
        self
    }

    /// Sets the folder for bodies too large for memory.
    #[must_use]
    pub fn scratch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.0.execution.scratch = Some(folder.into());
        self
    }

    /// Sets how long a drain may take.
    #[must_use]
    pub fn drain_deadline(mut self, time: Duration) -> Self {
        self.0.execution.drain_deadline = Some(time);
        self
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

    /// Sets the time of one gopher's round trip.
    #[must_use]
    pub fn t1(mut self, time: Duration) -> Self {
        self.0.model.t1 = Some(time);
        self
    }

    /// The topology, as it would have been read from a file; a plan judges it.
    pub fn build(self) -> TopologyConfig {
        self.0
    }
}

impl PileConfig {
    /// Sets where its books come from.
    #[must_use]
    pub fn source(mut self, source: impl Into<KindConfig>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Bounds the books that are ready at once.
    #[must_use]
    pub fn capacity_books(mut self, books: u64) -> Self {
        self.capacity.books = Some(books);
        self
    }

    /// Bounds the bytes that are ready at once.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity.bytes = Some(bytes);
        self
    }

    /// Bounds the gophers that load at once.
    #[must_use]
    pub fn exclusive_load(mut self, slots: u32) -> Self {
        self.exclusive.load = Some(slots);
        self
    }

    /// Sets the attempts that a book has.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }
}

impl DumpConfig {
    /// Bounds the books that are admitted at once.
    #[must_use]
    pub fn capacity_books(mut self, books: u64) -> Self {
        self.capacity.books = Some(books);
        self
    }

    /// Bounds the bytes that are admitted at once.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity.bytes = Some(bytes);
        self
    }

    /// Bounds the gophers that load at once.
    #[must_use]
    pub fn exclusive_load(mut self, slots: u32) -> Self {
        self.exclusive.load = Some(slots);
        self
    }

    /// Bounds the gophers that unload at once.
    #[must_use]
    pub fn exclusive_unload(mut self, slots: u32) -> Self {
        self.exclusive.unload = Some(slots);
        self
    }

    /// Sets the attempts that a book has.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }
}

impl IncineratorConfig {
    /// Sets what becomes of the books.
    #[must_use]
    pub fn burn(mut self, burn: impl Into<KindConfig>) -> Self {
        self.burn = burn.into();
        self
    }

    /// Bounds the gophers that unload at once.
    #[must_use]
    pub fn exclusive_unload(mut self, slots: u32) -> Self {
        self.exclusive.unload = Some(slots);
        self
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

    /// Sets how many carts circulate.
    #[must_use]
    pub fn carts(mut self, count: u32) -> Self {
        self.carts.count = count;
        self
    }

    /// Sets how many books a cart holds.
    #[must_use]
    pub fn cart_books(mut self, books: u64) -> Self {
        self.carts.books = books;
        self
    }

    /// Sets how many bytes a cart holds.
    #[must_use]
    pub fn cart_bytes(mut self, bytes: u64) -> Self {
        self.carts.bytes = Some(bytes);
        self
    }

    /// Adds work on each book, after the work that is there.
    #[must_use]
    pub fn work(mut self, work: impl Into<KindConfig>) -> Self {
        self.work.push(work.into());
        self
    }

    /// Multiplies the crew alone along an axis: each copy has its own gophers and carts, and the same ends.
    #[must_use]
    pub fn copies(mut self, axis: &str, count: u32) -> Self {
        self.copies.insert(axis.into(), count);
        self
    }

    /// Sets what loading costs.
    #[must_use]
    pub fn load(mut self, time: StepTimeConfig) -> Self {
        self.steps.load = time;
        self
    }

    /// Sets what pushing costs.
    #[must_use]
    pub fn push(mut self, time: StepTimeConfig) -> Self {
        self.steps.push = time;
        self
    }

    /// Sets what unloading costs.
    #[must_use]
    pub fn unload(mut self, time: StepTimeConfig) -> Self {
        self.steps.unload = time;
        self
    }

    /// Sets what returning the empty cart costs.
    #[must_use]
    pub fn return_(mut self, time: StepTimeConfig) -> Self {
        self.steps.return_ = time;
        self
    }
}
