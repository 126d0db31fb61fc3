//! The whole file.

use std::collections::BTreeMap;

use super::{
    BalancerConfig, Copies, CrewConfig, DumpConfig, ExecutionConfig, ExpectConfig, FaultConfig,
    IncineratorConfig, ModelConfig, Name, OperationsConfig, PileConfig, RelayConfig,
    RequesterConfig, StoreConfig, SupervisionConfig,
};
use crate::config::Code;
use crate::config::element::{
    Bounds, Checks, Element, Item, Key, Nodes, Reading, Type, read_group,
};
use crate::config::json_schema::parts;
use crate::config::tree::ConfigNode;

/// Keys that are handled before the file is read.
const FILES: [Key; 2] = [
    Key {
        name: "extends",
        doc: "The file that this one changes; a path that starts at the folder of this file.",
        ty: Type::Other("path", parts::text),
        ..Key::NONE
    },
    Key {
        name: "remove",
        doc: "What is not inherited, as dotted paths such as crews.far.",
        ty: Type::Other("array of strings", parts::paths),
        ..Key::NONE
    },
];

/// A design: books move in carts from piles, through dumps, into incinerators; requesters send
/// requests to balancers, which hand them to workers.
///
/// Node names are `[a-z][a-z0-9_]*`, unique across all kinds of nodes.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(extra = FILES)]
pub struct TopologyConfig {
    /// What the topology is called in reports; the file's stem if it was read from a file.
    #[key(skip)]
    pub name: String,
    /// Copies of every node that is not shared: a number, or a table of numbers by axis, which
    /// multiply; 10,000 in all at most.
    #[key(as = Copies, default)]
    pub copies: BTreeMap<String, u32>,
    /// Names of the nodes that all copies have in common.
    #[key(as = Vec<Name>, default)]
    pub shared: Vec<String>,
    /// Piles by name: where books wait for crews, and where sources put them.
    #[key(as = Nodes<PileConfig>, default)]
    pub piles: BTreeMap<String, PileConfig>,
    /// Dumps by name: piles in the middle that crews fill and empty.
    #[key(as = Nodes<DumpConfig>, default)]
    pub dumps: BTreeMap<String, DumpConfig>,
    /// Incinerators by name: where books end.
    #[key(as = Nodes<IncineratorConfig>, default)]
    pub incinerators: BTreeMap<String, IncineratorConfig>,
    /// Crews by name: gophers that carry books from one node to another.
    #[key(as = Nodes<CrewConfig>, default)]
    pub crews: BTreeMap<String, CrewConfig>,
    /// Relays by name: each carries all books from one pile to another, in order.
    #[key(as = Nodes<RelayConfig>, default)]
    pub relays: BTreeMap<String, RelayConfig>,
    /// Balancers by name: each hands requests to its workers.
    #[key(as = Nodes<BalancerConfig>, default)]
    pub balancers: BTreeMap<String, BalancerConfig>,
    /// Requesters by name: each sends requests to a balancer.
    #[key(as = Nodes<RequesterConfig>, default)]
    pub requesters: BTreeMap<String, RequesterConfig>,
    /// Where piles and dumps are kept, so that they survive the process: a table with `kind` and
    /// its options. Without it they are in memory. `simulate`, `validate` and `graph` never open
    /// it.
    pub store: Option<StoreConfig>,
    /// A server of health, metrics and the state of the run, for operators. Without it there is
    /// none, unless the command says `--operations`.
    pub operations: Option<OperationsConfig>,
    /// How the topology is executed.
    #[key(default)]
    pub execution: ExecutionConfig,
    /// What happens when an actor fails.
    #[key(default)]
    pub supervision: SupervisionConfig,
    /// What is known of the times, for predictions.
    #[key(default)]
    pub model: ModelConfig,
    /// Faults by name: failures to inject, where and when. A plain run ignores them.
    #[key(as = Faults, default)]
    pub faults: BTreeMap<String, FaultConfig>,
    /// What is expected of a run with faults.
    #[key(default)]
    pub expect: ExpectConfig,
}

/// Faults by name. One that can't be read leaves no hole in the graph.
struct Faults;

impl Element for Faults {
    type Value = BTreeMap<String, FaultConfig>;
    const TYPE: Type = Nodes::<FaultConfig>::TYPE;

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let holes = reading.holes.get();
        let faults = Nodes::<FaultConfig>::read(reading, item);
        reading.holes.set(holes);
        faults
    }

    fn check<'c>(value: &'c Self::Value, bounds: &Bounds, at: &mut Checks<'c, '_>) {
        Nodes::<FaultConfig>::check(value, bounds, at);
    }
}

impl TopologyConfig {
    /// Reads all of it. What can't be read has its default, and a mistake in `reading`.
    pub(crate) fn read_root(reading: &Reading<'_>, root: &ConfigNode, name: &str) -> Self {
        let item = Item { node: root, path: "" };
        // Those of files are followed before anything is read.
        if let Some(extends) = item.below("extends") {
            let item = Item { node: extends, path: "extends" };
            reading.report(item.error(Code::Extends, "only a file extends another").at_key());
        }
        Self { name: name.to_owned(), ..read_group(reading, item).unwrap_or_default() }
    }
}
