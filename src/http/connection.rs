//! One connection of a server: what its client owes, and until when it may owe it.
//!
//! actix-http bounds the head of the first request and the time between requests. Here is what it
//! has no bounds for: a client that does not take its answer, the heads of later requests, a body
//! that goes on after its answer, and the end of the server.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use gopherworks_actors::clock::{Clock, Time};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pace::Pace;
use super::server::{Limits, Shared};

/// Bytes that wait in the kernel before a write has to wait: a larger buffer would hide for
/// minutes that a client takes nothing.
const UNSENT: u32 = 32 * 1024;
/// How often a connection looks whether others want its place.
const LOOK: Duration = Duration::from_secs(1);
/// How often a connection looks while the server ends.
const LOOK_AT_END: Duration = Duration::from_millis(50);
/// What an idle connection still waits for a request that was on its way when the server began to
/// end.
const LAST_REQUEST: Duration = Duration::from_millis(250);
/// How long a client may stall once nothing but answers to be taken keeps the server from its end.
const LAST_STALL: Duration = Duration::from_secs(1);
/// What actix-http's own timeout of the first head has in advance: it says 408 where this one only
/// closes.
const OWN_FIRST: Duration = Duration::from_secs(1);

/// Why a connection is ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The client has stalled, or is slower than the least rate, while it takes an answer.
    SlowToTake,
    /// The client owes the rest of a head, or of a body whose request is answered.
    SlowToSend,
    /// It was idle, and others wait or the server ends.
    Idle,
    /// The server has ended.
    Ended,
}

/// What is known of a connection; shared by its stream, its handlers and what watches over both.
/// All of one thread.
#[derive(Debug)]
pub(super) struct Connection {
    clock: Clock,
    limits: Limits,
    /// Requests that a handler has.
    turns: Cell<u32>,
    /// At least one request has come.
    served: Cell<bool>,
    /// When it was accepted, or the last answer was written.
    idle: Cell<Time>,
    /// When the first byte came after that, unless a handler had a request.
    begun: Cell<Option<Time>>,
    /// The client's pace at taking an answer; it is waited for while an answer is blocked.
    taking: Cell<Pace>,
    /// When bytes of a blocked answer moved last.
    moved: Cell<Time>,
    /// It ends without waiting for its client: what is unsent is thrown away.
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

    /// Serves `stream` until its client has gone or it has to end.
    pub(super) async fn serve<F>(
        stream: TcpStream,
        shared: &Shared,
        dispatch: impl FnOnce(Watched, Option<SocketAddr>) -> F,
    ) where
        F: Future<Output = Result<(), DispatchError>>,
    {
        let peer = stream.peer_addr().ok();
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            log::debug!("{}: TCP_NOTSENT_LOWAT: {error}", shared.name);
        }
        let connection = Rc::new(Self::new(Clock::real(), shared.limits));
        let watched = Watched { stream, connection: connection.clone() };
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

    /// A handler has a request until what this gives is dropped.
    pub(super) fn turn(self: &Rc<Self>, shared: &Arc<Shared>) -> Turn {
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

    /// Waits until the server has to end it.
    async fn overdue(&self, shared: &Shared) -> Why {
        let mut ending = shared.ending();
        let limits = &self.limits;
        // Nothing that begins later is due earlier, so no wake-up is needed for it.
        let look = LOOK.min(limits.read).min(limits.write);
        // Since when no handler has had a request, at the server's end.
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

    /// When it has to end, as things are, and why.
    fn due(&self, shared: &Shared, end: Option<Time>, quiet: Option<Time>) -> (Time, Why) {
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
        // actix-http ends it by itself after `keep_alive`, unless it has read half a head before.
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

    /// An answer has to wait.
    fn blocks(&self) {
        let (now, mut taking) = (self.clock.now(), self.taking.get());
        if !taking.waits() {
            taking.wait(now);
            self.taking.set(taking);
            self.moved.set(now);
        }
    }

    /// Everything is written.
    fn flushed(&self) {
        let mut taking = self.taking.get();
        if taking.waits() {
            taking.rest(self.clock.now());
            self.taking.set(taking);
            self.rests();
        }
    }

    /// From now on the next request is waited for.
    fn rests(&self) {
        let now = self.clock.now();
        self.idle.set(now);
        if self.begun.get().is_some() {
            self.begun.set(Some(now));
        }
    }
}

/// A request at a handler.
pub(super) struct Turn {
    connection: Rc<Connection>,
    shared: Arc<Shared>,
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

/// The stream of a connection; tells of what moves.
pub(super) struct Watched {
    stream: TcpStream,
    pub(super) connection: Rc<Connection>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Otherwise the kernel keeps what is unsent for minutes, in case that the client takes it
        // after all.
        if self.connection.cut.get() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
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

impl AsyncWrite for Watched {
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
