//! The tables, and opening a database.
//!
//! | table | a row is |
//! |---|---|
//! | `pack` | the records of up to 128 KiB of books that one commit stored, and when it did |
//! | `live` | how many books of a pack are left, once some are gone |
//! | `place` | a range of `n` books at adjacent positions of a pile, with equally spaced ids |
//! | `tries` | what is known of a book that was tried before: attempts, when it is due |
//! | `body` | the file of a large body |
//! | `dead` | a dead letter, with its record |
//! | `seen` | a key of an offered book |
//! | `mark` | the position of a share of a source, or a part that was added to it |
//! | `pile` | a pile, and the sums over its books |
//! | `state` | one row: what is next, and the account |
//!
//! The positions of a range begin with `at`, its ids with `first`; its records are adjacent in a
//! pack. A pass moves ranges from pile to pile and writes no record again. `at` is an arrival
//! number: after a pass ids are not in the order of arrival.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use gopherworks_pipeline::store::StoreError;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::bodies::sync_folder;
use crate::error::{io, sqlite};

/// Version of tables and records; a newer one is refused, an older one is migrated.
pub(crate) const VERSION: i64 = 2;

/// `gpwk`, in the header of the database.
const APPLICATION: i64 = 0x6770_776b;

/// The first version that does not lose commits when the log is reset.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long SQLite waits for a lock of its own.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
create table meta (key text primary key, value) without rowid;
create table state (
    one integer primary key check (one = 1), epoch integer not null, next_id integer not null,
    next_dead integer not null, clock integer not null, offered integer not null,
    burned integer not null, dropped integer not null
);
create table pile (
    key integer primary key, works text not null, name text not null, next_at integer not null,
    books integer not null, bytes integer not null, unique (works, name)
);
create table pack (
    pack integer primary key, n integer not null, time integer not null, data blob not null
);
create table live (pack integer primary key, n integer not null);
create table place (
    pile integer not null, at integer not null, first integer not null, step integer not null,
    n integer not null, pack integer not null, off integer not null, len integer not null,
    primary key (pile, at)
) without rowid;
create table tries (
    id integer primary key, pile integer not null, at integer not null,
    attempts integer not null, deliveries integer not null, begun integer not null,
    apart integer not null, due integer not null
);
create index tries_due on tries (pile, due) where due > 0;
create table body (id integer primary key, name text not null, size integer not null);
create table dead (
    seq integer primary key, id integer not null, pile integer not null, size integer not null,
    attempts integer not null, reason text not null, node text, record blob not null
);
create table seen (
    id integer primary key, pile integer not null, key blob not null, until integer not null,
    unique (pile, key)
);
create index seen_until on seen (until);
create table mark (
    source text not null, share integer not null, part integer not null, position blob not null,
    primary key (source, share, part)
) without rowid;
insert into state values (1, 1, 1, 1, 0, 0, 0, 0);
";

/// Version 2 from version 1: packs have the time of their commit, positions have parts. The time of
/// earlier commits is not known; it is that of the migration.
const FROM_1: &str = "
alter table pack rename to old_pack;
create table pack (
    pack integer primary key, n integer not null, time integer not null, data blob not null
);
insert into pack select pack, n, cast(unixepoch('subsec') * 1000 as integer), data from old_pack;
drop table old_pack;
alter table mark rename to old_mark;
create table mark (
    source text not null, share integer not null, part integer not null, position blob not null,
    primary key (source, share, part)
) without rowid;
insert into mark select source, share, 1, position from old_mark;
drop table old_mark;
update meta set value = 2 where key = 'version';
";

/// Opens the database at `path`, creates it if it is not there, and migrates an older version.
///
/// # Errors
/// `Unsupported` if the database has a newer version, or SQLite is too old; `Other` if the file is
/// another program's database.
pub(crate) fn open(path: &Path, checkpoint_pages: u32) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let found = rusqlite::version();
        let text = format!("SQLite {found}, which can lose commits; 3.51.3 is needed");
        return Err(StoreError::Unsupported(text.into()));
    }
    regular(path)?;
    // SQLite gives the log the mode of the database.
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
    drop(file.map_err(|error| io("the store", path, &error))?);
    let mut conn = Connection::open(path).map_err(sqlite)?;
    conn.set_prepared_statement_cache_capacity(64);
    let tables = "select count(*) from sqlite_master";
    let is_new = conn.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(sqlite)? == 0;
    let version = if is_new { VERSION } else { version(&conn, path)? };
    configure(&conn, checkpoint_pages).map_err(sqlite)?;
    let mode: String =
        conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        let text = format!("{}: the file system has no write-ahead log", path.display());
        return Err(StoreError::Unsupported(text.into()));
    }
    if version < VERSION {
        log::info!("{}: migrated from version {version} to {VERSION}", path.display());
        migrate(&mut conn).map_err(sqlite)?;
    }
    if is_new {
        create(&mut conn).map_err(sqlite)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        sync_folder(parent).map_err(|error| io("the folder", parent, &error))?;
    }
    Ok(conn)
}

/// Refuses what can't be a database: opening a fifo would wait for a writer.
///
/// # Errors
/// `Other` if there is something other than a regular file.
pub(crate) fn regular(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let text = format!("{} is not a regular file; name another path", path.display());
            Err(StoreError::Other(text.into()))
        }
        _ => Ok(()),
    }
}

/// Opens the database at `path` to read it, in use or not.
///
/// # Errors
/// `Gone` if there is none; `Unsupported` if it has another version; `Other` if it is no store.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    regular(path)?;
    // A file without content is left by a process that was killed while it created the store.
    if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Err(StoreError::Gone);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    conn.busy_timeout(BUSY).map_err(sqlite)?;
    match version(&conn, path)? {
        VERSION => Ok(conn),
        old => {
            let what = "the next run, or `pile check`, migrates it";
            let text = format!("{} has version {old}, this is {VERSION}: {what}", path.display());
            Err(StoreError::Unsupported(text.into()))
        }
    }
}

fn configure(conn: &Connection, checkpoint_pages: u32) -> rusqlite::Result<()> {
    // Before the first table: freed pages can be given back in small steps.
    conn.pragma_update(None, "auto_vacuum", "incremental")?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "wal_autocheckpoint", checkpoint_pages)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.busy_timeout(BUSY)
}

fn create(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.execute_batch(TABLES)?;
    tx.execute("insert into meta values ('version', ?1)", [VERSION])?;
    tx.execute("insert into meta values ('store', lower(hex(randomblob(8))))", [])?;
    tx.commit()
}

fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    tx.execute_batch(FROM_1)?;
    tx.commit()
}

/// The version of a database, which is at most [`VERSION`].
///
/// # Errors
/// `Unsupported` if it is newer; `Other` if it is no store.
fn version(conn: &Connection, path: &Path) -> Result<i64, StoreError> {
    let application: i64 =
        conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite)?;
    if application != APPLICATION {
        let text = format!("{} is a database of another program", path.display());
        return Err(StoreError::Other(text.into()));
    }
    match meta::<i64>(conn, "version")? {
        Some(known @ 1..=VERSION) => Ok(known),
        Some(found) => {
            let text = format!("{} has version {found}, this is {VERSION}", path.display());
            Err(StoreError::Unsupported(text.into()))
        }
        None => Err(StoreError::Corrupt("the store has no version".into())),
    }
}

/// A value of the table `meta`.
///
/// # Errors
/// Errors of SQLite.
pub(crate) fn meta<T: rusqlite::types::FromSql>(
    conn: &Connection,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let value = conn.query_row("select value from meta where key = ?1", [key], |row| row.get(0));
    value.optional().map_err(sqlite)
}
