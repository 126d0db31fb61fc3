//! Diagnostics without the lines that they are about, for builds without the command line.

use super::{Diagnostic, Severity, place};

pub(super) fn render(diagnostic: &Diagnostic, _color: bool) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut lines = vec![format!("{severity}[{}]: {}", diagnostic.code.name(), diagnostic.title())];
    let label = diagnostic.label.as_deref();
    lines.push(pointed("-->", &diagnostic.place(), label));
    if let Some((origin, label)) = &diagnostic.related {
        lines.push(pointed(":::", &place(origin, true), Some(label)));
    }
    lines.extend(diagnostic.notes().map(|note| format!(" = note: {note}")));
    lines.extend(diagnostic.help.iter().map(|help| format!(" = help: {help}")));
    lines.join("\n")
}

fn pointed(arrow: &str, place: &str, label: Option<&str>) -> String {
    match label {
        Some(label) => format!(" {arrow} {place}: {label}"),
        None => format!(" {arrow} {place}"),
    }
}
