//! The talk's balancer: it orders the workers by their pending requests, and the one with the
//! fewest gets the next.

use std::collections::BTreeSet;

use peers_common::{Crowd, Job, Moment, Order};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// A request: a number, and the channel for its result.
struct Request {
    number: u64,
    reply: oneshot::Sender<u64>,
}

/// A message to the balancer: one channel carries both kinds, since waiting for two channels costs
/// more.
enum Note {
    Ask(Request),
    Done(usize),
}

async fn worker(me: usize, job: Job, mut requests: Receiver<Request>, done: Sender<Note>) {
    while let Some(request) = requests.recv().await {
        let _ = request.reply.send(job.serve(request.number).await);
        let _ = done.send(Note::Done(me)).await;
    }
}

async fn balancer(mut notes: Receiver<Note>, workers: Vec<Sender<Request>>) {
    let mut pending = vec![0_usize; workers.len()];
    let mut pool: BTreeSet<(usize, usize)> = (0..workers.len()).map(|worker| (0, worker)).collect();
    while let Some(note) = notes.recv().await {
        match note {
            Note::Ask(request) => {
                let (_, worker) = pool.pop_first().expect("there are workers");
                let _ = workers[worker].send(request).await;
                pending[worker] += 1;
                pool.insert((pending[worker], worker));
            }
            Note::Done(worker) => {
                pool.remove(&(pending[worker], worker));
                pending[worker] -= 1;
                pool.insert((pending[worker], worker));
            }
        }
    }
}

pub async fn run(order: &Order, job: Job) {
    let crowd = Crowd::of(order, job);
    // Every queue holds all possible requests; otherwise worker and balancer could wait for each
    // other.
    let (ask, notes) = channel(2 * crowd.size());
    let mut workers = Vec::new();
    for me in 0..crowd.workers {
        let (give, requests) = channel(crowd.size());
        tokio::spawn(worker(me, job, requests, ask.clone()));
        workers.push(give);
    }
    tokio::spawn(balancer(notes, workers));
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let ask = ask.clone();
        tokio::spawn(async move {
            while let Some(number) = requester.next_number() {
                let (reply, answer) = oneshot::channel();
                let _ = ask.send(Note::Ask(Request { number, reply })).await;
                requester.answered(answer.await.expect("every request is answered"));
            }
            requester
        })
    });
    let mut over = Vec::new();
    for requester in requesters.collect::<Vec<_>>() {
        over.push(requester.await.expect("no task panics"));
    }
    crowd.answer(order, start.elapsed(), over).print();
}
