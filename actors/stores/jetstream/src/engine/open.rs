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

/// An engine with a connection, which knows nothing of the stream.
async fn connected(settings: &Settings, nonce: u64) -> Result<Engine, StoreError> {
    let names = Names::new(&settings.store)?;
    let connection = connect(settings).await?;
    Ok(Engine {
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
    })
}

/// A store that is not opened, to be read.
///
/// # Errors
/// `Gone` if there is none.
pub(crate) async fn look(settings: Settings, nonce: u64) -> Result<Engine, StoreError> {
    let engine = connected(&settings, nonce).await?;
    match engine.server.stream("STREAM.INFO", &json!({})).await {
        Ok(found) => engine.check_version(&found)?,
        Err(Fault::Missing) => return Err(StoreError::Gone),
        Err(fault) => return Err(fault.reading()),
    }
    // Reads the server's clock.
    engine.server.subjects(&engine.server.names.ids()).await.map_err(Fault::reading)?;
    Ok(engine)
}

/// Opens a store for these piles.
pub(crate) async fn open(
    settings: Settings,
    nonce: u64,
    specs: &[PileSpec],
) -> Result<(Engine, Recovered), StoreError> {
    let engine = connected(&settings, nonce).await?;
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

/// What the metadata of a stream says under a key of gopherworks.
fn noted<'a>(info: &'a Value, key: &str) -> Option<&'a str> {
    info["config"]["metadata"][format!("gopherworks.{key}")].as_str()
}

impl Engine {
    /// Checks that the stream is one of gopherworks, and not newer than this program.
    fn check_version(&self, info: &Value) -> Result<(), StoreError> {
        let what = match noted(info, "version").map(str::parse::<u8>) {
            Some(Ok(known)) if known <= VERSION => return Ok(()),
            Some(Ok(known)) => {
                format!("the store has version {known}; this program knows {VERSION}")
            }
            Some(Err(error)) => return Err(StoreError::Corrupt(error.to_string().into())),
            None => format!("the stream `{}` is not one of gopherworks", self.server.names.stream),
        };
        Err(StoreError::Unsupported(what.into()))
    }

    /// Creates the stream, or checks and updates it; answers its identity.
    async fn stream(&self, settings: &Settings) -> Result<String, StoreError> {
        let names = &self.server.names;
        let reading = Fault::reading;
        let found = match self.server.stream("STREAM.INFO", &json!({})).await {
            Ok(found) => Some(found),
            Err(Fault::Missing) => None,
            Err(fault) => return Err(reading(fault)),
        };
        if let Some(found) = &found {
            self.check_version(found)?;
        }
        let new = || format!("{}-{:016x}", names.stream, self.server.nonce);
        let identity = found.as_ref().and_then(|found| noted(found, "store"));
        let identity = identity.map_or_else(new, str::to_owned);
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
