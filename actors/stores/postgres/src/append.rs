//! Stores new books. Their ids are looked up only if one of them may be stored already.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use gopherworks_pipeline::book::BookId;
use gopherworks_pipeline::store::{Appended, StoreError};
use tokio_postgres::types::Type;

use crate::admin::ACCEPTED;
use crate::cart::{Held, Key};
use crate::commit::Answers;
use crate::core::Core;
use crate::error::Failed;
use crate::link::{Param, Tx};
use crate::plan::{NewOne, NewRow, Plan, Planned};
use crate::schema::damaged;

/// Maximum number of bytes of books that one statement carries; a larger row goes alone.
const STATEMENT: usize = 16 << 20;

/// Ids as ranges.
fn runs(mut ids: Vec<i64>) -> (Vec<i64>, Vec<i64>) {
    ids.sort_unstable();
    let (mut first, mut last): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for id in ids {
        match last.last_mut() {
            Some(last) if *last + 1 == id => *last = id,
            _ => {
                first.push(id);
                last.push(id);
            }
        }
    }
    (first, last)
}

impl Core {
    /// Stores all new books; false if some of them were stored before.
    pub async fn append_fast(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        rows: &[&NewRow],
        answers: &Answers,
    ) -> Result<bool, Failed> {
        if rows.is_empty() {
            return Ok(true);
        }
        let ids = plan.appends.iter().flat_map(|new| new.books.iter().map(|new| new.id)).collect();
        let (taken, stored) =
            tokio::join!(self.take_ids(tx, ids, plan.highest), self.insert(tx, rows, answers));
        stored?;
        taken
    }

    /// Records that ids are stored; false if some were before.
    async fn take_ids(&self, tx: &Tx<'_>, ids: Vec<i64>, highest: i64) -> Result<bool, Failed> {
        let (first, last) = runs(ids);
        let sql = "insert into @taken (first, last)
            select r.first, r.last from unnest($1::bigint[], $2::bigint[]) r(first, last)
            where coalesce((select t.last < r.first from @taken t where t.first <= r.last
                order by t.first desc limit 1), true)
            on conflict do nothing";
        let params: [Param<'_>; 2] = [(&first, Type::INT8_ARRAY), (&last, Type::INT8_ARRAY)];
        let count = tx.execute(sql, &params).await?;
        if highest >= self.reserved.load(Ordering::Relaxed) {
            // Ids that were not reserved: they count as given.
            let sql = "update @meta set next_id = greatest(next_id, $1)";
            let next = highest.saturating_add(1);
            tx.execute(sql, &[(&next, Type::INT8)]).await?;
        }
        Ok(count == first.len() as u64)
    }

    pub async fn insert(
        &self,
        tx: &Tx<'_>,
        rows: &[&NewRow],
        answers: &Answers,
    ) -> Result<(), Failed> {
        let mut rest = rows;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |row: &&NewRow| {
                bytes += row.packed.bytes.len();
                bytes <= STATEMENT
            };
            let some = rest.iter().copied().take_while(fits).count().max(1);
            self.insert_some(tx, &rest[..some], answers).await?;
            rest = &rest[some..];
        }
        Ok(())
    }

    async fn insert_some(
        &self,
        tx: &Tx<'_>,
        rows: &[&NewRow],
        answers: &Answers,
    ) -> Result<(), Failed> {
        let piles: Vec<i32> = rows.iter().map(|row| row.pile).collect();
        let at: Vec<i64> = rows.iter().map(|row| answers.at(row.seq)).collect::<Result<_, _>>()?;
        let live: Vec<i64> = rows.iter().map(|row| row.live).collect();
        let bytes: Vec<i64> = rows.iter().map(|row| row.packed.size).collect();
        let tokens: Vec<i64> = rows.iter().map(|row| row.token).collect();
        let leases: Vec<Option<i64>> = rows.iter().map(|row| row.lease).collect();
        let books: Vec<&[u8]> = rows.iter().map(|row| &*row.packed.bytes).collect();
        let sql = "insert into @cart (pile, at, live, bytes, token, until, holder, books)
            select pile, at, live, bytes, token,
                coalesce(now() + lease * interval '1 microsecond', '-infinity'),
                case when lease is null then 0 else $8 end, books
            from unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bigint[], $7::bytea[]) r(pile, at, live, bytes, token, lease, books)";
        let params: [Param<'_>; 8] = [
            (&piles, Type::INT4_ARRAY),
            (&at, Type::INT8_ARRAY),
            (&live, Type::INT8_ARRAY),
            (&bytes, Type::INT8_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&leases, Type::INT8_ARRAY),
            (&books, Type::BYTEA_ARRAY),
            (&self.me, Type::INT4),
        ];
        tx.execute(sql, &params).await.map(drop)
    }

    pub fn answer_fast(&self, plan: &Plan, answers: &mut Answers) -> Result<(), Failed> {
        for new in &plan.appends {
            let receipt = |book: &NewOne| {
                let row = &plan.rows[book.row];
                let key = Key { pile: row.pile, at: answers.at(row.seq)?, token: row.token };
                let held = Held { key, pos: book.pos, of: row.packed.books, size: book.size };
                Ok(Appended::Stored(row.lease.map(|_| held.receipt())))
            };
            let stored = new.books.iter().map(receipt).collect::<Result<_, Failed>>()?;
            answers.appended(new.arrival, Ok(stored));
        }
        Ok(())
    }

    /// Stores those of the new books that were not stored before, whose keys are new, and whose
    /// source this opener may read. Books keep the positions that they have in the plan, so that a
    /// repeated append finds them.
    pub async fn append_careful(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        answers: &mut Answers,
    ) -> Result<(), Failed> {
        let stale = self.check_in(tx, plan, &self.repeated(tx, plan).await?).await?;
        let mut accepted = HashSet::new();
        let mut given: Vec<(usize, Vec<Option<Appended>>)> = Vec::new();
        // Positions of each row that are stored now.
        let mut live = vec![0i64; plan.rows.len()];
        for (at, new) in plan.appends.iter().enumerate() {
            if stale.contains(&at) {
                answers.appended(new.arrival, Err(StoreError::Stale));
                continue;
            }
            let ids: Vec<i64> = new.books.iter().map(|book| book.id).collect();
            let known = tx.query(ACCEPTED, &[(&ids, Type::INT8_ARRAY)]).await?;
            for (id, row) in ids.iter().zip(&known) {
                if row.try_get::<_, bool>(0).map_err(damaged)? {
                    accepted.insert(*id);
                }
            }
            let first = self.take_keys(tx, new, &accepted).await?;
            let mut stored = Vec::with_capacity(ids.len());
            for book in &new.books {
                let owner = book.key.as_ref().and_then(|key| first.get(key));
                let is_new = accepted.insert(book.id);
                stored.push(match owner {
                    Some(owner) if is_new && *owner != book.id => {
                        accepted.remove(&book.id);
                        Some(Appended::Duplicate(BookId(*owner as u64)))
                    }
                    _ if is_new => {
                        live[book.row] |= 1 << book.pos;
                        None
                    }
                    _ => Some(Appended::Stored(self.hold_again(tx, plan, book).await?)),
                });
            }
            given.push((at, stored));
        }
        let mut rows = Vec::new();
        for (row, live) in plan.rows.iter().zip(&live).filter(|(_, live)| **live != 0) {
            let NewRow { pile, lease, token, seq, .. } = *row;
            let records = crate::cart::decode(&row.packed.bytes, *live)?;
            let (bytes, size) = crate::fetch::part(&row.packed.bytes, &records);
            let packed = crate::cart::Packed { bytes, books: records.len() as u8, size };
            rows.push(NewRow { pile, lease, token, seq, packed, live: *live });
        }
        self.insert(tx, &rows.iter().collect::<Vec<_>>(), answers).await?;
        let mut taken = Vec::new();
        for (at, stored) in given {
            let new = &plan.appends[at];
            let mut answer = Vec::with_capacity(stored.len());
            for (book, known) in new.books.iter().zip(stored) {
                answer.push(match known {
                    Some(known) => known,
                    None => {
                        taken.push(book.id);
                        let row = &plan.rows[book.row];
                        let at = answers.at(row.seq)?;
                        let key = Key { pile: row.pile, at, token: row.token };
                        let of = live[book.row].count_ones() as u8;
                        let held = Held { key, pos: book.pos, of, size: book.size };
                        Appended::Stored(row.lease.map(|_| held.receipt()))
                    }
                });
            }
            answers.appended(new.arrival, Ok(answer));
        }
        // Another transaction with these ids was under way.
        match taken.is_empty() || self.take_ids(tx, taken, plan.highest).await? {
            true => Ok(()),
            false => Err(Failed::Again),
        }
    }

    /// The book that has each key of an append; keys that no book has are given to the first of
    /// the append's books that is new.
    async fn take_keys(
        &self,
        tx: &Tx<'_>,
        new: &Planned,
        accepted: &HashSet<i64>,
    ) -> Result<HashMap<bytes::Bytes, i64>, Failed> {
        let mut first = HashMap::new();
        for book in new.books.iter().filter(|book| !accepted.contains(&book.id)) {
            if let Some(key) = &book.key {
                first.entry(key.clone()).or_insert(book.id);
            }
        }
        if first.is_empty() {
            return Ok(first);
        }
        // Locked in one order by all.
        let mut pairs: Vec<(&bytes::Bytes, &i64)> = first.iter().collect();
        pairs.sort_unstable();
        let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| &***key).collect();
        let ids: Vec<i64> = pairs.iter().map(|(_, id)| **id).collect();
        let sql = "insert into @seen as s (pile, key, id, until)
            select $1, sha256(k.key), k.id, now() + $4 * interval '1 microsecond'
            from unnest($2::bytea[], $3::bigint[]) k(key, id)
            on conflict (pile, key) do update set id = excluded.id, until = excluded.until
            where s.until <= now()";
        let params: [Param<'_>; 4] = [
            (&new.pile, Type::INT4),
            (&keys, Type::BYTEA_ARRAY),
            (&ids, Type::INT8_ARRAY),
            (&new.dedupe, Type::INT8),
        ];
        tx.execute(sql, &params).await?;
        let sql = "select s.id from unnest($2::bytea[]) with ordinality k(key, n)
            join @seen s on s.pile = $1 and s.key = sha256(k.key) order by k.n";
        let rows = tx.query(sql, &params[..2]).await?;
        if rows.len() != keys.len() {
            // Purged just now.
            return Err(Failed::Again);
        }
        let mut owners = HashMap::new();
        for ((key, _), row) in pairs.iter().zip(&rows) {
            owners.insert((*key).clone(), row.try_get(0).map_err(damaged)?);
        }
        Ok(owners)
    }

    /// Holds a book again that a repeated append has stored, unless it is gone or another opener
    /// holds it: the token of its row says so.
    async fn hold_again(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        book: &NewOne,
    ) -> Result<Option<gopherworks_pipeline::store::Receipt>, Failed> {
        let row = &plan.rows[book.row];
        let Some(lease) = row.lease else { return Ok(None) };
        let sql = "update @cart set until = now() + $3 * interval '1 microsecond'
            where pile = $1 and token = $2 and live & $4 <> 0
            returning at, bit_count(live::bit(64))::smallint";
        let params: [Param<'_>; 4] = [
            (&row.pile, Type::INT4),
            (&row.token, Type::INT8),
            (&lease, Type::INT8),
            (&(1i64 << book.pos), Type::INT8),
        ];
        let rows = tx.query(sql, &params).await?;
        let Some(found) = rows.first() else { return Ok(None) };
        let at = found.try_get(0).map_err(damaged)?;
        let of: i16 = found.try_get(1).map_err(damaged)?;
        let key = Key { pile: row.pile, at, token: row.token };
        Ok(Some(Held { key, pos: book.pos, of: of as u8, size: book.size }.receipt()))
    }
}
