//! Which lives may bind a port, and when.

use actix::dev::channel::channel;
use actix::{Context, System};

use super::*;

struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Hello;

impl actix::Handler<Hello> for Nobody {
    type Result = ();

    fn handle(&mut self, _: Hello, _: &mut Self::Context) {}
}

fn with_mailbox(test: impl FnOnce(&Port<Nobody>, &AddressSender<Nobody>)) {
    System::new().block_on(async {
        let (mailbox, messages) = channel(0);
        Context::with_receiver(messages).run(Nobody);
        test(&Port::new(), &mailbox);
    });
}

#[test]
fn a_handle_that_has_sent_to_a_life_sends_no_more_when_that_is_over() {
    with_mailbox(|port, mailbox| {
        port.begin(1);
        assert!(port.bind(1, mailbox));
        let other = port.clone();
        for handle in [port, &other, port, &other] {
            assert!(handle.send(Hello).is_ok());
        }
        // Its mailbox is still open, as with a hung life.
        port.begin(2);
        assert!(matches!(port.send(Hello), Err(Unsent::Vacant(_))));
        assert!(matches!(other.send(Hello), Err(Unsent::Vacant(_))));
        assert!(port.bind(2, mailbox));
        assert_eq!(
            other
                .send_with(|epoch| {
                    assert_eq!(epoch, 2);
                    Hello
                })
                .ok(),
            Some(())
        );
        port.vacate(2);
        assert!(matches!(port.send(Hello), Err(Unsent::Vacant(_))));
        port.close();
        assert!(matches!(other.send(Hello), Err(Unsent::Gone(_))));
    });
}

#[test]
fn only_the_epoch_that_began_last_binds_and_only_once() {
    with_mailbox(|port, mailbox| {
        assert!(!port.bind(0, mailbox), "nothing has begun");
        port.begin(1);
        assert!(!port.bind(2, mailbox));
        assert_eq!(port.epoch(), None, "begun is not bound");
        assert!(port.bind(1, mailbox));
        assert!(!port.bind(1, mailbox));
        assert_eq!(port.epoch(), Some(1));
    });
}

#[test]
fn a_later_epoch_fences_the_earlier() {
    with_mailbox(|port, mailbox| {
        port.begin(1);
        port.begin(2);
        assert!(!port.bind(1, mailbox), "a zombie");
        assert!(port.bind(2, mailbox));
        port.vacate(1);
        assert_eq!(port.epoch(), Some(2), "a zombie's end is not the present life's");
        port.begin(1);
        assert_eq!(port.epoch(), Some(2), "epochs don't go back");
        port.begin(3);
        assert_eq!(port.epoch(), None, "fenced though bound");
    });
}

#[test]
fn an_epoch_that_is_over_can_t_bind() {
    with_mailbox(|port, mailbox| {
        port.begin(1);
        port.vacate(1);
        assert!(!port.bind(1, mailbox));
        port.begin(2);
        assert!(port.bind(2, mailbox));
        port.vacate(2);
        assert!(!port.bind(2, mailbox));
    });
}

#[test]
fn closed_is_closed_until_another_epoch_begins() {
    with_mailbox(|port, mailbox| {
        port.begin(1);
        port.close();
        assert!(!port.bind(1, mailbox));
        port.vacate(1);
        assert!(port.is_closed(), "the last life's end does not open it");
        port.begin(2);
        assert!(!port.is_closed());
        assert!(port.clone().bind(2, mailbox));
        assert_eq!(port.epoch(), Some(2), "clones are the same port");
    });
}
