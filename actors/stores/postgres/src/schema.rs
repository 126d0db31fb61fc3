//! The tables, their versions, and opening a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use gopherworks_pipeline::store::{Checkpoint, Depth, PileName, PileSpec, Recovered, StoreError};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cart::MOST;
use crate::core::{Core, Pile, micros};
use crate::error::Failed;
use crate::link::{pool, retried};
use crate::settings::Settings;
use crate::source::POSITION;

/// The version of the tables that this engine reads and writes.
const VERSION: i32 = 2;

/// Oldest server: `bit_count`.
const SERVER: i32 = 140_000;

/// One row says whether the tables are there, and is locked while they are made.
const META: &str = "
create table if not exists @meta (
    one boolean primary key default true check (one),
    version int not null default 0,
    store text not null default gen_random_uuid()::text,
    next_id bigint not null default 1,
    tended timestamptz not null default '-infinity'
);
insert into @meta default values on conflict do nothing";

/// `at` is an arrival, in its last six bits the number of a row that was split off. `live` has a
/// bit a book. `token` and `until` are a lease, and `due` a delay; no index has them, so that
/// leases rewrite neither indexes nor books. `mark` has what was added to positions.
const TABLES: &str = "
create sequence @arrival;
create sequence @owner;
create table @pile (
    id int generated always as identity primary key,
    works text not null, name text not null, unique (works, name)
);
create table @opener (
    id int generated always as identity primary key,
    name text not null, run text,
    since timestamptz not null default now(), seen timestamptz not null default now()
);
create table @cart (
    pile int not null, at bigint not null,
    live bigint not null, bytes bigint not null,
    token bigint not null default 0, until timestamptz not null default '-infinity',
    due timestamptz not null default '-infinity', holder int not null default 0,
    attempts int not null default 0, deliveries int not null default 0,
    marks smallint not null default 0, since timestamptz not null default now(),
    books bytea not null, primary key (pile, at)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 100000
);
alter table @cart alter books set storage external;
create table @taken (
    first bigint primary key, last bigint not null, since timestamptz not null default now()
);
create table @seen (
    pile int not null, key bytea not null, id bigint not null, until timestamptz not null,
    primary key (pile, key)
);
create index on @seen (until);
create table @source (
    works text not null, name text not null, share bigint not null,
    token bigint not null, until timestamptz not null default '-infinity',
    since timestamptz not null default now(), ended boolean not null default false,
    holder int not null default 0, position bytea,
    primary key (works, name, share)
);
create table @mark (
    works text not null, name text not null, share bigint not null,
    n bigint generated always as identity, part bytea not null,
    primary key (works, name, share, n)
);
create table @dead (
    at bigint generated always as identity primary key,
    pile int not null, attempts int not null, reason text not null, node text,
    bytes bigint not null, book bytea not null
);
create table @tally (burned bigint not null, dropped bigint not null);
update @meta set version = 2";

/// What a server must be before books are given to it.
async fn examine(core: &Core, settings: &Settings) -> Result<String, Failed> {
    let tx = core.connect().await?;
    let sql = "select current_setting('server_version_num')::int, current_setting('fsync'),
        current_setting('full_page_writes'), current_setting('synchronous_commit'),
        current_setting('transaction_read_only'), current_setting('server_version')";
    let row = one(tx.query(sql, &[]).await?)?;
    let text = |at: usize| row.try_get::<_, &str>(at).map_err(damaged);
    let version: i32 = row.try_get(0).map_err(damaged)?;
    if version < SERVER {
        let what = format!("PostgreSQL {}; the oldest one supported is 14", text(5)?);
        return Err(StoreError::Unsupported(what.into()).into());
    }
    for (at, name) in [(1, "fsync"), (2, "full_page_writes")] {
        if text(at)? == "off" && !settings.unsynced {
            let what =
                format!("a server with `{name} = off`, which can lose or damage what it has");
            return Err(StoreError::Unsupported(what.into()).into());
        }
        if text(at)? == "off" {
            log::warn!(
                "the PostgreSQL server has `{name} = off`: power loss can destroy the store"
            );
        }
    }
    if text(4)? == "on" {
        return Err(crate::error::unavailable("the server accepts no changes at present").into());
    }
    // An operator may ask for more than `on`, but not for less.
    let level = if text(3)? == "remote_apply" { "remote_apply" } else { "on" };
    Ok(level.to_owned())
}

/// How a transaction begins. No setting outlasts it, so that a transaction pooler may hand the
/// session on. The server ends a transaction whose process was stopped.
fn begin(settings: &Settings, level: &str) -> String {
    let limit = settings.timeout.as_millis();
    format!(
        "begin isolation level read committed; set local synchronous_commit = {level}; \
         set local statement_timeout = {limit}; set local jit = off; \
         set local idle_in_transaction_session_timeout = {limit}"
    )
}

pub(crate) fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("an unexpected answer: {error}").into())
}

pub(crate) fn one(rows: Vec<Row>) -> Result<Row, StoreError> {
    rows.into_iter().next().ok_or_else(|| damaged("no row"))
}

/// Makes the tables, unless they are there. The row of `meta` is locked meanwhile, so that one
/// opener makes them and others wait.
async fn create(core: &Core, schema: &str) -> Result<String, Failed> {
    let tx = core.connect().await?;
    tx.begin().await?;
    let sql = "select exists (select from pg_namespace where nspname = $1),
        to_regclass($2) is not null";
    let row =
        one(tx.query(sql, &[(&schema, Type::TEXT), (&core.sql("@meta"), Type::TEXT)]).await?)?;
    // A role may lack the right to make what others have made.
    if !row.try_get::<_, bool>(0).map_err(damaged)? {
        tx.batch(&format!("create schema {}", core.schema.trim_end_matches('.'))).await?;
    }
    if !row.try_get::<_, bool>(1).map_err(damaged)? {
        tx.batch(&core.sql(META)).await?;
    }
    tx.commit().await?;
    let tx = core.connect().await?;
    tx.begin().await?;
    let row = one(tx.query("select version, store from @meta for update", &[]).await?)?;
    let (version, store): (i32, String) =
        (row.try_get(0).map_err(damaged)?, row.try_get(1).map_err(damaged)?);
    match version {
        0 => tx.batch(&core.sql(TABLES)).await?,
        VERSION => {}
        newer => return Err(unknown(newer).into()),
    }
    tx.commit().await?;
    Ok(store)
}

/// This process, as others see it.
fn name() -> String {
    let host = rustix::system::uname();
    format!("{}:{}", host.nodename().to_string_lossy(), std::process::id())
}

/// A store that is not opened, to be looked at.
///
/// # Errors
/// `Gone` if there is none.
pub(crate) async fn look(settings: &Settings) -> Result<Core, StoreError> {
    let (pool, schema) = (pool(settings)?, settings.quoted()?);
    let core = Core::new(pool, schema, begin(settings, "on"), settings.timeout);
    let sql = "select to_regclass($1) is not null";
    let row = one(core.run(sql, &[(&core.sql("@tally"), Type::TEXT)]).await?)?;
    if !row.try_get::<_, bool>(0).map_err(damaged)? {
        return Err(StoreError::Gone);
    }
    let row = one(core.run("select version from @meta", &[]).await?)?;
    match row.try_get(0).map_err(damaged)? {
        VERSION => Ok(core),
        other => Err(unknown(other)),
    }
}

fn unknown(version: i32) -> StoreError {
    let what = format!("tables of the version {version}; this engine knows {VERSION}");
    StoreError::Unsupported(what.into())
}

/// Opens a store for these piles.
pub(crate) async fn open(
    settings: &Settings,
    specs: &[PileSpec],
) -> Result<(Arc<Core>, Recovered), StoreError> {
    let (pool, schema) = (pool(settings)?, settings.quoted()?);
    let mut core = Core::new(pool, schema, begin(settings, "on"), settings.timeout);
    let level = retried!(examine(&core, settings).await)?;
    core.begin = begin(settings, &level);
    let store = retried!(create(&core, &settings.schema).await)?;
    let sql = "insert into @opener (name, run) values ($1, $2) returning id";
    let run = settings.run.as_deref();
    let row = one(core.run(sql, &[(&name(), Type::TEXT), (&run, Type::TEXT)]).await?)?;
    core.me = row.try_get(0).map_err(damaged)?;
    for spec in specs {
        let (works, pile) = (&*spec.name.works, &*spec.name.pile);
        // An update that changes nothing, so that the id is answered in any case.
        let sql = "insert into @pile (works, name) values ($1, $2)
            on conflict (works, name) do update set name = excluded.name returning id";
        let row = one(core.run(sql, &[(&works, Type::TEXT), (&pile, Type::TEXT)]).await?)?;
        let pile = Pile {
            id: row.try_get(0).map_err(damaged)?,
            lease: micros(settings.lease.unwrap_or(spec.lease)),
            dedupe: micros(spec.dedupe),
            per_row: AtomicU64::new(MOST as u64),
        };
        core.works.get_or_insert_with(|| works.to_owned());
        core.piles.insert(spec.name.clone(), pile);
    }
    core.tend().await?;
    let mut recovered = recover(&core, specs).await?;
    core.reserved = AtomicI64::new(recovered.next_id as i64);
    recovered.store = store.into();
    Ok((Arc::new(core), recovered))
}

/// The columns of a depth, for rows of `cart c` of one pile.
pub(crate) const DEPTH: &str = "coalesce(sum(bit_count(c.live::bit(64))), 0)::bigint,
    coalesce(sum(c.bytes), 0)::bigint,
    coalesce(sum(bit_count(c.live::bit(64))) filter (where c.until > now()), 0)::bigint,
    (extract(epoch from min(c.due) filter (where c.due > now() and c.until <= now()) - now())
        * 1000000)::bigint";

/// The depth in the columns from `at` on; then, the number of dead letters.
pub(crate) fn depth(row: &Row, at: usize) -> Result<Depth, StoreError> {
    let number = |column: usize| {
        let number: i64 = row.try_get(at + column).map_err(damaged)?;
        u64::try_from(number).map_err(damaged)
    };
    let due: Option<i64> = row.try_get(at + 3).map_err(damaged)?;
    let next_due = due.map(|due| std::time::Duration::from_micros(due.max(0) as u64));
    let (books, bytes, held, dead) = (number(0)?, number(1)?, number(2)?, number(4)?);
    Ok(Depth { books, bytes, held, dead, next_due, exact: true })
}

async fn recover(core: &Core, specs: &[PileSpec]) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let sql = format!(
        "select p.works, p.name, {DEPTH}, (select count(*) from @dead d where d.pile = p.id)
        from @pile p left join @cart c on c.pile = p.id group by p.id"
    );
    let mut depths = std::collections::HashMap::new();
    for row in core.run(&sql, &[]).await? {
        let text = |at: usize| row.try_get::<_, &str>(at).map_err(damaged);
        depths.insert(PileName::new(text(0)?, text(1)?), depth(&row, 2)?);
    }
    for spec in specs {
        let known = depths.remove(&spec.name).or_else(|| {
            // Named twice.
            let at = specs.iter().position(|other| other.name == spec.name)?;
            recovered.piles.get(at).copied()
        });
        recovered.piles.push(known.ok_or(StoreError::Gone)?);
    }
    // Piles of other works are not this one's to report.
    let mine = |name: &PileName| core.works.as_deref().is_none_or(|works| *name.works == *works);
    recovered.orphans = (depths.into_iter())
        .filter(|(name, depth)| mine(name) && depth.books + depth.dead > 0)
        .collect();
    recovered.orphans.sort_by(|(a, _), (b, _)| a.cmp(b));
    let sql = format!(
        "select name, share, position, token from (select s.name, s.share, s.token,
                {POSITION} as position from @source s where $1::text is null or s.works = $1) s
            where position is not null"
    );
    for row in core.run(&sql, &[(&core.works, Type::TEXT)]).await? {
        recovered.positions.push(Checkpoint {
            source: row.try_get::<_, &str>(0).map_err(damaged)?.into(),
            share: u32::try_from(row.try_get::<_, i64>(1).map_err(damaged)?).map_err(damaged)?,
            position: row.try_get::<_, Vec<u8>>(2).map_err(damaged)?.into(),
            adds: false,
            owner: row.try_get::<_, i64>(3).map_err(damaged)? as u64,
        });
    }
    let sql = "select greatest((select next_id from @meta), (select max(last) + 1 from @taken))";
    let next: i64 = one(core.run(sql, &[]).await?)?.try_get(0).map_err(damaged)?;
    recovered.next_id = u64::try_from(next).map_err(damaged)?;
    recovered.account = Some(core.account().await?);
    Ok(recovered)
}
