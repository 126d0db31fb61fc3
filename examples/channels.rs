//! Channels synchronise: an unbuffered hand-over is complete only when the value has been received.
//!
//! tokio's channels hold at least one value, so where the hand-over matters the value carries a
//! receipt.

use tokio::sync::{mpsc, oneshot};

#[actix::main]
async fn main() {
    let (sender, mut receiver) = mpsc::channel::<(&str, oneshot::Sender<()>)>(1);
    let (receipt, mut received) = oneshot::channel();
    sender.send(("hello", receipt)).await.expect("somebody receives");
    println!("sent, received: {}", received.try_recv().is_ok());
    let taker = actix_rt::spawn(async move {
        let (value, receipt) = receiver.recv().await?;
        let _ = receipt.send(());
        Some(value)
    });
    received.await.expect("a receipt");
    println!("handed over: {:?}", taker.await.ok().flatten());
}
