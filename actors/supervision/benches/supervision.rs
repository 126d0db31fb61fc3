//! Cost of supervision: actors reached by ports under a supervisor compared with bare addresses,
//! in alternating runs; the time to restart after a panic; and many idle actors.
//!
//! `cargo bench -p gopherworks-supervision --bench supervision -- pingpong 2000000 15` measures one
//! row with that number of operations and rounds; without arguments, all rows. Rows: `pingpong`,
//! `burst`, `restart`, `idle`. Times are processor times where the system provides them.

use std::fs::read_to_string;
use std::process::Command;
use std::time::Duration;

use actix::prelude::*;
use gopherworks_supervision::clock::{Clock, Seed, Stopwatch};
use gopherworks_supervision::{
    Backoff, Child, Port, Ports, RestartPolicy, SupervisionEvent, Supervisor, Template,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Measures the processor time of this thread, in nanoseconds.
struct Ran(Option<u64>, Stopwatch);

impl Ran {
    fn start() -> Self {
        Self(Self::cpu(), Stopwatch::start())
    }

    fn cpu() -> Option<u64> {
        let text = read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    fn nanos(&self) -> f64 {
        match (self.0, Self::cpu()) {
            (Some(before), Some(after)) => (after - before) as f64,
            _ => self.1.elapsed().as_nanos() as f64,
        }
    }
}

#[derive(Clone)]
enum Address {
    Bare(Addr<Player>),
    Port(Port<Player>),
}

impl Address {
    fn send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Player: Handler<M>,
    {
        match self {
            Address::Bare(addr) => addr.do_send(message),
            Address::Port(port) => port.send(message).expect("it is there"),
        }
    }
}

/// Passes balls to the next player.
struct Player {
    next: Option<Address>,
    home: UnboundedSender<()>,
}

impl Actor for Player {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Next(Address);

impl Handler<Next> for Player {
    type Result = ();

    fn handle(&mut self, Next(address): Next, _: &mut Self::Context) {
        self.next = Some(address);
    }
}

/// A message passed on until it was received this many more times.
#[derive(Message)]
#[rtype(result = "()")]
struct Ball(u64);

impl Handler<Ball> for Player {
    type Result = ();

    fn handle(&mut self, Ball(left): Ball, _: &mut Self::Context) {
        match &self.next {
            Some(next) if left > 1 => next.send(Ball(left - 1)),
            _ => self.home.send(()).expect("home waits"),
        }
    }
}

/// Nanoseconds per received ball.
async fn play(
    players: &[Address],
    balls: u64,
    count: u64,
    came: &mut UnboundedReceiver<()>,
) -> f64 {
    for (at, player) in players.iter().enumerate() {
        player.send(Next(players[(at + 1) % players.len()].clone()));
    }
    let ran = Ran::start();
    for number in 0..balls {
        let left = count * (number + 1) / balls - count * number / balls;
        players[number as usize % players.len()].send(Ball(left));
    }
    for _ in 0..balls {
        came.recv().await.expect("balls come home");
    }
    ran.nanos() / count as f64
}

async fn bare((players, balls): (usize, u64), count: u64) -> f64 {
    let (home, mut came) = unbounded_channel();
    let players: Vec<Address> = (0..players)
        .map(|_| {
            let (next, home) = (None, home.clone());
            Address::Bare(Player { next, home }.start())
        })
        .collect();
    play(&players, balls, count, &mut came).await
}

async fn supervised((players, balls): (usize, u64), count: u64) -> f64 {
    let (home, mut came) = unbounded_channel();
    let ports: Vec<Port<Player>> = (0..players).map(|_| Port::new()).collect();
    let children = ports.iter().enumerate().map(|(number, port)| {
        let home = home.clone();
        Child::new(format!("player/{number}"), port, move |_| {
            let (next, home) = (None, home.clone());
            Ok(Player { next, home })
        })
    });
    let (policy, clock) = (RestartPolicy::default(), Clock::real());
    let supervisor = Supervisor::start(policy, clock, Seed(0), children.collect());
    supervisor.wait_started().await.expect("they start");
    let players: Vec<Address> = ports.into_iter().map(Address::Port).collect();
    let took = play(&players, balls, count, &mut came).await;
    supervisor.stop(Duration::from_secs(5)).await;
    took
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn compare(row: &str, shape: (usize, u64), count: u64, rounds: u64) {
    let mut took = Vec::new();
    for round in 0..rounds {
        let system = System::new();
        took.push(if round % 2 == 0 {
            let bare = system.block_on(bare(shape, count));
            (bare, system.block_on(supervised(shape, count)))
        } else {
            let supervised = system.block_on(supervised(shape, count));
            (system.block_on(bare(shape, count)), supervised)
        });
    }
    let of = |part: fn(&(f64, f64)) -> f64| median(took.iter().map(part).collect());
    println!(
        "{row}: bare {:.1} ns, supervised {:.1} ns, throughput {:.3} of bare",
        of(|took| took.0),
        of(|took| took.1),
        of(|took| took.0 / took.1)
    );
}

struct Parrot;

impl Actor for Parrot {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Cat;

impl Handler<Cat> for Parrot {
    type Result = ();

    fn handle(&mut self, _: Cat, _: &mut Self::Context) {
        panic!("it flew away");
    }
}

fn restart(count: u64) {
    System::new().block_on(async {
        let policy = RestartPolicy {
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            backoff: Backoff {
                min: Duration::ZERO,
                max: Duration::ZERO,
                jitter: 0.0,
                ..Backoff::default()
            },
            ..RestartPolicy::default()
        };
        let port = Port::new();
        let child = Child::new("parrot", &port, |_| Ok(Parrot));
        let supervisor = Supervisor::start(policy, Clock::real(), Seed(0), vec![child]);
        supervisor.wait_started().await.expect("it starts");
        let mut events = supervisor.events();
        let ran = Ran::start();
        for life in 1..=count {
            port.send(Cat).expect("it is there");
            while !matches!(
                events.recv().await.expect("events"),
                SupervisionEvent::Started { epoch, .. } if epoch == life + 1
            ) {}
        }
        let took = ran.nanos() / count as f64 / 1e3;
        println!("restart: {took:.2} us from the message that is an actor's end to its next life");
        supervisor.stop(Duration::from_secs(5)).await;
    });
}

struct Gopher(u64);

impl Actor for Gopher {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ask(UnboundedSender<u64>);

impl Handler<Ask> for Gopher {
    type Result = ();

    fn handle(&mut self, Ask(answers): Ask, _: &mut Self::Context) {
        answers.send(self.0).expect("somebody asked");
    }
}

fn resident() -> u64 {
    let pages = read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split_whitespace().nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
}

/// Many idle actors, which answer once at the end. Exits the process.
fn idle(count: u64, supervised: bool) {
    System::new().block_on(async {
        let (answers, mut heard) = unbounded_channel();
        let before = resident();
        let ran = Ran::start();
        let (took, ask): (f64, Box<dyn Fn(u64)>) = if supervised {
            let supervisor =
                Supervisor::start(RestartPolicy::default(), Clock::real(), Seed(0), Vec::new());
            let gophers = Ports::new(count as usize);
            let template = Template::new("gopher", &gophers, |me| Ok(Gopher(me as u64)));
            let started = supervisor.start_many(template).await;
            started.expect("they start");
            (
                ran.nanos(),
                Box::new(move |me| {
                    let ask = Ask(answers.clone());
                    gophers.send(me as usize, ask).expect("it is alive");
                }),
            )
        } else {
            let gophers: Vec<Addr<Gopher>> = (0..count).map(|me| Gopher(me).start()).collect();
            tokio::task::yield_now().await;
            let (alive, mut came) = unbounded_channel();
            gophers[count as usize - 1].do_send(Ask(alive));
            came.recv().await.expect("the last is alive");
            (ran.nanos(), Box::new(move |me| gophers[me as usize].do_send(Ask(answers.clone()))))
        };
        let bytes = resident().saturating_sub(before) / count;
        let mut sum = 0;
        for me in 0..count {
            ask(me);
            sum += heard.recv().await.expect("an answer");
        }
        assert_eq!(sum, count * (count - 1) / 2);
        println!("{} {bytes}", took / count as f64);
        // Skips the orderly shutdown of a million actors.
        std::process::exit(0);
    });
}

/// Runs each case in its own process, since freed memory is not fully returned to the system.
fn compare_idle(count: u64, rounds: u64) {
    let run = |row: &str| -> (f64, f64) {
        let program = std::env::current_exe().expect("this program");
        let ran = Command::new(program).args([row, &count.to_string()]).output();
        let text = String::from_utf8(ran.expect("it runs").stdout).expect("text");
        let mut fields = text.split_whitespace().map(|field| field.parse::<f64>());
        let mut next = || fields.next().expect("a figure").expect("a number");
        (next(), next())
    };
    let took: Vec<[f64; 4]> = (0..rounds)
        .map(|_| {
            let (bare, supervised) = (run("idle-bare"), run("idle-supervised"));
            [bare.0, bare.1, supervised.0, supervised.1]
        })
        .collect();
    let of = |at: usize| median(took.iter().map(|took| took[at]).collect());
    println!(
        "idle: bare {:.0} ns and {:.0} bytes each, supervised {:.0} ns and {:.0} bytes",
        of(0),
        of(1),
        of(2),
        of(3)
    );
}

fn main() {
    // Ignores arguments of cargo's harness.
    let words: Vec<String> =
        (std::env::args().skip(1)).filter(|word| !word.starts_with("--")).collect();
    let number = |at: usize, otherwise: u64| -> u64 {
        words
            .get(at)
            .map_or(otherwise, |word| word.parse().expect("a number of operations or rounds"))
    };
    let row = words.first().map(String::as_str);
    let wants = |name: &str| row.is_none_or(|row| row == name);
    match row {
        Some("idle-bare") => idle(number(1, 1), false),
        Some("idle-supervised") => idle(number(1, 1), true),
        _ => {}
    }
    if wants("pingpong") {
        compare("pingpong", (2, 1), number(1, 1_000_000), number(2, 15));
    }
    if wants("burst") {
        compare("burst", (8, 1024), number(1, 2_000_000), number(2, 15));
    }
    if wants("restart") {
        restart(number(1, 20_000));
    }
    if wants("idle") {
        compare_idle(number(1, 1_000_000), number(2, 3));
    }
}
