//! Tests of the pictures: content, well-formedness in every format, and absence of overlaps in SVG.

use super::*;
use crate::config::builder::closed;
use crate::config::elements::{LoadConfig, RequesterConfig};
use designs::*;
use proptest::prelude::*;

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
    assert!(drawn.contains(">12 carts of 64 books<"), "{drawn}");
    assert_eq!(drawn.matches("href=\"#gw-gopher\"").count(), 3);
}

#[test]
fn a_terminal_shows_it_all() {
    let designs = [one_gopher(), four_gophers(), lanes(), shared(), relay(), hostile(), chain(12)];
    for config in designs.into_iter().chain([asking()]) {
        for copies in [Copies::Folded, Copies::Expanded] {
            let drawn = draw(&config, copies, Format::Text);
            for (most, drawn) in [80, 120, 200]
                .map(|most| (most, Picture::new(&config, copies).text(most)))
                .into_iter()
                .chain([(120, drawn)])
            {
                for line in drawn.lines() {
                    assert!(words::columns(line) <= most, "{most}:\n{drawn}");
                }
            }
        }
    }
}

#[test]
fn balancers_are_shown_with_their_workers_clients_and_askers() {
    shown!("asking", asking(), Copies::Folded);
}

#[test]
fn workers_and_clients_are_drawn_up_to_a_number() {
    let count = |drawn: &str| drawn.matches("href=\"#gw-gopher\"").count();
    let crowd = |clients, workers| {
        TopologyConfig::builder("crowd")
            .balancer("desk", "echo", |desk| desk.workers(workers))
            .requester("crowd", "desk", closed(clients), |crowd| crowd)
            .build()
    };
    // A single client is drawn as a requester.
    for (clients, workers, gophers) in [(1, 1, 1), (2, 3, 5), (100, 10, 9)] {
        let drawn = draw(&crowd(clients, workers), Copies::Folded, Format::Svg);
        assert_eq!(count(&drawn), gophers, "{clients} clients, {workers} workers");
    }
    let drawn = draw(&crowd(100, 10), Copies::Folded, Format::Svg);
    assert!(drawn.contains(">100 clients<") && drawn.contains(">10 workers<"), "{drawn}");
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// The totals of a folded design are the sums over its copies.
    #[test]
    fn totals_count_every_copy(config in any_design()) {
        let whole = crate::plan::unfold(&config);
        let clients = |requester: &RequesterConfig| match requester.load {
            LoadConfig::Closed { count, .. } => count as usize,
            _ => 0,
        };
        let parts = [
            (whole.crews.values().map(|crew| crew.gophers.len()).sum::<usize>(), "gopher"),
            (whole.crews.values().map(|crew| crew.carts.count as usize).sum(), "cart"),
            (whole.piles.len(), "pile"),
            (whole.dumps.len(), "dump"),
            (whole.incinerators.len(), "incinerator"),
            (whole.relays.len(), "relay"),
            (whole.requesters.len(), "requester"),
            (whole.requesters.values().map(clients).sum(), "client"),
            (whole.balancers.len(), "balancer"),
            (whole.balancers.values().map(|desk| desk.workers.count as usize).sum(), "worker"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> =
            parts.map(|(count, word)| words::counted(count as u64, word)).collect();
        prop_assert_eq!(draft::totals(&config), parts.join(", "));
    }
}
