//! Pure: the difference between the plan of a run and another plan, as steps.
//!
//! Steps compare what a config says of each node, copies expanded: applied to the nodes of the
//! first plan, they give those of the second ([`apply`]).

mod keys;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Plan, unfold};
use crate::config::elements::{
    BalancerConfig, CrewConfig, DumpConfig, IncineratorConfig, PileConfig, RelayConfig,
    RequesterConfig, TopologyConfig,
};

pub use keys::KeyChange;

/// Settings of a node of any kind.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "few, and compared once")]
pub enum NodeConfig {
    /// A pile.
    Pile(PileConfig),
    /// A dump.
    Dump(DumpConfig),
    /// An incinerator.
    Incinerator(IncineratorConfig),
    /// A crew.
    Crew(CrewConfig),
    /// A relay.
    Relay(RelayConfig),
    /// A balancer with its workers.
    Balancer(BalancerConfig),
    /// A requester.
    Requester(RequesterConfig),
}

impl NodeConfig {
    /// What the node is called in reports, such as `crew`.
    pub fn kind(&self) -> &'static str {
        match self {
            NodeConfig::Pile(_) => "pile",
            NodeConfig::Dump(_) => "dump",
            NodeConfig::Incinerator(_) => "incinerator",
            NodeConfig::Crew(_) => "crew",
            NodeConfig::Relay(_) => "relay",
            NodeConfig::Balancer(_) => "balancer",
            NodeConfig::Requester(_) => "requester",
        }
    }

    /// True for a pile or a dump.
    fn holds_books(&self) -> bool {
        matches!(self, NodeConfig::Pile(_) | NodeConfig::Dump(_))
    }
}

/// All nodes of a topology by name.
pub type Nodes = BTreeMap<String, NodeConfig>;

/// The nodes of a config, copies expanded.
pub fn nodes(config: &TopologyConfig) -> Nodes {
    fn of<T>(
        nodes: BTreeMap<String, T>,
        make: fn(T) -> NodeConfig,
    ) -> impl Iterator<Item = (String, NodeConfig)> {
        nodes.into_iter().map(move |(name, node)| (name, make(node)))
    }
    let config = unfold(config);
    of(config.piles, NodeConfig::Pile)
        .chain(of(config.dumps, NodeConfig::Dump))
        .chain(of(config.incinerators, NodeConfig::Incinerator))
        .chain(of(config.crews, NodeConfig::Crew))
        .chain(of(config.relays, NodeConfig::Relay))
        .chain(of(config.balancers, NodeConfig::Balancer))
        .chain(of(config.requesters, NodeConfig::Requester))
        .collect()
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// Its settings change.
    Changed,
    /// It is removed.
    Removed,
}

/// How a change takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// At once; carts and books stay where they are.
    InPlace,
    /// Once the carts of the crews that it concerns are empty and back.
    Replaced,
    /// Not in a running topology, for this reason.
    Restart(String),
}

/// What becomes of the books of a removed pile or dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Books {
    /// Its crews carry them on before it is removed.
    Drained,
    /// They are put on the pile or dump of this name, as new books of that one.
    Moved(String),
}

/// The change of one node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Step {
    /// Name of the node, with a copy label if it has copies.
    pub node: String,
    /// `pile`, `dump`, `incinerator`, `crew`, `relay`, `balancer` or `requester`.
    pub kind: &'static str,
    /// What becomes of it.
    pub change: Change,
    /// How the change takes effect.
    pub how: How,
    /// The keys that change; none if it is added or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyChange>,
    /// What becomes of the books of a removed pile or dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub books: Option<Books>,
    /// Its settings before; `None` if it is added.
    #[serde(skip)]
    pub was: Option<NodeConfig>,
    /// Its settings afterwards; `None` if it is removed.
    #[serde(skip)]
    pub now: Option<NodeConfig>,
}

/// A change outside the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct SettingChange {
    /// The key and its values.
    #[serde(flatten)]
    pub key: KeyChange,
    /// How the change takes effect.
    pub how: How,
}

/// The difference between two plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Changes {
    /// Changes of nodes: added, changed, then removed ones, each by kind and name.
    pub steps: Vec<Step>,
    /// Changes outside the nodes.
    pub settings: Vec<SettingChange>,
}

/// Where the books of removed piles go, by the names of these piles.
pub type Moves = BTreeMap<String, String>;

impl Changes {
    /// Compares the plan of a run with the one that is to take its place.
    ///
    /// # Errors
    /// An entry of `moves` that names no removed pile, or no pile or dump of `now`.
    pub fn between(was: &Plan, now: &Plan, moves: &Moves) -> Result<Self, String> {
        Self::between_configs(&was.config, &now.config, moves)
    }

    fn between_configs(
        was: &TopologyConfig,
        now: &TopologyConfig,
        moves: &Moves,
    ) -> Result<Self, String> {
        let (before, after) = (nodes(was), nodes(now));
        check_moves(&before, &after, moves)?;
        let has_store = was.store.is_some() || now.store.is_some();
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let steps = names.into_iter().filter_map(|name| {
            let (was, now) = (before.get(name), after.get(name));
            step(name, (was, now), moves.get(name), has_store)
        });
        let mut steps: Vec<Step> = steps.collect();
        steps.sort_by(|a, b| (a.change, a.kind, &a.node).cmp(&(b.change, b.kind, &b.node)));
        Ok(Self { steps, settings: keys::settings(was, now) })
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.steps.len() + self.settings.len()
    }

    /// True if the plans say the same.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.settings.is_empty()
    }

    /// What can't change in a running topology, each with its reason.
    pub fn refusals(&self) -> Vec<String> {
        let steps = self.steps.iter().filter_map(|step| match &step.how {
            How::Restart(why) => Some(format!("{} {}: {why}", step.kind, step.node)),
            _ => None,
        });
        let settings = self.settings.iter().filter_map(|setting| match &setting.how {
            How::Restart(why) => Some(format!("{}: {why}", setting.key.key)),
            _ => None,
        });
        steps.chain(settings).collect()
    }
}

/// The nodes that result from `steps`.
pub fn apply(mut nodes: Nodes, steps: &[Step]) -> Nodes {
    for step in steps {
        match &step.now {
            Some(now) => nodes.insert(step.node.clone(), now.clone()),
            None => nodes.remove(&step.node),
        };
    }
    nodes
}

fn check_moves(before: &Nodes, after: &Nodes, moves: &Moves) -> Result<(), String> {
    for (from, to) in moves {
        let is_removed =
            before.get(from).is_some_and(NodeConfig::holds_books) && !after.contains_key(from);
        if !is_removed {
            return Err(format!("`{from}` is no pile or dump that is removed"));
        }
        if !after.get(to).is_some_and(NodeConfig::holds_books) {
            return Err(format!("no pile or dump of the new plan is called `{to}`"));
        }
    }
    Ok(())
}

fn step(
    name: &str,
    (was, now): (Option<&NodeConfig>, Option<&NodeConfig>),
    moved: Option<&String>,
    has_store: bool,
) -> Option<Step> {
    let (change, kind, keys) = match (was, now) {
        (None, None) => return None,
        (None, Some(now)) => (Change::Added, now.kind(), Vec::new()),
        (Some(was), None) => (Change::Removed, was.kind(), Vec::new()),
        (Some(was), Some(now)) if was == now => return None,
        (Some(was), Some(now)) => (Change::Changed, now.kind(), keys::of(was, now)),
    };
    let books = was.filter(|was| change == Change::Removed && was.holds_books());
    Some(Step {
        node: name.to_owned(),
        kind,
        change,
        how: how((was, now), &keys, has_store),
        keys,
        books: books.map(|_| moved.cloned().map_or(Books::Drained, Books::Moved)),
        was: was.cloned(),
        now: now.cloned(),
    })
}

/// Keys that change at once. Those of crews and incinerators wait for the carts.
const IN_PLACE: [&str; 3] = ["capacity", "max_attempts", "retry"];

fn how(
    (was, now): (Option<&NodeConfig>, Option<&NodeConfig>),
    keys: &[KeyChange],
    has_store: bool,
) -> How {
    let restart = |why: &str| How::Restart(why.to_owned());
    let is_changed = |key: &str| keys.iter().any(|change| change.is_below(key));
    let is_kept = was.is_some() && now.is_some();
    match (was, now) {
        (Some(was), Some(now)) if was.kind() != now.kind() => {
            return How::Restart(format!(
                "it was a {}; give the {} another name, or restart the run",
                was.kind(),
                now.kind()
            ));
        }
        _ => {}
    }
    match was.or(now) {
        Some(NodeConfig::Requester(_)) => {
            restart("its requests and connections are under way; restart the run to change it")
        }
        Some(NodeConfig::Balancer(_)) => {
            restart("its requests and workers are under way; restart the run to change it")
        }
        _ if has_store
            && (!is_kept || ["from", "to", "burn", "store"].into_iter().any(is_changed)) =>
        {
            restart("the store is open for the nodes of the start; restart the run to change them")
        }
        Some(NodeConfig::Pile(_) | NodeConfig::Dump(_)) => {
            if is_kept && keys.is_empty() {
                return restart("restart the run to change it");
            }
            if is_changed("source") {
                return restart("its source is being read; restart the run to change it");
            }
            if is_changed("store") {
                return restart("its books are kept there; restart the run to change it");
            }
            match is_kept && keys.iter().all(|key| IN_PLACE.iter().any(|at| key.is_below(at))) {
                true => How::InPlace,
                false if was.is_none() => How::InPlace,
                false => How::Replaced,
            }
        }
        _ if was.is_none() => How::InPlace,
        _ => How::Replaced,
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::InPlace => f.write_str("in place"),
            How::Replaced => f.write_str("once its carts are back"),
            How::Restart(why) => write!(f, "refused: {why}"),
        }
    }
}

impl fmt::Display for Step {
    /// One line, such as `~ pile manuals: capacity.books 100 -> 50 (in place)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Change::Added => '+',
            Change::Changed => '~',
            Change::Removed => '-',
        };
        write!(f, "{sign} {} {}", self.kind, self.node)?;
        let mut between = ": ";
        for key in &self.keys {
            write!(f, "{between}{key}")?;
            between = ", ";
        }
        match (&self.books, &self.how, self.change) {
            (_, How::Restart(_), _) => write!(f, " ({})", self.how),
            (Some(Books::Drained), ..) => f.write_str(" (once its books are carried on)"),
            (Some(Books::Moved(to)), ..) => write!(f, " (its books go to {to})"),
            (None, _, Change::Added) => Ok(()),
            (None, ..) => write!(f, " ({})", self.how),
        }
    }
}

impl fmt::Display for Changes {
    /// One line for each change; "no changes" if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no changes");
        }
        let steps = self.steps.iter().map(Step::to_string);
        let settings =
            self.settings.iter().map(|setting| format!("~ {} ({})", setting.key, setting.how));
        f.write_str(&steps.chain(settings).collect::<Vec<_>>().join("\n"))
    }
}
