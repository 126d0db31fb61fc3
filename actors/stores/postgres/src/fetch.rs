//! Delivering books, and extending their leases.

use std::time::Duration;

use gopherworks_pipeline::store::{Delivery, PileName, Receipt, StoreError, Tries, Want};
use gopherworks_supervision::clock::Clock;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cart::{Held, Key, Packed, Record, decode};
use crate::core::{Core, Pile, micros};
use crate::error::Failed;
use crate::link::{Param, retried};
use crate::schema::{damaged, one};

/// How often a fetch that waits looks again.
const POLL: Duration = Duration::from_millis(50);

/// Flags of `marks`.
const BEGUN: i16 = 1;
const APART: i16 = 2;

pub(crate) fn marks(tries: &Tries) -> i16 {
    (i16::from(tries.begun) * BEGUN) | (i16::from(tries.apart) * APART)
}

/// A row as it is read.
pub(crate) struct Free<'a> {
    pub at: i64,
    live: i64,
    pub tries: Tries,
    bytes: &'a [u8],
    pub records: Vec<Record>,
}

/// A delivery with its place in the order of the pile.
type Placed = ((i64, u8), Delivery);

/// Takes free rows in the order of arrival, as many as fit. Groups of rows that were split are
/// taken as a whole; a group that does not fit keeps those after it from being taken. Without any,
/// answers one row that says how many there were.
const TAKE: &str = "with free as materialized (
        select at, bit_count(live::bit(64)) as n, bytes, until > '-infinity' as lost from @cart
        where pile = $1 and until <= now() and due <= now()
        order by at limit $2 for update skip locked),
    summed as (select at, lost, sum(n) over w as books, sum(bytes) over w as bytes,
        at >> 6 = max(at >> 6) over () and at >> 6 > min(at >> 6) over ()
            and count(*) over () >= $2 as cut
        from free window w as (order by at >> 6)),
    taken as (update @cart c set token = $3, until = now() + $4 * interval '1 microsecond',
            holder = $5, deliveries = deliveries + 1
        from summed s where c.pile = $1 and c.at = s.at and s.books <= $6
            and ($7::bigint is null or s.bytes <= $7) and not s.cut
        returning c.at, c.live, c.attempts, c.deliveries - 1, c.marks, c.books, s.lost)
    select * from (select count(*) as rows from free) f left join taken on true";

impl Core {
    pub async fn fetch(
        &self,
        name: &PileName,
        want: Want,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let pile = self.pile(name)?;
        let clock = Clock::real();
        let until = clock.now() + wait;
        loop {
            let found = self.take(pile, want).await?;
            if !found.is_empty() || clock.now() >= until {
                return Ok(found);
            }
            clock.sleep(POLL).await;
        }
    }

    async fn take(&self, pile: &Pile, want: Want) -> Result<Vec<Delivery>, StoreError> {
        let books = want.books.max(1);
        let (token, limit, most) = (self.token(), pile.rows(books), books as i64);
        let bytes = want.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let params: [Param<'_>; 7] = [
            (&pile.id, Type::INT4),
            (&limit, Type::INT8),
            (&token, Type::INT8),
            (&pile.lease, Type::INT8),
            (&self.me, Type::INT4),
            (&most, Type::INT8),
            (&bytes, Type::INT8),
        ];
        let rows = self.run(TAKE, &params).await?;
        let mut placed: Vec<Placed> = Vec::new();
        for row in &rows {
            if row.try_get::<_, Option<i64>>(1).map_err(damaged)?.is_some() {
                let free = free(row, 1)?;
                let key = Key { pile: pile.id, at: free.at, token };
                let of = free.records.len() as u8;
                let books: Vec<_> = deliveries(pile, key, of, free.records, free.tries).collect();
                self.note_lost(row.try_get(7).map_err(damaged)?, &books);
                placed.extend(books);
            }
        }
        let there: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(damaged)?;
        if placed.is_empty() && there > 0 {
            placed = retried!(self.split(pile, want, token).await)?;
        } else {
            pile.found(placed.len() as u64, rows.len() as u64);
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(placed.into_iter().map(|(_, delivery)| delivery).collect())
    }

    /// Notes books of a row whose lease had run out, rather than been given back.
    fn note_lost(&self, lost: bool, books: &[Placed]) {
        if lost {
            self.is_again(books.iter().map(|(_, delivery)| delivery));
        }
    }

    /// Takes the first books of a group that does not fit as a whole. Rows that are taken in part
    /// keep the rest.
    async fn split(&self, pile: &Pile, want: Want, token: i64) -> Result<Vec<Placed>, Failed> {
        let tx = self.connect().await?;
        tx.begin().await?;
        let sql = "select c.at, c.live, c.attempts, c.deliveries, c.marks, c.books,
                c.until > '-infinity'
            from (select at >> 6 << 6 as at from @cart
                where pile = $1 and until <= now() and due <= now() order by at limit 1) first
            join @cart c on c.pile = $1 and c.at between first.at and first.at + 63
            where c.until <= now() and c.due <= now()
            order by c.at for update of c skip locked";
        let rows = tx.query(sql, &[(&pile.id, Type::INT4)]).await?;
        let lost = |row: &Row| row.try_get::<_, bool>(6).map_err(damaged);
        let lost = rows.iter().map(lost).collect::<Result<Vec<_>, _>>()?;
        let mut rows = rows.iter().map(|row| free(row, 0)).collect::<Result<Vec<_>, _>>()?;
        // The positions that fit, in order.
        let mut sizes: Vec<(u8, u64)> = (rows.iter().flat_map(|row| &row.records))
            .map(|record| (record.pos, record.book.size()))
            .collect();
        sizes.sort_unstable();
        let (mut wanted, mut bytes) = (0, 0);
        for (count, (pos, size)) in sizes.into_iter().enumerate() {
            bytes += size;
            let is_above = count > 0 && want.bytes.is_some_and(|most| bytes > most);
            if is_above || count >= want.books.max(1) {
                break;
            }
            wanted |= 1i64 << pos;
        }
        let mut placed = Vec::new();
        let Some(group) = rows.first().map(|row| row.at >> 6) else {
            tx.commit().await?;
            return Ok(placed);
        };
        let mut free_numbers = tx.free_numbers(pile.id, group).await?;
        for (row, lost) in rows.iter_mut().zip(lost) {
            let mask = row.live & wanted;
            if mask == 0 {
                continue;
            }
            let taken: Vec<Record> =
                row.records.extract_if(.., |record| mask & (1 << record.pos) != 0).collect();
            let mut at = row.at;
            if mask != row.live {
                at = group << 6 | free_numbers.next().ok_or(Failed::Again)?;
                let sql = "insert into @cart (pile, at, live, bytes, due, attempts, deliveries,
                        marks, since, books)
                    select pile, $3, $4, $5, due, attempts, deliveries, marks, since, $6 from @cart
                    where pile = $1 and at = $2";
                let (part, size) = part(row.bytes, &taken);
                let params: [Param<'_>; 6] = [
                    (&pile.id, Type::INT4),
                    (&row.at, Type::INT8),
                    (&at, Type::INT8),
                    (&mask, Type::INT8),
                    (&size, Type::INT8),
                    (&part, Type::BYTEA),
                ];
                tx.execute(sql, &params).await?;
                let sql = "update @cart set live = live & ~$3::bigint, bytes = bytes - $4
                    where pile = $1 and at = $2";
                let params: [Param<'_>; 4] = [
                    (&pile.id, Type::INT4),
                    (&row.at, Type::INT8),
                    (&mask, Type::INT8),
                    (&size, Type::INT8),
                ];
                tx.execute(sql, &params).await?;
            }
            let sql = "update @cart set token = $3, until = now() + $4 * interval '1 microsecond',
                    holder = $5, deliveries = deliveries + 1
                where pile = $1 and at = $2";
            let params: [Param<'_>; 5] = [
                (&pile.id, Type::INT4),
                (&at, Type::INT8),
                (&token, Type::INT8),
                (&pile.lease, Type::INT8),
                (&self.me, Type::INT4),
            ];
            tx.execute(sql, &params).await?;
            let (key, of) = (Key { pile: pile.id, at, token }, taken.len() as u8);
            let books: Vec<_> = deliveries(pile, key, of, taken, row.tries).collect();
            self.note_lost(lost, &books);
            placed.extend(books);
        }
        tx.commit().await?;
        Ok(placed)
    }

    pub async fn extend(
        &self,
        receipts: &[Receipt],
        by: Duration,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let held: Vec<Option<Held>> = receipts.iter().map(Held::of).collect();
        let mut keys: Vec<Key> = held.iter().flatten().map(|held| held.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let by = micros(by);
        // Rows that were split off a held one have its token, and another place in its group.
        let sql = "update @cart c set until = now() + $4 * interval '1 microsecond'
            from unnest($1::int[], $2::bigint[], $3::bigint[]) k(pile, at, token)
            where c.pile = k.pile and c.at between k.at & ~63::bigint and k.at | 63
                and c.token = k.token
            returning c.pile, c.at >> 6, c.token, c.live";
        let (piles, places, tokens) = columns(&keys);
        let params: [Param<'_>; 4] = [
            (&piles, Type::INT4_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&by, Type::INT8),
        ];
        let mut extended = std::collections::HashMap::<(i32, i64, i64), i64>::new();
        for row in self.run(sql, &params).await? {
            let number = |at: usize| row.try_get::<_, i64>(at).map_err(damaged);
            let group = (row.try_get(0).map_err(damaged)?, number(1)?, number(2)?);
            *extended.entry(group).or_default() |= number(3)?;
        }
        let is_extended = |held: &Held| {
            let group = (held.key.pile, held.key.at >> 6, held.key.token);
            extended.get(&group).is_some_and(|live| live & held.bit() != 0)
        };
        let lost: Vec<Held> =
            held.iter().flatten().filter(|held| !is_extended(held)).copied().collect();
        let there = self.live(&lost).await?;
        let answer = |held: &Option<Held>| match held {
            Some(held) if is_extended(held) => Ok(()),
            Some(held) if there.contains(&(held.key.pile, held.key.at >> 6, held.pos)) => {
                Err(StoreError::Stale)
            }
            _ => Err(StoreError::Gone),
        };
        Ok(held.iter().map(answer).collect())
    }

    /// Selects the books that are still on their pile, by pile, group and position.
    async fn live(
        &self,
        books: &[Held],
    ) -> Result<std::collections::HashSet<(i32, i64, u8)>, StoreError> {
        let mut there = std::collections::HashSet::new();
        if books.is_empty() {
            return Ok(there);
        }
        let keys: Vec<Key> = books.iter().map(|held| held.key).collect();
        let sql = "select c.pile, c.at >> 6, c.live from @cart c
            join (select distinct pile, at >> 6 as grp from unnest($1::int[], $2::bigint[])
                k(pile, at)) g
            on c.pile = g.pile and c.at between g.grp << 6 and (g.grp << 6) + 63";
        let (piles, places, _) = columns(&keys);
        let params: [Param<'_>; 2] = [(&piles, Type::INT4_ARRAY), (&places, Type::INT8_ARRAY)];
        for row in self.run(sql, &params).await? {
            let (pile, group): (i32, i64) =
                (row.try_get(0).map_err(damaged)?, row.try_get(1).map_err(damaged)?);
            let live: i64 = row.try_get(2).map_err(damaged)?;
            there
                .extend((0..64).filter(|pos| live & (1 << pos) != 0).map(|pos| (pile, group, pos)));
        }
        Ok(there)
    }
}

/// Keys as arrays of their parts.
pub(crate) fn columns(keys: &[Key]) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let piles = keys.iter().map(|key| key.pile).collect();
    let places = keys.iter().map(|key| key.at).collect();
    (piles, places, keys.iter().map(|key| key.token).collect())
}

/// The bytes of a row with these records of another one, in their positions; and their size.
pub(crate) fn part(bytes: &[u8], records: &[Record]) -> (Vec<u8>, i64) {
    let mut part = Packed::default();
    for record in records {
        part.bytes.push(record.pos);
        part.bytes.extend_from_slice(&bytes[record.range.clone()]);
        part.size += i64::from(record.size);
    }
    (part.bytes, part.size)
}

/// Reads a row: at, live, attempts, deliveries, marks and books, from the column `from` on.
pub(crate) fn free(row: &Row, from: usize) -> Result<Free<'_>, StoreError> {
    let count = |at: usize| {
        let count: i32 = row.try_get(from + at).map_err(damaged)?;
        u32::try_from(count).map_err(damaged)
    };
    let marks: i16 = row.try_get(from + 4).map_err(damaged)?;
    let (begun, apart) = (marks & BEGUN != 0, marks & APART != 0);
    let tries = Tries { attempts: count(2)?, deliveries: count(3)?, begun, apart };
    let live = row.try_get(from + 1).map_err(damaged)?;
    let bytes: &[u8] = row.try_get(from + 5).map_err(damaged)?;
    let (at, records) = (row.try_get(from).map_err(damaged)?, decode(bytes, live)?);
    Ok(Free { at, live, tries, bytes, records })
}

fn deliveries(
    pile: &Pile,
    key: Key,
    of: u8,
    records: Vec<Record>,
    tries: Tries,
) -> impl Iterator<Item = Placed> + use<> {
    let lease = Some(Duration::from_micros(pile.lease as u64));
    records.into_iter().map(move |Record { pos, book, size, .. }| {
        let receipt = Held { key, pos, of, size }.receipt();
        ((key.at >> 6, pos), Delivery { book, receipt, tries, lease })
    })
}

impl crate::link::Tx<'_> {
    /// Numbers in a group that no row has yet.
    pub async fn free_numbers(
        &self,
        pile: i32,
        group: i64,
    ) -> Result<impl Iterator<Item = i64> + use<>, Failed> {
        let sql = "select coalesce(bit_or(1::bigint << (at & 63)::int), 0) from @cart
            where pile = $1 and at between $2 and $2 + 63";
        let params: [Param<'_>; 2] = [(&pile, Type::INT4), (&(group << 6), Type::INT8)];
        let used: i64 = one(self.query(sql, &params).await?)?.try_get(0).map_err(damaged)?;
        Ok((0..64i64).filter(move |number| used & (1 << number) == 0))
    }
}
