//! A plain actix actor whose handler panics: its supervisor restarts it, and callers lose only the
//! message that caused the panic.
//!
//! `cargo run --example supervise`

use actix::prelude::*;
use gopherworks::supervision::clock::{Clock, Seed};
use gopherworks::supervision::{Child, Port, RestartPolicy, SupervisionEvent, Supervisor};

struct Parrot;

impl Actor for Parrot {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Say(&'static str, tokio::sync::mpsc::UnboundedSender<String>);

impl Handler<Say> for Parrot {
    type Result = ();

    fn handle(&mut self, Say(what, hear): Say, _: &mut Self::Context) {
        if what == "cat!" {
            panic!("it flew away");
        }
        let _ = hear.send(format!("{what} {what}"));
    }
}

#[actix::main]
async fn main() {
    // Supervision needs a port that outlives the actor, a factory, and a restart policy.
    let port = Port::<Parrot>::new();
    let child = Child::new("parrot", &port, |_| Ok(Parrot));
    let supervisor =
        Supervisor::start(RestartPolicy::default(), Clock::real(), Seed(0), vec![child]);
    let mut events = supervisor.events();
    supervisor.wait_started().await.expect("it starts");

    let (hear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    assert!(port.send(Say("hello", hear.clone())).is_ok());
    println!("{}", heard.recv().await.expect("an answer"));
    assert!(port.send(Say("cat!", hear.clone())).is_ok());
    loop {
        match events.recv().await.expect("an event") {
            SupervisionEvent::Exited { name, exit, .. } => println!("{name} {exit}"),
            SupervisionEvent::Started { name, epoch, .. } if epoch > 1 => {
                println!("{name} is back, life {epoch}");
                break;
            }
            _ => {}
        }
    }
    assert!(port.send(Say("again", hear)).is_ok());
    println!("{}", heard.recv().await.expect("an answer"));
    supervisor.stop(std::time::Duration::from_secs(1)).await;
}
