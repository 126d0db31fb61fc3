//! `compare` with `--policies`, `--load` or `--service`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopherworks::Loaded;
use gopherworks::catalog::Catalog;
use gopherworks::compare::policies::{self, Distribution, PolicyRow, Trial, changes, rows};
use gopherworks::config::Overrides;
use gopherworks::plan::Plan;
use gopherworks::topology::StartError;
use parking_lot::Mutex;

use crate::cli::run::start_failed;
use crate::cli::{CompareArgs, Failed, Format, Service, code, overrides, print, with};

/// Simulates every policy under every load and every distribution.
pub fn compare(args: &CompareArgs, quiet: bool) -> Result<i32, Failed> {
    let bad = |message: String| Failed { code: code::CONFIG, message };
    if let Some(wrong) = args.load.iter().find(|share| !(**share > 0.0 && **share < 10.0)) {
        return Err(bad(format!("error: --load {wrong}: a load is a share such as 0.9")));
    }
    if !args.what_if.is_empty() {
        let message = "error: --what-if compares designs, --policies, --load and --service compare \
                       balancers: they exclude each other";
        return Err(bad(message.to_owned()));
    }
    let base = with(overrides(&args.sets)?, "execution.seed", args.seed);
    let catalog = Catalog::standard();
    let mut jobs: Vec<(Plan, Trial)> = Vec::new();
    for file in &args.files {
        let loaded = Loaded::read(file, &catalog, &base)?;
        if loaded.plan.balancers.is_empty() {
            let message = format!("error: {}: there is no balancer to compare", file.display());
            return Err(bad(message));
        }
        for trial in trials(args) {
            let sets = changes(&loaded.config, &trial)
                .map_err(|why| bad(format!("error: {}: {why}", file.display())))?;
            let with = sets.into_iter().fold(base.clone(), Overrides::set);
            jobs.push((Loaded::read(file, &catalog, &with)?.plan, trial));
        }
    }
    let rows = simulated(&jobs, args.seeds).map_err(start_failed)?;
    match args.format {
        Format::Json => print::json(&rows, false)?,
        Format::Text if quiet => {
            // A failure is printed even with `--quiet`.
            for row in &rows {
                if let Some(note) = &row.note {
                    print::note(&format!("error: {}, {}: {note}", row.design, row.policy));
                }
            }
        }
        Format::Text => print::text(text(&rows, print::width(false)).trim_end(), false)?,
    }
    let failed = rows.iter().any(|row| row.note.is_some());
    Ok(if failed { code::FAILED } else { code::OK })
}

/// Policies vary fastest, so that rows to be compared are adjacent.
fn trials(args: &CompareArgs) -> Vec<Trial> {
    fn all<T: Clone>(of: &[T]) -> Vec<Option<T>> {
        match of {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        }
    }
    let mut out = Vec::new();
    for service in all(&args.service) {
        for load in all(&args.load) {
            for policy in all(&args.policies) {
                out.push(Trial {
                    policy,
                    load: load.map(|share| (share, args.requests)),
                    service: service.map(distribution),
                });
            }
        }
    }
    out
}

fn distribution(service: Service) -> Distribution {
    match service {
        Service::Fixed => ("fixed", policies::fixed),
        Service::Exponential => ("exponential", policies::exponential),
        Service::Lognormal => ("lognormal", policies::lognormal),
        Service::Bimodal => ("bimodal", policies::bimodal),
    }
}

/// Simulations are independent, so each core runs one at a time.
fn simulated(jobs: &[(Plan, Trial)], seeds: u64) -> Result<Vec<PolicyRow>, StartError> {
    let next = AtomicUsize::new(0);
    let done: Vec<_> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((plan, trial)) = jobs.get(at) else {
                        return;
                    };
                    let row = rows(plan, trial, seeds);
                    *done[at].lock() = Some(row);
                }
            });
        }
    });
    let mut out = Vec::new();
    for row in done {
        let row = row.into_inner();
        out.extend(row.transpose()?.into_iter().flatten());
    }
    Ok(out)
}

/// A table and bars for each load and distribution; times in units of the mean service time beside
/// seconds.
fn text(rows: &[PolicyRow], columns: Option<usize>) -> String {
    let mut out = String::new();
    let group = |row: &PolicyRow| {
        let load = row.load.map(|load| format!("load {:.0}%", load * 100.0));
        let parts = [Some(format!("{}.{}", row.design, row.balancer)), row.service.clone(), load];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let mut titles: Vec<String> = Vec::new();
    for row in rows {
        let title = group(row);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    for title in titles {
        let rows: Vec<&PolicyRow> = rows.iter().filter(|row| group(row) == title).collect();
        let _ = writeln!(out, "{title}");
        let head = [
            "policy",
            "mean",
            "p50",
            "p99",
            "p99.9",
            "p99/service",
            "pending",
            "variance",
            "copies",
        ];
        let cells = |row: &&PolicyRow| {
            let scatter = row
                .p99_scatter
                .map_or(String::new(), |scatter| format!(" ±{:.0}%", scatter * 100.0));
            vec![
                row.policy.clone(),
                print::seconds(row.mean_s),
                print::seconds(row.p50_s),
                print::seconds(row.p99_s),
                print::seconds(row.p999_s),
                format!("{:.2}{scatter}", row.p99_s / row.service_s.max(f64::MIN_POSITIVE)),
                format!("{:.2}", row.pending_mean),
                format!("{:.2}", row.pending_variance),
                format!("{:.1}%", row.copies * 100.0),
            ]
        };
        let shed = &["variance", "copies", "p50", "pending", "mean"];
        let table = print::Table { head: &head, words: 1, shed };
        out.push_str(&table.show(rows.iter().map(cells).collect(), columns));
        let most = rows.iter().map(|row| row.p99_s).fold(0.0, f64::max);
        let width = rows.iter().map(|row| row.policy.chars().count()).max().unwrap_or(0);
        out.push_str("\np99\n");
        for row in rows.iter().filter(|_| most > 0.0) {
            let bar = print::bar(row.p99_s / most, print::room(columns, width + 12));
            let _ = writeln!(out, "{:<width$}  {bar} {}", row.policy, print::seconds(row.p99_s));
        }
        for row in &rows {
            if let Some(note) = &row.note {
                let line = format!("{}: {}\n", row.policy, print::failed(note));
                out.push_str(&print::folded(&line, columns));
            }
        }
        out.push('\n');
    }
    out
}
