//! Tests of the kinds of work.

use super::*;
use crate::Balancer;
use crate::worker::{Functions, blocking, from_fn};

#[test]
fn closures_are_work() {
    real(async {
        let plus = Balancer::of(|_| from_fn(async |n: u64| n + 1)).start().await.unwrap();
        assert_eq!(plus.call(1).await, Ok(2));
        let here = std::thread::current().id();
        let away =
            Balancer::of(|_| blocking(|()| std::thread::current().id())).start().await.unwrap();
        assert_ne!(away.call(()).await, Ok(here));
        let quick = Balancer::of(|_| Functions::quick()).start().await.unwrap();
        let answer = quick.call(Box::new(|| std::thread::current().id())).await;
        assert_eq!(answer, Ok(here));
    });
}
