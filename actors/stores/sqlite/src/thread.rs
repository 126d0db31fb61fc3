//! The engine's thread: it owns the connection, and groups commits.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gopherworks_pipeline::store::{Commit, Committed, PileSpec, Recovered, Reply, StoreError};
use tokio::sync::oneshot;

use crate::begun::Begun;
use crate::engine::{Engine, Waiting};
use crate::{Answer, Settings};

/// Maximum number of commits of one transaction.
const LARGEST_GROUP: usize = 1_024;

/// Time without a request after which background work is done.
const IDLE: Duration = Duration::from_millis(200);

enum Request {
    Commit(Waiting),
    Run(Box<dyn FnOnce(&mut Engine) + Send>),
    Close(Answer<Result<(), StoreError>>),
}

enum Link {
    New,
    Open(Sender<Request>, JoinHandle<()>),
    Closed,
}

/// The handle of the thread.
pub(crate) struct Thread {
    pub settings: Settings,
    pub begun: Arc<Begun>,
    link: Mutex<Link>,
}

impl Thread {
    pub fn new(settings: Settings) -> Self {
        Self { settings, begun: Arc::default(), link: Mutex::new(Link::New) }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if it was not opened yet.
    pub fn is_new(&self) -> bool {
        matches!(*self.link(), Link::New)
    }

    /// Starts the thread, which opens the store.
    pub async fn open(&self, specs: Vec<PileSpec>) -> Result<Recovered, StoreError> {
        let opened = self.start(specs)?;
        let recovered = opened.await.unwrap_or_else(|_| Err(ended()));
        if recovered.is_err() {
            self.end(Link::New);
        }
        recovered
    }

    fn start(
        &self,
        specs: Vec<PileSpec>,
    ) -> Result<oneshot::Receiver<Result<Recovered, StoreError>>, StoreError> {
        let mut link = self.link();
        match *link {
            Link::New => {}
            Link::Open(..) => return Err(StoreError::Other("the store is open already".into())),
            Link::Closed => return Err(StoreError::Closed),
        }
        let ((requests, received), (opened, answer)) = (channel(), oneshot::channel());
        let (settings, begun) = (self.settings.clone(), self.begun.clone());
        let thread = std::thread::Builder::new().name("gopherworks-sqlite".to_owned());
        let thread = thread.spawn(move || run(settings, &specs, begun, opened, &received));
        let thread = thread.map_err(|error| StoreError::unavailable(error, IDLE))?;
        *link = Link::Open(requests, thread);
        Ok(answer)
    }

    /// Waits for the end of the thread, which ends when it has no sender of requests any more.
    fn end(&self, next: Link) {
        let link = std::mem::replace(&mut *self.link(), next);
        if let Link::Open(requests, thread) = link {
            drop(requests);
            // A panic there was logged; calls that waited have got an error.
            let _ = thread.join();
        }
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        match &*self.link() {
            Link::Open(requests, _) => requests.send(request).map_err(|_| ended()),
            Link::New | Link::Closed => Err(StoreError::Closed),
        }
    }

    /// Runs a call on the thread. It is sent when the future is first polled.
    pub fn ask<'a, T: Send + 'static>(
        &'a self,
        call: impl FnOnce(&mut Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<'a, Result<T, StoreError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.send(Request::Run(Box::new(move |engine| _ = answer.send(call(engine)))))?;
            answered.await.unwrap_or_else(|_| Err(unanswered()))
        })
    }

    pub async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Commit((commit, answer)))?;
        answered.await.unwrap_or_else(|_| Err(unanswered()))
    }

    pub async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Close(answer))?;
        let closed = answered.await.unwrap_or_else(|_| Err(unanswered()));
        self.end(Link::Closed);
        closed
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end(Link::Closed);
    }
}

fn ended() -> StoreError {
    StoreError::Other("the thread of the store has ended".into())
}

fn unanswered() -> StoreError {
    StoreError::Unknown("the thread of the store has ended".into())
}

fn run(
    settings: Settings,
    specs: &[PileSpec],
    begun: Arc<Begun>,
    opened: Answer<Result<Recovered, StoreError>>,
    requests: &Receiver<Request>,
) {
    let mut engine = match Engine::open(settings, specs, begun) {
        Ok(engine) => engine,
        Err(error) => return drop(opened.send(Err(error))),
    };
    // If the opener was cancelled, the store is open all the same.
    let _ = opened.send(Ok(engine.recovered.clone()));
    let mut waiting = VecDeque::new();
    loop {
        let Some(request) = waiting.pop_front().or_else(|| next(requests, &engine)) else {
            return;
        };
        match request {
            Request::Run(call) => call(&mut engine),
            Request::Close(answer) => return drop(answer.send(engine.close())),
            Request::Commit(first) => {
                // What arrived during the last transaction goes into this one.
                waiting.extend(requests.try_iter().take(LARGEST_GROUP));
                let mut group = vec![first];
                while let Some(Request::Commit(_)) = waiting.front() {
                    if let Some(Request::Commit(commit)) = waiting.pop_front() {
                        group.push(commit);
                    }
                }
                engine.commit(group);
            }
        }
    }
}

/// The next request; `None` when the handle is dropped.
fn next(requests: &Receiver<Request>, engine: &Engine) -> Option<Request> {
    loop {
        match requests.recv_timeout(IDLE) {
            Ok(request) => return Some(request),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => engine.shrink(),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
}
