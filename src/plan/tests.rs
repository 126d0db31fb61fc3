//! Tests of resolution: the content of a plan, and bounded time for hostile configs.

use std::time::Duration;

use gopherworks_pipeline::steps::{Duties, Step};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::span::Span;

use super::*;
use crate::Loaded;
use crate::config::Overrides;
use crate::config::builder::{kind, wait};

const ALL: &str = "load push unload return";

#[test]
fn a_crew_becomes_duties_times_and_work() {
    let config = TopologyConfig::builder("one")
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 1)))
        .incinerator("furnace", |fire| fire)
        .crew("solo", "manuals", "furnace", |crew| {
            crew.gophers(2, "load push")
                .gophers(1, "return unload")
                .carts(3)
                .work("gzip")
                .return_(wait(Duration::from_millis(2)))
        })
        .t1(Duration::from_millis(4))
        .build();
    let (plan, warnings) = Plan::new(&config, &Catalog::standard()).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    let crew = &plan.crews[0];
    let front = Duties::NONE.with(Step::Load).with(Step::Push);
    let back = Duties::NONE.with(Step::Unload).with(Step::Return);
    assert_eq!(crew.gophers, [front, front, back]);
    assert_eq!(crew.steps.of(Step::Return).wait, Span::Fixed(Duration::from_millis(2)));
    assert!(crew.steps.of(Step::Load).is_zero());
    assert!(crew.work.is_some());
    assert_eq!(plan.t1, Some(Duration::from_millis(4)));
}

#[test]
fn what_is_read_and_written_is_known() {
    let config = TopologyConfig::builder("one")
        .pile("manuals", |pile| pile.source(kind("files").option("root", "/in")))
        .incinerator("furnace", |fire| fire.burn(kind("files").option("root", "/in/out")))
        .crew("solo", "manuals", "furnace", |crew| crew.gophers(1, ALL))
        .build();
    let (plan, warnings) = Plan::new(&config, &Catalog::standard()).unwrap();
    assert_eq!(plan.piles[0].reads, [PathBuf::from("/in")]);
    assert_eq!(plan.incinerators[0].writes, [PathBuf::from("/in/out")]);
    assert!(warnings.render(false).contains("it is left out of the input"));
}

#[test]
fn a_long_chain_and_a_large_cycle_are_judged_quickly() {
    let clock = Clock::real();
    let begun = clock.now();
    let build = |closed: bool| {
        let last = 3000;
        let mut builder = TopologyConfig::builder("long")
            .pile("manuals", |pile| pile)
            .incinerator("furnace", |fire| fire)
            .crew("in", "manuals", "d0", |crew| crew.gophers(1, ALL));
        for at in 0..last {
            let to = if at + 1 < last { format!("d{}", at + 1) } else { "furnace".into() };
            builder = builder.dump(&format!("d{at}"), |dump| dump.capacity_books(200)).crew(
                &format!("c{at}"),
                &format!("d{at}"),
                &to,
                |crew| crew.gophers(1, ALL),
            );
        }
        if closed {
            builder =
                builder.crew("back", &format!("d{}", last - 1), "d0", |crew| crew.gophers(1, ALL));
        }
        builder.build()
    };
    let (plan, _) = Plan::new(&build(false), &Catalog::standard()).unwrap();
    assert_eq!(plan.piles[3000].name, "d2999");
    let mistakes = Plan::new(&build(true), &Catalog::standard()).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!((clock.now() - begun) < Duration::from_secs(60), "{:?}", (clock.now() - begun));
}

#[test]
fn a_file_full_of_mistakes_is_judged_quickly() {
    let clock = Clock::real();
    let begun = clock.now();
    let text = (0..40_000).map(|at| format!("[crews.a{at}]\n")).collect::<String>();
    let mistakes = Loaded::parse("many.toml", text, &Catalog::standard(), &Overrides::default());
    let mistakes = mistakes.unwrap_err();
    assert!(mistakes.len() >= 120_000);
    assert!(mistakes.render(false).contains("more"));
    assert!((clock.now() - begun) < Duration::from_secs(60), "{:?}", (clock.now() - begun));
}
