//! Topologies for the tests: the documented designs, a hostile one and randomly generated ones.

use std::time::Duration;

use proptest::prelude::*;

use crate::config::builder::{closed, kind, wait};
use crate::config::elements::{CrewConfig, TopologyConfig};

pub const ALL: &str = "load push unload return";

fn us(us: u64) -> crate::config::elements::StepTime {
    wait(Duration::from_micros(us))
}

fn round(crew: CrewConfig, half: u64) -> CrewConfig {
    crew.cart_books(10).load(us(1000)).push(us(half)).unload(us(1000)).return_(us(half))
}

fn ring(crew: CrewConfig, half: u64) -> CrewConfig {
    let crew = round(crew, half).carts(4);
    ALL.split(' ').fold(crew, |crew, duty| crew.gophers(1, duty))
}

fn manuals(name: &str) -> crate::config::builder::TopologyBuilder {
    TopologyConfig::builder(name)
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 10_000)))
        .incinerator("furnace", |fire| fire)
}

pub fn one_gopher() -> TopologyConfig {
    manuals("one-gopher")
        .crew("solo", "manuals", "furnace", |crew| round(crew, 1000).gophers(1, ALL))
        .build()
}

pub fn four_gophers() -> TopologyConfig {
    manuals("four-gophers").crew("haul", "manuals", "furnace", |crew| ring(crew, 1000)).build()
}

pub fn lanes() -> TopologyConfig {
    manuals("sixteen-gophers")
        .copies("lane", 2)
        .dump("middle", |dump| dump.capacity_books(80))
        .crew("near", "manuals", "middle", |crew| ring(crew, 500))
        .crew("far", "middle", "furnace", |crew| ring(crew, 500))
        .build()
}

pub fn shared() -> TopologyConfig {
    manuals("shared-dump")
        .copies("lane", 2)
        .shared("middle")
        .shared("furnace")
        .dump("middle", |dump| dump.capacity_books(80).exclusive_unload(1))
        .crew("near", "manuals", "middle", |crew| {
            round(crew, 500)
                .gophers(2, "load push")
                .gophers(1, "unload return")
                .work("sha256")
                .work("gzip")
        })
        .crew("far", "middle", "furnace", |crew| round(crew, 500).gophers(1, ALL).copies("rack", 2))
        .build()
}

pub fn relay() -> TopologyConfig {
    manuals("relay")
        .pile("second", |pile| pile)
        .relay("daemon", "manuals", "second")
        .crew("haul", "second", "furnace", |crew| round(crew, 1000).gophers(1, ALL))
        .build()
}

/// A chain of `dumps` dumps, with one crew around all of them.
pub fn chain(dumps: usize) -> TopologyConfig {
    let name = |at: usize| format!("dump{at}");
    let mut design = manuals("chain").dump("dump0", |dump| dump);
    design = design.crew("first", "manuals", "dump0", |crew| crew.gophers(1, ALL));
    for at in 1..dumps {
        design = design.dump(&name(at), |dump| dump).crew(
            &format!("crew{at}"),
            &name(at - 1),
            &name(at),
            |crew| crew.gophers(1, ALL),
        );
    }
    design
        .crew("last", &name(dumps - 1), "furnace", |crew| crew.gophers(1, ALL))
        .crew("around", "manuals", "furnace", |crew| crew.gophers(1, ALL))
        .build()
}

/// A crew and an incinerator that ask balancers, in two copies that share one of these, and clients
/// of their own.
pub fn asking() -> TopologyConfig {
    TopologyConfig::builder("asking")
        .copies("copy", 2)
        .shared("desk")
        .pile("inbox", |pile| pile.source(kind("generate").option("books", 400)))
        .dump("middle", |dump| dump)
        .incinerator("furnace", |fire| fire.burn(kind("balancer").option("to", "burners")))
        .crew("near", "inbox", "middle", |crew| {
            crew.gophers(3, ALL).carts(3).work("sha256").work(kind("balancer").option("to", "desk"))
        })
        .crew("far", "middle", "furnace", |crew| crew.gophers(2, ALL).carts(4))
        .balancer("burners", "sleep", |desk| desk.workers(4).concurrency(2))
        .balancer("desk", "sleep", |desk| desk.workers(10))
        .requester("crowd", "desk", closed(100).requests(2000), |crowd| crowd)
        .build()
}

/// Text that would break out of its quotes in at least one format if it were not escaped.
pub const HOSTILE: &str =
    "a\"b'c<d>&amp;\\ ]]> --> `|#quot;{}()[x]\n%%\r\u{1}\u{202e}\u{1f4da}汉字 end";

pub fn hostile() -> TopologyConfig {
    TopologyConfig::builder(HOSTILE)
        .copies("lane", 2)
        .pile("manuals", |pile| pile.source(kind(HOSTILE).option("books", 3)))
        .pile(HOSTILE, |pile| pile)
        .incinerator("furnace", |fire| fire.burn(kind(HOSTILE)))
        .relay("belt", "manuals", HOSTILE)
        .crew("crew", "manuals", "furnace", |crew| {
            crew.gophers(1, ALL).gophers(1, HOSTILE).work(HOSTILE).work("gzip").work(HOSTILE)
        })
        .build()
}

/// Generates a crew with any gophers, carts, work and step costs.
fn crew() -> impl Strategy<Value = CrewConfig> {
    let duties = prop::collection::vec((1usize..6, 1u8..16), 1..8);
    let time = prop_oneof![Just(0u64), Just(1000), 1u64..10_000_000];
    let work = prop::collection::vec("[a-z0-9]{1,24}", 0..6);
    (duties, 1u32..20, 1u64..100_000, prop::array::uniform4(time), work).prop_map(
        |(groups, carts, books, [load, push, unload, back], work)| {
            let crew = CrewConfig::new("", "", Vec::<Vec<String>>::new());
            let crew = crew.carts(carts).cart_books(books);
            let crew = crew.load(us(load)).push(us(push)).unload(us(unload)).return_(us(back));
            let crew = groups.into_iter().fold(crew, |crew, (count, does)| {
                let steps = ALL.split(' ').enumerate();
                let duties = steps.filter(|(at, _)| does & (1 << at) != 0).map(|(_, step)| step);
                crew.gophers(count, &duties.collect::<Vec<_>>().join(" "))
            });
            work.into_iter().fold(crew, |crew, work| crew.work(work.as_str()))
        },
    )
}

prop_compose! {
    /// Generates chains with forks, joins, relays, copies, shared nodes, and balancers that crews,
    /// incinerators and requesters ask: before copying, at most 19 nodes and 18 ways.
    pub fn any_design()(
        piles in prop::collection::vec(("[a-z][a-z0-9_]{0,18}", any::<bool>()), 1..4),
        dumps in prop::collection::vec((0u64..5_000_000, any::<bool>()), 0..8),
        fires in prop::collection::vec("[a-z]{1,30}", 1..4),
        ways in prop::collection::vec(
            (any::<[prop::sample::Index; 2]>(), crew(), 0u8..8, 0u32..4), 1..16
        ),
        lanes in 0u32..4,
        desks in prop::collection::vec((1u32..30, 0u32..200, any::<bool>()), 0..4),
        asks in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 20),
    ) -> TopologyConfig {
        let mut design = TopologyConfig::builder("any");
        if lanes > 0 {
            design = design.copies("lane", lanes);
        }
        let mut nodes = Vec::new();
        for (at, (name, shared)) in piles.iter().enumerate() {
            let name = format!("{name}{at}");
            design = design.pile(&name, |pile| pile.exclusive_load(1));
            if *shared { design = design.shared(&name); }
            nodes.push(name);
        }
        for (at, (room, shared)) in dumps.iter().enumerate() {
            let name = format!("dump{at}");
            design = design.dump(&name, |dump| {
                dump.capacity_books(*room).capacity_bytes(*room << 10)
            });
            if *shared { design = design.shared(&name); }
            nodes.push(name);
        }
        let asked = |at: usize| {
            let desk = asks[at].filter(|_| !desks.is_empty())?.index(desks.len());
            Some(kind("balancer").option("to", format!("desk{desk}")))
        };
        for (at, (workers, clients, shared)) in desks.iter().enumerate() {
            let name = format!("desk{at}");
            design = design.balancer(&name, "sleep", |desk| desk.workers(*workers));
            if *shared { design = design.shared(&name); }
            if *clients > 0 {
                design = design.requester(&format!("crowd{at}"), &name, closed(*clients), |it| it);
            }
        }
        let sources = nodes.len();
        for (at, name) in fires.iter().enumerate() {
            let name = format!("{name}{at}");
            design = design.incinerator(&name, |fire| match asked(at) {
                Some(burn) => fire.burn(burn),
                None => fire,
            });
            nodes.push(name);
        }
        for (at, ([from, to], crew, relay, racks)) in ways.into_iter().enumerate() {
            let from = from.index(sources);
            let first = (from + 1).max(piles.len());
            let to = first + to.index(nodes.len() - first);
            let name = format!("way{at}");
            design = if relay == 0 {
                design.relay(&name, &nodes[from], &nodes[to])
            } else {
                design.crew(&name, &nodes[from], &nodes[to], |ends| {
                    let mut crew = CrewConfig { from: ends.from, to: ends.to, ..crew };
                    crew.work.extend(asked(at + 3));
                    if racks > 1 { crew.copies("rack", racks) } else { crew }
                })
            };
        }
        design.build()
    }
}
