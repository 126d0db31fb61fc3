//! Everything that is not about held books: ids, depths, sources, openers, piles, dead letters.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gopherworks_pipeline::book::BookId;
use gopherworks_pipeline::store::{
    Cursor, DeadBook, Depth, HeldLeases, Holder, PileName, StoreError,
};
use tokio_postgres::types::Type;

use crate::cart::{Packed, decode_one};
use crate::core::Core;
use crate::error::Failed;
use crate::link::{Param, retried};
use crate::schema::{DEPTH, damaged, depth, one};

/// Maximum number of rows that one statement of `move_pile` moves.
const MOVED: i64 = 10_000;

fn signed(number: u64) -> Result<i64, StoreError> {
    let wrong = |_| StoreError::Other(format!("{number} is above 2^63").into());
    i64::try_from(number).map_err(wrong)
}

fn cursors(letters: &[Cursor]) -> Vec<i64> {
    letters.iter().filter_map(|at| i64::try_from(at.0).ok()).collect()
}

impl Core {
    pub async fn reserve_ids(&self, count: u64) -> Result<Range<u64>, StoreError> {
        let count = signed(count)?;
        let sql = "update @meta set next_id = greatest(next_id, (select max(last) + 1 from @taken))
            + $1 returning next_id";
        let row = one(self.run(sql, &[(&count, Type::INT8)]).await?)?;
        let end: i64 = row.try_get(0).map_err(damaged)?;
        self.reserved.fetch_max(end, Ordering::Relaxed);
        Ok((end - count) as u64..end as u64)
    }

    pub async fn resolve(&self, ids: &[BookId]) -> Result<Vec<bool>, StoreError> {
        let asked: Vec<i64> = ids.iter().map(|id| i64::try_from(id.0).unwrap_or(-1)).collect();
        let rows = self.run(ACCEPTED, &[(&asked, Type::INT8_ARRAY)]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(damaged)).collect()
    }

    pub async fn depth(&self, name: &PileName) -> Result<Depth, StoreError> {
        let sql = format!(
            "select {DEPTH}, (select count(*) from @dead d where d.pile = p.id)
            from @pile p left join @cart c on c.pile = p.id
            where p.works = $1 and p.name = $2 group by p.id"
        );
        let (works, pile) = (&*name.works, &*name.pile);
        let rows = self.run(&sql, &[(&works, Type::TEXT), (&pile, Type::TEXT)]).await?;
        rows.first().map_or(Err(StoreError::Gone), |row| depth(row, 0))
    }

    /// Ends all leases of this opener, and its ownerships.
    pub async fn close(&self) -> Result<(), StoreError> {
        let sql = "with c as (update @cart set token = 0, until = '-infinity', holder = 0
                where holder = $1),
            s as (update @source set until = '-infinity', holder = 0 where holder = $1)
            delete from @opener where id = $1";
        self.run(sql, &[(&self.me, Type::INT4)]).await.map(drop)
    }

    pub async fn holders(&self) -> Result<Vec<Holder>, StoreError> {
        // Besides those that hold books, those whose housekeeping was seen lately.
        let sql = "with h as (select c.holder, p.works, p.name,
                    sum(bit_count(c.live::bit(64)))::bigint as books,
                    (extract(epoch from min(c.until) - now()) * 1000000)::bigint as first,
                    (extract(epoch from max(c.until) - now()) * 1000000)::bigint as last
                from @cart c join @pile p on p.id = c.pile where c.until > now()
                group by c.holder, p.id)
            select coalesce(o.id, h.holder), coalesce(o.name, 'process ' || h.holder), o.run,
                coalesce(extract(epoch from now() - o.since) * 1000000, 0)::bigint,
                h.works, h.name, h.books, h.first, h.last
            from h full join @opener o on o.id = h.holder
            where h.books > 0 or o.seen > now() - interval '3 minutes' order by 2, 1, 5, 6";
        let mut holders: Vec<(i32, Holder)> = Vec::new();
        for row in self.run(sql, &[]).await? {
            let text = |at: usize| row.try_get::<_, Option<&str>>(at).map_err(damaged);
            let number = |at: usize| {
                let number: Option<i64> = row.try_get(at).map_err(damaged)?;
                Ok::<_, StoreError>(number.unwrap_or_default().max(0) as u64)
            };
            let id: i32 = row.try_get(0).map_err(damaged)?;
            if holders.last().is_none_or(|(last, _)| *last != id) {
                holders.push((
                    id,
                    Holder {
                        name: text(1)?.unwrap_or_default().into(),
                        run: text(2)?.map(Into::into),
                        held: Some(0),
                        since: Duration::from_micros(number(3)?),
                        leases: Vec::new(),
                    },
                ));
            }
            if let (Some((_, holder)), Some(works), Some(pile)) =
                (holders.last_mut(), text(4)?, text(5)?)
            {
                let (pile, books) = (PileName::new(works, pile), number(6)?);
                let left = (Duration::from_micros(number(7)?), Duration::from_micros(number(8)?));
                holder.held = holder.held.map(|held| held + books);
                holder.leases.push(HeldLeases { pile, books, left });
            }
        }
        Ok(holders.into_iter().map(|(_, holder)| holder).collect())
    }

    pub async fn dead(&self, from: Cursor, most: usize) -> Result<Vec<DeadBook>, StoreError> {
        let (from, most) = (signed(from.0)?, i64::try_from(most).unwrap_or(i64::MAX));
        let sql = "select d.at, d.attempts, d.reason, d.node, d.book, p.works, p.name
            from @dead d join @pile p on p.id = d.pile
            where d.at > $1 and ($3::text is null or p.works = $3) order by d.at limit $2";
        let params: [Param<'_>; 3] =
            [(&from, Type::INT8), (&most, Type::INT8), (&self.works, Type::TEXT)];
        let mut letters = Vec::new();
        for row in self.run(sql, &params).await? {
            let text = |at: usize| row.try_get::<_, &str>(at).map_err(damaged);
            letters.push(DeadBook {
                at: Cursor(row.try_get::<_, i64>(0).map_err(damaged)? as u64),
                book: decode_one(row.try_get(4).map_err(damaged)?)?,
                pile: PileName::new(text(5)?, text(6)?),
                reason: text(2)?.into(),
                node: row.try_get::<_, Option<&str>>(3).map_err(damaged)?.map(Into::into),
                attempts: row.try_get::<_, i32>(1).map_err(damaged)? as u32,
            });
        }
        Ok(letters)
    }

    pub async fn forget_dead(&self, letters: &[Cursor]) -> Result<u64, StoreError> {
        let sql = "with d as (delete from @dead where at = any($1) returning 1),
            t as (insert into @tally select 0, count(*) from d having count(*) > 0)
            select count(*) from d";
        let rows = self.run(sql, &[(&cursors(letters), Type::INT8_ARRAY)]).await?;
        Ok(one(rows)?.try_get::<_, i64>(0).map_err(damaged)? as u64)
    }

    pub async fn replay(&self, letters: &[Cursor]) -> Result<u64, StoreError> {
        retried!(self.try_replay(&cursors(letters)).await)
    }

    async fn try_replay(&self, asked: &[i64]) -> Result<u64, Failed> {
        let tx = self.connect().await?;
        tx.begin().await?;
        let sql = "delete from @dead where at = any($1) returning at, pile, bytes, book";
        let rows = tx.query(sql, &[(&asked as _, Type::INT8_ARRAY)]).await?;
        let mut found = std::collections::HashMap::new();
        for row in &rows {
            found.insert(row.try_get::<_, i64>(0).map_err(damaged)?, row);
        }
        let count = found.len() as u64;
        // A row a letter: their number is small.
        for row in asked.iter().filter_map(|at| found.remove(at)) {
            let size: i64 = row.try_get(2).map_err(damaged)?;
            let mut packed = Packed::default();
            packed.add(row.try_get(3).map_err(damaged)?, u32::try_from(size).map_err(damaged)?);
            let pile: i32 = row.try_get(1).map_err(damaged)?;
            let sql = "insert into @cart (pile, at, live, bytes, books)
                    values ($1, nextval('@arrival') << 6, 1, $2, $3)";
            let params: [Param<'_>; 3] =
                [(&pile, Type::INT4), (&size, Type::INT8), (&packed.bytes, Type::BYTEA)];
            tx.execute(sql, &params).await?;
        }
        tx.commit().await?;
        Ok(count)
    }

    /// The id of a pile that this opener has not named.
    async fn orphan(&self, name: &PileName) -> Result<i32, StoreError> {
        if self.piles.contains_key(name) {
            return Err(StoreError::Other(format!("the pile `{name}` is in use").into()));
        }
        let (works, pile) = (&*name.works, &*name.pile);
        let sql = "select id from @pile where works = $1 and name = $2";
        let rows = self.run(sql, &[(&works, Type::TEXT), (&pile, Type::TEXT)]).await?;
        let row = rows.first().ok_or(StoreError::Gone)?;
        row.try_get(0).map_err(damaged)
    }

    pub async fn move_pile(&self, from: &PileName, to: &PileName) -> Result<u64, StoreError> {
        let to = self.pile(to)?.id;
        let from = self.orphan(from).await?;
        retried!(self.try_move(from, to).await)
    }

    async fn try_move(&self, from: i32, to: i32) -> Result<u64, Failed> {
        let tx = self.connect().await?;
        tx.begin().await?;
        let mut moved = 0;
        loop {
            // Rows of one arrival stay together, in the order of arrival.
            let sql = "with g as (select at >> 6 as old from @cart where pile = $1
                        group by at >> 6 order by at >> 6 limit $3),
                    n as materialized (select old, nextval('@arrival') as new from g),
                    m as (update @cart c set pile = $2, at = (n.new << 6) | (c.at & 63), token = 0,
                        until = '-infinity', due = '-infinity', holder = 0, attempts = 0,
                        deliveries = 0, marks = 0
                        from n where c.pile = $1 and c.at >> 6 = n.old
                        returning bit_count(c.live::bit(64)) as books)
                    select coalesce(sum(books), 0)::bigint from m";
            let params: [Param<'_>; 3] =
                [(&from, Type::INT4), (&to, Type::INT4), (&MOVED, Type::INT8)];
            let row = one(tx.query(sql, &params).await?)?;
            match row.try_get::<_, i64>(0).map_err(damaged)? {
                0 => break,
                some => moved += some as u64,
            }
        }
        tx.commit().await?;
        Ok(moved)
    }

    /// The name stays: other openers may know the pile by its number.
    pub async fn drop_pile(&self, name: &PileName) -> Result<u64, StoreError> {
        let pile = self.orphan(name).await?;
        let sql = "with d as (delete from @cart where pile = $1 returning live),
            n as (select coalesce(sum(bit_count(live::bit(64))), 0)::bigint as books from d),
            t as (insert into @tally select 0, books from n where books > 0)
            select books from n";
        let row = one(self.run(sql, &[(&pile, Type::INT4)]).await?)?;
        Ok(row.try_get::<_, i64>(0).map_err(damaged)? as u64)
    }

    /// Sums up what has gathered, once a minute by one of the openers. Ranges of ids are joined
    /// when no append that repeats them can still be under way.
    pub async fn tend(&self) -> Result<(), StoreError> {
        retried!(self.try_tend().await)
    }

    async fn try_tend(&self) -> Result<(), Failed> {
        let tx = self.connect().await?;
        tx.begin().await?;
        let params = [(&self.me as _, Type::INT4)];
        tx.execute("update @opener set seen = now() where id = $1", &params).await?;
        let sql = "update @meta set tended = now() where tended < now() - interval '55 seconds'";
        if tx.execute(sql, &[]).await? == 1 {
            for sql in TENDED {
                tx.execute(sql, &[]).await?;
            }
        }
        tx.commit().await
    }
}

/// For each of the ids `$1`, in their order, if it was accepted. Ranges do not overlap, so that
/// the last one that begins before an id decides.
pub(crate) const ACCEPTED: &str = "select coalesce((select t.last >= ids.id from @taken t
    where t.first <= ids.id order by t.first desc limit 1), false)
    from unnest($1::bigint[]) with ordinality ids(id, n) order by n";

const TENDED: &[&str] = &[
    "with d as (delete from @tally returning *)
        insert into @tally select sum(burned), sum(dropped) from d having count(*) > 0",
    "delete from @seen where until < now()",
    "delete from @opener o where seen < now() - interval '1 day'
        and not exists (select from @cart c where c.holder = o.id)",
    "with old as (select first, last, first - lag(last) over (order by first) = 1 as joins
            from @taken where since < now() - interval '10 minutes'),
        runs as (select first, last, count(*) filter (where joins is not true)
            over (order by first) as run from old),
        joined as (select min(first) as first, max(last) as last, array_agg(first) as parts
            from runs group by run having count(*) > 1),
        gone as (delete from @taken t using joined j
            where t.first = any(j.parts) and t.first <> j.first)
        update @taken t set last = j.last from joined j where t.first = j.first",
];
