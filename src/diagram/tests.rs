//! Tests of the pictures: content, well-formedness in every format, and absence of overlaps in SVG.

use super::*;
use designs::*;

mod designs;
mod geometry;
mod syntax;

const FORMATS: [Format; 5] =
    [Format::Text, Format::Dot, Format::Mermaid, Format::Svg, Format::Json];

fn draw(config: &TopologyConfig, copies: Copies, format: Format) -> String {
    Picture::new(config, copies).draw(format)
}

/// Compares the text, Graphviz and Mermaid pictures of a design with their snapshots.
macro_rules! shown {
    ($name:literal, $config:expr, $copies:expr) => {
        let config = $config;
        insta::assert_snapshot!(concat!($name, "_text"), draw(&config, $copies, Format::Text));
        insta::assert_snapshot!(concat!($name, "_dot"), draw(&config, $copies, Format::Dot));
        insta::assert_snapshot!(
            concat!($name, "_mermaid"),
            draw(&config, $copies, Format::Mermaid)
        );
    };
}

#[test]
fn one_gopher_is_shown() {
    shown!("one_gopher", one_gopher(), Copies::Folded);
}

#[test]
fn four_gophers_are_shown() {
    shown!("four_gophers", four_gophers(), Copies::Folded);
}

#[test]
fn lanes_are_shown_folded_and_expanded() {
    shown!("lanes_folded", lanes(), Copies::Folded);
    shown!("lanes_expanded", lanes(), Copies::Expanded);
}

#[test]
fn a_shared_dump_is_shown_once() {
    shown!("shared_folded", shared(), Copies::Folded);
    shown!("shared_expanded", shared(), Copies::Expanded);
}

#[test]
fn a_relay_is_shown() {
    shown!("relay", relay(), Copies::Folded);
}

#[test]
fn every_node_is_in_every_picture() {
    for config in [lanes(), shared(), relay()] {
        let whole = crate::plan::unfold(&config);
        let nodes = (whole.piles.keys())
            .chain(whole.dumps.keys())
            .chain(whole.incinerators.keys())
            .chain(whole.crews.keys())
            .chain(whole.relays.keys());
        for name in nodes {
            for format in FORMATS {
                let drawn = draw(&config, Copies::Expanded, format);
                let name = match format {
                    Format::Mermaid => name.replace('[', "#91;").replace(']', "#93;"),
                    _ => name.clone(),
                };
                assert!(drawn.contains(&name), "no {name} in {format:?}:\n{drawn}");
            }
        }
    }
}

#[test]
fn figures_are_counted_in_the_svg() {
    let count = |config: &TopologyConfig, copies, id: &str| {
        let drawn = draw(config, copies, Format::Svg);
        let used = format!("href=\"#gw-{id}\"");
        let solid = |line: &&str| line.contains(&used) && !line.contains("opacity");
        drawn.lines().filter(solid).count()
    };
    let (folded, expanded) = (Copies::Folded, Copies::Expanded);
    assert_eq!(count(&lanes(), expanded, "gopher"), 16);
    assert_eq!(count(&lanes(), folded, "gopher"), 8);
    assert_eq!(count(&lanes(), expanded, "full") + count(&lanes(), expanded, "empty"), 16);
    assert_eq!(count(&lanes(), expanded, "pile"), 2);
    assert_eq!(count(&lanes(), expanded, "dump"), 2);
    assert_eq!(count(&lanes(), expanded, "incinerator"), 2);
    assert_eq!(count(&shared(), expanded, "dump"), 1);
    assert_eq!(count(&relay(), folded, "belt"), 1);
}

#[test]
fn more_than_can_be_drawn_is_a_number() {
    let config = TopologyConfig::builder("many")
        .pile("manuals", |pile| pile)
        .incinerator("furnace", |fire| fire)
        .crew("crew", "manuals", "furnace", |crew| crew.gophers(40, ALL).carts(12))
        .build();
    let drawn = draw(&config, Copies::Folded, Format::Svg);
    assert!(drawn.contains(">40 gophers<"), "{drawn}");
    assert!(drawn.contains(">x 12 carts of 64 books<"), "{drawn}");
    assert_eq!(drawn.matches("href=\"#gw-gopher\"").count(), 3);
}

#[test]
fn a_terminal_of_120_columns_shows_it_all() {
    for config in [one_gopher(), four_gophers(), lanes(), shared(), relay(), hostile(), chain(12)] {
        for copies in [Copies::Folded, Copies::Expanded] {
            let drawn = draw(&config, copies, Format::Text);
            for line in drawn.lines().skip(1) {
                assert!(words::columns(line) <= 120, "{drawn}");
            }
        }
    }
}

#[test]
fn what_no_plan_accepts_is_still_drawn() {
    let config = TopologyConfig::builder("wild")
        .dump("a", |dump| dump)
        .dump("b", |dump| dump)
        .crew("there", "a", "b", |crew| crew.gophers(1, "dance"))
        .crew("uturn", "b", "a", |crew| crew)
        .crew("self", "a", "a", |crew| crew)
        .crew("astray", "a", "nowhere", |crew| crew)
        .build();
    for format in FORMATS {
        let drawn = draw(&config, Copies::Folded, format);
        assert!(drawn.contains("there"), "{drawn}");
        assert!(!drawn.contains("uturn") && !drawn.contains("astray"), "{drawn}");
        draw(&TopologyConfig::default(), Copies::Folded, format);
    }
}
