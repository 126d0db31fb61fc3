//! Throughput of the engine without files, configuration or command: books through piles, crews
//! and incinerators, supervised, with custody and ledger.
//!
//! `cargo bench -p gopherworks-pipeline --bench engine -- pipeline 64 16 10000000` runs one shape
//! once; without arguments, all of them with few books.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gopherworks_pipeline::__private::{
    Bound, CrewCore, CrewMember, CrewQueue, Custody, Destination, Feeder, FeederCore, Gopher,
    GopherCore, Incinerator, IncineratorCore, Look, NodeStats, Pile, PileCore, PileKey, PileParts,
    PipelineContext, Want,
};
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::source::Source;
use gopherworks_pipeline::steps::{Duties, Step, StepTimes};
use gopherworks_supervision::clock::{Clock, Seed, Stopwatch};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{Arbiters, Child, ChildThread, Port, RestartPolicy, Supervisor};

const BODY: &[u8] = &[7; 64];

struct Numbers(u64);

impl Source for Numbers {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let count = self.0.min(want as u64);
        self.0 -= count;
        let book = |_| Book::new(Bytes::from_static(BODY));
        Ok((count > 0).then(|| (0..count).map(book).collect()))
    }

    fn split(&mut self, copies: usize) -> Option<Vec<Box<dyn Source>>> {
        let part = |at| -> Box<dyn Source> {
            let books = self.0.saturating_sub(at).div_ceil(copies as u64);
            Box::new(Numbers(books))
        };
        Some((0..copies as u64).map(part).collect())
    }

    fn blocks(&self) -> bool {
        false
    }
}

/// Counts and sums burned books. One arbiter burns, book by book, so plain loads and stores
/// suffice.
#[derive(Default)]
struct Fire {
    count: AtomicU64,
    sum: AtomicU64,
}

struct Burning(Arc<Fire>);

impl Burn for Burning {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let Fire { count, sum } = &*self.0;
        count.store(count.load(Relaxed) + 1, Relaxed);
        sum.store(sum.load(Relaxed) + book.id.0, Relaxed);
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy)]
struct Shape<'a> {
    kind: &'a str,
    cart: usize,
    carts: usize,
    books: u64,
}

fn duties(words: &str) -> Duties {
    words.split(' ').filter_map(Step::from_name).collect()
}

/// Runs a pipeline of the given shape, from its start to the last book.
async fn run(shape: Shape<'_>) -> Duration {
    let clock = Clock::real();
    let lanes = if shape.kind == "copies" { 2 } else { 1 };
    let dumps = usize::from(shape.kind != "ring");
    let ports: Vec<Port<Pile>> = (0..lanes * (dumps + 1)).map(|_| Port::new()).collect();
    let ports = Arc::new(ports);
    let arbiters = (lanes > 1).then(|| Arbiters::start(lanes, None, &clock));
    let place = |lane: usize| match arbiters.as_ref().and_then(|all| all.slot(lane)) {
        Some(slot) => ChildThread::Slot(slot.clone()),
        None => ChildThread::Here,
    };
    let bells = ports.clone();
    let bound = Bound { books: Some((shape.cart * 16).max(1024) as u64), bytes: None };
    let store = Custody::new(
        ports.iter().map(|_| (bound, 3)),
        clock.clone(),
        Arc::new(move |pile: PileKey| {
            let _ = bells[pile.index()].send(Look);
        }),
    );
    let pool = Pool::new(clock.clone(), 1).expect("threads");
    let context = PipelineContext::new(clock.clone(), Seed(0), pool, store, Vec::new(), None);
    let feeder = FeederCore::new("source", Box::new(Numbers(shape.books)), lanes, None, None)
        .expect("nothing to go on with");
    feeder.belongs_to(&context);
    let mut node = 0;
    let mut number = || {
        node += 1;
        node
    };
    let (mut fires, mut children, mut queues) = (Vec::new(), Vec::new(), Vec::new());
    for lane in 0..lanes {
        let mut piles: Vec<Arc<PileCore>> = Vec::new();
        for at in 0..=dumps {
            let key = lane * (dumps + 1) + at;
            let parts = PileParts {
                name: format!("pile{key}"),
                key: PileKey(key as u32),
                node: number(),
                dump: at > 0,
                sealed: true,
                capacity_books: bound.books,
                capacity_bytes: None,
                port: ports[key].clone(),
                feeder: (at == 0).then(|| (feeder.clone(), lane)),
                upstream: piles.last().cloned().into_iter().collect(),
                left_alone: false,
                fed_elsewhere: false,
            };
            piles.push(PileCore::new(&context, parts));
        }
        let fire = Arc::new(Fire::default());
        fires.push(fire.clone());
        let burning = || -> Box<dyn Burn> { Box::new(Burning(fire.clone())) };
        let burn = fire.clone();
        let furnace = IncineratorCore::new(
            &context,
            "furnace",
            number(),
            vec![piles[dumps].clone()],
            burning(),
            Arc::new(move || Ok(Box::new(Burning(burn.clone())))),
        );
        children.push({
            let core = furnace.clone();
            Child::new("furnace", &furnace.port, move |birth| {
                Incinerator::new(core.clone(), birth.epoch).map_err(|failure| failure.to_string())
            })
            .place(place(lane))
        });
        for pile in &piles {
            let core = pile.clone();
            children.push(
                Child::new(pile.name.clone(), &pile.port, move |_| Ok(Pile::new(core.clone())))
                    .place(place(lane)),
            );
        }
        let gophers: &[&str] = match shape.kind {
            "ring" => &["load", "push", "unload", "return"],
            _ => &["load push unload return"],
        };
        for (at, from) in piles.iter().enumerate() {
            let ports: Vec<Port<Gopher>> = gophers.iter().map(|_| Port::new()).collect();
            let members: Vec<CrewMember> = (gophers.iter().zip(&ports))
                .map(|(words, port)| CrewMember {
                    duties: duties(words),
                    port: Arc::new(port.clone()),
                    node: number(),
                })
                .collect();
            let want = Want { books: shape.cart, bytes: None };
            let name = format!("crew{lane}.{at}");
            let queue = CrewQueue::new(
                clock.clone(),
                name.clone(),
                want,
                shape.carts,
                members.clone(),
                None,
                None,
                false,
            );
            queues.push(queue.clone());
            let to = match piles.get(at + 1) {
                Some(dump) => Destination::Dump(dump.clone()),
                None => Destination::Incinerator(furnace.clone()),
            };
            let crew = Arc::new(CrewCore::new(
                queue,
                (from.clone(), to),
                StepTimes::default(),
                (None, None),
                context.clone(),
            ));
            if at == 0 {
                feeder.loads(crew.load());
            }
            for (index, (member, port)) in members.iter().zip(&ports).enumerate() {
                let core = Arc::new(GopherCore {
                    name: format!("{name}/{index}"),
                    index,
                    counts: member.duties.iter().next().unwrap_or(Step::Load),
                    stats: NodeStats::default(),
                    chance: Mutex::new(Seed(0).stream(&name, "steps")),
                });
                let crew = crew.clone();
                children.push(
                    Child::new(core.name.clone(), port, move |birth| {
                        Gopher::new(crew.clone(), core.clone(), birth.epoch)
                            .map_err(|failure| failure.to_string())
                    })
                    .place(place(lane)),
                );
            }
        }
        for pair in piles.windows(2) {
            pair[0].leads_to(vec![Arc::downgrade(&pair[1])]);
        }
    }
    let (core, shared) = (feeder.clone(), context.clone());
    children.push(Child::new("source", &feeder.port, move |_| {
        Ok(Feeder::new(core.clone(), shared.clone()))
    }));
    let mut changes = context.changes();
    let watch = Stopwatch::start();
    let supervisor = Supervisor::start(RestartPolicy::default(), clock, Seed(0), children);
    supervisor.wait_started().await.expect("it starts");
    while !queues.iter().all(|queue| queue.is_done()) {
        changes.changed().await.expect("the context lives");
    }
    let took = watch.elapsed();
    supervisor.stop(Duration::from_secs(1)).await;
    let ledger = context.custody.ledger();
    assert!(ledger.balances(), "{ledger:?}");
    let total = |of: fn(&Fire) -> &AtomicU64| -> u64 {
        fires.iter().map(|fire| of(fire).load(Relaxed)).sum()
    };
    let (count, sum) = (total(|fire| &fire.count), total(|fire| &fire.sum));
    assert_eq!((ledger.burned, count), (shape.books, shape.books));
    assert_eq!(sum, shape.books * (shape.books + 1) / 2);
    took
}

/// Baseline: the source connected directly to the burn.
fn plain(books: u64, cart: usize) -> Duration {
    let fire = Arc::new(Fire::default());
    let burning: Box<dyn Burn> = Box::new(Burning(fire.clone()));
    let mut source: Box<dyn Source> = Box::new(Numbers(books));
    let watch = Stopwatch::start();
    let mut id = 0;
    while let Some(mut some) = source.next(cart).expect("no failures here") {
        for book in &mut some {
            id += 1;
            book.id.0 = id;
        }
        let mut dump = std::collections::VecDeque::with_capacity(cart);
        dump.extend(some);
        let cart: Vec<Book> = dump.drain(..).collect();
        for book in &cart {
            burning.burn(book).expect("no failures here");
        }
    }
    let took = watch.elapsed();
    assert_eq!(fire.sum.load(Relaxed), books * (books + 1) / 2);
    took
}

fn show(shape: Shape<'_>, took: Duration) {
    let Shape { kind, cart, carts, books } = shape;
    let each = took.as_nanos() as f64 / books as f64;
    println!(
        "{kind:9} {books:>10} books, {carts:>4} carts of {cart:>4}: {:8.2} M/s, {each:8.1} ns each",
        1e3 / each
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number =
        |at: usize, or: u64| words.get(at).map_or(or, |word| word.parse().expect("a number"));
    let kinds = match words.first() {
        Some(kind) => vec![kind.as_str()],
        None => vec!["plain", "pipeline", "ring", "copies"],
    };
    for kind in kinds {
        let shape = Shape {
            kind,
            cart: number(1, 64) as usize,
            carts: number(2, 16) as usize,
            books: number(3, 1_000_000),
        };
        let took = match kind {
            "plain" => plain(shape.books, shape.cart),
            _ => actix_rt::System::new().block_on(run(shape)),
        };
        show(shape, took);
    }
}
