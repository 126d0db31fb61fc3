//! All requests of a requester as one future: client loops, arrivals, or a batch.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand_distr::{Distribution, Exp1};

use super::core::{Inner, scaled};
use super::load::{Arrivals, Load, Order, Rate};
use crate::job::{Answer, Served};
use gopherworks_balancer::{Call, CallError};
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::span::{Span, times};

pub(super) async fn run(inner: Arc<Inner>) {
    // So that the first requests find as many workers as later ones.
    inner.parts.to.ready().await;
    match inner.parts.load {
        Load::Closed { count, think, requests } => {
            let count = u64::from(count.max(1));
            let mut clients: FuturesUnordered<_> = (0..count)
                .map(|client| loops(inner.clone(), (client, count), think, requests))
                .collect();
            while clients.next().await.is_some() {}
        }
        Load::Open { rate, arrivals, requests } => opens(inner, rate, arrivals, requests).await,
        Load::Batch { requests } => batch(inner, requests).await,
        // Requests are sent through an `Asker`.
        Load::Outside { .. } => {}
    }
}

async fn ask(inner: &Inner, number: u64, asked: Time) {
    inner.asked();
    let answer =
        match inner.parts.to.start_at(inner.job(number), asked, inner.options(number)).await {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
    inner.heard(number, asked, &answer);
}

/// One client: thinks, calls, waits. Its requests are every `count`-th, so that random choices for
/// its n-th request do not depend on which client was faster.
async fn loops(inner: Arc<Inner>, (client, count): (u64, u64), think: Span, requests: Option<u64>) {
    let clock = inner.parts.to.clock().clone();
    let mut chance = inner.parts.to.seed().stream(&inner.parts.name, "think");
    chance.set_stream(client);
    let mut closing = inner.closing.subscribe();
    let mut number = client;
    while requests.is_none_or(|requests| number < requests) && !inner.is_closing() {
        if !think.is_zero() {
            let thought = scaled(think.draw(&mut chance), inner.parts.time_scale);
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return,
                () = clock.sleep(thought) => {}
            }
        }
        ask(&inner, number, clock.now()).await;
        number += count;
        if think.is_zero() {
            // A balancer that answers immediately must not starve other tasks.
            tokio::task::yield_now().await;
        }
    }
}

/// Sends requests at the given rate, until `requests` were sent or the requester closes.
async fn opens(inner: Arc<Inner>, rate: Rate, arrivals: Arrivals, requests: Option<u64>) {
    let clock = inner.parts.to.clock().clone();
    let mut chance = inner.parts.to.seed().stream(&inner.parts.name, "arrivals");
    let Rate::PerSecond(rate) = rate else {
        unreachable!("a utilisation is resolved when the requester is made");
    };
    let gap = times(Duration::from_secs(1), 1.0 / rate);
    let gap = scaled(gap, inner.parts.time_scale);
    let mut draw = move || match arrivals {
        Arrivals::Fixed => gap,
        Arrivals::Poisson => {
            let draw: f64 = Exp1.sample(&mut chance);
            times(gap, draw)
        }
    };
    let mut closing = inner.closing.subscribe();
    let mut calls = FuturesUnordered::new();
    let mut number = 0;
    // Counted from one arrival to the next, so that timer delays do not add up and count as
    // response time.
    let mut arrival = pin!(clock.sleep(draw()));
    let mut more = requests != Some(0);
    while more || !calls.is_empty() {
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing), if more => more = false,
            () = arrival.as_mut(), if more => {
                let due = arrival.deadline();
                let inner = inner.clone();
                calls.push(async move { ask(&inner, number, due).await });
                number += 1;
                more = requests.is_none_or(|requests| number < requests);
                arrival.set(clock.sleep_until(due + draw()));
            }
            Some(()) = calls.next() => {}
        }
    }
}

enum BatchEvent {
    Fed(u64, Time, Result<Call<Served>, CallError>),
    Heard(u64, Time, Result<Answer, CallError>),
}

/// Sends all requests, as fast as the balancer's queue admits them, one by one.
async fn batch(inner: Arc<Inner>, requests: u64) {
    let clock = inner.parts.to.clock().clone();
    let feed = |number: u64| {
        let (inner, clock) = (inner.clone(), clock.clone());
        Box::pin(async move {
            let asked = clock.now();
            inner.asked();
            let call =
                inner.parts.to.start_at(inner.job(number), asked, inner.options(number)).await;
            BatchEvent::Fed(number, asked, call)
        })
    };
    let mut events: FuturesUnordered<futures_util::future::BoxFuture<'static, BatchEvent>> =
        FuturesUnordered::new();
    let mut early = BTreeMap::new();
    let mut next = 0;
    if requests > 0 {
        events.push(feed(0));
    }
    while let Some(event) = events.next().await {
        let (number, asked, answer) = match event {
            BatchEvent::Fed(number, asked, call) => {
                if number + 1 < requests && !inner.is_closing() {
                    events.push(feed(number + 1));
                }
                match call {
                    Ok(call) => {
                        events.push(Box::pin(async move {
                            BatchEvent::Heard(number, asked, call.await)
                        }));
                        continue;
                    }
                    Err(error) => (number, asked, Err(error)),
                }
            }
            BatchEvent::Heard(number, asked, answer) => (number, asked, answer),
        };
        match inner.parts.order {
            Order::Completion => inner.heard(number, asked, &answer),
            Order::Input => {
                early.insert(number, (asked, answer));
                while let Some((asked, answer)) = early.remove(&next) {
                    inner.heard(next, asked, &answer);
                    next += 1;
                }
            }
        }
    }
}
