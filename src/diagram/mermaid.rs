//! Draws a topology as a Mermaid flowchart. Identifiers are generated (`n0`, `c0g1`): Mermaid
//! reserves some words, so names occur only inside labels.

use std::fmt::Write as _;

use super::model::{Asker, DiagramCrew, DiagramNode, DiagramWay, Graph, Role, What};

pub fn draw(graph: &Graph) -> String {
    let title = serde_json::Value::from(graph.title.as_str());
    // A JSON string is a valid YAML string.
    let mut out = format!("---\ntitle: {title}\n---\nflowchart LR\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{at}{}", shape(node));
        if let Some(team) = &node.team {
            let _ = writeln!(out, "  n{at}team({})", label(&team.lines()));
            let _ = match node.role {
                Role::Requester => writeln!(out, "  n{at}team --> n{at}"),
                _ => writeln!(out, "  n{at} --> n{at}team"),
            };
        }
    }
    for (at, way) in graph.ways.iter().enumerate() {
        match &way.what {
            What::Crew(crew) => ring(&mut out, at, way, crew),
            What::Relay(_) | What::Requests => {
                let _ = writeln!(out, "  r{at}[/{}/]", label(&way.lines()));
                let _ = writeln!(out, "  n{} ==> r{at} ==> n{}", way.from, way.to);
            }
        }
    }
    for (asker, to) in graph.asks() {
        let _ = match asker {
            Asker::Crew(way) => writeln!(out, "  c{way} -.->|asks| n{to}"),
            Asker::Incinerator(node) => writeln!(out, "  n{node} -.->|asks| n{to}"),
        };
    }
    out.push_str(
        "  classDef pile fill:#efe3c8,stroke:#8a7a55,color:#222\n  \
         classDef dump fill:#e2d3ee,stroke:#75608a,color:#222\n  \
         classDef fire fill:#f6c9a8,stroke:#a5562a,color:#222\n  \
         classDef requester fill:#cfe3f2,stroke:#4a7591,color:#222\n  \
         classDef balancer fill:#d5ead0,stroke:#557a4c,color:#222\n  \
         classDef shared stroke-width:4px\n",
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        let class = match node.role {
            Role::Pile => "pile",
            Role::Dump => "dump",
            Role::Incinerator => "fire",
            Role::Requester => "requester",
            Role::Balancer => "balancer",
        };
        let _ = writeln!(out, "  class n{at} {class}");
        if node.shared {
            let _ = writeln!(out, "  class n{at} shared");
        }
    }
    out
}

fn shape(node: &DiagramNode) -> String {
    let label = label(&node.lines());
    match node.role {
        Role::Pile => format!("[/{label}\\]"),
        Role::Dump => format!("[({label})]"),
        Role::Incinerator => format!("{{{{{label}}}}}"),
        Role::Requester => format!("([{label}])"),
        Role::Balancer => format!("[[{label}]]"),
    }
}

fn ring(out: &mut String, at: usize, way: &DiagramWay, crew: &DiagramCrew) {
    let _ = writeln!(out, "  subgraph c{at}[{}]", label(&way.lines()));
    for (number, group) in crew.gophers.iter().enumerate() {
        let _ = writeln!(out, "    c{at}g{number}({})", label(&crew.lines(group)));
    }
    let load = label(std::slice::from_ref(&crew.load));
    let _ = writeln!(out, "    c{at}carts[[{load}]]\n  end");
    for group in crew.doing(0) {
        let _ = writeln!(out, "  n{} -->|load| c{at}g{group}", way.from);
    }
    for (step, giver, taker) in crew.passes() {
        let arrow = if step < 2 { "-->" } else { "-.->" };
        let _ = writeln!(out, "  c{at}g{giver} {arrow} c{at}g{taker}");
    }
    for group in crew.doing(2) {
        let _ = writeln!(out, "  c{at}g{group} -->|unload| n{}", way.to);
    }
}

/// Joins lines into one quoted label. Characters special to Mermaid or HTML become numeric
/// entities.
fn label(lines: &[String]) -> String {
    let mut out = String::from('"');
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push_str("<br/>");
        }
        for c in line.chars() {
            match c {
                '"' | '<' | '>' | '&' | '#' | ';' | '`' | '\\' | '*' | '[' | ']' | '{' | '}'
                | '|' => {
                    let _ = write!(out, "#{};", u32::from(c));
                }
                c => out.push(c),
            }
        }
    }
    out.push('"');
    out
}
