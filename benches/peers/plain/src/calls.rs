//! The balancer's work without a balancer: every thread calls the function.

use peers_common::{Crowd, Job, Moment, Order};

pub fn direct(order: &Order, job: Job) {
    if job.sleeps() {
        order.unknown();
    }
    let crowd = Crowd::of(order, job);
    let mut requesters: Vec<_> = crowd.requesters().collect();
    let share = requesters.len().div_ceil(order.threads);
    let start = Moment::now();
    let threads: Vec<_> = (0..order.threads)
        .map(|_| {
            let some: Vec<_> = requesters.drain(..share.min(requesters.len())).collect();
            std::thread::spawn(move || {
                let mut over = Vec::new();
                for mut requester in some {
                    while let Some(number) = requester.next_number() {
                        requester.answered(job.work(number));
                    }
                    over.push(requester);
                }
                over
            })
        })
        .collect();
    let over =
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect();
    crowd.answer(order, start.elapsed(), over).print();
}
