//! A part of a topology, which one process runs beside others that run the rest.

use std::collections::BTreeSet;

use super::{Plan, SourcePlan, Target};
use crate::config::label::base;
use crate::config::nearest;

/// What other processes do with a pile, if this one runs a part of the topology.
#[derive(Debug, Clone, Default)]
pub struct PileElsewhere {
    /// The source that they read into it, by its name in the store, and its number of piles.
    pub source: Option<(String, usize)>,
    /// Piles from which they bring books to it, as indices into [`Plan::piles`].
    pub above: Vec<usize>,
    /// No crew of this process empties it.
    pub emptied: bool,
    /// Crews of this process get books from it, or from piles below it.
    pub awaited: bool,
}

/// The nodes of a part, by index.
#[derive(Default)]
struct Chosen {
    crews: BTreeSet<usize>,
    sources: BTreeSet<usize>,
    requesters: BTreeSet<usize>,
}

/// The indices of the items with this name, with a copy label or without.
fn named<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Vec<usize> {
    let found = names.enumerate().filter(|(_, name)| *name == wanted || base(name) == wanted);
    found.map(|(at, _)| at).collect()
}

/// The items with these indices, and the new index of each.
fn kept<T: Clone>(items: &[T], chosen: &BTreeSet<usize>) -> (Vec<T>, Vec<Option<usize>>) {
    let (mut kept, mut places) = (Vec::new(), Vec::new());
    for (at, item) in items.iter().enumerate() {
        let is_chosen = chosen.contains(&at);
        places.push(is_chosen.then_some(kept.len()));
        kept.extend(is_chosen.then(|| item.clone()));
    }
    (kept, places)
}

impl Plan {
    /// The part of the topology that consists of these nodes: crews, relays, requesters, sources by
    /// the names of their piles, and incinerators, each with all crews that fill it. It has all
    /// piles, and no faults.
    ///
    /// # Errors
    /// A message: there is no such node, or a pile in memory would be split between processes.
    pub fn only(&self, names: &[String]) -> Result<Self, String> {
        let mut chosen = Chosen::default();
        for name in names {
            self.choose(&mut chosen, name)?;
        }
        self.meets_at_stored_piles(&chosen)?;
        let Chosen { crews, sources, requesters } = &chosen;
        let filled = crews.iter().filter_map(|crew| match self.crews[*crew].to {
            Target::Incinerator(fire) => Some(fire),
            Target::Dump(_) => None,
        });
        let fires: BTreeSet<usize> = filled.collect();
        let asked = (crews.iter().filter_map(|crew| self.crews[*crew].ask))
            .chain(fires.iter().filter_map(|fire| self.incinerators[*fire].ask))
            .chain(requesters.iter().map(|requester| self.requesters[*requester].to));
        let (balancers, balancer_at) = kept(&self.balancers, &asked.collect());
        let ask = |to: Option<usize>| to.and_then(|to| balancer_at[to]);
        let (mut incinerators, fire_at) = kept(&self.incinerators, &fires);
        incinerators.iter_mut().for_each(|fire| fire.ask = ask(fire.ask));
        let (part, source_at) = kept(&self.sources, sources);
        let (mut crews_of_part, _) = kept(&self.crews, crews);
        for crew in &mut crews_of_part {
            crew.ask = ask(crew.ask);
            if let Target::Incinerator(fire) = crew.to {
                crew.to = Target::Incinerator(fire_at[fire].unwrap_or_default());
            }
        }
        let (mut requesters, _) = kept(&self.requesters, requesters);
        requesters.iter_mut().for_each(|asks| asks.to = balancer_at[asks.to].unwrap_or_default());
        let mut piles = self.piles.clone();
        for (at, pile) in piles.iter_mut().enumerate() {
            let mut elsewhere = self.elsewhere(at, &chosen);
            if let Some(source) = pile.source {
                pile.source = source_at[source];
                if pile.source.is_none() {
                    let SourcePlan { name, piles, .. } = &self.sources[source];
                    elsewhere.source = Some((format!("{name}.source"), piles.len()));
                    (pile.reads, pile.writes) = (Vec::new(), Vec::new());
                }
            }
            pile.elsewhere = Some(elsewhere);
        }
        Ok(Self {
            sources: part,
            piles,
            incinerators,
            crews: crews_of_part,
            balancers,
            requesters,
            faults: Vec::new(),
            ..self.clone()
        })
    }

    /// Adds the nodes of this name.
    fn choose(&self, chosen: &mut Chosen, name: &str) -> Result<(), String> {
        let of_pile = name.strip_suffix(".source").unwrap_or(name);
        let crews = named(self.crews.iter().map(|crew| &*crew.name), name);
        let sources = named(self.sources.iter().map(|source| &*source.name), of_pile);
        let requesters = named(self.requesters.iter().map(|asks| &*asks.name), name);
        let fires = named(self.incinerators.iter().map(|fire| &*fire.name), name);
        let fills = |crew: &usize| match self.crews[*crew].to {
            Target::Incinerator(fire) => fires.contains(&fire),
            Target::Dump(_) => false,
        };
        if crews.len() + sources.len() + requesters.len() + fires.len() > 0 {
            chosen.crews.extend(crews);
            chosen.crews.extend((0..self.crews.len()).filter(fills));
            chosen.sources.extend(sources);
            chosen.requesters.extend(requesters);
            return Ok(());
        }
        if named(self.piles.iter().map(|pile| &*pile.name), name).is_empty() {
            let known = (self.crews.iter().map(|crew| base(&crew.name)))
                .chain(self.sources.iter().map(|source| &*source.name))
                .chain(self.incinerators.iter().map(|fire| base(&fire.name)))
                .chain(self.requesters.iter().map(|asks| base(&asks.name)));
            let near = nearest(name, known);
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!("no crew, source, incinerator or requester is `{name}`{help}"));
        }
        Err(format!("`{name}` has no source: name the crews that fill and empty it"))
    }

    /// Refuses a part if a pile in memory would have some of its crews and its source in this
    /// process, and others elsewhere.
    fn meets_at_stored_piles(&self, chosen: &Chosen) -> Result<(), String> {
        for (at, pile) in self.piles.iter().enumerate() {
            if self.store.is_some() && !pile.in_memory {
                continue;
            }
            let crews = self.crews.iter().enumerate();
            let crews = crews
                .filter(|(_, crew)| crew.from == at || crew.to == Target::Dump(at))
                .map(|(crew, plan)| (&*plan.name, chosen.crews.contains(&crew)));
            let source = pile.source.iter();
            let source = source
                .map(|source| (&*self.sources[*source].name, chosen.sources.contains(source)));
            let ends: Vec<(&str, bool)> = source.chain(crews).collect();
            let found = |here: bool| ends.iter().find(|(_, is_here)| *is_here == here);
            if let (Some((here, _)), Some((missing, _))) = (found(true), found(false)) {
                return Err(format!(
                    "the pile `{}` between `{here}` and `{missing}` is in memory, so that one \
                     process has to run both: add `{missing}`, or keep the pile in the store",
                    pile.name
                ));
            }
        }
        Ok(())
    }

    fn elsewhere(&self, pile: usize, chosen: &Chosen) -> PileElsewhere {
        // Downstream after upstream, so that one pass over the crews from the end is enough.
        let mut awaited: BTreeSet<usize> =
            chosen.crews.iter().map(|crew| self.crews[*crew].from).collect();
        for crew in self.crews.iter().rev() {
            if matches!(crew.to, Target::Dump(to) if awaited.contains(&to)) {
                awaited.insert(crew.from);
            }
        }
        let crews = || self.crews.iter().enumerate();
        let away = crews().filter(|(at, _)| !chosen.crews.contains(at));
        let above = away.filter(|(_, crew)| crew.to == Target::Dump(pile));
        PileElsewhere {
            source: None,
            above: above.map(|(_, crew)| crew.from).collect(),
            emptied: !crews().any(|(at, crew)| crew.from == pile && chosen.crews.contains(&at)),
            awaited: awaited.contains(&pile),
        }
    }
}
