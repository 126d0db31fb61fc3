//! Blocking work does not block its neighbours: it runs on a thread of its own, and other workers
//! of the arbiter continue, as with a goroutine in a system call.

use gopherworks::balancer::Balancer;
use gopherworks::balancer::worker::{blocking, from_fn};

#[actix::main]
async fn main() -> Result<(), gopherworks::Failure> {
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let stuck = Balancer::of(move |_| {
        let blocked = blocked.clone();
        blocking(move |()| blocked.lock().map(|wait| wait.recv().is_ok()).unwrap_or(false))
    });
    let stuck = stuck.start().await?;
    let quick = Balancer::of(|_| from_fn(async |n: u32| n + 1)).start().await?;

    let mut waiting = Box::pin(stuck.call(()));
    let mut answered = 0;
    for n in 0..1000 {
        tokio::select! {
            biased;
            _ = &mut waiting => unreachable!("it is still blocked"),
            answer = quick.call(n) => answered += u32::from(answer == Ok(n + 1)),
        }
    }
    println!("while one was blocked, its neighbour answered {answered} requests");
    unblock.send(()).expect("it waits");
    println!("then the blocked one answered {:?}", waiting.await);
    Ok(())
}
