//! The same handler behind the same HTTP server: without a balancer, behind gopherworks, and behind
//! pools of tokio's channels. They run in turns in one process; ratios are taken within a round.
//!
//! `cargo bench --bench web_service`, or with `-- 7` for seven rounds.
// The benchmark measures real time on real sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/support/load.rs"]
mod load;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use gopherworks::balancer::worker::Work;
use gopherworks::balancer::{Balancer, BalancerHandle};
use gopherworks::web::Refused;
use load::{Load, read};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc, oneshot};

/// The core time of a request.
#[derive(Clone, Copy)]
struct Cost {
    usual: Duration,
    /// Every `one_in`-th request takes `long` instead; 0 for none.
    one_in: u64,
    long: Duration,
}

impl Cost {
    fn spend(self, number: u64) -> u64 {
        // Long requests look random, but are the same for all contenders.
        let drawn = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let long = self.one_in > 0 && drawn.is_multiple_of(self.one_in);
        let until = Instant::now() + if long { self.long } else { self.usual };
        let mut sum = number;
        while Instant::now() < until {
            for _ in 0..64 {
                sum = sum.rotate_left(7) ^ 0x5bd1_e995;
            }
        }
        std::hint::black_box(sum)
    }
}

struct Spin(Cost);

impl Work for Spin {
    type Request = u64;
    type Reply = u64;

    async fn work(&mut self, number: u64) -> u64 {
        self.0.spend(number)
    }
}

type Job = (u64, oneshot::Sender<u64>);

/// What serves the requests.
#[derive(Clone)]
enum Behind {
    Nobody(Cost),
    Balancer(BalancerHandle<Spin>),
    /// One channel per worker, used in turn.
    Turns(Arc<Vec<mpsc::Sender<Job>>>, Arc<AtomicUsize>),
    /// One channel that all workers share.
    Shared(mpsc::Sender<Job>),
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

async fn handler(behind: web::Data<Behind>) -> HttpResponse {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) as u64;
    let answered = match behind.get_ref() {
        Behind::Nobody(cost) => Some(cost.spend(number)),
        Behind::Balancer(balancer) => match Refused::or(balancer, balancer.call(number).await) {
            Ok(answer) => Some(answer),
            Err(refused) => return HttpResponse::from_error(refused),
        },
        Behind::Turns(workers, turn) => {
            let worker = turn.fetch_add(1, Ordering::Relaxed) % workers.len();
            ask(&workers[worker], number).await
        }
        Behind::Shared(workers) => ask(workers, number).await,
    };
    match answered {
        Some(answer) => HttpResponse::Ok().body(answer.to_string()),
        None => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn ask(workers: &mpsc::Sender<Job>, number: u64) -> Option<u64> {
    let (tell, told) = oneshot::channel();
    workers.send((number, tell)).await.ok()?;
    told.await.ok()
}

const WORKERS: usize = 2;
const QUEUE: usize = 1024;

/// Starts a thread with a runtime of its own.
fn thread(work: impl AsyncFnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    });
}

async fn contender(name: &str, cost: Cost) -> Behind {
    match name {
        "no balancer" => Behind::Nobody(cost),
        "gopherworks" => {
            let balancer = Balancer::of(move |_| Spin(cost)).workers(WORKERS).arbiters(WORKERS);
            Behind::Balancer(balancer.queue(QUEUE as u32).start().await.unwrap())
        }
        "mpsc in turn" => {
            let workers = (0..WORKERS).map(|_| {
                let (send, mut receive) = mpsc::channel::<Job>(QUEUE);
                thread(async move || {
                    while let Some((number, tell)) = receive.recv().await {
                        let _ = tell.send(cost.spend(number));
                    }
                });
                send
            });
            Behind::Turns(Arc::new(workers.collect()), Arc::default())
        }
        "mpsc shared" => {
            let (send, receive) = mpsc::channel::<Job>(QUEUE);
            let receive = Arc::new(Mutex::new(receive));
            for _ in 0..WORKERS {
                let receive = receive.clone();
                thread(async move || {
                    loop {
                        let job = receive.lock().await.recv().await;
                        let Some((number, tell)) = job else { return };
                        let _ = tell.send(cost.spend(number));
                    }
                });
            }
            Behind::Shared(send)
        }
        other => unreachable!("{other}"),
    }
}

/// Starts a server on a thread of its own.
fn serve(name: &'static str, cost: Cost) -> (SocketAddr, ServerHandle) {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let behind = web::Data::new(contender(name, cost).await);
            let server = HttpServer::new(move || {
                App::new().app_data(behind.clone()).route("/", web::post().to(handler))
            });
            let server = server.workers(2).disable_signals().bind(("127.0.0.1", 0)).unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            tell.send((address, server.handle())).unwrap();
            server.await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// Answers per second of `clients` clients in a loop.
fn throughput(address: SocketAddr, clients: usize, lasts: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let one = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answers = 0u64;
        while began.elapsed() < lasts {
            stream
                .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            let (status, ..) = read(&mut stream).await.unwrap();
            assert_eq!(status, 200);
            answers += 1;
        }
        answers
    };
    let answers = runtime.block_on(async {
        let all = (0..clients).map(|_| one());
        futures_util::future::join_all(all).await.into_iter().sum::<u64>()
    });
    answers as f64 / began.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const CONTENDERS: [&str; 4] = ["no balancer", "gopherworks", "mpsc in turn", "mpsc shared"];

fn main() {
    let rounds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(5);
    for usual in [20, 100, 1000] {
        println!(
            "throughput: 64 clients in a loop, {usual} us of work; answers a second, \
             and the ratio to no balancer, medians of {rounds} rounds"
        );
        let plain = Cost { usual: Duration::from_micros(usual), one_in: 0, long: Duration::ZERO };
        table(rounds, |name| {
            let (address, server) = serve(name, plain);
            let rate = throughput(address, 64, Duration::from_millis(1500));
            drop(server.stop(false));
            rate
        });
    }
    println!(
        "\np99 in ms: 2,500 requests a second that come when they come, 50 us of work, \
         one in 200 takes 10 ms; medians of {rounds} rounds"
    );
    let mixed =
        Cost { usual: Duration::from_micros(50), one_in: 200, long: Duration::from_millis(10) };
    table(rounds, |name| {
        let (address, server) = serve(name, mixed);
        let load = Load {
            address,
            path: "/",
            rate: 2500.0,
            lasts: Duration::from_secs(3),
            now_and_then: None,
        };
        let p99 = load.run().quantile(0.99).as_secs_f64() * 1e3;
        drop(server.stop(false));
        p99
    });
}

fn table(rounds: usize, measure: impl Fn(&'static str) -> f64) {
    let mut values = vec![Vec::new(); CONTENDERS.len()];
    let mut ratios = vec![Vec::new(); CONTENDERS.len()];
    for _ in 0..rounds {
        let round: Vec<f64> = CONTENDERS.iter().map(|name| measure(name)).collect();
        for (at, value) in round.iter().enumerate() {
            values[at].push(*value);
            ratios[at].push(value / round[0]);
        }
    }
    for (at, name) in CONTENDERS.iter().enumerate() {
        let ratio = median(&mut ratios[at]);
        let (least, most) = (ratios[at][0], ratios[at][rounds - 1]);
        println!(
            "  {name:<14} {:>10.2}   {ratio:.3} ({least:.3} to {most:.3})",
            median(&mut values[at])
        );
    }
}
