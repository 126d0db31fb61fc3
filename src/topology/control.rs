//! What operators change in a running topology: which node an act concerns, whether it is possible,
//! and the account of all acts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

use gopherworks_pipeline::__private::{FeederCore, IncineratorCore, PileCore, printable};
use gopherworks_pipeline::{ControlAct, Event};
use gopherworks_supervision::clock::Time;

use super::crews::RunningCrew;
use super::inner::Inner;
use super::node_set::NodeSet;
use super::running::RunningTopology;
use crate::config::limits::MOST_ACTORS;
use crate::config::{begin, nearest};
use crate::dead::now;
use crate::plan::Target;

/// Maximum number of acts that are kept.
const KEPT: usize = 256;

/// An act of an operator, for the account of acts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number, from 1.
    pub number: u64,
    /// When it was ordered, by the clock of the topology.
    pub at: Time,
    /// The date and time in UTC as in RFC 3339; `None` in a simulation.
    pub date: Option<String>,
    /// The operator that ordered it, such as the address of a client.
    pub by: String,
    /// The node, as it was named.
    pub node: String,
    /// What was ordered.
    pub act: ControlAct,
    /// Why nothing was done; `None` if the act was done.
    pub refused: Option<String>,
}

/// What an act has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Controlled {
    /// The node, or of a source or a killed actor its own name, such as `manuals.source`.
    pub node: String,
    /// False if the node already was as was ordered.
    pub changed: bool,
}

/// Why an act was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// No node has this name.
    Unknown {
        /// The name, as it was asked for.
        node: String,
        /// A similar name of a node.
        near: Option<String>,
    },
    /// The node can't be changed so, or not now.
    Impossible(String),
    /// The number is not one that the key of the config may have, or too small for the crew.
    OutOfBounds(String),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Unknown { node, near } => {
                write!(f, "there is no node `{}`", printable(node))?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => f.write_str("; `/api/nodes` lists all"),
                }
            }
            ControlError::Impossible(why) | ControlError::OutOfBounds(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ControlError {}

/// The pauses, and the last acts.
#[derive(Default)]
pub(super) struct Control {
    /// By node: the operator that paused it.
    paused: BTreeMap<String, String>,
    acts: VecDeque<AuditEntry>,
    number: u64,
}

/// A node that an act concerns.
enum Node<'a> {
    Crew(&'a RunningCrew),
    Gopher(&'a RunningCrew),
    Pile(&'a PileCore),
    Source(&'a FeederCore),
    Incinerator(&'a Arc<IncineratorCore>),
    /// A balancer, a worker or a requester.
    Serving,
}

impl Inner {
    /// Held by each act, and by the beginning of a drain, which ends all pauses.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By node: the operator that paused it.
    pub(super) fn paused(&self) -> BTreeMap<String, String> {
        self.control().paused.clone()
    }

    /// Runs `act` with the pauses; no drain begins and no node is changed meanwhile.
    pub(super) fn unless_draining<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> T {
        act(&mut self.control().paused)
    }

    /// Ends all pauses; `drain` is called first, and no pause begins after it.
    pub(super) fn end_pauses(&self, drain: impl FnOnce()) {
        let mut control = self.control();
        drain();
        control.paused.clear();
        let nodes = self.nodes();
        for crew in &nodes.crews {
            crew.core.resume();
        }
        for feeder in &nodes.feeders {
            feeder.resume();
        }
        for fire in &nodes.incinerators {
            fire.resume();
        }
    }
}

impl RunningTopology {
    /// Has an operator, named `by` such as the address of a client, change a node. The act is
    /// logged, published as [`Event::Control`], and kept among the last 256 of
    /// [`RunningTopology::audit`], also if it is refused.
    ///
    /// A pause survives restarts of actors, and ends at the latest with a drain. Readiness does not
    /// depend on it. A run whose last books are behind a pause does not end.
    ///
    /// # Errors
    /// [`ControlError`], and nothing is changed.
    pub fn control(
        &self,
        node: &str,
        act: ControlAct,
        by: &str,
    ) -> Result<Controlled, ControlError> {
        let inner = self.inner();
        let mut control = inner.control();
        let done = self.carry_out(node, act, by, &mut control.paused);
        self.account_for(control, (node, act, by), done)
    }

    /// Has an operator, named `by`, close the sources, as [`RunningTopology::close`] does. The act
    /// is accounted for as in [`RunningTopology::control`], with the topology as its node.
    ///
    /// # Errors
    /// [`ControlError::Impossible`] if the run has ended or is ending.
    pub fn close_by(&self, by: &str) -> Result<Controlled, ControlError> {
        let inner = self.inner();
        let done = match self.is_running() {
            true => {
                let changed = !inner.context.is_draining();
                self.close();
                Ok(Controlled { node: self.name().to_owned(), changed })
            }
            false => Err(ended()),
        };
        self.account_for(inner.control(), (self.name(), ControlAct::Drain, by), done)
    }

    /// Accounts for a reload that an operator, named `by`, has ordered, as for an act of
    /// [`RunningTopology::control`]. `changed` is false if the file says what runs already.
    #[cfg(feature = "http")]
    pub(crate) fn reloaded_by(&self, by: &str, changed: Result<bool, String>) {
        let node = self.name().to_owned();
        let done = changed.map(|changed| Controlled { node, changed });
        let done = done.map_err(ControlError::Impossible);
        let control = self.inner().control();
        let _ = self.account_for(control, (self.name(), ControlAct::Reload, by), done);
    }

    fn account_for(
        &self,
        mut control: MutexGuard<'_, Control>,
        (node, act, by): (&str, ControlAct, &str),
        done: Result<Controlled, ControlError>,
    ) -> Result<Controlled, ControlError> {
        let context = &self.inner().context;
        let clock = &context.clock;
        control.number += 1;
        let entry = AuditEntry {
            number: control.number,
            at: clock.now(),
            date: (!clock.is_simulated()).then(now),
            by: printable(by),
            node: printable(node),
            act,
            refused: done.as_ref().err().map(ToString::to_string),
        };
        if control.acts.len() == KEPT {
            control.acts.pop_front();
        }
        control.acts.push_back(entry);
        drop(control);
        match &done {
            Ok(Controlled { node, .. }) => {
                log::warn!("{act} of {node}, ordered by {by}");
                let (node, by) = (node.clone(), by.to_owned());
                context.tell(Event::Control { node, act, by });
            }
            Err(why) => log::warn!("{act} of {node}, ordered by {by}, is refused: {why}"),
        }
        done
    }

    /// The last acts of operators, at most 256, the oldest first.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.inner().control().acts.iter().cloned().collect()
    }

    /// The nodes that operators have paused, and by which operator. A source is named after its
    /// pile, such as `manuals.source`.
    pub fn paused(&self) -> BTreeMap<String, String> {
        self.inner().paused()
    }

    /// The node with this name; for a pause, the source of a pile.
    fn node<'a>(&self, nodes: &'a NodeSet, name: &str, act: ControlAct) -> Option<Node<'a>> {
        let of_crew = |crew: &&Arc<RunningCrew>| {
            name.strip_prefix(crew.name.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(crew) = nodes.crews.iter().find(|crew| crew.name == name) {
            return Some(Node::Crew(crew));
        }
        if let Some(fire) = nodes.incinerators.iter().find(|fire| fire.name == name) {
            return Some(Node::Incinerator(fire));
        }
        if let Some(pile) = nodes.pile(name) {
            return Some(match (pile.feeder(), act) {
                (Some(feeder), ControlAct::Pause | ControlAct::Resume) => Node::Source(feeder),
                _ => Node::Pile(pile),
            });
        }
        if let Some(feeder) = nodes.feeders.iter().find(|feeder| feeder.name == name) {
            return Some(Node::Source(feeder));
        }
        let known = self.actors().iter().any(|actor| actor == name);
        let serving = || Node::Serving;
        known.then(|| {
            let crew = nodes.crews.iter().find(of_crew);
            crew.map_or_else(serving, |crew| Node::Gopher(crew))
        })
    }

    fn carry_out(
        &self,
        name: &str,
        act: ControlAct,
        by: &str,
        paused: &mut BTreeMap<String, String>,
    ) -> Result<Controlled, ControlError> {
        let inner = self.inner();
        let nodes = inner.nodes();
        let node = self.node(&nodes, name, act).ok_or_else(|| self.unknown(name))?;
        if !self.is_running() {
            return Err(ended());
        }
        if matches!(act, ControlAct::Drain | ControlAct::Reload) {
            return Err(ControlError::Impossible(format!(
                "a {act} is of the whole run, not a node"
            )));
        }
        if act == ControlAct::Kill {
            let actor = node.actor(name);
            self.kill(&actor);
            return Ok(Controlled { node: actor, changed: true });
        }
        if let ControlAct::Scale(gophers) = act {
            let changed = self.scale(name, &node, gophers as usize)?;
            return Ok(Controlled { node: name.to_owned(), changed });
        }
        let held = act == ControlAct::Pause;
        if held && inner.context.is_draining() {
            return Err(ControlError::Impossible("the run is being drained".to_owned()));
        }
        let (name, changed) = match node {
            Node::Crew(crew) if held => (name, crew.core.hold()),
            Node::Crew(crew) => (name, crew.core.resume()),
            Node::Incinerator(fire) if held => (name, fire.hold()),
            Node::Incinerator(fire) => (name, fire.resume()),
            Node::Source(feeder) if held && feeder.has_ended() => {
                return Err(ControlError::Impossible(format!("`{}` has ended", feeder.name)));
            }
            Node::Source(feeder) if held => (feeder.name.as_str(), feeder.hold()),
            Node::Source(feeder) => (feeder.name.as_str(), feeder.resume()),
            node => return Err(ControlError::Impossible(self.no_pause(name, &node))),
        };
        match changed {
            true if held => _ = paused.insert(name.to_owned(), printable(by)),
            true => _ = paused.remove(name),
            false => {}
        }
        Ok(Controlled { node: name.to_owned(), changed })
    }

    /// Changes the size of a crew; false if it has that size.
    fn scale(&self, name: &str, node: &Node<'_>, size: usize) -> Result<bool, ControlError> {
        let crew = match node {
            Node::Crew(crew) => crew,
            Node::Gopher(crew) => {
                let why = format!("a gopher has no size; scale its crew `{}`", crew.name);
                return Err(ControlError::Impossible(why));
            }
            _ => {
                let why = format!("`{name}` has no size that can be changed; crews have one");
                return Err(ControlError::Impossible(why));
            }
        };
        if let Some(why) = crew.refuses(size) {
            return Err(ControlError::OutOfBounds(why));
        }
        let all = self.actors().len() + size.saturating_sub(crew.present().len());
        if all as u64 > MOST_ACTORS {
            let why = format!("a topology has at most {MOST_ACTORS} actors; these would be {all}");
            return Err(ControlError::OutOfBounds(why));
        }
        if crew.size() == size {
            return Ok(false);
        }
        crew.resize(size, || self.inner().numbers.next());
        self.inner().resized.notify_one();
        Ok(true)
    }

    fn unknown(&self, name: &str) -> ControlError {
        let nodes = self.inner().nodes();
        let crews = nodes.crews.iter().map(|crew| crew.name.clone());
        let names: Vec<String> = crews.chain(self.actors()).collect();
        begin();
        let near = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
        ControlError::Unknown { node: name.to_owned(), near }
    }

    /// Why a node has no pause, and what has one instead.
    fn no_pause(&self, name: &str, node: &Node<'_>) -> String {
        let nodes = self.inner().nodes();
        match node {
            Node::Gopher(crew) => format!("a gopher has no pause; pause its crew `{}`", crew.name),
            Node::Pile(pile) => {
                let crews = nodes.plan.crews.iter().filter(|crew| {
                    let to = match crew.to {
                        Target::Dump(to) => Some(to),
                        Target::Incinerator(_) => None,
                    };
                    let is = |at: usize| std::ptr::eq(&*nodes.piles[at], *pile);
                    is(crew.from) || to.is_some_and(is)
                });
                let crews: Vec<String> = crews.map(|crew| format!("`{}`", crew.name)).collect();
                let crews = crews.join(" or ");
                format!("`{name}` has no source to pause; pause what fills or empties it: {crews}")
            }
            _ => {
                format!("`{name}` has no pause; crews, incinerators and sources of piles have one")
            }
        }
    }
}

fn ended() -> ControlError {
    ControlError::Impossible("the run has ended or is ending".to_owned())
}

impl Node<'_> {
    /// Name of the actor that a kill concerns: of a crew, its first gopher that is up.
    fn actor(&self, name: &str) -> String {
        match self {
            Node::Crew(crew) => {
                let gophers = crew.present();
                let up = gophers.iter().find(|gopher| gopher.port.epoch().is_some());
                let gopher = up.or(gophers.first());
                gopher.map_or_else(|| name.to_owned(), |gopher| gopher.core.name.clone())
            }
            _ => name.to_owned(),
        }
    }
}
