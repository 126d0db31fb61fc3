//! A picture as data, for programs that draw it themselves.

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Asker, Graph, Team, What};

/// The content of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outline {
    /// Name of the topology.
    pub title: String,
    /// Number of elements of each type, in words.
    pub totals: String,
    /// Nodes, by role and then by name.
    pub nodes: Vec<OutlineNode>,
    /// Crews, relays and request paths from one node to another, upstream first.
    pub ways: Vec<OutlineWay>,
    /// Crews and incinerators that make requests of books.
    pub asks: Vec<OutlineAsk>,
}

/// A crew or an incinerator, and the balancer that it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutlineAsk {
    /// Name of the crew or the incinerator.
    pub from: String,
    /// Name of the balancer.
    pub to: String,
}

/// A node of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutlineNode {
    /// Name of the node.
    pub name: String,
    /// `pile`, `dump`, `incinerator`, `requester` or `balancer`.
    pub kind: &'static str,
    /// Text below the name.
    pub notes: Vec<String>,
    /// `2 lanes`, if it stands for several copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<String>,
    /// True if copies share it.
    pub shared: bool,
    /// Length of the longest path that leads to the node.
    pub layer: usize,
}

/// A way of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutlineWay {
    /// Name of the crew or relay; `requester to balancer` for requests.
    pub name: String,
    /// `crew`, `relay` or `requests`.
    pub kind: &'static str,
    /// Name of the node where it begins.
    pub from: String,
    /// Name of the node where it ends.
    pub to: String,
    /// Text beside the way: gophers and their duties, carts, works, times.
    pub notes: Vec<String>,
    /// `2 lanes`, if it stands for several copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<String>,
}

impl Outline {
    pub(super) fn of(graph: &Graph) -> Self {
        let nodes = graph.nodes.iter().map(|node| OutlineNode {
            name: node.name.clone(),
            kind: node.role.word(),
            notes: node
                .notes
                .iter()
                .cloned()
                .chain(node.team.iter().flat_map(Team::lines))
                .collect(),
            copies: node.copies.clone(),
            shared: node.shared,
            layer: node.layer,
        });
        let ways = graph.ways.iter().map(|way| {
            let (kind, notes) = match &way.what {
                What::Relay(notes) => ("relay", notes.clone()),
                What::Requests => ("requests", Vec::new()),
                What::Crew(crew) => {
                    let gophers = crew.gophers.iter().flat_map(|group| crew.lines(group));
                    let works = (!crew.work.is_empty()).then(|| crew.work.join(" · "));
                    ("crew", gophers.chain([crew.load.clone()]).chain(works).collect())
                }
            };
            OutlineWay {
                name: way.name.clone(),
                kind,
                from: graph.nodes[way.from].name.clone(),
                to: graph.nodes[way.to].name.clone(),
                notes: way.ends.iter().cloned().chain(notes).collect(),
                copies: way.copies.clone(),
            }
        });
        let asks = graph.asks().into_iter().map(|(asker, to)| OutlineAsk {
            from: match asker {
                Asker::Crew(way) => graph.ways[way].name.clone(),
                Asker::Incinerator(node) => graph.nodes[node].name.clone(),
            },
            to: graph.nodes[to].name.clone(),
        });
        Self {
            title: graph.title.clone(),
            totals: graph.totals.clone(),
            nodes: nodes.collect(),
            ways: ways.collect(),
            asks: asks.collect(),
        }
    }
}
