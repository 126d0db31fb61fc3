//! Requests to the server, and what its answers mean.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use gopherworks_pipeline::store::StoreError;
use gopherworks_supervision::clock::{Clock, Stopwatch};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::fault::{ApiError, Fault, RETRY, fault, unreadable};
use crate::names::Names;

/// Longest time until a request is answered.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// Maximum number of messages of an atomic batch, by the server's default.
pub(crate) const BATCH: usize = 1000;

/// A message to be published.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub subject: String,
    pub payload: Bytes,
    headers: Vec<(&'static str, String)>,
}

impl Outgoing {
    pub fn new(subject: String, payload: Bytes) -> Self {
        Self { subject, payload, headers: Vec::new() }
    }

    /// Stored once within the stream's window.
    pub fn once(mut self, id: String) -> Self {
        self.headers.push(("Nats-Msg-Id", id));
        self
    }

    /// Stored if the last message of the subject has this sequence; 0: if it has none.
    pub fn after(mut self, sequence: u64) -> Self {
        self.headers.push(("Nats-Expected-Last-Subject-Sequence", sequence.to_string()));
        self
    }

    /// Replaces the earlier messages of the subject.
    pub fn replacing(mut self) -> Self {
        self.headers.push(("Nats-Rollup", "sub".to_owned()));
        self
    }

    /// Removed by the server after this time, in whole seconds.
    pub fn expiring(mut self, after: Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        self.headers.push(("Nats-TTL", format!("{seconds}s")));
        self
    }

    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        self.headers.iter().for_each(|(name, value)| map.insert(*name, value.as_str()));
        map
    }
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Stored {
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// True if the message had been stored before.
    #[serde(default)]
    pub duplicate: bool,
}

/// A stored message.
#[derive(Debug)]
pub(crate) struct Found {
    pub subject: String,
    pub sequence: u64,
    pub payload: Bytes,
}

/// A delivery of a consumer.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Subject for acks of the delivery.
    pub ack: String,
    pub sequence: u64,
    /// How often the message was delivered, this delivery included.
    pub number: u64,
    pub payload: Bytes,
}

pub(crate) struct Server {
    pub client: Client,
    pub names: Names,
    /// The time of all leases.
    watch: Stopwatch,
    /// The server's clock less ours in milliseconds: at least, at most.
    offset: Mutex<(u64, u64)>,
    /// Distinguishes this opener from all others.
    pub nonce: u64,
    batches: AtomicU64,
    clock: Clock,
    /// How often the connection was lost.
    losses: watch::Receiver<u64>,
}

impl Server {
    pub fn new((client, losses): (Client, watch::Receiver<u64>), names: Names, nonce: u64) -> Self {
        Self {
            client,
            names,
            watch: Stopwatch::start(),
            offset: Mutex::new((0, 0)),
            nonce,
            batches: AtomicU64::new(0),
            clock: Clock::real(),
            losses,
        }
    }

    /// How often the connection was lost.
    pub fn losses(&self) -> u64 {
        *self.losses.borrow()
    }

    /// Monotonic time since the store was opened.
    pub fn now(&self) -> Duration {
        self.watch.elapsed()
    }

    /// The server's time in milliseconds since 1970: at least, at most.
    pub fn time(&self) -> (u64, u64) {
        let now = self.now().as_millis() as u64;
        let (least, most) = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        (least.saturating_add(now), most.saturating_add(now))
    }

    /// Sends a request and waits for the client's answer, as long as the connection lasts.
    async fn answer<T>(&self, request: impl Future<Output = T>) -> Result<T, Fault> {
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        self.is_connected()?;
        tokio::select! {
            answer = request => Ok(answer),
            Ok(()) = losses.changed() => Err(Fault::Unknown("the connection was lost".to_owned())),
        }
    }

    /// A request would wait for the connection, and then be sent late.
    fn is_connected(&self) -> Result<(), Fault> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            _ => Err(Fault::Failed(StoreError::unavailable("the connection is lost", RETRY))),
        }
    }

    /// A request of the JetStream API.
    pub async fn api(&self, what: &str, request: &Value) -> Result<Value, Fault> {
        let subject = format!("$JS.API.{what}");
        let request = self.client.request(subject, request.to_string().into());
        let answer = self.answer(request).await?.map_err(|error| fault(&error))?;
        let mut answer: Value = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        match answer.get_mut("error").map(Value::take) {
            Some(error) => {
                Err(serde_json::from_value::<ApiError>(error).unwrap_or_default().into())
            }
            None => Ok(answer),
        }
    }

    /// A request of the API that concerns this store's stream.
    pub async fn stream(&self, what: &str, request: &Value) -> Result<Value, Fault> {
        self.api(&format!("{what}.{}", self.names.stream), request).await
    }

    /// Publishes messages, all or none; answers the sequence of the last one.
    pub async fn publish(&self, messages: &[Outgoing]) -> Result<Stored, Fault> {
        let [before @ .., last] = messages else {
            return Ok(Stored { sequence: 0, duplicate: false });
        };
        self.is_connected()?;
        let mut headers = last.headers();
        if !before.is_empty() {
            let number = self.batches.fetch_add(1, Ordering::Relaxed);
            let batch = format!("{:016x}{number:x}", self.nonce);
            for (at, message) in before.iter().enumerate() {
                let mut headers = message.headers();
                headers.insert("Nats-Batch-Id", batch.as_str());
                headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
                let (subject, payload) = (message.subject.clone(), message.payload.clone());
                let sent = self.client.publish_with_headers(subject, headers, payload).await;
                sent.map_err(|error| Fault::Failed(StoreError::unavailable(error, RETRY)))?;
            }
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", messages.len().to_string());
            headers.insert("Nats-Batch-Commit", "1");
        }
        let (subject, payload) = (last.subject.clone(), last.payload.clone());
        let request = self.client.request_with_headers(subject, headers, payload);
        let answer = self.answer(request).await?.map_err(|error| fault(&error))?;
        #[derive(Deserialize)]
        struct Ack {
            error: Option<ApiError>,
            #[serde(flatten)]
            stored: Stored,
        }
        let ack: Ack = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        ack.error.map_or(Ok(ack.stored), |error| Err(error.into()))
    }

    /// A stored message: `{"seq": n}`, `{"last_by_subj": ..}`, or both `seq` and `next_by_subj`.
    pub async fn get(&self, which: &Value) -> Result<Option<Found>, Fault> {
        let mut answer = match self.stream("STREAM.MSG.GET", which).await {
            Ok(answer) => answer,
            Err(Fault::Missing) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        #[derive(Deserialize)]
        struct Got {
            subject: String,
            seq: u64,
            #[serde(default)]
            data: String,
        }
        let message = answer.get_mut("message").map(Value::take).unwrap_or_default();
        let got: Got = serde_json::from_value(message).map_err(unreadable)?;
        let payload = STANDARD.decode(&got.data).map_err(unreadable)?.into();
        Ok(Some(Found { subject: got.subject, sequence: got.seq, payload }))
    }

    /// The last message of a subject.
    pub async fn last(&self, subject: &str) -> Result<Option<Found>, Fault> {
        self.get(&json!({ "last_by_subj": subject })).await
    }

    /// Removes a message; false if there is none.
    pub async fn delete(&self, sequence: u64) -> Result<bool, Fault> {
        let request = json!({ "seq": sequence, "no_erase": true });
        match self.stream("STREAM.MSG.DELETE", &request).await {
            Ok(_) => Ok(true),
            Err(Fault::Missing) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// State of the stream, and how many messages each subject of the filter has. Reads the
    /// server's clock.
    pub async fn subjects(&self, filter: &str) -> Result<(Value, HashMap<String, u64>), Fault> {
        let mut all = HashMap::new();
        loop {
            let before = self.now().as_millis() as u64;
            let request = json!({ "subjects_filter": filter, "offset": all.len() });
            let mut info = self.stream("STREAM.INFO", &request).await?;
            let after = self.now().as_millis() as u64;
            if let Some(time) = info.get("ts").and_then(Value::as_str).and_then(millis) {
                let offset = (time.saturating_sub(after), (time + 1).saturating_sub(before));
                *self.offset.lock().unwrap_or_else(PoisonError::into_inner) = offset;
            }
            let mut state = info.get_mut("state").map(Value::take).unwrap_or_default();
            let page = state.get_mut("subjects").map(Value::take).unwrap_or_default();
            let page: HashMap<String, u64> = serde_json::from_value(page).unwrap_or_default();
            let is_last = page.is_empty();
            all.extend(page);
            let total = info.get("total").and_then(Value::as_u64).unwrap_or_default();
            if is_last || all.len() as u64 >= total {
                return Ok((state, all));
            }
        }
    }

    /// Asks a consumer for messages. Those that are there come at once; without any, waits for one
    /// up to `wait`.
    ///
    /// # Errors
    /// `Missing` if there is no such consumer.
    pub async fn pull(
        &self,
        consumer: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Delivered>, Fault> {
        self.is_connected()?;
        let inbox = self.client.new_inbox();
        let lost = |error: &dyn std::fmt::Display| Fault::Unknown(error.to_string());
        let subscriber = self.client.subscribe(inbox.clone()).await;
        let mut subscriber = subscriber.map_err(|error| lost(&error))?;
        let request = match wait.is_zero() {
            true => json!({ "batch": most, "no_wait": true }),
            false => json!({ "batch": 1, "expires": wait.as_nanos() as u64 }),
        };
        let most = if wait.is_zero() { most } else { 1 };
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.names.stream);
        let sent = self.client.publish_with_reply(next, inbox, request.to_string().into()).await;
        sent.map_err(|error| lost(&error))?;
        let mut all = Vec::new();
        let mut end = std::pin::pin!(self.clock.sleep(wait + ANSWER));
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        while all.len() < most {
            let message = tokio::select! {
                message = subscriber.next() => message,
                () = &mut end => None,
                Ok(()) = losses.changed() => None,
            };
            let Some(message) = message else {
                // What is on its way comes back at the end of its lease.
                return if all.is_empty() { Err(lost(&"no answer to a pull")) } else { Ok(all) };
            };
            match message.status {
                None => all.extend(delivered(message)),
                Some(StatusCode::NO_RESPONDERS) => return Err(Fault::Missing),
                // No messages, or not more; the time is over.
                Some(status) if matches!(status.as_u16(), 404 | 408) => break,
                Some(status) => {
                    let text = message.description.unwrap_or_else(|| status.to_string());
                    // Such as a deleted consumer, or a server that shuts down.
                    log::debug!("{consumer}: {text}");
                    return if all.is_empty() { Err(Fault::Missing) } else { Ok(all) };
                }
            }
        }
        Ok(all)
    }

    /// Acks a delivery, and waits until the server has taken it in.
    ///
    /// The answer says no more than that: the server answers a late ack, after another delivery of
    /// the message, as it answers one in time. Without a consumer there is no responder.
    ///
    /// # Errors
    /// `Missing` if there is no such consumer.
    pub async fn ack(&self, delivery: &str, how: impl Into<Bytes>) -> Result<(), Fault> {
        match self.answer(self.client.request(delivery.to_owned(), how.into())).await? {
            Ok(answer) => match answer.status {
                None => Ok(()),
                Some(status) => Err(Fault::Unknown(format!("an ack is answered with {status}"))),
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(Fault::Missing),
            Err(error) => Err(fault(&error)),
        }
    }
}

/// Milliseconds since 1970 of a time in RFC 3339.
fn millis(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as u64)
}

/// Reads the reply subject of a delivery:
/// `$JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumer_sequence.time.pending`.
fn delivered(message: Message) -> Option<Delivered> {
    let ack = message.reply?.to_string();
    let parts: Vec<&str> = ack.split('.').collect();
    let first = match parts.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    let [number, sequence] = [parts[first], parts[first + 1]].map(|text| text.parse().ok());
    Some(Delivered { number: number?, sequence: sequence?, payload: message.payload, ack })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_read_from_its_reply_subject() {
        let read = |reply: &str| {
            let message = Message {
                subject: "a".into(),
                reply: Some(reply.into()),
                payload: Bytes::new(),
                headers: None,
                status: None,
                description: None,
                length: 0,
            };
            delivered(message).map(|read| (read.number, read.sequence))
        };
        assert_eq!(read("$JS.ACK.s.c.2.5.9.1700000000.3"), Some((2, 5)));
        assert_eq!(read("$JS.ACK.hub.abc.s.c.2.5.9.1700000000.3.x"), Some((2, 5)));
        assert_eq!(read("$JS.ACK.hub.abc.s.c.2.5.9.1700000000.3"), Some((2, 5)));
        for other in ["$JS.ACK.s.c.2.5.9.1700000000", "$JS.ACK.s.c.x.5.9.1.3", "a"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn times_of_the_server_are_read() {
        assert_eq!(millis("1970-01-02T00:00:00.25Z"), Some(86_400_250));
        assert_eq!(millis("2026-11-30T16:07:44.069341602Z"), Some(1_796_054_864_069));
        assert_eq!(millis("yesterday"), None);
    }
}
