//! Books from a pile into an incinerator: every node is an actor, bounded by its mailbox.

use kameo::mailbox::bounded;
use kameo::prelude::*;
use peers_common::{Answer, Book, Burned, Moment, Order};
use tokio::sync::oneshot;

/// Capacity of the dump in books, or in carts if carts are large.
const DUMP_BOOKS: usize = 1024;
const DUMP_CARTS: usize = 16;

/// Passes anything on to the next actor.
#[derive(Actor)]
struct Gopher<N: Actor>(ActorRef<N>);

impl<T: Send + 'static, N: Actor + Message<T>> Message<T> for Gopher<N> {
    type Reply = ();

    async fn handle(&mut self, load: T, _: &mut Context<Self, ()>) {
        let _ = self.0.tell(load).await;
    }
}

#[derive(Actor)]
struct Fire {
    burned: Burned,
    count: u64,
    out: Option<oneshot::Sender<Burned>>,
    /// The actor that receives empty carts.
    back: Option<ActorRef<Gopher<Pile>>>,
}

impl Fire {
    fn new(count: u64) -> (Self, oneshot::Receiver<Burned>) {
        let (out, over) = oneshot::channel();
        (Self { burned: Burned::default(), count, out: Some(out), back: None }, over)
    }

    fn burn(&mut self, book: &Book) {
        self.burned.burn(book);
        if self.burned.count == self.count
            && let Some(out) = self.out.take()
        {
            let _ = out.send(self.burned);
        }
    }
}

impl Message<Book> for Fire {
    type Reply = ();

    async fn handle(&mut self, book: Book, _: &mut Context<Self, ()>) {
        self.burn(&book);
    }
}

impl Message<Vec<Book>> for Fire {
    type Reply = ();

    async fn handle(&mut self, mut cart: Vec<Book>, _: &mut Context<Self, ()>) {
        cart.drain(..).for_each(|book| self.burn(&book));
        if let Some(back) = &self.back {
            let _ = back.tell(Empty(cart)).await;
        }
    }
}

/// One book per message.
pub async fn books(order: &Order) {
    let (fire, over) = Fire::new(order.count);
    let fire = Fire::spawn_with_mailbox(fire, bounded(DUMP_BOOKS));
    let far = Gopher::spawn_with_mailbox(Gopher(fire), bounded(DUMP_BOOKS));
    let near = Gopher::spawn_with_mailbox(Gopher(far), bounded(DUMP_BOOKS));
    let start = Moment::now();
    for id in 1..=order.count {
        near.tell(Book::new(id)).await.expect("it lives");
    }
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// One cart per message.
pub async fn carts(order: &Order, size: usize) {
    let (fire, over) = Fire::new(order.count);
    let fire = Fire::spawn_with_mailbox(fire, bounded(DUMP_CARTS));
    let far = Gopher::spawn_with_mailbox(Gopher(fire), bounded(DUMP_CARTS));
    let near = Gopher::spawn_with_mailbox(Gopher(far), bounded(DUMP_CARTS));
    let mut books = (1..=order.count).map(Book::new);
    let start = Moment::now();
    loop {
        let mut cart = Vec::with_capacity(size);
        cart.extend(books.by_ref().take(size));
        if cart.is_empty() {
            break;
        }
        near.tell(cart).await.expect("it lives");
    }
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// An empty cart.
struct Empty(Vec<Book>);

/// Fills carts.
#[derive(Actor)]
struct Pile {
    next: u64,
    end: u64,
    size: usize,
    to: Option<ActorRef<Gopher<Fire>>>,
}

impl Message<Empty> for Pile {
    type Reply = ();

    async fn handle(&mut self, Empty(mut cart): Empty, _: &mut Context<Self, ()>) {
        let end = self.end.min(self.next + self.size as u64);
        cart.extend((self.next..end).map(Book::new));
        self.next = end;
        if let Some(to) = &self.to
            && !cart.is_empty()
        {
            let _ = to.tell(cart).await;
        }
    }
}

/// Sets the next actor, for actors that are started before it.
struct To<A: Actor>(ActorRef<A>);

impl Message<To<Gopher<Fire>>> for Pile {
    type Reply = ();

    async fn handle(&mut self, To(push): To<Gopher<Fire>>, _: &mut Context<Self, ()>) {
        self.to = Some(push);
    }
}

/// Four gophers: the pile's loads, one pushes, the incinerator's unloads, one returns the empty
/// cart.
pub async fn ring(order: &Order, size: usize) {
    const CARTS: usize = 8;
    let pile = Pile { next: 1, end: order.count + 1, size, to: None };
    let load = Pile::spawn_with_mailbox(pile, bounded(2 * CARTS));
    let back = Gopher::spawn_with_mailbox(Gopher(load.clone()), bounded(2 * CARTS));
    let (mut fire, over) = Fire::new(order.count);
    fire.back = Some(back);
    let unload = Fire::spawn_with_mailbox(fire, bounded(2 * CARTS));
    let push = Gopher::spawn_with_mailbox(Gopher(unload), bounded(2 * CARTS));
    load.tell(To(push)).await.expect("it lives");
    let start = Moment::now();
    for _ in 0..CARTS {
        load.tell(Empty(Vec::with_capacity(size))).await.expect("it lives");
    }
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}
