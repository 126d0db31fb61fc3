//! Books from a pile into an incinerator: every node is an actor. Mailboxes are unbounded, so the
//! pile is bounded by credit: books that are not burned yet, or empty carts.

use std::marker::PhantomData;

use peers_common::{Answer, Book, Burned, Moment, Order};
use ractor::{Actor, ActorProcessingErr, ActorRef, Message};
use tokio::sync::oneshot;

/// Books in flight.
const BOOKS: u64 = 1024;
/// Carts in flight.
const CARTS: usize = 16;
/// The incinerator returns credit for this many books at once.
const LOT: u64 = 256;

/// Passes anything on to the next actor.
struct Gopher<T>(PhantomData<fn(T)>);

impl<T: Message> Actor for Gopher<T> {
    type Msg = T;
    type State = ActorRef<T>;
    type Arguments = ActorRef<T>;

    async fn pre_start(
        &self,
        _: ActorRef<T>,
        to: ActorRef<T>,
    ) -> Result<ActorRef<T>, ActorProcessingErr> {
        Ok(to)
    }

    async fn handle(
        &self,
        _: ActorRef<T>,
        load: T,
        to: &mut ActorRef<T>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(to.cast(load)?)
    }
}

async fn gopher<T: Message>(to: ActorRef<T>) -> ActorRef<T> {
    Actor::spawn(None, Gopher(PhantomData), to).await.expect("it starts").0
}

/// A message to a pile of single books.
enum Credit {
    /// Send books to this actor.
    To(ActorRef<Book>),
    /// This many books were burned.
    Books(u64),
}

/// Sends single books while there is credit.
struct BookPile {
    count: u64,
}

struct BookPileState {
    next: u64,
    to: Option<ActorRef<Book>>,
}

impl Actor for BookPile {
    type Msg = Credit;
    type State = BookPileState;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Credit>,
        (): (),
    ) -> Result<BookPileState, ActorProcessingErr> {
        Ok(BookPileState { next: 1, to: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Credit>,
        credit: Credit,
        pile: &mut BookPileState,
    ) -> Result<(), ActorProcessingErr> {
        match credit {
            Credit::To(to) => pile.to = Some(to),
            Credit::Books(books) => {
                let last = self.count.min(pile.next + books - 1);
                let to = pile.to.as_ref().ok_or("no receiver of books")?;
                for id in pile.next..=last {
                    to.cast(Book::new(id))?;
                }
                pile.next = last + 1;
            }
        }
        Ok(())
    }
}

/// Counts burned books, and reports the end.
struct Fire {
    burned: Burned,
    count: u64,
    out: Option<oneshot::Sender<Burned>>,
}

impl Fire {
    fn burn(&mut self, book: &Book) {
        self.burned.burn(book);
        if self.burned.count == self.count
            && let Some(out) = self.out.take()
        {
            let _ = out.send(self.burned);
        }
    }
}

struct BookFire(ActorRef<Credit>);

impl Actor for BookFire {
    type Msg = Book;
    type State = Fire;
    type Arguments = Fire;

    async fn pre_start(&self, _: ActorRef<Book>, fire: Fire) -> Result<Fire, ActorProcessingErr> {
        Ok(fire)
    }

    async fn handle(
        &self,
        _: ActorRef<Book>,
        book: Book,
        fire: &mut Fire,
    ) -> Result<(), ActorProcessingErr> {
        fire.burn(&book);
        if fire.burned.count.is_multiple_of(LOT) {
            self.0.cast(Credit::Books(LOT))?;
        }
        Ok(())
    }
}

/// One book per message.
pub async fn books(order: &Order) {
    let (out, over) = oneshot::channel();
    let (pile, _) =
        Actor::spawn(None, BookPile { count: order.count }, ()).await.expect("it starts");
    let fire = Fire { burned: Burned::default(), count: order.count, out: Some(out) };
    let (fire, _) = Actor::spawn(None, BookFire(pile.clone()), fire).await.expect("it starts");
    let far = gopher(fire).await;
    let near = gopher(far).await;
    pile.cast(Credit::To(near)).expect("it lives");
    let start = Moment::now();
    pile.cast(Credit::Books(BOOKS)).expect("it lives");
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// A message to a pile that fills carts.
enum Empty {
    /// Send loaded carts to this actor.
    To(ActorRef<Vec<Book>>),
    /// An empty cart.
    Cart(Vec<Book>),
}

struct CartPile {
    count: u64,
    size: usize,
}

struct CartPileState {
    next: u64,
    to: Option<ActorRef<Vec<Book>>>,
}

impl Actor for CartPile {
    type Msg = Empty;
    type State = CartPileState;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Empty>,
        (): (),
    ) -> Result<CartPileState, ActorProcessingErr> {
        Ok(CartPileState { next: 1, to: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Empty>,
        empty: Empty,
        pile: &mut CartPileState,
    ) -> Result<(), ActorProcessingErr> {
        match empty {
            Empty::To(to) => pile.to = Some(to),
            Empty::Cart(mut cart) => {
                let end = (self.count + 1).min(pile.next + self.size as u64);
                cart.extend((pile.next..end).map(Book::new));
                pile.next = end;
                if !cart.is_empty() {
                    pile.to.as_ref().ok_or("no receiver of carts")?.cast(cart)?;
                }
            }
        }
        Ok(())
    }
}

struct CartFire(ActorRef<Empty>);

impl Actor for CartFire {
    type Msg = Vec<Book>;
    type State = Fire;
    type Arguments = Fire;

    async fn pre_start(
        &self,
        _: ActorRef<Vec<Book>>,
        fire: Fire,
    ) -> Result<Fire, ActorProcessingErr> {
        Ok(fire)
    }

    async fn handle(
        &self,
        _: ActorRef<Vec<Book>>,
        mut cart: Vec<Book>,
        fire: &mut Fire,
    ) -> Result<(), ActorProcessingErr> {
        cart.drain(..).for_each(|book| fire.burn(&book));
        self.0.cast(Empty::Cart(cart))?;
        Ok(())
    }
}

async fn cart_pile(order: &Order, size: usize) -> ActorRef<Empty> {
    Actor::spawn(None, CartPile { count: order.count, size }, ()).await.expect("it starts").0
}

async fn cart_fire(
    order: &Order,
    credit: ActorRef<Empty>,
) -> (ActorRef<Vec<Book>>, oneshot::Receiver<Burned>) {
    let (out, over) = oneshot::channel();
    let fire = Fire { burned: Burned::default(), count: order.count, out: Some(out) };
    (Actor::spawn(None, CartFire(credit), fire).await.expect("it starts").0, over)
}

async fn go_around(
    order: &Order,
    pile: ActorRef<Empty>,
    (carts, size): (usize, usize),
    over: oneshot::Receiver<Burned>,
) {
    let start = Moment::now();
    for _ in 0..carts {
        pile.cast(Empty::Cart(Vec::with_capacity(size))).expect("it lives");
    }
    let burned = over.await.expect("the fire lives");
    Answer::new(order, start.elapsed()).burned(order, burned).print();
}

/// One cart per message; the returning empty cart is the credit.
pub async fn carts(order: &Order, size: usize) {
    let pile = cart_pile(order, size).await;
    let (fire, over) = cart_fire(order, pile.clone()).await;
    let far = gopher(fire).await;
    let near = gopher(far).await;
    pile.cast(Empty::To(near)).expect("it lives");
    go_around(order, pile, (CARTS, size), over).await;
}

/// Four gophers: the pile's loads, one pushes, the incinerator's unloads, one returns the empty
/// cart.
pub async fn ring(order: &Order, size: usize) {
    let load = cart_pile(order, size).await;
    let back = gopher(load.clone()).await;
    let (unload, over) = cart_fire(order, back).await;
    let push = gopher(unload).await;
    load.cast(Empty::To(push)).expect("it lives");
    go_around(order, load, (8, size), over).await;
}
