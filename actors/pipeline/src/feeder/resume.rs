//! Going on with sources of earlier runs.

use super::marks;
use super::position::{Position, Progress};
use crate::source::Source;
use crate::store::Checkpoint;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;

/// A position in the store that the source can't go on from.
fn refused(why: &str) -> Failure {
    Failure::permanent(format!(
        "its position is in the store, but {why}; `run --again` reads it anew"
    ))
}

/// A source before its first read.
pub(super) struct Prepared {
    /// True if its positions are stored with its books.
    pub(super) keeps_place: bool,
    /// True if marks of its books are stored with them.
    pub(super) keeps_marks: bool,
    /// True if an earlier run has read some of it.
    pub(super) resumed: bool,
    /// One, or one for each pile.
    pub(super) sources: Vec<Box<dyn Source>>,
    pub(super) starts: Starts,
}

impl Prepared {
    /// Lets a source of `piles` continue at its stored position, if their books are stored.
    pub(super) fn of(
        name: &str,
        mut source: Box<dyn Source>,
        piles: usize,
        stored: Option<&[Checkpoint]>,
    ) -> Result<Self, Failure> {
        let keeps_place = stored.is_some() && guarded(|| source.position().is_some()) == Ok(true);
        let (mut keeps_marks, mut resumed) = (false, false);
        if let Some(stored) = stored {
            resumed = stored.iter().any(|stored| *stored.source == *name);
            let marks = marks::stored(name, stored);
            let known = marks.clone().unwrap_or_default();
            keeps_marks = guarded(|| source.leave_out(known)) == Ok(true);
            if keeps_marks && marks.is_none() {
                return Err(refused("is one of another kind of source"));
            }
        }
        // A failed or wrong split is ignored.
        let parts = (piles > 1 && !keeps_marks)
            .then(|| guarded(|| source.split(piles)).ok().flatten())
            .flatten()
            .filter(|parts| parts.len() == piles);
        let mut sources = parts.unwrap_or_else(|| vec![source]);
        let starts = match stored.filter(|_| keeps_place) {
            Some(stored) => resume(name, &mut sources, piles, stored)?,
            None => Starts::new(&sources, piles),
        };
        Ok(Self { keeps_place, keeps_marks, resumed, sources, starts })
    }
}

/// Where readers and shares begin.
pub(super) struct Starts {
    /// By reader: number of books that it has given before.
    pub(super) readers: Vec<u64>,
    /// By share: what is stored of it.
    pub(super) shares: Vec<Option<Progress>>,
}

impl Starts {
    /// At the beginning of each source.
    pub(super) fn new(sources: &[Box<dyn Source>], piles: usize) -> Self {
        let shares = (0..piles).map(|_| Some(Progress::default())).collect();
        Self { readers: vec![0; sources.len()], shares }
    }
}

/// Resumes the sources of a feeder at their stored positions. There is one source for all piles, or
/// one for each.
fn resume(
    name: &str,
    sources: &mut [Box<dyn Source>],
    piles: usize,
    stored: &[Checkpoint],
) -> Result<Starts, Failure> {
    let mut positions: Vec<Option<Position>> = vec![None; piles];
    let split = sources.len() > 1;
    for stored in stored.iter().filter(|stored| *stored.source == *name) {
        let position = Position::decode(&stored.position)
            .ok_or_else(|| refused("is one of another kind of source"))?;
        if position.shares as usize != piles || position.split != split {
            return Err(refused(&format!(
                "{} copies of the pile shared it: they have to be as many again",
                position.shares
            )));
        }
        if let Some(at) = positions.get_mut(stored.share as usize) {
            *at = Some(position);
        }
    }
    let mut starts = Starts::new(sources, piles);
    for (reader, source) in sources.iter_mut().enumerate() {
        let shares = if split { reader..reader + 1 } else { 0..piles };
        let own = &positions[shares.clone()];
        // A share of which nothing is stored needs the source from its beginning.
        let first = own.iter().min_by_key(|at| at.as_ref().map_or(0, |at| at.index));
        if let Some(Some(first)) = first {
            let goes_on = guarded(|| source.resume(&first.anchor))
                .unwrap_or_else(|panic| Err(Failure::permanent(format!("panicked: {panic}"))))?;
            if !goes_on {
                continue;
            }
            starts.readers[reader] = first.index;
        }
        for share in shares {
            if let Some(at) = &positions[share] {
                let before = at.before(share as u32, starts.readers[reader]);
                starts.shares[share] = Some(Progress::new(at.taken, before));
            }
        }
    }
    let taken: u64 = positions.iter().flatten().map(|at| at.taken).sum();
    if taken > 0 {
        log::info!("{name}: goes on after {taken} books of earlier runs");
    }
    Ok(starts)
}
