//! Draws a topology for Graphviz. Each crew is a cluster of its gophers, in a ring, and its carts.

use std::fmt::Write as _;

use super::model::{DiagramCrew, DiagramNode, DiagramWay, Graph, Role, What};

pub fn draw(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.title));
    let title = [graph.title.clone(), graph.totals.clone()];
    let _ = writeln!(
        out,
        "  rankdir=LR;\n  labelloc=t;\n  label={};\n  node [fontname=\"sans-serif\" \
         fontsize=11];\n  edge [fontname=\"sans-serif\" fontsize=9];\n  fontname=\"sans-serif\";",
        label(&title),
    );
    for node in &graph.nodes {
        let _ = writeln!(out, "  {} [{}];", quoted(&node.name), look(node));
    }
    for way in &graph.ways {
        let ends = [&graph.nodes[way.from], &graph.nodes[way.to]].map(|node| quoted(&node.name));
        match &way.what {
            What::Crew(crew) => ring(&mut out, way, crew, &ends),
            What::Relay { .. } => {
                let id = quoted(&way.name);
                let _ = writeln!(out, "  {id} [shape=cds label={}];", label(&way.lines()));
                let _ = writeln!(out, "  {} -> {id} -> {};", ends[0], ends[1]);
            }
        }
    }
    out.push_str("}\n");
    out
}

fn look(node: &DiagramNode) -> String {
    let (shape, fill) = match node.role {
        Role::Pile => ("folder", "#efe3c8"),
        Role::Dump => ("box3d", "#e2d3ee"),
        Role::Incinerator => ("house", "#f6c9a8"),
        Role::Requester => ("ellipse", "#cfe3f2"),
        Role::Balancer => ("component", "#d5ead0"),
    };
    let border = if node.shared { " penwidth=3" } else { "" };
    format!(
        "shape={shape} style=filled fillcolor=\"{fill}\"{border} label={}",
        label(&node.lines())
    )
}

/// Draws a crew. Full carts pass from loaders to pushers to unloaders (solid edges); returners
/// bring empty carts back (dashed edges).
fn ring(out: &mut String, way: &DiagramWay, crew: &DiagramCrew, [from, to]: &[String; 2]) {
    let id = |group: usize| quoted(&format!("{}/{group}", way.name));
    let _ = writeln!(
        out,
        "  subgraph {} {{\n    label={};\n    style=rounded;",
        quoted(&format!("cluster_{}", way.name)),
        label(&way.lines())
    );
    for (at, group) in crew.gophers.iter().enumerate() {
        let copies = if group.count > 1 { " peripheries=2" } else { "" };
        let label = label(&crew.lines(group));
        let _ = writeln!(out, "    {} [shape=ellipse{copies} label={label}];", id(at));
    }
    let _ = writeln!(
        out,
        "    {} [shape=component label={}];\n  }}",
        quoted(&format!("{}/carts", way.name)),
        label(std::slice::from_ref(&crew.load))
    );
    for group in crew.doing(0) {
        let _ = writeln!(out, "  {from} -> {} [label=\"load\"];", id(group));
    }
    for (step, giver, taker) in crew.passes() {
        let how = if step < 2 { "" } else { " [style=dashed constraint=false]" };
        let _ = writeln!(out, "  {} -> {}{how};", id(giver), id(taker));
    }
    for group in crew.doing(2) {
        let _ = writeln!(out, "  {} -> {to} [label=\"unload\"];", id(group));
    }
}

/// Quotes a name or a text for DOT.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Joins lines into one quoted DOT label.
fn label(lines: &[String]) -> String {
    quoted(&lines.join("\n"))
}
