//! `compare`.

use std::fmt::Write as _;

use gopherworks::Loaded;
use gopherworks::catalog::Catalog;
use gopherworks::compare::{DesignRow, changes, probably, row};
use gopherworks::config::Overrides;

use super::run::start_failed;
use super::{CompareArgs, Failed, Format, code, overrides, print, with};

mod policies;

/// Simulates designs and prints them side by side.
pub fn compare(args: &CompareArgs, quiet: bool) -> Result<i32, Failed> {
    if !(args.policies.is_empty() && args.load.is_empty() && args.service.is_empty()) {
        return policies::compare(args, quiet);
    }
    let base = with(overrides(&args.sets)?, "execution.seed", args.seed);
    let catalog = Catalog::standard();
    let mut designs = Vec::new();
    let mut bad = Vec::new();
    for file in &args.files {
        match Loaded::read(file, &catalog, &base) {
            Ok(loaded) => designs.push((file, loaded)),
            Err(found) => bad.push(found.render(print::color_on_stderr())),
        }
    }
    // Simulate only if every file and every change is valid.
    let mut variants = Vec::new();
    for (at, (file, loaded)) in designs.iter().enumerate() {
        for what_if in &args.what_if {
            let sets = changes(&loaded.config, what_if);
            if sets.is_empty() {
                continue;
            }
            let with = sets.into_iter().fold(base.clone(), Overrides::set);
            match Loaded::read(file, &catalog, &with) {
                Ok(changed) => variants.push((at, what_if, changed)),
                Err(found) => bad.push(found.render(print::color_on_stderr())),
            }
        }
    }
    if !bad.is_empty() {
        return Err(Failed { code: code::CONFIG, message: bad.join("\n\n") });
    }
    if let Some(idle) =
        (args.what_if.iter()).find(|what_if| !variants.iter().any(|(_, used, _)| used == what_if))
    {
        let near = designs.iter().find_map(|(_, loaded)| probably(&loaded.config, idle));
        let near =
            near.map_or_else(String::new, |near| format!("\n  help: did you mean `{near}`?"));
        let message = format!("error: --what-if {idle}: none of the designs has such a node{near}");
        return Err(Failed { code: code::CONFIG, message });
    }
    let mut rows = Vec::new();
    for (at, (_, loaded)) in designs.iter().enumerate() {
        rows.push(row(&loaded.plan, None).map_err(start_failed)?);
        for (_, what_if, changed) in variants.iter().filter(|(of, ..)| *of == at) {
            rows.push(row(&changed.plan, Some(what_if)).map_err(start_failed)?);
        }
    }
    match args.format {
        Format::Json => print::json(&rows, false)?,
        Format::Text if quiet => {
            // A failure is printed even with `--quiet`.
            for row in rows.iter().filter(|row| row.failed) {
                let why = row.note.as_deref().unwrap_or_default();
                print::note(&format!("error: {}: {why}", title(row).trim()));
            }
        }
        Format::Text => print::text(text(&rows, print::width(false)).trim_end(), false)?,
    }
    let failed = rows.iter().any(|row| row.failed);
    Ok(if failed { code::FAILED } else { code::OK })
}

fn title(row: &DesignRow) -> String {
    match &row.what_if {
        Some(what_if) => format!("  if {what_if}"),
        None => row.design.clone(),
    }
}

fn text(rows: &[DesignRow], columns: Option<usize>) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let head = ["design", "gophers", "carts", "cores", "speed-up", "formula", "makespan", "idle"];
    let cells = |row: &DesignRow| {
        vec![
            title(row),
            row.gophers.to_string(),
            row.carts.to_string(),
            row.cores.to_string(),
            number(row.speed_up),
            number(row.speed_up_formula),
            row.makespan_s.map_or("-".to_owned(), |s| format!("{s:.3} s")),
            row.idle.map_or("-".to_owned(), |idle| format!("{:.1}%", idle * 100.0)),
        ]
    };
    let shed = &["cores", "idle", "formula", "carts"];
    let table = print::Table { head: &head, words: 1, shed };
    let lines = table.show(rows.iter().map(cells).collect(), columns);
    let limit = |row: &DesignRow| match row.failed {
        true => row.note.as_deref().map_or_else(String::new, print::failed),
        false => row.bottleneck.as_ref().or(row.note.as_ref()).cloned().unwrap_or_default(),
    };
    let widest = lines.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let limits: Vec<String> = rows.iter().map(limit).collect();
    let longest = limits.iter().map(|limit| limit.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let is_whole = lines.lines().count() == rows.len() + 1;
    if is_whole && columns.is_none_or(|columns| widest + 2 + longest.max(10) <= columns) {
        let limits = std::iter::once("limited by").chain(limits.iter().map(String::as_str));
        for (line, limit) in lines.lines().zip(limits) {
            out.push_str(format!("{line:<widest$}  {limit}").trim_end());
            out.push('\n');
        }
    } else {
        out.push_str(&lines);
        out.push_str("\nlimited by\n");
        for (row, limit) in rows.iter().zip(&limits).filter(|(_, limit)| !limit.is_empty()) {
            let line = format!("{}: {limit}\n", title(row));
            out.push_str(&print::folded(&line, columns));
        }
    }
    out.push_str("\nspeed-up over one gopher\n");
    let most = rows.iter().filter_map(|row| row.speed_up).fold(0.0, f64::max);
    let widest = rows.iter().map(|row| title(row).chars().count()).max().unwrap_or(0);
    for row in rows {
        let Some(speed_up) = row.speed_up.filter(|_| most > 0.0) else {
            continue;
        };
        let bar = print::bar(speed_up / most, print::room(columns, widest + 10));
        let _ = writeln!(out, "{:<widest$}  {bar} {speed_up:.2}", title(row));
    }
    out
}
