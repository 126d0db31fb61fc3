use actix::{Actor, Context, Handler, Message};

use super::*;
use crate::clock::{Clock, Seed};

struct Smoke;
impl Actor for Smoke {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "()")]
struct Boom;
impl Handler<Boom> for Smoke {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom");
    }
}

#[test]
fn smoke() {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    });
    system.block_on(async {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        let port = Port::<Smoke>::new();
        let handle = Supervisor::start(
            Policy::default(),
            clock,
            Seed(1),
            vec![Child::new("a", &port, |_| Ok(Smoke))],
        );
        let mut events = handle.events();
        handle.wait_started().await.unwrap();
        for _ in 0..6 {
            port.send(Boom).unwrap();
            loop {
                let event = events.recv().await.unwrap();
                println!("{event:?}");
                if matches!(event, SupervisionEvent::Started { .. }) && port.epoch() != Some(1) {
                    break;
                }
                if matches!(event, SupervisionEvent::Escalated { .. }) {
                    break;
                }
            }
        }
        println!("{:?}", handle.ended().await);
        println!("{:?}", port.send(Boom));
    });
}
