//! Request bodies: small ones are sent from memory, files are streamed.

use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, BodyReader};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::units::Size;

/// Bytes per read of a file; a smaller file is read at once.
const PIECE: usize = 64 * 1024;

/// Threads on which files are read, since reads would block the thread that drives connections.
#[derive(Clone)]
pub(crate) enum Blocking {
    Pool(Arc<Pool>),
    /// The blocking threads of a separate runtime.
    Runtime(Handle),
}

type Running<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

impl Blocking {
    /// Starts `work`; the future resolves to `None` if the threads are gone.
    fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        match self {
            Blocking::Pool(pool) => {
                let running = pool.wait_for(work);
                Box::pin(async { running.await.ok() })
            }
            Blocking::Runtime(handle) => {
                let running = handle.spawn_blocking(work);
                Box::pin(async { running.await.ok() })
            }
        }
    }
}

pub(crate) enum Sent {
    Bytes(Bytes),
    File(FileBody),
}

impl Sent {
    /// Opens a body for one try.
    ///
    /// # Errors
    /// A body that can't be opened; permanent if it is larger than `most` bytes.
    pub(crate) async fn open(
        body: &Body,
        most: Option<u64>,
        blocking: &Blocking,
    ) -> Result<Self, Failure> {
        let within = |length: u64| match most {
            Some(most) if length > most => {
                let (length, most) = (Size(length), Size(most));
                Err(Failure::permanent(format!("the body has {length}; `max_body` allows {most}")))
            }
            _ => Ok(()),
        };
        if let Body::Bytes(bytes) = body {
            within(bytes.len() as u64)?;
            return Ok(Sent::Bytes(bytes.clone()));
        }
        let body = body.clone();
        let opened = blocking.start(move || opened(&body)).await;
        let stopped = || Failure::transient("the run is being stopped");
        let opened = opened.ok_or_else(stopped)?;
        let trouble = |error| Failure::io("reading a body", &error);
        let (mut reader, length) = opened.map_err(trouble)?;
        within(length)?;
        if length <= PIECE as u64 {
            let read = blocking.start(move || piece(&mut reader, length as usize)).await;
            return Ok(Sent::Bytes(read.ok_or_else(stopped)?.map_err(trouble)?));
        }
        Ok(Sent::File(FileBody {
            left: length,
            state: Mutex::new(ReadState::Idle(Some(reader))),
            blocking: blocking.clone(),
        }))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Sent::Bytes(bytes) if bytes.is_empty())
    }

    pub(super) fn into_body(self) -> reqwest::Body {
        match self {
            Sent::Bytes(bytes) => bytes.into(),
            Sent::File(file) => reqwest::Body::wrap(file),
        }
    }
}

/// Opens a body and returns its current length: bytes that are appended later are not sent.
fn opened(body: &Body) -> io::Result<(BodyReader, u64)> {
    let reader = body.open()?;
    let length = match body {
        Body::File { file, offset, len: None, .. } => {
            fs::metadata(file.path())?.len().saturating_sub(*offset)
        }
        other => other.size(),
    };
    Ok((reader, length))
}

fn piece(reader: &mut BodyReader, length: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; length];
    reader.read_exact(&mut piece)?;
    Ok(piece.into())
}

pub(crate) struct FileBody {
    left: u64,
    // The lock is never contended: it only makes the body `Sync`, which the pool's futures are not.
    state: Mutex<ReadState>,
    blocking: Blocking,
}

enum ReadState {
    Idle(Option<BodyReader>),
    Reading(Running<(BodyReader, io::Result<Bytes>)>),
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let state = this.state.get_mut();
        loop {
            match state {
                ReadState::Idle(reader) => {
                    if this.left == 0 {
                        return Poll::Ready(None);
                    }
                    let Some(mut reader) = reader.take() else {
                        return Poll::Ready(None);
                    };
                    let length = this.left.min(PIECE as u64) as usize;
                    *state = ReadState::Reading(this.blocking.start(move || {
                        let read = piece(&mut reader, length);
                        (reader, read)
                    }));
                }
                ReadState::Reading(reading) => {
                    let Poll::Ready(read) = reading.as_mut().poll(context) else {
                        return Poll::Pending;
                    };
                    let Some((reader, read)) = read else {
                        *state = ReadState::Idle(None);
                        let stopped = io::Error::other("the run is being stopped");
                        return Poll::Ready(Some(Err(stopped)));
                    };
                    *state = ReadState::Idle(read.is_ok().then_some(reader));
                    return Poll::Ready(Some(read.map(|piece| {
                        this.left -= piece.len() as u64;
                        Frame::data(piece)
                    })));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
