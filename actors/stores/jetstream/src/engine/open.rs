//! Opening a store: the stream, the consumers, and what they hold.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use futures_util::{StreamExt, stream};
use gopherworks_pipeline::store::{Depth, PileSpec, Recovered};
use serde_json::{Value, json};

use super::*;
use crate::Settings;
use crate::connect::connect;
use crate::encode::{VERSION, read_record};
use crate::names::Names;
use crate::record::Record;
use crate::server::Found;

/// Requests at the same time.
const AT_ONCE: usize = 64;

/// Messages that records, marks and dead letters may add to the limit of books, so that books are
/// settled on a full store.
fn with_reserve(limit: u64) -> i64 {
    let all = limit.saturating_add(limit / 4).saturating_add(1000);
    i64::try_from(all).unwrap_or(i64::MAX)
}

/// Opens a store for these piles.
pub(crate) async fn open(
    settings: Settings,
    nonce: u64,
    specs: &[PileSpec],
) -> Result<(Engine, Recovered), StoreError> {
    let names = Names::new(&settings.store)?;
    let connection = connect(&settings).await?;
    let engine = Engine {
        server: Server::new(connection, names, nonce),
        piles: RwLock::default(),
        by_name: RwLock::default(),
        limit: settings.limit,
        count: AsyncMutex::new((0, 0, Duration::ZERO)),
        dedupe: settings.dedupe,
        ids: AsyncMutex::new(0),
        owned: Mutex::default(),
        // None is known: they are listed by the first fetch.
        recorded: Mutex::new((HashSet::new(), u64::MAX)),
        number: AtomicU64::new(0),
        closed: AtomicBool::new(false),
    };
    let store = engine.stream(&settings).await?;
    for spec in specs {
        let pile = engine.add(spec.clone())?;
        engine.consumer(&pile).await?;
        let mut by_name = engine.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(spec.name.clone(), pile.index as usize);
    }
    engine.remove_spare_records().await?;
    let next_id = engine.move_ids(Some).await?;
    *engine.ids.lock().await = next_id;
    let depths = engine.depths().await?;
    let named = |name: &PileName| specs.iter().any(|spec| spec.name == *name);
    let recovered = Recovered {
        store: store.into(),
        piles: specs
            .iter()
            .map(|spec| depths.get(&spec.name).copied().unwrap_or_default())
            .collect(),
        orphans: depths
            .iter()
            .filter(|(name, _)| !named(name))
            .map(|(n, d)| (n.clone(), *d))
            .collect(),
        positions: engine.positions().await?,
        next_id,
        account: None,
    };
    Ok((engine, recovered))
}

impl Engine {
    /// Creates the stream, or checks and updates it; answers its identity.
    async fn stream(&self, settings: &Settings) -> Result<String, StoreError> {
        let names = &self.server.names;
        let reading = Fault::reading;
        let found = match self.server.stream("STREAM.INFO", &json!({})).await {
            Ok(found) => Some(found),
            Err(Fault::Missing) => None,
            Err(fault) => return Err(reading(fault)),
        };
        let kept = |key: &str| {
            let metadata = found.as_ref().and_then(|found| found["config"]["metadata"].as_object());
            metadata.and_then(|metadata| metadata.get(key)?.as_str().map(str::to_owned))
        };
        let version = kept("gopherworks.version");
        match version.as_deref().map(str::parse::<u8>) {
            None if found.is_some() => {
                let what = format!("the stream `{}` is not one of gopherworks", names.stream);
                return Err(StoreError::Unsupported(what.into()));
            }
            Some(Ok(known)) if known > VERSION => {
                let what = format!("the store has version {known}; this program knows {VERSION}");
                return Err(StoreError::Unsupported(what.into()));
            }
            Some(Err(error)) => return Err(StoreError::Corrupt(error.to_string().into())),
            _ => {}
        }
        let new = || format!("{}-{:016x}", names.stream, self.server.nonce);
        let identity = kept("gopherworks.store").unwrap_or_else(new);
        let mut wanted = json!({
            "name": names.stream,
            "subjects": [names.all()],
            // An ack removes the message.
            "retention": "workqueue",
            "discard": "new",
            "duplicate_window": settings.dedupe.as_nanos() as u64,
            "allow_rollup_hdrs": true,
            "allow_atomic": true,
            "allow_msg_ttl": true,
        });
        if let Some(limit) = settings.limit {
            wanted["max_msgs"] = with_reserve(limit).into();
        }
        if let Some(replicas) = settings.replicas {
            wanted["num_replicas"] = replicas.into();
        }
        let version = VERSION.to_string();
        let new = json!({
            "storage": "file",
            "metadata": { "gopherworks.version": version, "gopherworks.store": identity },
        });
        // What an operator has set besides, such as a placement, stays.
        let before = found.map(|mut found| found["config"].take());
        let (what, before) = match before {
            Some(before) => ("STREAM.UPDATE", before),
            None => ("STREAM.CREATE", new),
        };
        let mut config = before.clone();
        if let (Some(config), Some(wanted)) = (config.as_object_mut(), wanted.as_object()) {
            config.extend(wanted.clone());
        }
        if config == before {
            return Ok(identity);
        }
        let made = match self.server.stream(what, &config).await {
            // Another process has created it.
            Err(Fault::Raced) => return Box::pin(self.stream(settings)).await,
            made => made.map_err(reading)?,
        };
        for feature in ["allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl"] {
            if made["config"][feature] != Value::Bool(true) {
                let what = format!("the server that keeps the stream does not know `{feature}`");
                return Err(StoreError::Unsupported(what.into()));
            }
        }
        Ok(identity)
    }

    /// Creates the durable consumer of a pile, or updates it.
    pub(super) async fn consumer(&self, pile: &Pile) -> Result<(), StoreError> {
        let (stream, name) = (&self.server.names.stream, &pile.consumer);
        let request = json!({
            "stream_name": stream,
            "config": {
                "name": name,
                "durable_name": name,
                "filter_subject": self.server.names.of('p', &pile.spec.name),
                "ack_policy": "explicit",
                "ack_wait": pile.spec.lease.as_nanos() as u64,
                // The caller counts attempts, and buries poison.
                "max_deliver": -1,
                "max_ack_pending": -1,
                "deliver_policy": "all",
            },
        });
        let made = self.server.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &request).await;
        made.map(drop).map_err(Fault::reading)
    }

    /// The last message of each of these subjects.
    pub(super) async fn all_last(
        &self,
        subjects: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Found>, StoreError> {
        let subjects: Vec<String> = subjects.into_iter().collect();
        let last = |subject: String| async move { self.server.last(&subject).await };
        let found: Vec<_> = stream::iter(subjects).map(last).buffered(AT_ONCE).collect().await;
        let found: Result<Vec<_>, _> = found.into_iter().collect();
        Ok(found.map_err(Fault::reading)?.into_iter().flatten().collect())
    }

    /// All records of a pile, or of all piles, with their subjects.
    async fn records(&self, filter: &str) -> Result<Vec<(Found, Record)>, StoreError> {
        let (_, subjects) = self.server.subjects(filter).await.map_err(Fault::reading)?;
        let found = self.all_last(subjects.into_keys()).await?;
        found
            .into_iter()
            .map(|found| read_record(&found.payload).map(|read| (found, read)))
            .collect()
    }

    /// Removes records whose messages are settled: a process was killed between the two.
    async fn remove_spare_records(&self) -> Result<(), StoreError> {
        let all = self.records(&self.server.names.kind('r')).await?;
        let check = |(found, record): (Found, Record)| async move {
            let pack = match record.pack {
                0 => found.sequence.saturating_sub(1),
                pack => pack,
            };
            let message = self.server.get(&json!({ "seq": pack })).await?;
            let is_there = message
                .is_some_and(|message| self.server.names.books_of(&message.subject).is_some());
            if !is_there {
                self.server.delete(found.sequence).await?;
            }
            Ok(())
        };
        let checked: Vec<_> = stream::iter(all).map(check).buffered(AT_ONCE).collect().await;
        checked.into_iter().collect::<Result<(), Fault>>().map_err(Fault::reading)
    }

    /// How many books each pile of the stream holds.
    async fn depths(&self) -> Result<BTreeMap<PileName, Depth>, StoreError> {
        let names = &self.server.names;
        let mut depths = BTreeMap::new();
        let mut piles = Vec::new();
        for kind in ['p', 'd'] {
            let filter = names.kind(kind);
            let (_, subjects) = self.server.subjects(&filter).await.map_err(Fault::reading)?;
            piles.extend(subjects.keys().filter_map(|subject| names.pile_of(kind, subject)));
        }
        piles.sort();
        piles.dedup();
        for name in piles {
            let depth = self.depth_of(&name).await?;
            depths.insert(name, depth);
        }
        Ok(depths)
    }

    /// Sums up the messages of a pile. The number of held books is an estimate, as the server
    /// counts held messages, not their books.
    pub(super) async fn depth_of(&self, name: &PileName) -> Result<Depth, StoreError> {
        let names = &self.server.names;
        let subjects = |kind| async move {
            let all = self.server.subjects(&names.of(kind, name)).await.map_err(Fault::reading)?;
            Ok::<_, StoreError>(all.1)
        };
        let (mut books, mut bytes, mut messages) = (0, 0, 0);
        for (subject, count) in subjects('p').await? {
            if let Some(says) = names.books_of(&subject) {
                messages += count;
                books += says.books * count;
                bytes += says.bytes * count;
            }
        }
        let dead = subjects('d').await?.values().sum();
        let (now, _) = self.server.time();
        let (mut held, mut recorded, mut next_due) = (0, 0, None);
        let before = books;
        for (_, record) in self.records(&names.of('r', name)).await? {
            recorded += 1;
            books = u64::saturating_sub(
                books,
                record.slots.iter().filter(|s| s.is_gone).count() as u64,
            );
            if record.is_shared {
                let holds = record.slots.iter().filter_map(|slot| slot.hold);
                held += holds.filter(|hold| hold.until > now).count() as u64;
            }
            let due = record.slots.iter().filter(|slot| !slot.is_gone && slot.due > now);
            let due = due.map(|slot| Duration::from_millis(slot.due - now)).min();
            next_due = [next_due, due].into_iter().flatten().min();
        }
        let info = format!("CONSUMER.INFO.{}.{}", names.stream, names.consumer(name)?);
        let pending = match self.server.api(&info, &json!({})).await {
            Ok(info) => info["num_ack_pending"].as_u64().unwrap_or_default(),
            Err(Fault::Missing) => 0,
            Err(fault) => return Err(fault.reading()),
        };
        let whole = pending.saturating_sub(recorded);
        held = (held + (whole * before).checked_div(messages).unwrap_or_default()).min(books);
        bytes =
            (u128::from(bytes) * u128::from(books)).checked_div(before.into()).unwrap_or(0) as u64;
        // Messages are counted exactly, their books are not.
        Ok(Depth { books, bytes, held, dead, next_due, exact: messages == 0 })
    }
}
