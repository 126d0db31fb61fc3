//! Random designs: a chain of piles, dumps and an incinerator, with one or two crews on each
//! stretch.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use gopherworks::config::builder::kind;
use gopherworks::config::elements::{
    Backoff, CrewConfig, Placement, Span, StepTime, Strategy as Restarts, SupervisionConfig,
    TopologyConfig,
};
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::RunningTopology;
use proptest::prelude::*;

/// A crew.
#[derive(Clone)]
pub struct CrewDesign {
    /// Steps of each gopher, as words.
    pub gophers: Vec<String>,
    pub carts: u32,
    pub cart_books: u64,
    /// Load, push, unload, return: microseconds, and whether the time is exponential.
    pub times: [(u64, bool); 4],
}

/// A whole design.
#[derive(Clone)]
pub struct Design {
    pub books: u64,
    /// Capacity of the first pile in books.
    pub capacity: u64,
    /// Capacity of each dump in books.
    pub dumps: Vec<u64>,
    /// Crews of each stretch; one stretch more than dumps.
    pub stretches: Vec<Vec<CrewDesign>>,
    /// Slots for load and unload of each stretch.
    pub exclusive: Vec<(Option<u32>, Option<u32>)>,
    pub max_attempts: u32,
    pub seed: u64,
    pub strategy: Restarts,
}

impl fmt::Debug for CrewDesign {
    /// On one line: proptest prints it when a property fails.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gophers, carts, cart_books, times } = self;
        write!(f, "{gophers:?} {carts}x{cart_books} {times:?}us")
    }
}

impl fmt::Debug for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { books, capacity, dumps, stretches, exclusive, max_attempts, seed, strategy } =
            self;
        write!(
            f,
            "{books} books, manuals {capacity}, dumps {dumps:?}, slots {exclusive:?}, \
             {max_attempts} attempts, seed {seed}, {strategy:?}"
        )?;
        for (at, crews) in stretches.iter().enumerate() {
            for crew in crews {
                write!(f, "; stretch {at}: {crew:?}")?;
            }
        }
        Ok(())
    }
}

/// Kills: (microseconds after the one before, which actor).
pub type Kills = Vec<(u64, usize)>;

const STEPS: [&str; 4] = ["load", "push", "unload", "return"];

/// Any assignment of the four steps to gophers (several may share a step), so that every step has a
/// gopher.
fn gophers() -> impl Strategy<Value = Vec<String>> {
    let dealt = |count: usize| {
        prop::array::uniform4(1u8..(1 << count) as u8).prop_map(move |doers| {
            (0..count)
                .map(|gopher| {
                    let duties = (0..4).filter(|step| doers[*step] & (1 << gopher) != 0);
                    let words: Vec<&str> = duties.map(|step| STEPS[step]).collect();
                    words.join(" ")
                })
                .filter(|words| !words.is_empty())
                .collect::<Vec<String>>()
        })
    };
    prop_oneof![
        2 => Just(vec![STEPS.join(" ")]),
        1 => Just(STEPS.map(str::to_owned).to_vec()),
        2 => dealt(2),
        2 => dealt(3),
        2 => dealt(4),
    ]
}

fn time() -> impl Strategy<Value = (u64, bool)> {
    prop_oneof![
        2 => Just((0, false)),
        3 => (1u64..3000, Just(false)),
        1 => (1u64..3000, Just(true)),
        2 => Just((1000, false)),
    ]
}

fn crew() -> impl Strategy<Value = CrewDesign> {
    (gophers(), 1u32..=4, 1u64..=5, prop::array::uniform4(time())).prop_map(
        |(gophers, carts, cart_books, times)| CrewDesign { gophers, carts, cart_books, times },
    )
}

fn stretch(spare: bool) -> impl Strategy<Value = (Vec<CrewDesign>, (Option<u32>, Option<u32>))> {
    let slots = || prop_oneof![2 => Just(None), 1 => (1u32..=2).prop_map(Some)];
    let most = if spare { 2 } else { 1 };
    (prop::collection::vec(crew(), 1..=most), (slots(), slots()))
}

/// Any design with up to `dumps` dumps.
pub fn design(dumps: usize) -> impl Strategy<Value = Design> {
    let parts = prop::collection::vec((stretch(true), 0u64..=8), 1..=dumps + 1);
    (parts, 1u64..=60, 1u64..=20, 1u32..=3, any::<u64>()).prop_map(
        |(parts, books, capacity, max_attempts, seed)| {
            // The plan refuses a pile or dump that can't hold one cartload of a crew that fills or
            // empties it.
            let cart = |at: usize| {
                let ((crews, _), _): &((Vec<CrewDesign>, _), u64) = &parts[at];
                crews.iter().map(|crew| crew.cart_books).max().unwrap_or(1)
            };
            let dumps =
                (1..parts.len()).map(|at| parts[at].1.max(cart(at - 1)).max(cart(at))).collect();
            let capacity = capacity.max(cart(0));
            let (stretches, _): (Vec<_>, Vec<u64>) = parts.into_iter().unzip();
            let (stretches, exclusive) = stretches.into_iter().unzip();
            Design {
                books,
                capacity,
                dumps,
                stretches,
                exclusive,
                max_attempts,
                seed: seed >> 1 & 0xffff,
                strategy: Restarts::OneForOne,
            }
        },
    )
}

/// Any schedule of up to `most` kills, dense enough to hit every step of a cart.
pub fn kills(most: usize) -> impl Strategy<Value = Kills> {
    let gap = prop_oneof![1 => Just(0u64), 4 => 1u64..1500, 1 => 1500u64..6000];
    prop::collection::vec((gap, 0usize..64), 0..=most)
}

/// Kills random actors, and checks the books after each kill.
pub async fn kill_all_along(running: &RunningTopology, design: &Design, kills: &Kills) {
    let clock = running_clock(running);
    let actors = running.actors();
    for (gap, victim) in kills {
        clock.sleep(Duration::from_micros(*gap)).await;
        assert_balanced(running, design);
        assert!(running.kill(&actors[victim % actors.len()]));
    }
}

fn running_clock(running: &RunningTopology) -> gopherworks::supervision::clock::Clock {
    CLOCK.with(|clock| {
        clock.borrow().clone().unwrap_or_else(|| {
            panic!("{running:?}: set the clock of this thread by `use_clock` first")
        })
    })
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// Sets the clock that [`kill_all_along`] uses on this thread.
pub fn use_clock(clock: &gopherworks::supervision::clock::Clock) {
    CLOCK.with(|mine| *mine.borrow_mut() = Some(clock.clone()));
}

/// Asserts that each offered book is in exactly one place, and that no pile holds more than its
/// capacity.
pub fn assert_balanced(running: &RunningTopology, design: &Design) {
    let ledger = running.snapshot().ledger;
    assert_eq!((ledger.lost, ledger.duplicates), (0, 0), "{ledger:?}");
    let ended = ledger.burned + ledger.dead + ledger.dropped;
    assert_eq!(ledger.offered, ended + ledger.in_flight, "{ledger:?}");
    assert!(
        ledger.in_flight <= design.room(),
        "{} books in flight, but there is room for {} only",
        ledger.in_flight,
        design.room()
    );
}

/// Supervision that never escalates and restarts quickly.
pub fn patient(mut supervision: SupervisionConfig) -> SupervisionConfig {
    supervision.intensity = 100_000;
    supervision.in_a_row = 100_000;
    supervision.backoff = Backoff {
        min: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..supervision.backoff
    };
    supervision
}

fn step(time: (u64, bool)) -> StepTime {
    let span = Duration::from_micros(time.0);
    let wait = match time {
        (0, _) => Span::Zero,
        (_, false) => Span::Fixed(span),
        (_, true) => Span::Exponential(span),
    };
    StepTime { wait, cpu: Span::Zero }
}

impl CrewDesign {
    /// One gopher with one cart, and steps without duration.
    pub fn plain(cart_books: u64) -> Self {
        Self { gophers: vec![STEPS.join(" ")], carts: 1, cart_books, times: [(0, false); 4] }
    }

    fn config(&self, mut crew: CrewConfig) -> CrewConfig {
        for duties in &self.gophers {
            crew = crew.gophers(1, duties);
        }
        crew.carts(self.carts)
            .cart_books(self.cart_books)
            .load(step(self.times[0]))
            .push(step(self.times[1]))
            .unload(step(self.times[2]))
            .return_(step(self.times[3]))
    }
}

impl Design {
    /// One crew from pile to incinerator.
    pub fn plain(books: u64, crew: CrewDesign) -> Self {
        Self {
            books,
            capacity: 20,
            dumps: Vec::new(),
            stretches: vec![vec![crew]],
            exclusive: vec![(None, None)],
            max_attempts: 3,
            seed: 1,
            strategy: Restarts::OneForOne,
        }
    }

    /// Maximum number of books that may be in flight: what piles admit plus what carts hold.
    pub fn room(&self) -> u64 {
        let carts = self.stretches.iter().flatten();
        let carried: u64 = carts.map(|crew| u64::from(crew.carts) * crew.cart_books).sum();
        self.capacity + self.dumps.iter().sum::<u64>() + carried
    }

    /// The name of the node at a position: the pile, the dumps, the incinerator.
    fn node(&self, at: usize) -> String {
        match at {
            0 => "manuals".to_owned(),
            at if at <= self.dumps.len() => format!("dump{at}"),
            _ => "furnace".to_owned(),
        }
    }

    /// The config: `source` into the first pile, `burn` at the end, `works` by stretch.
    pub fn config(
        &self,
        source: Option<&str>,
        burn: &str,
        works: &[Option<&str>],
    ) -> TopologyConfig {
        let mut all = TopologyConfig::builder("random")
            .seed(self.seed)
            .cores(2)
            .supervision(patient)
            .pile("manuals", |mut pile| {
                pile = pile.capacity_books(self.capacity).max_attempts(self.max_attempts);
                if let Some(source) = source {
                    pile = pile.source(source);
                }
                pile.exclusive.load = self.exclusive[0].0;
                pile
            });
        for (at, capacity) in self.dumps.iter().enumerate() {
            all = all.dump(&self.node(at + 1), |mut dump| {
                dump.exclusive.unload = self.exclusive[at].1;
                dump.exclusive.load = self.exclusive[at + 1].0;
                dump.capacity_books(*capacity).max_attempts(self.max_attempts)
            });
        }
        let last = self.stretches.len() - 1;
        all = all.incinerator("furnace", |mut fire| {
            fire.exclusive.unload = self.exclusive[last].1;
            fire.burn(burn)
        });
        for (at, crews) in self.stretches.iter().enumerate() {
            for (lane, crew) in crews.iter().enumerate() {
                let name = format!("crew{at}_{lane}");
                all = all.crew(&name, &self.node(at), &self.node(at + 1), |config| {
                    let config = crew.config(config);
                    match works.get(at).copied().flatten() {
                        Some(work) => config.work(kind(work)),
                        None => config,
                    }
                });
            }
        }
        let mut config = all.build();
        config.supervision.strategy = self.strategy;
        config
    }

    /// Places the nodes on the arbiters in turn.
    pub fn spread(config: &mut TopologyConfig) {
        config.execution.placement = Placement::Spread;
    }
}
