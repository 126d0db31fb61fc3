//! Diagnostics in a compiler's form: each with the line that it is about.

use annotate_snippets::{AnnotationKind, Group, Level, Origin as Arrow, Renderer, Snippet};

use super::{Diagnostic, Origin, Severity, SourceFile, place, span};

/// Longest line that is shown, in bytes.
const LONGEST_LINE: usize = 1000;

pub(super) fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.title()).id(diagnostic.code.name());
    let mut group = Group::with_title(title);
    group = pointed(
        group,
        &diagnostic.origin,
        diagnostic.at_key,
        AnnotationKind::Primary,
        diagnostic.label.as_deref(),
    );
    if let Some((origin, label)) = &diagnostic.related {
        group = pointed(group, origin, true, AnnotationKind::Context, Some(label));
    }
    for note in diagnostic.notes() {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// The line with `byte` without its end, the byte where it starts, and its number from 1.
fn line(file: &SourceFile, byte: usize) -> (&str, usize, usize) {
    let number = file.lines.partition_point(|start| *start <= byte.min(file.text.len()));
    let start = file.lines[number - 1];
    let end = file.lines.get(number).map_or(file.text.len(), |at| at - 1);
    (file.text[start..end].trim_end_matches('\r'), start, number)
}

fn pointed<'a>(
    group: Group<'a>,
    origin: &'a Origin,
    at_key: bool,
    kind: AnnotationKind,
    label: Option<&'a str>,
) -> Group<'a> {
    let Origin::File { file, .. } = origin else {
        return group.element(Arrow::path(place(origin, at_key)));
    };
    // Only the first line of a multi-line value is shown.
    let bytes = span(origin, at_key);
    let (line, start, number) = line(file, bytes.start);
    if line.len() > LONGEST_LINE {
        return group.element(Arrow::path(place(origin, at_key)));
    }
    let from = (bytes.start - start).min(line.len());
    let to = (bytes.end.max(bytes.start) - start).clamp(from, line.len());
    group.element(
        Snippet::source(line)
            .line_start(number)
            .path(file.path.to_string_lossy().into_owned())
            .annotation(kind.span(from..to).label(label)),
    )
}
