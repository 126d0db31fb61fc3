//! One value is passed around four actors.

use peers_common::{Answer, Moment, Order};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

/// A message to an actor.
enum Turn {
    Begin(ActorRef<Turn>),
    Value(u64),
}

/// Passes the value on.
struct Hand;

impl Actor for Hand {
    type Msg = Turn;
    type State = ActorRef<Turn>;
    type Arguments = ActorRef<Turn>;

    async fn pre_start(
        &self,
        _: ActorRef<Turn>,
        to: ActorRef<Turn>,
    ) -> Result<ActorRef<Turn>, ActorProcessingErr> {
        Ok(to)
    }

    async fn handle(
        &self,
        _: ActorRef<Turn>,
        value: Turn,
        to: &mut ActorRef<Turn>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(to.cast(value)?)
    }
}

/// Counts the trips.
struct First {
    rounds: u64,
}

struct Count {
    to: Option<ActorRef<Turn>>,
    sum: u64,
    out: Option<oneshot::Sender<u64>>,
}

impl Actor for First {
    type Msg = Turn;
    type State = Count;
    type Arguments = oneshot::Sender<u64>;

    async fn pre_start(
        &self,
        _: ActorRef<Turn>,
        out: oneshot::Sender<u64>,
    ) -> Result<Count, ActorProcessingErr> {
        Ok(Count { to: None, sum: 0, out: Some(out) })
    }

    async fn handle(
        &self,
        _: ActorRef<Turn>,
        turn: Turn,
        count: &mut Count,
    ) -> Result<(), ActorProcessingErr> {
        let next = match turn {
            Turn::Begin(to) => {
                count.to = Some(to);
                1
            }
            Turn::Value(round) => {
                count.sum = count.sum.wrapping_add(round);
                round + 1
            }
        };
        if next <= self.rounds {
            count.to.as_ref().ok_or("no next actor")?.cast(Turn::Value(next))?;
        } else if let Some(out) = count.out.take() {
            let _ = out.send(count.sum);
        }
        Ok(())
    }
}

pub async fn run(order: &Order) {
    let (out, over) = oneshot::channel();
    let (first, _) =
        Actor::spawn(None, First { rounds: order.count }, out).await.expect("it starts");
    let mut next = first.clone();
    for _ in 0..3 {
        next = Actor::spawn(None, Hand, next).await.expect("it starts").0;
    }
    let start = Moment::now();
    first.cast(Turn::Begin(next)).expect("it lives");
    let sum = over.await.expect("the first lives");
    Answer::new(order, start.elapsed()).answered(order, sum).print();
}
