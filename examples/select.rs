//! select: takes the first channel that is ready, or the default if none is. If both are ready,
//! each is chosen with equal probability.

use tokio::sync::mpsc;

#[actix::main]
async fn main() {
    let (first, mut ch1) = mpsc::unbounded_channel();
    let (second, mut ch2) = mpsc::unbounded_channel();
    let mut outcomes = Vec::new();
    for turn in 0..3 {
        match turn {
            1 => first.send(1).expect("it is open"),
            2 => second.send(2).expect("it is open"),
            _ => {}
        }
        outcomes.push(tokio::select! {
            biased;
            Some(value) = ch1.recv() => format!("ch1 {value}"),
            Some(value) = ch2.recv() => format!("ch2 {value}"),
            // Always ready, and polled last: the default.
            () = std::future::ready(()) => "neither".to_owned(),
        });
    }
    println!("with a default: {}", outcomes.join(", "));

    let draws = 10_000;
    let mut counts = [0u32; 2];
    for turn in 0..draws {
        first.send(turn).expect("it is open");
        second.send(turn).expect("it is open");
        tokio::select! {
            Some(_) = ch1.recv() => {
                counts[0] += 1;
                ch2.recv().await;
            }
            Some(_) = ch2.recv() => {
                counts[1] += 1;
                ch1.recv().await;
            }
        }
    }
    let half = f64::from(draws) / 2.0;
    let chi = counts.map(|count| (f64::from(count) - half).powi(2) / half);
    // Fair draws exceed this chi-square value with a probability of 1 in 10^7.
    println!("both ready: even {}", chi.iter().sum::<f64>() < 28.4);
}
