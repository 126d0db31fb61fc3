//! The cost of supervision: the same actors by their ports under a supervisor, and by bare
//! addresses; and the time of a restart.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::{Backoff, Child, Port, RestartPolicy, SupervisionEvent, Supervisor};
use peers_common::{Answer, Moment, Order};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The address of the next player: a port, or a bare address.
#[derive(Clone)]
enum Way {
    Bare(Addr<Player>),
    Port(Port<Player>),
}

impl Way {
    fn send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Player: Handler<M>,
    {
        match self {
            Way::Bare(addr) => addr.do_send(message),
            Way::Port(port) => {
                if port.send(message).is_err() {
                    panic!("no actor is there");
                }
            }
        }
    }
}

struct Player {
    next: Option<Way>,
    home: UnboundedSender<u64>,
}

impl Actor for Player {
    type Context = Context<Self>;
}

/// The next player to pass a ball to.
#[derive(Message)]
#[rtype(result = "()")]
struct Next(Way);

impl Handler<Next> for Player {
    type Result = ();

    fn handle(&mut self, Next(way): Next, _: &mut Self::Context) {
        self.next = Some(way);
    }
}

/// A ball, with the number of receptions that are left.
#[derive(Message)]
#[rtype(result = "()")]
struct Ball {
    number: u64,
    left: u64,
}

impl Handler<Ball> for Player {
    type Result = ();

    fn handle(&mut self, Ball { number, left }: Ball, _: &mut Self::Context) {
        match &self.next {
            Some(next) if left > 1 => next.send(Ball { number, left: left - 1 }),
            _ => {
                let _ = self.home.send(number);
            }
        }
    }
}

/// `players` actors in a ring pass on `balls` balls, until balls were received `count` times in
/// all.
pub async fn pass_on(order: &Order, (players, balls): (usize, u64), supervised: bool) {
    let (home, came) = unbounded_channel();
    if supervised {
        let ports: Vec<Port<Player>> = (0..players).map(|_| Port::new()).collect();
        let children = ports.iter().enumerate().map(|(number, port)| {
            let home = home.clone();
            Child::new(format!("player/{number}"), port, move |_| {
                Ok(Player { next: None, home: home.clone() })
            })
        });
        let supervisor =
            Supervisor::start(RestartPolicy::default(), Clock::real(), Seed(0), children.collect());
        supervisor.wait_started().await.expect("they start");
        play(order, ports.into_iter().map(Way::Port).collect(), balls, came).await;
        supervisor.stop(Duration::from_secs(5)).await;
    } else {
        let players =
            (0..players).map(|_| Way::Bare(Player { next: None, home: home.clone() }.start()));
        play(order, players.collect(), balls, came).await;
    }
}

async fn play(order: &Order, players: Vec<Way>, balls: u64, mut came: UnboundedReceiver<u64>) {
    for (at, player) in players.iter().enumerate() {
        player.send(Next(players[(at + 1) % players.len()].clone()));
    }
    let balls = balls.min(order.count);
    let start = Moment::now();
    for number in 0..balls {
        let left = order.count * (number + 1) / balls - order.count * number / balls;
        players[number as usize % players.len()].send(Ball { number, left });
    }
    let mut sum = 0;
    for _ in 0..balls {
        sum += came.recv().await.expect("balls come home");
    }
    let took = start.elapsed();
    assert_eq!(sum, balls * (balls - 1) / 2, "each ball comes home once");
    Answer::new(order, took).with("sum", sum).print();
}

/// Panics on a message. It holds a reference to its perch, which counts the lives in memory.
struct Parrot(#[expect(dead_code, reason = "to be counted")] Arc<()>);

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

/// Measures from the message that kills an actor to its next life, without backoff.
pub async fn restart(order: &Order) {
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
    let (port, perch) = (Port::<Parrot>::new(), Arc::new(()));
    let held = perch.clone();
    let child = Child::new("parrot", &port, move |_| Ok(Parrot(held.clone())));
    let supervisor = Supervisor::start(policy, Clock::real(), Seed(0), vec![child]);
    supervisor.wait_started().await.expect("it starts");
    let mut events = supervisor.events();
    let start = Moment::now();
    for life in 1..=order.count {
        assert_eq!(port.epoch(), Some(life));
        port.send(Cat).expect("it is there");
        loop {
            match events.recv().await.expect("events") {
                SupervisionEvent::Started { epoch, .. } if epoch == life + 1 => break,
                _ => {}
            }
        }
    }
    let took = start.elapsed();
    assert_eq!(supervisor.restarts("parrot"), order.count);
    // Held here, by the factory and by the present life: all earlier lives are gone.
    assert_eq!(Arc::strong_count(&perch), 3);
    supervisor.stop(Duration::from_secs(5)).await;
    Answer::new(order, took).print();
}
