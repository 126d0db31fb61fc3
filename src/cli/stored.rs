//! The store of a design, for commands that are no runs.

use std::future::Future;
use std::sync::Arc;

use gopherworks::config::nearest;
use gopherworks::pipeline::store::{Backend, PileName, StoreError, Survey, Surveyed};
use gopherworks::plan::Plan;

use super::{Failed, code, run};

/// The store of a design.
pub struct Store {
    pub plan: Plan,
}

impl Store {
    /// # Errors
    /// The design has none.
    pub fn of(plan: Plan) -> Result<Self, Failed> {
        match plan.store {
            Some(_) => Ok(Self { plan }),
            None => Err(Failed::new(format!(
                "error: {} has no store: its piles are in memory, and end with the run\n  help: \
                 `[store]` keeps them; see docs/stores.md",
                plan.name
            ))),
        }
    }

    /// A backend that is not open.
    pub fn engine(&self) -> Result<Arc<dyn Backend>, Failed> {
        let engine = self.plan.store_engine().map_err(|error| self.failed(error))?;
        engine.ok_or_else(|| Failed::new("error: there is no store"))
    }

    /// The message of an error of the store.
    pub fn failed(&self, error: StoreError) -> Failed {
        let place = self.plan.store_place();
        match error {
            StoreError::Gone => Failed::new(format!(
                "error: there is no store at {place} yet\n  help: `gopherworks run` creates it"
            )),
            StoreError::InUse { .. } => Failed {
                code: code::LATE,
                message: format!("error: {error}\n  help: end that run first"),
            },
            error => Failed::new(format!("error: {place}: {error}")),
        }
    }

    /// Waits for an answer of the store.
    pub fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failed> {
        run::in_system(answer).map_err(|error| self.failed(error))
    }

    /// What is in the store. An engine that can't tell while it is not open is opened and closed.
    pub fn survey(&self) -> Result<Survey, Failed> {
        let engine = self.engine()?;
        let surveyed = async {
            match engine.survey().await {
                Err(StoreError::Unsupported(_)) => {}
                surveyed => return surveyed,
            }
            let opened = engine.open(&[]).await?;
            let holders = engine.holders().await.unwrap_or_default();
            let sources = engine.sources().await.unwrap_or_default();
            engine.close().await?;
            let piles = opened.orphans.into_iter().map(|(name, depth)| Surveyed {
                name,
                books: depth.books,
                bytes: depth.bytes,
                held: Some(depth.held),
                delayed: None,
                oldest: None,
                dead: depth.dead,
            });
            let (piles, account) = (piles.collect(), opened.account);
            Ok(Survey { store: opened.store, piles, holders, sources, account })
        };
        self.wait(surveyed)
    }

    /// The name in the store of a pile of the design.
    pub fn name(&self, pile: &str) -> PileName {
        self.plan.name_in_store(pile)
    }

    pub fn is_in_memory(&self, pile: &str) -> bool {
        self.plan.piles.iter().any(|known| known.name == pile && known.in_memory)
    }

    pub fn is_durable(&self, name: &PileName) -> bool {
        let durable = self.plan.piles.iter().filter(|pile| !pile.in_memory);
        { durable }.any(|pile| self.name(&pile.name) == *name)
    }

    /// The pile of the store with this name.
    ///
    /// # Errors
    /// There is none; names the nearest.
    pub fn stored<'a>(&self, survey: &'a Survey, pile: &str) -> Result<&'a Surveyed, Failed> {
        let here =
            |known: &&Surveyed| known.name == self.name(pile) || known.name.to_string() == pile;
        survey.piles.iter().find(here).ok_or_else(|| self.unknown(survey, pile))
    }

    pub fn unknown(&self, survey: &Survey, pile: &str) -> Failed {
        if self.is_in_memory(pile) {
            let message = format!("error: the pile `{pile}` is in memory, not in the store");
            return Failed { code: code::USAGE, message };
        }
        let of_design = self.plan.piles.iter().filter(|pile| !pile.in_memory);
        let orphans = survey.piles.iter().filter(|pile| !self.is_durable(&pile.name));
        let known: Vec<String> = { of_design }
            .map(|pile| pile.name.clone())
            .chain(orphans.map(|pile| pile.name.to_string()))
            .collect();
        let near = nearest(pile, known.iter().map(String::as_str));
        let near =
            near.map_or_else(String::new, |near| format!("\n  help: did you mean `{near}`?"));
        let place = self.plan.store_place();
        let message = format!(
            "error: there is no pile `{pile}` in the store {place}; `gopherworks pile list` lists \
             all{near}"
        );
        Failed { code: code::USAGE, message }
    }
}
