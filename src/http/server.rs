//! The threads and the port of a server: accepts connections, deals them to threads, and shuts down
//! within a bounded time.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_rt::Arbiter;
use actix_web::dev::{Service, ServiceFactory};
use gopherworks_supervision::clock::{Clock, Time};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connection::{Connection, WatchedStream};
use crate::config::elements::HttpConfig;
use crate::web::ServerCounts;

/// Pause in accepting after the system had no room for a connection.
const NO_ROOM: Duration = Duration::from_millis(100);
/// Time for threads to cut their connections at the end.
const CUTTING: Duration = Duration::from_secs(1);

/// Time limits on clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For a request's head, and for a stall while a body is sent.
    pub(super) read: Duration,
    /// For a stall while a response is read.
    pub(super) write: Duration,
    /// Minimum rate of bodies and responses, in bytes per second.
    pub(super) rate: u64,
    /// For the pause between two requests.
    pub(super) keep_alive: Duration,
}

impl Limits {
    pub(super) fn of(plan: &HttpConfig) -> Self {
        Self {
            read: plan.read_timeout,
            write: plan.write_timeout,
            rate: plan.min_rate,
            keep_alive: plan.keep_alive,
        }
    }
}

/// Times of a shutdown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// When the port was closed.
    pub(super) since: Time,
    /// When all remaining connections are cut.
    pub(super) until: Time,
}

/// State shared by a server, its threads and its connections.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) name: Arc<str>,
    pub(super) limits: Limits,
    pub(super) counts: Arc<ServerCounts>,
    ending: watch::Sender<Option<Ending>>,
    /// Requests in handlers.
    requests: AtomicUsize,
    /// True if a client waits for a place.
    crowded: AtomicBool,
}

impl ServerState {
    pub(super) fn new(name: Arc<str>, limits: Limits, counts: Arc<ServerCounts>) -> Arc<Self> {
        Arc::new(Self {
            name,
            limits,
            counts,
            ending: watch::Sender::new(None),
            requests: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
        })
    }

    pub(super) fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ending.subscribe()
    }

    /// True if a connection should not be kept for a further request.
    pub(super) fn closes_connections(&self) -> bool {
        self.is_crowded() || self.ending.borrow().is_some()
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    pub(super) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self) {
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection, and its permit among the most that there may be.
type Accepted = (TcpStream, OwnedSemaphorePermit);

/// A running server. Dropping it closes its port and cuts its connections.
pub(super) struct Server {
    shared: Arc<ServerState>,
    threads: Vec<Arbiter>,
    places: Arc<Semaphore>,
    most: u32,
    /// Ends when the port is closed.
    listening: watch::Receiver<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.stop();
        }
    }
}

impl Server {
    /// Listens at `socket` on `threads` threads of its own, for at most `most` connections at once.
    /// `make` creates the service of each thread.
    pub(super) fn start<F, S>(
        socket: TcpListener,
        shared: Arc<ServerState>,
        (threads, most): (usize, u32),
        make: F,
    ) -> io::Result<Self>
    where
        F: Fn() -> S + Clone + Send + 'static,
        S: ServiceFactory<
                (WatchedStream, Option<SocketAddr>),
                Config = (),
                Response = (),
                Error = DispatchError,
                InitError = (),
            > + 'static,
        S::Service: 'static,
    {
        socket.set_nonblocking(true)?;
        let places = Arc::new(Semaphore::new(most as usize));
        let (open, listening) = watch::channel(());
        let mut server = Self {
            shared: shared.clone(),
            threads: Vec::new(),
            places: places.clone(),
            most,
            listening,
        };
        let mut to = Vec::new();
        for _ in 0..threads {
            let thread = Arbiter::try_new()?;
            let (dealt, connections) = unbounded_channel();
            let (make, shared) = (make.clone(), shared.clone());
            thread.spawn_fn(move || {
                actix_rt::spawn(serve(connections, make(), shared));
            });
            to.push(dealt);
            server.threads.push(thread);
        }
        let accepts = async move {
            if let Err(error) = accept(socket, places, to, &shared).await {
                log::error!("{}: can't accept connections: {error}", shared.name);
            }
            drop(open);
        };
        server.spawn(accepts);
        Ok(server)
    }

    /// Runs a future on the first thread.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(first) = self.threads.first() {
            first.spawn(future);
        }
    }

    /// Closes the port, answers accepted requests, and ends within `within`.
    pub(super) async fn end(mut self, within: Duration) {
        let clock = Clock::real();
        let now = clock.now();
        self.shared.ending.send_replace(Some(Ending { since: now, until: now + within }));
        let ended = async {
            while self.listening.changed().await.is_ok() {}
            let _ = self.places.acquire_many(self.most).await;
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = clock.sleep(within + CUTTING) => {
                log::warn!("{}: connections did not end in time", self.shared.name);
            }
        }
    }

    /// Waits until the server no longer accepts connections; before a shutdown, that is a failure.
    pub(super) async fn stopped_listening(&self) {
        let mut listening = self.listening.clone();
        while listening.changed().await.is_ok() {}
    }
}

/// Accepts connections until the shutdown; then closes the port.
async fn accept(
    socket: TcpListener,
    places: Arc<Semaphore>,
    to: Vec<UnboundedSender<Accepted>>,
    shared: &ServerState,
) -> io::Result<()> {
    let (listener, clock) = (tokio::net::TcpListener::from_std(socket)?, Clock::real());
    let mut ending = shared.ending();
    let mut ending = std::pin::pin!(ending.wait_for(Option::is_some));
    let mut failing = false;
    for thread in to.iter().cycle() {
        let stream = loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut ending => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    break stream;
                }
                Err(error) => {
                    // Either a failure of this connection alone, or no file descriptor is left,
                    // which may last.
                    if !std::mem::replace(&mut failing, true) {
                        log::warn!("{}: a connection can't be accepted: {error}", shared.name);
                    }
                    clock.sleep(NO_ROOM).await;
                }
            }
        };
        let place = match places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                shared.crowded.store(true, Ordering::Relaxed);
                let place = tokio::select! {
                    biased;
                    _ = &mut ending => return Ok(()),
                    place = places.clone().acquire_owned() => place,
                };
                shared.crowded.store(false, Ordering::Relaxed);
                let Ok(place) = place else { return Ok(()) };
                place
            }
        };
        // Streams belong to the runtime of one thread.
        if let Ok(stream) = stream.into_std() {
            let _ = thread.send((stream, place));
        }
    }
    Ok(())
}

/// One thread: serves the connections dealt to it.
async fn serve<S>(
    mut connections: UnboundedReceiver<Accepted>,
    factory: S,
    shared: Arc<ServerState>,
) where
    S: ServiceFactory<
            (WatchedStream, Option<SocketAddr>),
            Config = (),
            Response = (),
            Error = DispatchError,
            InitError = (),
        >,
    S::Service: 'static,
{
    let Ok(service) = factory.new_service(()).await else {
        log::error!("{}: can't create the service", shared.name);
        return;
    };
    let service = Rc::new(service);
    while let Some((stream, place)) = connections.recv().await {
        let (service, shared) = (service.clone(), shared.clone());
        actix_rt::spawn(async move {
            let opened = shared.counts.connection();
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => {
                    let dispatch = |stream, peer| service.call((stream, peer));
                    Connection::serve(stream, &shared, dispatch).await;
                }
                Err(error) => log::warn!("{}: a connection is lost: {error}", shared.name),
            }
            drop((opened, place));
        });
    }
}
