//! Draws a topology as a self-contained SVG image: no external font, style or script.

use super::model::{Asker, Graph, Team, What};

mod figure;
mod layout;
mod page;
mod ring;
mod shapes;
mod style;

use figure::Figure;
use layout::{ColumnItem, Layout};
use page::{Page, Weight, number, width};

/// Margin around the whole picture, in pixels.
const MARGIN: f64 = 24.0;

/// Height of the title and the totals below it, in pixels.
const HEAD: f64 = 74.0;

pub fn draw(graph: &Graph) -> String {
    let mut figures: Vec<Figure> = graph.nodes.iter().map(figure::node).collect();
    for way in &graph.ways {
        figures.push(match &way.what {
            What::Crew(crew) => ring::crew(way, crew),
            What::Relay(notes) => figure::relay(way, notes),
            What::Requests => figure::requests(way),
        });
    }
    let layout = Layout::new(graph, &figures);
    let title = super::words::shorten(&graph.title, 60);
    let head = width(&title, Weight::Title).max(width(&graph.totals, Weight::Small));
    let wide = layout.width.max(head) + 2.0 * MARGIN;
    let tall = HEAD + layout.height + MARGIN;
    let left = (wide - layout.width) / 2.0;

    let mut page = Page::default();
    for (line, [from, to]) in &layout.lines {
        page.connect(line.class(), from.0 + left, from.1 + HEAD, to.0 + left, to.1 + HEAD);
    }
    for (line, tip) in &layout.arrows {
        page.arrow(line.head(), tip.0 + left, tip.1 + HEAD);
    }
    for (item, x, y) in &layout.places {
        if let ColumnItem::Figure(at) = item {
            figures[*at].draw(&mut page, x + left, y + HEAD);
        }
    }
    let mut top = Page::default();
    top.text(Weight::Title, "start", MARGIN, 34.0, &title);
    top.text(Weight::Small, "start", MARGIN, 52.0, &graph.totals);

    let (wide, tall) = (number(wide.ceil()), number(tall.ceil()));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {tall}\" width=\"{wide}\" \
         height=\"{tall}\" role=\"img\" aria-labelledby=\"gw-title gw-desc\">\n\
         <title id=\"gw-title\">{}</title>\n<desc id=\"gw-desc\">{}</desc>\n<style>{}</style>\n\
         <defs>\n{}</defs>\n<rect class=\"gw-page\" width=\"{wide}\" height=\"{tall}\"/>\n\
         {}{}</svg>\n",
        page::escaped(&graph.title),
        page::escaped(&told(graph)),
        style::STYLE,
        shapes::defs(),
        top.out,
        page.out,
    )
}

/// The picture in words, for screen readers.
fn told(graph: &Graph) -> String {
    let mut parts = vec![format!("{}.", graph.totals)];
    let end = |node: usize| {
        let node = &graph.nodes[node];
        format!("{} {}", node.role.word(), node.name)
    };
    for way in &graph.ways {
        let copies = way.copies.as_ref().map_or(String::new(), |copies| format!(" ({copies})"));
        let (what, more) = match &way.what {
            What::Crew(crew) => {
                let gophers: Vec<String> = crew.gophers.iter().map(|group| group.line()).collect();
                (
                    format!("crew {}", way.name),
                    format!(" with {}; {}", gophers.join("; "), crew.load),
                )
            }
            What::Relay(_) => (format!("relay {}", way.name), String::new()),
            What::Requests => ("requests".to_owned(), String::new()),
        };
        let (from, to) = (end(way.from), end(way.to));
        parts.push(format!("{what}{copies} from {from} to {to}{more}."));
    }
    for (asker, to) in graph.asks() {
        let from = match asker {
            Asker::Crew(way) => format!("crew {}", graph.ways[way].name),
            Asker::Incinerator(node) => end(node),
        };
        parts.push(format!("{from} asks {}.", end(to)));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        let team = node.team.iter().map(Team::lines);
        parts.extend(team.map(|lines| format!("{}: {}.", end(at), lines.join(", "))));
    }
    parts.join(" ")
}
