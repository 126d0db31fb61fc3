//! Offers the letters of a file to the designs where they died.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gopherworks::Loaded;
use gopherworks::catalog::{Catalog, RunId, STANDARD_STREAM};
use gopherworks::dead::{self, Letter, Letters};
use gopherworks::pipeline::book::Book;
use gopherworks::pipeline::source::Receipts;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::supervision::failure::Failure;
use gopherworks::topology::{DeadBook, DeadSink, Options, Topology};
use parking_lot::Mutex;

use super::{chosen, lock, read, tampered};
use crate::cli::signals::Signals;
use crate::cli::{Failed, Format, Sets, code, overrides, run};

/// Outcomes of the offered letters.
#[derive(Default)]
struct OfferOutcomes {
    /// Ids that the offers assigned, in the order of the letters.
    ids: Mutex<Vec<u64>>,
    burned: Mutex<BTreeSet<u64>>,
    dead: Mutex<Vec<DeadBook>>,
}

impl Receipts for OfferOutcomes {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        let mut burned = self.burned.lock();
        burned.extend(books.iter().map(|book| book.id.0));
        Ok(())
    }
}

impl DeadSink for OfferOutcomes {
    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure> {
        let mut kept = self.dead.lock();
        kept.extend_from_slice(dead);
        Ok(())
    }
}

/// Offers the letters with these numbers (all, if there are none), and runs their designs.
///
/// # Errors
/// The file, a design or a number is wrong, or a run does not start.
pub(super) fn offer(
    file: &Path,
    (sets, topology, numbers): (&Sets, Option<&Path>, &[u64]),
    format: Format,
    quiet: bool,
) -> Result<i32, Failed> {
    let _mine = lock(file)?;
    let Letters { letters, mut damaged, .. } = read(file)?;
    let (mut letters, rest) = chosen(letters, numbers, file)?;
    let run_id = RunId::new();
    let mut worst = code::OK;
    // One run per topology, in the order in which their letters first died.
    let mut runs: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for letter in &letters {
        let run = of_run(letter, topology)?;
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    let mut signals = run::listen()?;
    for run in runs {
        if let Some(code) = signals.again() {
            return Ok(code::worse(worst, code));
        }
        let (path, mut said) = run.clone();
        said.extend(sets.sets.iter().cloned());
        let overrides = overrides(&Sets { sets: said })?;
        let loaded = Loaded::read(&path, &Catalog::standard(), &overrides)?;
        let is_mine = |letter: &Letter| of_run(letter, topology).is_ok_and(|of| of == run);
        let (mine, others): (Vec<_>, Vec<_>) = letters.into_iter().partition(is_mine);
        if let Some(homeless) = mine
            .iter()
            .find(|letter| !loaded.plan.piles.iter().any(|pile| pile.name == letter.pile))
        {
            return Err(Failed::new(format!(
                "error: {} died on the pile {:?}, which {} does not have",
                homeless.title(),
                homeless.pile,
                path.display()
            )));
        }
        let outcomes = Arc::new(OfferOutcomes::default());
        let options = Options {
            without_sources: true,
            receipts: Some(outcomes.clone()),
            dead: Some(outcomes.clone()),
            run_id: Some(run_id.clone()),
            ..Options::default()
        };
        let durable = loaded
            .plan
            .durable_piles()
            .map_or_else(Vec::new, |(piles, _)| piles.into_iter().map(str::to_owned).collect());
        let topology = Topology::from_plan(loaded.plan).with_options(options);
        let offered = Arc::new(Offered {
            file: file.to_owned(),
            durable,
            mine,
            others,
            rest: rest.clone(),
            // Once only: the damaged lines leave the file.
            damaged: std::mem::take(&mut damaged),
            outcomes,
            run: run_id.clone(),
        });
        let (report, signal) = run::in_system(again(&topology, &offered, &mut signals, quiet))?;
        letters = offered.settle(&report)?;
        let shown = run::show(&report, topology.plan(), format, quiet);
        let code = signal.unwrap_or_else(|| run::exit_code(&report, topology.plan()));
        worst = code::worse(worst, code::with(code, [shown]));
        if signal.is_some() {
            break;
        }
    }
    Ok(worst)
}

fn of_run(letter: &Letter, topology: Option<&Path>) -> Result<(PathBuf, Vec<String>), Failed> {
    match topology {
        Some(path) => Ok((path.to_owned(), Vec::new())),
        None => {
            let path = letter.topology().map_err(|error| tampered(&error))?;
            if path.as_os_str() == STANDARD_STREAM {
                let title = letter.title();
                return Err(Failed::new(format!(
                    "error: the design of {title} came from standard input\n  help: name its file \
                     with --topology FILE"
                )));
            }
            Ok((path, letter.sets().to_vec()))
        }
    }
}

/// Letters that are offered to one topology.
struct Offered {
    file: PathBuf,
    mine: Vec<Letter>,
    /// Letters of other topologies.
    others: Vec<Letter>,
    /// Letters that were not chosen.
    rest: Vec<Letter>,
    /// Piles of the design that are in a store.
    durable: Vec<String>,
    damaged: Vec<(usize, Vec<u8>)>,
    outcomes: Arc<OfferOutcomes>,
    run: RunId,
}

impl Offered {
    /// Removes the letters that have burned from the file; returns the others.
    fn settle(&self, report: &Report) -> Result<Vec<Letter>, Failed> {
        let mut letters = self.still_dead(report);
        letters.extend(self.others.iter().cloned());
        let all = [&letters[..], &self.rest].concat();
        let replaced = dead::replace(&self.file, &all, &self.damaged);
        replaced
            .map_err(|error| Failed::new(format!("error: {}: {error}", self.file.display())))?;
        Ok(letters)
    }

    /// The letters that did not burn. After an unfinished run, letters of unknown outcome stay too.
    /// What came to a durable pile is in its store.
    fn still_dead(&self, report: &Report) -> Vec<Letter> {
        let OfferOutcomes { ids, burned, dead } = &*self.outcomes;
        let (ids, burned, dead) = (ids.lock(), burned.lock(), dead.lock());
        let finished = report.outcome == RunOutcome::Finished;
        let mut still = Vec::new();
        for (at, letter) in self.mine.iter().cloned().enumerate() {
            let Some(id) = ids.get(at) else {
                // It was not offered.
                still.push(letter);
                continue;
            };
            if self.durable.contains(&letter.pile) {
                continue;
            }
            if let Some(again) = dead.iter().find(|again| again.book.id.0 == *id) {
                still.push(letter.died_again(again, self.run.as_str()));
            } else if !burned.contains(id) && !finished {
                still.push(letter);
            }
        }
        still
    }
}

/// Offers the letters in order and runs to the end.
async fn again(
    topology: &Topology,
    offered: &Arc<Offered>,
    signals: &mut Signals,
    quiet: bool,
) -> Result<(Report, Option<i32>), Failed> {
    let running = run::start(topology, signals).await?;
    let ended_by_force = offered.clone();
    signals.attach(&running, move |report| {
        code::with(code::FAILED, [ended_by_force.settle(&report).map(drop)]);
    });
    let all = async {
        for letter in &offered.mine {
            let book = letter.book().map_err(|error| tampered(&error))?;
            let Ok(awaited) = running.offer_watched(&letter.pile, vec![book]).await else {
                // The run takes no more offers; `done` says why.
                break;
            };
            offered.outcomes.ids.lock().extend(awaited.iter().map(|book| book.book().0));
        }
        running.close_offers();
        Ok::<_, Failed>(running.done().await)
    };
    let (done, signal) = tokio::select! {
        biased;
        done = all => (done?, None),
        signal = signals.next() => run::on_signal(&running, signal, signals, quiet).await,
    };
    Ok((run::end(&running, done, signal, signals).await, signal))
}
