//! Tasks that wait, each on a channel of its own. At the end each answers once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use peers_common::{Answer, Moment, Order, resident};
use tokio::sync::mpsc::channel;

pub async fn run(order: &Order) {
    let before = resident();
    let alive = Arc::new(AtomicU64::new(0));
    let (answers, mut heard) = channel(1024);
    let mut tasks = Vec::with_capacity(order.count as usize);
    let start = Moment::now();
    for me in 0..order.count {
        let (wake, mut woken) = channel::<u64>(1);
        let (alive, answers) = (alive.clone(), answers.clone());
        tokio::spawn(async move {
            alive.fetch_add(1, Relaxed);
            if let Some(question) = woken.recv().await {
                let _ = answers.send(question + me).await;
            }
        });
        tasks.push(wake);
    }
    while alive.load(Relaxed) < order.count {
        tokio::task::yield_now().await;
    }
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    drop(answers);
    tokio::spawn(async move {
        for wake in tasks {
            let _ = wake.send(1).await;
        }
    });
    let mut sum = 0_u64;
    while let Some(answer) = heard.recv().await {
        sum = sum.wrapping_add(answer);
    }
    Answer::new(order, took).answered(order, sum).with("bytes_each", bytes).print();
}
