//! Parses targets of faults: `near`, `near/1`, `near.load[lane=*]`, `near -> middle`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gopherworks_supervision::fault::Point;

use super::{FaultTarget, Sort};
use crate::config::label::{base, parse, unlabelled};
use crate::glob::Glob;

/// A pattern that matches actors, optionally restricted to copies, a point, or the messages of a
/// sender.
pub(super) struct Pattern {
    name: String,
    matcher: Glob,
    /// Required position on each axis; `None` matches any copy.
    at: BTreeMap<String, Option<u32>>,
    point: Option<Point>,
    sender: Option<Glob>,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (sender, rest) = match text.split_once("->") {
            None => (None, text.trim().to_owned()),
            Some((from, to)) => (Some(from.trim()), to.trim().to_owned()),
        };
        let mut at = BTreeMap::new();
        let mut rest = rest;
        while let Some(open) = rest.find('[') {
            let Some(close) = rest[open..].find(']').map(|close| open + close) else {
                return Err(format!("`{text}` lacks its closing bracket"));
            };
            for part in rest[open + 1..close].split(',') {
                let wrong = || {
                    format!("`{part}` selects no copies; write it like `[lane=1]` or `[lane=*]`")
                };
                let (axis, place) = part.split_once('=').ok_or_else(wrong)?;
                let place = match place.trim() {
                    "*" => None,
                    number => Some(number.parse().map_err(|_| wrong())?),
                };
                at.insert(axis.trim().to_owned(), place);
            }
            rest.replace_range(open..=close, "");
        }
        let (name, point) = match rest.rsplit_once('.') {
            None => (rest.as_str(), None),
            Some((_, "source")) => (rest.as_str(), None),
            Some((name, word)) => {
                let point = Point::ALL.into_iter().find(|point| point.name() == word);
                let Some(point) = point else {
                    let words: Vec<&str> = Point::ALL.into_iter().map(Point::name).collect();
                    let near = crate::config::nearest(word, words.iter().copied());
                    let near =
                        near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    return Err(format!(
                        "`{word}` is not a point of an actor's work: {}{near}",
                        words.join(", ")
                    ));
                };
                (name, Some(point))
            }
        };
        let glob = |text: &str| {
            Glob::of_names(text).map_err(|error| format!("`{text}` is not a pattern: {error}"))
        };
        if name.is_empty() {
            return Err("it names no node".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            matcher: glob(name)?,
            at,
            point,
            sender: sender.map(glob).transpose()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn point(&self) -> Option<Point> {
        self.point
    }

    pub(super) fn is_edge(&self) -> bool {
        self.sender.is_some()
    }

    /// True if the pattern matches this actor, regardless of the point.
    pub(super) fn names(&self, part: &FaultTarget) -> bool {
        let node = unlabelled(&part.node);
        let family = unlabelled(&part.family);
        let crew = part.sort == Sort::Gopher && self.matcher.is_match(&family);
        if !(crew || self.matcher.is_match(&node)) {
            return false;
        }
        if self.is_edge() && self.senders(part).is_empty() {
            return false;
        }
        // A worker is called `balancer[label]/number`.
        let labelled = part.node.split('/').next().unwrap_or(&part.node);
        let labelled = labelled.strip_suffix(".source").unwrap_or(labelled);
        let own = parse(labelled).map(|(_, at)| at).unwrap_or_default();
        self.at.iter().all(|(axis, place)| match place {
            None => own.contains_key(axis),
            Some(place) => own.get(axis) == Some(place),
        })
    }

    /// Senders to the actor whose messages match; `[None]` if the pattern does not restrict them.
    pub(super) fn senders(&self, part: &FaultTarget) -> Vec<Option<Arc<str>>> {
        match &self.sender {
            None => vec![None],
            Some(sender) => (part.senders.iter())
                .filter(|crew| sender.is_match(base(crew)))
                .map(|crew| Some(crew.clone()))
                .collect(),
        }
    }
}
