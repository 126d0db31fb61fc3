//! One connection of a server, and its deadlines.
//!
//! actix-http bounds the head of the first request and the time between requests. This module
//! bounds the rest: a client that does not read its response, the heads of later requests, a body
//! that continues after its response, and the shutdown.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use gopherworks_supervision::clock::{Clock, Time};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pace::Pace;
use super::server::{Limits, ServerState};

/// Size of the kernel's send buffer, in bytes. A larger one would hide for minutes that a client
/// reads nothing.
const UNSENT: u32 = 32 * 1024;
/// Interval at which a connection checks whether clients wait for a place.
const LOOK: Duration = Duration::from_secs(1);
/// Such an interval during the shutdown.
const LOOK_AT_END: Duration = Duration::from_millis(50);
/// Time for an idle connection to receive a request that was sent before the shutdown began.
const LAST_REQUEST: Duration = Duration::from_millis(250);
/// Longest stall of a client during the shutdown, once only unread responses delay it.
const LAST_STALL: Duration = Duration::from_secs(1);
/// Added to our deadline for the first head, so that actix-http's own comes first: it answers 408,
/// ours only closes.
const OWN_FIRST: Duration = Duration::from_secs(1);

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The client has stalled, or is slower than the minimum rate, while it reads a response.
    SlowToTake,
    /// The client has not sent the rest of a head, or of a body whose request is answered.
    SlowToSend,
    /// The connection was idle while clients wait for a place or the server shuts down.
    Idle,
    /// The shutdown's time is over.
    Ended,
}

/// The state of a connection, shared on one thread by its stream, its handlers and its watchdog.
#[derive(Debug)]
pub(super) struct Connection {
    clock: Clock,
    limits: Limits,
    /// Requests in handlers.
    turns: Cell<u32>,
    /// True if at least one request has come.
    served: Cell<bool>,
    /// When it was accepted, or the last answer was written.
    idle: Cell<Time>,
    /// When the first byte arrived after that, unless a handler had a request.
    begun: Cell<Option<Time>>,
    /// The client's pace at reading a response; it counts while a write is blocked.
    taking: Cell<Pace>,
    /// When bytes of a blocked response last moved.
    moved: Cell<Time>,
    /// Close without waiting for the client; unsent bytes are discarded.
    cut: Cell<bool>,
}

impl Connection {
    fn new(clock: Clock, limits: Limits) -> Self {
        let now = clock.now();
        Self {
            clock,
            limits,
            turns: Cell::new(0),
            served: Cell::new(false),
            idle: Cell::new(now),
            begun: Cell::new(None),
            taking: Cell::new(Pace::new(limits.write, limits.rate)),
            moved: Cell::new(now),
            cut: Cell::new(false),
        }
    }

    /// Serves `stream` until the client closes it or the server has to.
    pub(super) async fn serve<F>(
        stream: TcpStream,
        shared: &ServerState,
        dispatch: impl FnOnce(WatchedStream, Option<SocketAddr>) -> F,
    ) where
        F: Future<Output = Result<(), DispatchError>>,
    {
        let peer = stream.peer_addr().ok();
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            log::debug!("{}: TCP_NOTSENT_LOWAT: {error}", shared.name);
        }
        let connection = Rc::new(Self::new(Clock::real(), shared.limits));
        let watched = WatchedStream { stream, connection: connection.clone() };
        // It outlives `select!`: the stream is dropped after `cut` is set.
        let mut dispatched = std::pin::pin!(dispatch(watched, peer));
        let ended = tokio::select! {
            biased;
            ended = &mut dispatched => Ok(ended),
            why = connection.overdue(shared) => Err(why),
        };
        let peer = peer.map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
        match ended {
            Ok(Err(DispatchError::Parse(error))) => {
                shared.counts.malformed();
                log::debug!("{}: malformed request from {peer}: {error}", shared.name);
            }
            Ok(Err(error)) => log::debug!("{}: connection of {peer}: {error}", shared.name),
            Ok(Ok(())) | Err(Why::Idle | Why::Ended) => {}
            Err(why) => {
                shared.counts.slow();
                log::debug!("{}: connection of {peer} is cut: {why:?}", shared.name);
            }
        }
    }

    /// Counts a request in a handler until the returned guard is dropped.
    pub(super) fn turn(self: &Rc<Self>, shared: &Arc<ServerState>) -> Turn {
        self.turns.set(self.turns.get() + 1);
        self.served.set(true);
        let mut taking = self.taking.get();
        if !taking.waits() {
            taking = Pace::new(self.limits.write, self.limits.rate);
        }
        self.taking.set(taking);
        shared.begin();
        Turn { connection: self.clone(), shared: shared.clone() }
    }

    /// Waits until the server has to end the connection.
    async fn overdue(&self, shared: &ServerState) -> Why {
        let mut ending = shared.ending();
        let limits = &self.limits;
        // Deadlines of later events are at least this far away, so no wake-up is needed for them.
        let look = LOOK.min(limits.read).min(limits.write);
        // Since when no handler has had a request, during the shutdown.
        let mut quiet = None;
        loop {
            let now = self.clock.now();
            let end = *ending.borrow_and_update();
            let mut until = now + look;
            if let Some(end) = end {
                until = now + LOOK_AT_END;
                if shared.requests() > 0 {
                    quiet = None;
                } else {
                    quiet.get_or_insert(now);
                }
                if now >= end.until {
                    self.cut.set(true);
                    return Why::Ended;
                }
            }
            let (due, why) = self.due(shared, end.map(|end| end.since), quiet);
            if due <= now {
                self.cut.set(why != Why::Idle);
                return why;
            }
            until = until.min(due);
            tokio::select! {
                () = self.clock.sleep_until(until) => {}
                told = ending.changed() => if told.is_err() {
                    return Why::Ended;
                },
            }
        }
    }

    /// The present deadline, and its reason.
    fn due(&self, shared: &ServerState, end: Option<Time>, quiet: Option<Time>) -> (Time, Why) {
        let taking = self.taking.get();
        if taking.waits() {
            let stalled = quiet.map_or(Time::MAX, |quiet| quiet.max(self.moved.get()) + LAST_STALL);
            return (taking.due().min(stalled), Why::SlowToTake);
        }
        if self.turns.get() > 0 {
            return (Time::MAX, Why::Ended);
        }
        let limits = &self.limits;
        let own_first = if self.served.get() { Duration::ZERO } else { OWN_FIRST };
        if let Some(begun) = self.begun.get() {
            let late = begun + limits.read + own_first;
            let ends = end.map_or(Time::MAX, |since| since.max(begun) + LAST_STALL);
            return (late.min(ends), Why::SlowToSend);
        }
        let idle = self.idle.get();
        if let Some(since) = end {
            return (since.max(idle) + LAST_REQUEST, Why::Idle);
        }
        if self.served.get() && shared.is_crowded() {
            return (idle + LAST_REQUEST, Why::Idle);
        }
        // actix-http ends it after `keep_alive`, unless it has read half a head.
        let longest = limits.keep_alive + limits.read + OWN_FIRST;
        (idle + longest, Why::SlowToSend)
    }

    fn has_read(&self) {
        if self.turns.get() == 0 && self.begun.get().is_none() {
            self.begun.set(Some(self.clock.now()));
        }
    }

    fn has_written(&self, bytes: usize) {
        let (now, mut taking) = (self.clock.now(), self.taking.get());
        taking.moved(bytes, now);
        self.taking.set(taking);
        self.moved.set(now);
    }

    /// A write is blocked.
    fn blocks(&self) {
        let (now, mut taking) = (self.clock.now(), self.taking.get());
        if !taking.waits() {
            taking.wait(now);
            self.taking.set(taking);
            self.moved.set(now);
        }
    }

    /// All output is written.
    fn flushed(&self) {
        let mut taking = self.taking.get();
        if taking.waits() {
            taking.rest(self.clock.now());
            self.taking.set(taking);
            self.rests();
        }
    }

    /// Begins to wait for the next request.
    fn rests(&self) {
        let now = self.clock.now();
        self.idle.set(now);
        if self.begun.get().is_some() {
            self.begun.set(Some(now));
        }
    }
}

/// A request in a handler.
pub(super) struct Turn {
    connection: Rc<Connection>,
    shared: Arc<ServerState>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.turns.set(connection.turns.get() - 1);
        connection.begun.set(None);
        connection.rests();
        self.shared.end();
    }
}

/// The stream of a connection; reports when bytes move.
pub(super) struct WatchedStream {
    stream: TcpStream,
    pub(super) connection: Rc<Connection>,
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        // Otherwise the kernel keeps unsent bytes for minutes.
        if self.connection.cut.get() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match &written {
            Poll::Ready(Ok(count)) => self.connection.has_written(*count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.blocks(),
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
