//! Draws a topology for Graphviz. Each crew is a cluster of its gophers, in a ring, and its carts.

use std::fmt::Write as _;

use super::model::{Asker, DiagramCrew, DiagramNode, DiagramWay, Graph, Role, What};

pub fn draw(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.title));
    let title = [graph.title.clone(), graph.totals.clone()];
    let _ = writeln!(
        out,
        "  rankdir=LR;\n  compound=true;\n  labelloc=t;\n  label={};\n  \
         node [fontname=\"sans-serif\" fontsize=11];\n  \
         edge [fontname=\"sans-serif\" fontsize=9];\n  fontname=\"sans-serif\";",
        label(&title),
    );
    for node in &graph.nodes {
        let _ = writeln!(out, "  {} [{}];", quoted(&node.name), look(node));
        team(&mut out, node);
    }
    for way in &graph.ways {
        let ends = [&graph.nodes[way.from], &graph.nodes[way.to]].map(|node| quoted(&node.name));
        match &way.what {
            What::Crew(crew) => ring(&mut out, way, crew, &ends),
            What::Relay(_) | What::Requests => {
                let id = quoted(&way.name);
                let _ = writeln!(out, "  {id} [shape=cds label={}];", label(&way.lines()));
                let _ = writeln!(out, "  {} -> {id} -> {};", ends[0], ends[1]);
            }
        }
    }
    for (asker, to) in graph.asks() {
        let to = quoted(&graph.nodes[to].name);
        let _ = match asker {
            Asker::Crew(way) => {
                let name = &graph.ways[way].name;
                let (from, cluster) = (format!("{name}/carts"), format!("cluster_{name}"));
                let (from, cluster) = (quoted(&from), quoted(&cluster));
                writeln!(out, "  {from} -> {to} [label=\"asks\" style=dotted ltail={cluster}];")
            }
            Asker::Incinerator(node) => {
                let from = quoted(&graph.nodes[node].name);
                writeln!(out, "  {from} -> {to} [label=\"asks\" style=dotted];")
            }
        };
    }
    out.push_str("}\n");
    out
}

/// Draws the clients before a requester, or the workers behind a balancer.
fn team(out: &mut String, node: &DiagramNode) {
    let Some(team) = &node.team else { return };
    let own = quoted(&node.name);
    let id = quoted(&format!("{}/team", node.name));
    let copies = if team.count > 1 { " peripheries=2" } else { "" };
    let _ = writeln!(out, "  {id} [shape=ellipse{copies} label={}];", label(&team.lines()));
    let [from, to] = if node.role == Role::Requester { [id, own] } else { [own, id] };
    let _ = writeln!(out, "  {from} -> {to};");
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
