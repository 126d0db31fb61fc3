//! Books from a pile into an incinerator: every node is a task, connected by channels.

use peers_common::{Answer, Book, Burned, Carried, Moment, Order};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Capacity of the dump in books, or in carts if carts are large.
const DUMP_BOOKS: usize = 1024;
const DUMP_CARTS: usize = 16;

/// Passes on single books or whole carts.
async fn gopher<T>(mut from: Receiver<T>, to: Sender<T>) {
    while let Some(load) = from.recv().await {
        if to.send(load).await.is_err() {
            return;
        }
    }
}

/// One book per message.
pub async fn books(order: &Order) {
    let (pile, near) = channel(DUMP_BOOKS);
    let (dump, far) = channel(DUMP_BOOKS);
    let (chute, mut burning) = channel(DUMP_BOOKS);
    let count = order.count;
    let start = Moment::now();
    tokio::spawn(async move {
        for id in 1..=count {
            let _ = pile.send(Book::new(id)).await;
        }
    });
    tokio::spawn(gopher(near, dump));
    tokio::spawn(gopher(far, chute));
    let mut fire = Burned::default();
    while let Some(book) = burning.recv().await {
        fire.burn(&book);
    }
    Answer::new(order, start.elapsed()).burned(order, fire).print();
}

/// One cart per message: one pipeline, or an independent one for each thread.
pub async fn carts<B: Carried>(order: &Order, cart: usize) {
    let lanes = order.threads as u64;
    let start = Moment::now();
    let lanes = (0..lanes).map(|lane| {
        let ids = order.count * lane / lanes + 1..order.count * (lane + 1) / lanes + 1;
        tokio::spawn(lane_of_carts::<B>(ids, cart))
    });
    let mut all = Burned::default();
    for lane in lanes.collect::<Vec<_>>() {
        let fire = lane.await.expect("no task panics");
        all.count += fire.count;
        all.sum = all.sum.wrapping_add(fire.sum);
    }
    Answer::new(order, start.elapsed()).burned(order, all).print();
}

async fn lane_of_carts<B: Carried>(ids: std::ops::Range<u64>, size: usize) -> Burned {
    let (pile, near) = channel(DUMP_CARTS);
    let (dump, far) = channel(DUMP_CARTS);
    let (chute, mut burning) = channel::<Vec<B>>(DUMP_CARTS);
    tokio::spawn(async move {
        let mut books = ids.map(B::new);
        loop {
            let mut cart = Vec::with_capacity(size);
            cart.extend(books.by_ref().take(size));
            if cart.is_empty() || pile.send(cart).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(gopher(near, dump));
    tokio::spawn(gopher(far, chute));
    let mut fire = Burned::default();
    while let Some(cart) = burning.recv().await {
        cart.iter().for_each(|book| fire.burn(book));
    }
    fire
}

/// Four gophers: one loads, one pushes, one unloads, one returns the empty cart.
pub async fn ring(order: &Order, size: usize) {
    const CARTS: usize = 8;
    let (load, push) = channel::<Vec<Book>>(CARTS);
    let (pushed, mut unload) = channel::<Vec<Book>>(CARTS);
    let (unloaded, back) = channel(CARTS);
    let (returned, mut empty) = channel(CARTS);
    for _ in 0..CARTS {
        returned.try_send(Vec::with_capacity(size)).expect("room for all carts");
    }
    let count = order.count;
    let start = Moment::now();
    tokio::spawn(async move {
        let mut books = (1..=count).map(Book::new);
        while let Some(mut cart) = empty.recv().await {
            cart.extend(books.by_ref().take(size));
            if cart.is_empty() || load.send(cart).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(gopher(push, pushed));
    tokio::spawn(gopher(back, returned));
    let mut fire = Burned::default();
    while let Some(mut cart) = unload.recv().await {
        cart.drain(..).for_each(|book| fire.burn(&book));
        let _ = unloaded.send(cart).await;
    }
    Answer::new(order, start.elapsed()).burned(order, fire).print();
}

/// One value is passed around four tasks.
pub async fn light(order: &Order) {
    let (first, a) = channel(1);
    let (b, c) = channel(1);
    let (d, e) = channel(1);
    let (f, mut last) = channel(1);
    tokio::spawn(gopher(a, b));
    tokio::spawn(gopher(c, d));
    tokio::spawn(gopher(e, f));
    let count = order.count;
    let asker = tokio::spawn(async move {
        let mut sum = 0_u64;
        let start = Moment::now();
        for round in 1..=count {
            let _ = first.send(round).await;
            sum = sum.wrapping_add(last.recv().await.expect("it comes around"));
        }
        (start.elapsed(), sum)
    });
    let (took, sum) = asker.await.expect("no task panics");
    Answer::new(order, took).answered(order, sum).print();
}
