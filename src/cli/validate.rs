//! `validate`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use gopherworks::Loaded;
use gopherworks::catalog::Catalog;
use gopherworks::plan::{Plan, Target};
use gopherworks::topology::PROMISES;
use serde_json::{Value, json};

use super::{Failed, Format, Sets, code, overrides, print, run};

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The config files of the designs
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
    /// Check that `run --only` can run this part of each design
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    only: Vec<String>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Checks every file; a single invalid one makes the exit code 78.
pub fn validate(args: &ValidateArgs, quiet: bool) -> Result<i32, Failed> {
    let overrides = overrides(&args.sets)?;
    let catalog = Catalog::standard();
    let mut code = code::OK;
    let mut answers = Vec::new();
    for file in &args.files {
        let loaded = Loaded::read(file, &catalog, &overrides);
        let (valid, found, plan) = match &loaded {
            Ok(loaded) => (true, &loaded.warnings, Some(&loaded.plan)),
            Err(found) => (false, found, None),
        };
        let part = match plan.filter(|_| !args.only.is_empty()) {
            Some(plan) => Some(run::part(plan, &args.only)?),
            None => None,
        };
        let plan = part.as_ref().or(plan);
        if !valid {
            code = code::CONFIG;
        }
        match args.format {
            Format::Json => answers.push(json!({
                "file": file.display().to_string(),
                "valid": valid,
                "diagnostics": found.to_json(),
                "reads": plan.map(|plan| paths(plan.reads())),
                "writes": plan.map(|plan| paths(plan.writes())),
            })),
            Format::Text => {
                let silent = quiet && valid;
                if !(silent || found.is_empty()) {
                    print::diagnostics(found);
                }
                if let Some(plan) = plan.filter(|_| !quiet) {
                    let text = print::folded(&described(file, plan), print::width(false));
                    print::text(text.trim_end(), false)?;
                }
            }
        }
        // The process ends soon; freeing a large design piece by piece takes a tenth of the time.
        std::mem::forget(loaded);
    }
    if args.format == Format::Json {
        print::line(&Value::Array(answers).to_string(), false)?;
    }
    Ok(code)
}

fn paths(paths: Vec<&PathBuf>) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn described(file: &Path, plan: &Plan) -> String {
    let mut out = String::new();
    let gophers: usize = plan.crews.iter().map(|crew| crew.gophers.len()).sum();
    let carts: u32 = plan.crews.iter().map(|crew| crew.carts).sum();
    let dumps = plan.piles.iter().filter(|pile| pile.dump).count();
    let _ = writeln!(
        out,
        "{}: ok: gophers {gophers}, carts {carts}, piles {}, dumps {dumps}, incinerators {}{}",
        file.display(),
        plan.piles.len() - dumps,
        plan.incinerators.len(),
        match (plan.balancers.len(), plan.requesters.len()) {
            (0, 0) => String::new(),
            (balancers, requesters) => format!(", balancers {balancers}, requesters {requesters}"),
        },
    );
    for crew in &plan.crews {
        let to = match crew.to {
            Target::Dump(pile) => &plan.piles[pile].name,
            Target::Incinerator(fire) => &plan.incinerators[fire].name,
        };
        let _ = writeln!(out, "  {}: {} -> {to}", crew.name, plan.piles[crew.from].name);
    }
    for balancer in &plan.balancers {
        let _ = writeln!(
            out,
            "  {}: {} workers of kind {}, {}",
            balancer.name,
            balancer.workers,
            balancer.kind,
            balancer.policy.name()
        );
    }
    for requester in &plan.requesters {
        let to = &plan.balancers[requester.to].name;
        let _ = writeln!(out, "  {}: asks {to}", requester.name);
    }
    for path in plan.reads() {
        let _ = writeln!(out, "  reads {}", path.display());
    }
    for path in plan.writes() {
        let _ = writeln!(out, "  writes {}", path.display());
    }
    match plan.durable_piles() {
        None => _ = writeln!(out, "  {PROMISES}"),
        Some((durable, promises)) => {
            for pile in &plan.piles {
                let promises = if durable.contains(&&*pile.name) { promises } else { PROMISES };
                let _ = writeln!(out, "  {}: {promises}", pile.name);
            }
            for note in plan.store_notes() {
                let _ = writeln!(out, "  store: {note}");
            }
        }
    }
    out
}
