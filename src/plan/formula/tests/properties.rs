//! Property tests for designs with fixed step times.

use proptest::prelude::*;

use super::super::limits::{Flow, Program, limits};
use super::super::network::Network;
use super::*;

const TIMES: [f64; 6] = [0.0, 1.0, 0.5, 2.0, 1e-6, 3.6e6];

/// Parameters of a crew.
#[derive(Debug, Clone)]
struct Drawn {
    from: usize,
    to: usize,
    duties: Vec<u8>,
    carts: u32,
    books: u64,
    times: [usize; 4],
    cpu: bool,
    copies: u32,
}

/// A chain of dumps, with further crews between its nodes.
#[derive(Debug, Clone)]
struct Design {
    dumps: usize,
    crews: Vec<Drawn>,
    slots: Vec<Option<u32>>,
    room: u64,
    lanes: u32,
    cores: u32,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let shape = (0..6usize, 0..6usize, 1..5u32, prop_oneof![3 => Just(10u64), 1 => 1..30u64]);
    let duties = prop::collection::vec(1..16u8, 0..4);
    let times = prop::array::uniform4(prop_oneof![4 => 0..4usize, 1 => 0..6usize]);
    (shape, duties, times, prop::bool::weighted(0.3), 1..3u32).prop_map(
        |((from, to, carts, books), duties, times, cpu, copies)| Drawn {
            from,
            to,
            duties,
            carts,
            books,
            times,
            cpu,
            copies,
        },
    )
}

fn design() -> impl Strategy<Value = Design> {
    let crews = prop::collection::vec(drawn(), 1..7);
    let slots = prop::collection::vec(prop::option::weighted(0.3, 1..3u32), 10);
    (0..4usize, crews, slots, 60..200u64, 1..4u32, 1..5u32).prop_map(
        |(dumps, crews, slots, room, lanes, cores)| Design {
            dumps,
            crews,
            slots,
            room,
            lanes,
            cores,
        },
    )
}

impl Design {
    /// The first crews form a chain through all nodes; each other crew leads from its node to one
    /// downstream.
    fn plan(&self) -> Plan {
        let node = |at: usize| match at {
            0 => "manuals".to_owned(),
            at if at <= self.dumps => format!("d{at}"),
            _ => "furnace".to_owned(),
        };
        let slots = |at: usize| self.slots[at % self.slots.len()];
        let mut builder = TopologyConfig::builder("drawn")
            .pile("manuals", |mut pile| {
                pile.exclusive.load = slots(0);
                pile.source(kind("generate").option("books", 10_000))
            })
            .incinerator("furnace", |mut fire| {
                fire.exclusive.unload = slots(1);
                fire
            })
            .cores(self.cores)
            .copies("lane", self.lanes)
            .t1(MS);
        for at in 1..=self.dumps {
            builder = builder.dump(&node(at), |mut dump| {
                dump.exclusive.load = slots(2 * at);
                dump.exclusive.unload = slots(2 * at + 1);
                dump.capacity_books(self.room)
            });
        }
        let links = self.dumps + 1;
        for at in 0..links.max(self.crews.len()) {
            let drawn = &self.crews[at % self.crews.len()];
            let (from, to) = if at < links {
                (at, at + 1)
            } else {
                let from = drawn.from % links;
                (from, from + 1 + drawn.to % (links - from))
            };
            builder = builder.crew(&format!("c{at}"), &node(from), &node(to), |crew| {
                let step = |time: usize| {
                    let time = MS.mul_f64(TIMES[time]);
                    if drawn.cpu { cpu(time) } else { wait(time) }
                };
                let mut crew = stepped(crew, drawn.times.map(step));
                let mut missing = 15u8;
                for duties in &drawn.duties {
                    crew = crew.gophers(1, &named(*duties));
                    missing &= !duties;
                }
                if missing != 0 {
                    crew = crew.gophers(1, &named(missing));
                }
                crew.carts(drawn.carts).cart_books(drawn.books).copies("rack", drawn.copies)
            });
        }
        plan(builder)
    }
}

fn named(duties: u8) -> String {
    let words: Vec<&str> = (0..4)
        .filter(|at| duties & (1 << at) != 0)
        .map(|at| ["load", "push", "unload", "return"][at])
        .collect();
    words.join(" ")
}

fn rate(prediction: &Prediction) -> f64 {
    prediction.cartloads_per_s.unwrap_or_else(|| panic!("{:?}", prediction.unsaid))
}

/// True if some step takes time, so that there is a rate.
fn timed(prediction: &Prediction) -> bool {
    !prediction.unsaid.iter().any(|why| why.contains("takes time"))
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.max(b)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn folding_changes_nothing(design in design()) {
        let plan = design.plan();
        let (folded, whole) = (plan.predicted(1.0, true), plan.predicted(1.0, false));
        prop_assert_eq!(folded.t1, whole.t1);
        prop_assert_eq!(folded.latency, whole.latency);
        prop_assert_eq!(&folded.unsaid, &whole.unsaid);
        if timed(&folded) {
            let (a, b) = (rate(&folded), rate(&whole));
            // With different cart sizes a fork may have several optimal splits with different
            // cartloads.
            let alike = design.crews.iter().all(|crew| crew.books == design.crews[0].books);
            prop_assert!(!alike || same(a, b), "{a} {b}");
            prop_assert!(same(books_a_second(&plan, true), books_a_second(&plan, false)));
            prop_assert!(folded.bottleneck.is_some());
        }
    }

    #[test]
    fn more_never_gives_less(design in design(), at in 0..7usize, what in 0..4u8) {
        let plan = design.plan();
        let less = plan.predict(1.0);
        prop_assume!(timed(&less));
        let before = books_a_second(&plan, true);
        let mut more = plan.clone();
        let at = at % more.crews.len();
        match what {
            0 => more.crews[at].carts += 1,
            1 => {
                let one = more.crews[at].gophers[0];
                more.crews[at].gophers.push(one);
            }
            2 => more.execution.cores += 1,
            _ => for pile in &mut more.piles {
                pile.exclusive.load = pile.exclusive.load.map(|slots| slots + 1);
            },
        }
        let after = books_a_second(&more, true);
        prop_assert!(after >= before * (1.0 - 1e-6), "{before} {after}");
    }

    /// The solution obeys every limit, does not exceed what any limit alone allows, and conserves
    /// the flow at each node.
    #[test]
    fn no_limit_is_exceeded(design in design()) {
        let plan = design.plan();
        let net = Network::new(&plan, 1.0, false);
        prop_assume!(net.unit > 0.0);
        let program = Program::new(&net, limits(&net)).unwrap();
        let Flow::Steady { books, rates } = program.solve(|limit| limit.cap) else {
            return Ok(());
        };
        for limit in &program.limits {
            let used: f64 = limit.loads.iter().map(|(crew, load)| load * rates[*crew]).sum();
            prop_assert!(used <= limit.cap * (1.0 + 1e-6), "{limit:?} {used}");
            let alone = Program::new(&net, vec![limit.clone()]).unwrap();
            if let Flow::Steady { books: most, .. } = alone.solve(|limit| limit.cap) {
                prop_assert!(books <= most * (1.0 + 1e-6), "{limit:?} {books} {most}");
            }
        }
        for (at, node) in net.nodes.iter().enumerate().filter(|(_, node)| !node.fire) {
            let flow = |wanted: &dyn Fn(&super::super::network::CrewClass) -> bool| -> f64 {
                (net.crews.iter().zip(&rates)).filter(|(crew, _)| wanted(crew))
                    .map(|(crew, rate)| crew.books * rate).sum()
            };
            let out = flow(&|crew| crew.from == at);
            let into = flow(&|crew| crew.to == at) + node.share * books;
            prop_assert!((out - into).abs() <= 1e-6 * books, "{} {out} {into}", node.name);
        }
    }

    #[test]
    fn time_is_scaled(
        design in design(),
        scale in prop_oneof![Just(0.5), Just(3.0), Just(1e-3), Just(1e4)],
    ) {
        let plan = design.plan();
        let (one, other) = (plan.predict(1.0), plan.predict(scale));
        prop_assume!(timed(&one));
        let alike = design.crews.iter().all(|crew| crew.books == design.crews[0].books);
        prop_assert!(!alike || same(rate(&one), rate(&other) * scale));
        prop_assert!(!alike || same(one.speed_up.unwrap(), other.speed_up.unwrap()));
        prop_assert_eq!(&one.bottleneck, &other.bottleneck);
        let (a, b) = (one.makespan_s(&plan, 777), other.makespan_s(&plan, 777));
        prop_assert!(!alike || same(a.unwrap() * scale, b.unwrap()));
    }

    #[test]
    fn drawn_times_never_panic(design in design(), spans in prop::collection::vec(0..4u8, 28)) {
        use gopherworks_supervision::span::Span;
        let mut plan = design.plan();
        let times = plan.crews.iter_mut().flat_map(|crew| &mut crew.steps.0);
        for (time, span) in times.zip(spans.iter().cycle()) {
            let mean = time.wait.mean();
            match span {
                0 => time.wait = Span::Exponential(mean),
                1 => time.wait = Span::Uniform(Duration::ZERO, mean * 2),
                _ => {}
            }
        }
        let found = plan.predict(1.0);
        prop_assert!(found.speed_up.is_some() || !found.unsaid.is_empty());
        if let Some(rate) = found.cartloads_per_s {
            prop_assert!(rate > 0.0);
        }
    }
}

/// Times from a nanosecond to an hour in one design.
#[test]
fn a_design_with_extreme_times_is_solved() {
    let crew = |from, to, times, cpu, copies| Drawn {
        from,
        to,
        duties: vec![],
        carts: 1,
        books: 10,
        times,
        cpu,
        copies,
    };
    let mut slots = vec![None; 10];
    slots[0] = Some(1);
    let design = Design {
        dumps: 1,
        crews: vec![
            crew(0, 0, [1, 0, 1, 0], false, 2),
            crew(0, 0, [0, 0, 0, 0], false, 1),
            crew(1, 0, [0, 1, 3, 1], true, 1),
            crew(2, 5, [2, 0, 0, 0], false, 2),
            crew(0, 5, [0, 0, 5, 0], true, 1),
        ],
        slots,
        room: 60,
        lanes: 2,
        cores: 1,
    };
    let mut plan = design.plan();
    let before = books_a_second(&plan, true);
    plan.crews[0].carts += 1;
    assert!(books_a_second(&plan, true) >= before);
}

/// The optimum in books per second, which does not depend on the choice among equal splits.
fn books_a_second(plan: &Plan, fold: bool) -> f64 {
    let net = Network::new(plan, 1.0, fold);
    let program = Program::new(&net, limits(&net)).unwrap();
    match program.solve(|limit| limit.cap) {
        Flow::Steady { books, .. } => books / net.unit,
        Flow::Endless => f64::INFINITY,
        Flow::Unknown => panic!("not solved"),
    }
}
