//! `go copy(in, out)`: a daemon that copies its input in order until the input is closed and
//! drained, while its caller continues.

use tokio::sync::mpsc;

#[actix::main]
async fn main() {
    let (input, mut incoming) = mpsc::channel(4);
    let (outgoing, mut output) = mpsc::channel(4);
    let daemon = actix_rt::spawn(async move {
        while let Some(value) = incoming.recv().await {
            if outgoing.send(value).await.is_err() {
                return;
            }
        }
    });
    println!("the caller goes on; the daemon has ended: {}", daemon.is_finished());
    let feeding = actix_rt::spawn(async move {
        for value in 1..=100 {
            input.send(value).await.expect("the daemon listens");
        }
        // Closes the input; values still in the channel are copied.
    });
    let mut copied = Vec::new();
    while let Some(value) = output.recv().await {
        copied.push(value);
    }
    feeding.await.expect("it does not panic");
    daemon.await.expect("it does not panic");
    println!("{} copied, in order: {}", copied.len(), copied.is_sorted());
}
