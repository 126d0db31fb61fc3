//! Who may bind a port, and when.

use actix::{Context, System};

use super::*;

struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

fn with_addr(test: impl FnOnce(&Port<Nobody>, &Addr<Nobody>)) {
    System::new().block_on(async { test(&Port::new(), &Nobody.start()) });
}

#[test]
fn only_the_epoch_that_began_last_binds_and_only_once() {
    with_addr(|port, addr| {
        assert!(!port.bind(0, addr), "nothing has begun");
        port.begin(1);
        assert!(!port.bind(2, addr));
        assert_eq!(port.epoch(), None, "begun is not bound");
        assert!(port.bind(1, addr));
        assert!(!port.bind(1, addr));
        assert_eq!(port.epoch(), Some(1));
    });
}

#[test]
fn a_later_epoch_fences_the_earlier() {
    with_addr(|port, addr| {
        port.begin(1);
        port.begin(2);
        assert!(!port.bind(1, addr), "a zombie");
        assert!(port.bind(2, addr));
        port.vacate(1);
        assert_eq!(
            port.epoch(),
            Some(2),
            "a zombie's end is not the present life's"
        );
        port.begin(1);
        assert_eq!(port.epoch(), Some(2), "epochs don't go back");
        port.begin(3);
        assert_eq!(port.epoch(), None, "fenced though bound");
    });
}

#[test]
fn an_epoch_that_is_over_can_t_bind() {
    with_addr(|port, addr| {
        port.begin(1);
        port.vacate(1);
        assert!(!port.bind(1, addr));
        port.begin(2);
        assert!(port.bind(2, addr));
        port.vacate(2);
        assert!(!port.bind(2, addr));
    });
}

#[test]
fn closed_is_closed_until_another_epoch_begins() {
    with_addr(|port, addr| {
        port.begin(1);
        port.close();
        assert!(!port.bind(1, addr));
        port.vacate(1);
        assert!(port.is_closed(), "the last life's end does not open it");
        port.begin(2);
        assert!(!port.is_closed());
        assert!(port.clone().bind(2, addr));
        assert_eq!(port.epoch(), Some(2), "clones are the same port");
    });
}
