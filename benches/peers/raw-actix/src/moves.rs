//! Books from a pile into an incinerator: every node is an actor. Mailboxes do not bound `do_send`,
//! so the pile is bounded by credit: books that are not burned yet, or empty carts.

use std::ops::Range;

use actix::prelude::*;
use peers_common::{Answer, Book, Burned, Moment, Order};
use tokio::sync::oneshot;

/// Books in flight.
const BOOKS: u64 = 1024;
/// Carts in flight.
const CARTS: usize = 16;
/// The incinerator returns credit for this many books at once.
const LOT: u64 = 256;

/// A message with a book, or a cart of books.
#[derive(Message)]
#[rtype(result = "()")]
struct Load<T>(T);

/// This many books were burned.
#[derive(Message)]
#[rtype(result = "()")]
struct Credit(u64);

/// An empty cart.
#[derive(Message)]
#[rtype(result = "()")]
struct Empty(Vec<Book>);

/// Passes anything on to the next actor.
struct Gopher<T: Send + 'static>(Recipient<Load<T>>);

impl<T: Send + Unpin + 'static> Actor for Gopher<T> {
    type Context = Context<Self>;
}

impl<T: Send + Unpin + 'static> Handler<Load<T>> for Gopher<T> {
    type Result = ();

    fn handle(&mut self, load: Load<T>, _: &mut Self::Context) {
        self.0.do_send(load);
    }
}

/// Sends its books to the first gopher.
struct Pile<T: Send + 'static> {
    ids: Range<u64>,
    cart: usize,
    to: Recipient<Load<T>>,
}

impl<T: Send + Unpin + 'static> Actor for Pile<T> {
    type Context = Context<Self>;
}

impl Handler<Credit> for Pile<Book> {
    type Result = ();

    fn handle(&mut self, Credit(books): Credit, _: &mut Self::Context) {
        for id in self.ids.by_ref().take(books as usize) {
            self.to.do_send(Load(Book::new(id)));
        }
    }
}

impl Handler<Empty> for Pile<Vec<Book>> {
    type Result = ();

    fn handle(&mut self, Empty(mut cart): Empty, _: &mut Self::Context) {
        cart.extend(self.ids.by_ref().take(self.cart).map(Book::new));
        if !cart.is_empty() {
            self.to.do_send(Load(cart));
        }
    }
}

/// Burns books, and returns the credit.
struct Fire<C: Message + Send>
where
    C::Result: Send,
{
    burned: Burned,
    count: u64,
    credit: Option<Recipient<C>>,
    out: Option<oneshot::Sender<Burned>>,
}

impl<C> Fire<C>
where
    C: Message + Send + Unpin + 'static,
    C::Result: Send,
{
    fn start(count: u64) -> (Addr<Self>, oneshot::Receiver<Burned>) {
        let (out, over) = oneshot::channel();
        let fire = Self { burned: Burned::default(), count, credit: None, out: Some(out) };
        (Actor::start(fire), over)
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

impl<C> Actor for Fire<C>
where
    C: Message + Send + Unpin + 'static,
    C::Result: Send,
{
    type Context = Context<Self>;
}

impl Handler<Load<Book>> for Fire<Credit> {
    type Result = ();

    fn handle(&mut self, Load(book): Load<Book>, _: &mut Self::Context) {
        self.burn(&book);
        if self.burned.count.is_multiple_of(LOT)
            && let Some(credit) = &self.credit
        {
            credit.do_send(Credit(LOT));
        }
    }
}

impl Handler<Load<Vec<Book>>> for Fire<Empty> {
    type Result = ();

    fn handle(&mut self, Load(mut cart): Load<Vec<Book>>, _: &mut Self::Context) {
        cart.drain(..).for_each(|book| self.burn(&book));
        if let Some(credit) = &self.credit {
            credit.do_send(Empty(cart));
        }
    }
}

/// Sets the recipient of the credit; the incinerator is started before it.
#[derive(Message)]
#[rtype(result = "()")]
struct CreditTo<C: Message + Send>(Recipient<C>)
where
    C::Result: Send;

impl<C> Handler<CreditTo<C>> for Fire<C>
where
    C: Message + Send + Unpin + 'static,
    C::Result: Send,
{
    type Result = ();

    fn handle(&mut self, CreditTo(to): CreditTo<C>, _: &mut Self::Context) {
        self.credit = Some(to);
    }
}

/// One book per message.
pub async fn books(order: &Order) {
    let (fire, over) = Fire::<Credit>::start(order.count);
    let far = Gopher(fire.clone().recipient()).start();
    let near = Gopher(far.recipient()).start();
    let pile = Pile { ids: 1..order.count + 1, cart: 1, to: near.recipient() }.start();
    fire.do_send(CreditTo(pile.clone().recipient()));
    let start = Moment::now();
    pile.do_send(Credit(BOOKS));
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// One cart per message; the returning empty cart is the credit.
pub async fn carts(order: &Order, cart: usize) {
    let start = Moment::now();
    let burned = lane(1..order.count + 1, cart).await;
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// An independent pipeline with carts on each arbiter.
pub async fn copies(order: &Order, cart: usize) {
    let lanes = order.threads as u64;
    let arbiters: Vec<Arbiter> = (0..lanes).map(|_| Arbiter::new()).collect();
    let start = Moment::now();
    let mut over = Vec::new();
    for (lane_no, arbiter) in (0..lanes).zip(&arbiters) {
        let ids = order.count * lane_no / lanes + 1..order.count * (lane_no + 1) / lanes + 1;
        let (out, burned) = oneshot::channel();
        arbiter.spawn(async move {
            let _ = out.send(lane(ids, cart).await);
        });
        over.push(burned);
    }
    let mut all = Burned::default();
    for burned in over {
        let burned = burned.await.expect("the lane lives");
        all.count += burned.count;
        all.sum = all.sum.wrapping_add(burned.sum);
    }
    Answer::new(order, start.elapsed()).burned(order, all).print();
}

async fn lane(ids: Range<u64>, cart: usize) -> Burned {
    let (fire, over) = Fire::<Empty>::start(ids.end - ids.start);
    let far = Gopher(fire.clone().recipient()).start();
    let near = Gopher(far.recipient()).start();
    let pile = Pile { ids, cart, to: near.recipient() }.start();
    fire.do_send(CreditTo(pile.clone().recipient()));
    for _ in 0..CARTS {
        pile.do_send(Empty(Vec::with_capacity(cart)));
    }
    over.await.expect("the fire lives")
}

/// Returns the empty cart.
struct Returner(Recipient<Empty>);

impl Actor for Returner {
    type Context = Context<Self>;
}

impl Handler<Empty> for Returner {
    type Result = ();

    fn handle(&mut self, empty: Empty, _: &mut Self::Context) {
        self.0.do_send(empty);
    }
}

/// Four gophers: the pile's loads, one pushes, the incinerator's unloads, one returns the empty
/// cart.
pub async fn ring(order: &Order, cart: usize) {
    const CARTS: usize = 8;
    let (fire, over) = Fire::<Empty>::start(order.count);
    let push = Gopher(fire.clone().recipient()).start();
    let load = Pile { ids: 1..order.count + 1, cart, to: push.recipient() }.start();
    let back = Returner(load.clone().recipient()).start();
    fire.do_send(CreditTo(back.recipient()));
    let start = Moment::now();
    for _ in 0..CARTS {
        load.do_send(Empty(Vec::with_capacity(cart)));
    }
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}
