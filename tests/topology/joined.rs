//! Books whose work and burn are done by the workers of balancers.

use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::simulate::{in_virtual_time, until_done};
use gopherworks::topology::{StartError, Topology};
use gopherworks::{Book, Failure, TopologyConfig};

const JOINED: &str = r#"
[supervision]
intensity = 1000000
in_a_row = 1000000
[piles.manuals]
source = { kind = "generate", books = 500 }
max_attempts = 1000
[dumps.middle]
capacity = 50
[crews.near]
from = "manuals"
to = "middle"
gophers = ["3 * load push unload return"]
carts = { count = 3, books = 8 }
work = { kind = "balancer", to = "desk" }
[crews.far]
from = "middle"
to = "fire"
gophers = ["2 * load push unload return"]
carts = { count = 4, books = 5 }
[incinerators.fire]
burn = { kind = "balancer", to = "burners" }
[balancers.desk]
queue = 4
workers = { count = 3, work = { kind = "xyz" } }
[balancers.burners]
idempotent = true
workers = { count = 4, concurrency = 2, work = { kind = "sleep", time = { exponential = "5ms" } } }
"#;

fn topology(text: &str) -> Topology {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("joined.toml");
    std::fs::write(&path, text).expect("a file");
    Topology::from_file(&path).unwrap_or_else(|found| panic!("{found}"))
}

fn killed(topology: &Topology, every: Duration) -> Report {
    in_virtual_time(async |clock| {
        let running = topology.clone().in_time_of(&clock, None).start().await?;
        let names = running.actors();
        let killer = async {
            for turn in 0.. {
                clock.sleep(every).await;
                running.kill(&names[turn % names.len()]);
            }
        };
        let done = tokio::select! {
            biased;
            done = until_done(&running, &clock, None) => done,
            () = killer => unreachable!("killing goes on until the report exists"),
        };
        Ok::<_, StartError>(running.finish(done).await)
    })
    .expect("a start")
}

#[test]
fn both_halves_join() {
    let report = topology(JOINED).simulate(None).expect("a start");
    assert_eq!(report.outcome, RunOutcome::Finished, "{:?}", report.failures);
    assert_eq!((report.ledger.burned, report.ledger.lost), (500, 0));
    for balancer in &report.balancers {
        assert_eq!((balancer.asked, balancer.answered), (500, 500), "{}", balancer.name);
    }
}

#[test]
fn no_book_is_lost_when_actors_are_killed() {
    let topology = topology(JOINED);
    for every in [40, 90, 170] {
        let report = killed(&topology, Duration::from_millis(every));
        assert_eq!(report.outcome, RunOutcome::Finished, "{every}: {:?}", report.failures);
        let ledger = report.ledger;
        assert_eq!(
            (ledger.burned, ledger.lost, ledger.duplicates),
            (500, 0, 0),
            "{every}: {ledger:?}"
        );
        assert!(report.restarts > 10, "{}", report.restarts);
    }
}

#[test]
fn copies_ask_the_balancer_of_their_own_copy() {
    let text = format!("copies.lane = 2\n{JOINED}");
    let report = topology(&text).simulate(None).expect("a start");
    assert_eq!(report.ledger.burned, 500);
    let desks: Vec<_> = (report.balancers.iter())
        .filter(|one| one.name.starts_with("desk"))
        .map(|one| (one.name.as_str(), one.answered))
        .collect();
    assert_eq!(desks, [("desk[lane=0]", 250), ("desk[lane=1]", 250)]);
}

#[test]
fn an_answer_may_drop_a_book_and_a_refusal_buries_it() {
    let mut catalog = Catalog::standard();
    catalog.add_async_service_fn("judge", "Judges books by their first letter", async |job| {
        let book: Book = job.book.ok_or_else(|| Failure::permanent("no book"))?;
        let text = book.body.read_all(10).map_err(|error| Failure::io("reading", &error))?;
        match text.first() {
            Some(b'd') => Ok(None),
            Some(b'r') => Err(Failure::permanent("refused")),
            Some(b'p') => panic!("as it says"),
            _ => Ok(Some(book)),
        }
    });
    let config: TopologyConfig = {
        use gopherworks::config::builder::kind;
        use gopherworks::config::elements::BalancerConfig;
        let mut config = TopologyConfig::builder("judged")
            .pile("in", |pile| pile)
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "in", "out", |crew| {
                crew.gophers(1, "load push unload return")
                    .cart_books(4)
                    .work(kind("balancer").option("to", "bench"))
            })
            .build();
        config.supervision.intensity = 100;
        config.supervision.in_a_row = 100;
        let mut bench = BalancerConfig::new(kind("judge"));
        bench.workers.count = 2;
        config.balancers.insert("bench".into(), bench);
        config
    };
    let report = actix_rt::System::new().block_on(async {
        let running = Topology::from_config(&config, &catalog)
            .unwrap_or_else(|found| panic!("{found}"))
            .start()
            .await
            .expect("a start");
        let books = ["keep", "drop", "refuse", "panic", "keep"].map(Book::new).to_vec();
        running.offer("in", books).await.expect("room");
        running.drain(None).await
    });
    let ledger = report.ledger;
    assert_eq!((ledger.burned, ledger.dropped, ledger.dead), (2, 1, 2), "{ledger:?}");
    assert!(ledger.balances());
}

#[test]
fn a_program_answers_and_a_cancelled_one_is_gone() {
    let text = JOINED
        .replace(
            "{ kind = \"xyz\" }",
            "{ kind = \"command\", command = [\"tr\", \"a-z\", \"A-Z\"] }",
        )
        .replace("books = 500", "books = 20");
    let report = actix_rt::System::new().block_on(topology(&text).run()).expect("a start");
    assert_eq!((report.ledger.burned, report.ledger.dead), (20, 0), "{:?}", report.ledger);
    // Programs can't be simulated.
    let outside = topology(&text).simulate(None).expect_err("a program");
    assert!(outside.to_string().contains("`desk` starts programs"), "{outside}");
}

#[test]
fn mistakes_of_the_join_are_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("joined.toml");
    let text = JOINED.replace("to = \"burners\"", "to = \"burner\"").replace(
        "work = { kind = \"balancer\", to = \"desk\" }",
        "work = [\"gzip\", { kind = \"balancer\", to = \"desk\" }]",
    );
    std::fs::write(&path, text).expect("a file");
    let found = Topology::from_file(&path).expect_err("mistakes").to_string();
    assert!(found.contains("no balancer is called `burner`"), "{found}");
    assert!(found.contains("burners"), "{found}");
    assert!(found.contains("a balancer must be the only work of a crew"), "{found}");
}
