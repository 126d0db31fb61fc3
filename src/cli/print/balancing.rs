//! Balancers and requesters as text.

use gopherworks::report::{Report, RequesterReport};

use super::{Table, grouped};

/// Columns of the longest bar if there is space.
const BAR: usize = 40;

/// Columns of the longest bar beside text of `taken` columns.
pub fn room(width: Option<usize>, taken: usize) -> usize {
    width.map_or(BAR, |width| width.saturating_sub(taken).clamp(1, BAR))
}

/// A bar of this share of the longest, which has `most` columns.
pub fn bar(share: f64, most: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * most as f64 * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + part
}

/// A time with at least three significant digits and a unit.
pub fn seconds(time: f64) -> String {
    let (number, unit) = match time {
        time if time >= 1.0 => (time, "s"),
        time if time >= 1e-3 => (time * 1e3, "ms"),
        time if time >= 1e-6 => (time * 1e6, "us"),
        time => (time * 1e9, "ns"),
    };
    match number {
        number if number >= 100.0 => format!("{number:.0} {unit}"),
        number if number >= 10.0 => format!("{number:.1} {unit}"),
        0.0 => "0".to_owned(),
        number => format!("{number:.2} {unit}"),
    }
}

/// A table of requesters, one of balancers, and one of each balancer's workers as bars of their
/// pending requests.
pub(super) fn tables(report: &Report, columns: Option<usize>) -> String {
    let mut out = String::new();
    if !report.requesters.is_empty() {
        let head = [
            "requester",
            "asks",
            "asked",
            "answered",
            "failed",
            "rejected",
            "in flight",
            "mean",
            "p50",
            "p99",
            "p99.9",
        ];
        let row = |asked: &RequesterReport| {
            let counts =
                [asked.asked, asked.answered, asked.failed, asked.rejected, asked.in_flight];
            let tail = &asked.response;
            let times = [tail.mean_s, tail.p50_s, tail.p99_s, tail.p999_s];
            let names = [asked.name.clone(), asked.to.clone()];
            (names.into_iter()).chain(counts.map(grouped)).chain(times.map(seconds)).collect()
        };
        let shed = &["p50", "in flight", "asks", "mean", "p99.9", "rejected"];
        let table = Table { head: &head, words: 2, shed };
        out.push_str(&table.show(report.requesters.iter().map(row).collect(), columns));
        out.push('\n');
    }
    for balancer in &report.balancers {
        let mut head = vec![
            "balancer",
            "policy",
            "workers",
            "busy",
            "copies",
            "retried",
            "cancelled",
            "waited",
            "pending",
            "variance",
        ];
        let mut row = vec![
            balancer.name.clone(),
            balancer.policy.to_owned(),
            grouped(balancer.workers.len() as u64),
            format!("{:.1}%", balancer.busy * 100.0),
            grouped(balancer.copies),
            grouped(balancer.retried),
            grouped(balancer.cancelled),
            seconds(balancer.waited.mean_s),
            format!("{:.2}", balancer.pending_mean),
            format!("{:.2}", balancer.pending_variance),
        ];
        // Columns only for what has happened: most balancers have none of these.
        for (word, count) in [
            ("expired", balancer.expired),
            ("shed", balancer.shed),
            ("rejected", balancer.rejected),
            ("ejected", balancer.ejected),
        ] {
            if count > 0 {
                head.push(word);
                row.push(grouped(count));
            }
        }
        let shed = &["variance", "cancelled", "retried", "copies", "waited", "pending"];
        out.push_str(&Table { head: &head, words: 2, shed }.show(vec![row], columns));
        let most = (balancer.workers.iter()).fold(0.0, |most: f64, one| most.max(one.pending_mean));
        let shown = &balancer.workers[..balancer.workers.len().min(MOST_BARS)];
        let width = shown.iter().map(|one| one.name.chars().count()).max();
        for worker in shown.iter().filter(|_| most > 0.0) {
            let width = width.unwrap_or(0);
            let line = format!(
                "  {:<width$}  {} {:.2}",
                worker.name,
                bar(worker.pending_mean / most, room(columns, width + 12).min(BAR / 2)),
                worker.pending_mean
            );
            out.push_str(&line);
            out.push('\n');
        }
        if balancer.workers.len() > shown.len() {
            let rest = balancer.workers.len() - shown.len();
            out.push_str(&format!("  and {} more\n", grouped(rest as u64)));
        }
        out.push('\n');
    }
    out
}

/// Workers that get a bar.
const MOST_BARS: usize = 20;
