//! What a store holds, and whether it is sound, beside the processes that use it.

use std::time::Duration;

use gopherworks_pipeline::store::{
    Account, Finding, Peeked, PileName, StoreError, Survey, Surveyed,
};
use tokio_postgres::types::Type;

use crate::cart::{Record, decode, decode_one};
use crate::core::Core;
use crate::fetch::free;
use crate::link::Param;
use crate::schema::{damaged, one};

/// Rows of one statement of a check.
const SOME: i64 = 500;

/// Time from a number of microseconds, none below zero.
fn span(micros: Option<i64>) -> Option<Duration> {
    micros.map(|micros| Duration::from_micros(micros.max(0) as u64))
}

impl Core {
    pub async fn account(&self) -> Result<Account, StoreError> {
        let sql = "select (select coalesce(sum(last - first + 1), 0)::bigint from @taken),
            (select coalesce(sum(burned), 0)::bigint from @tally),
            (select coalesce(sum(dropped), 0)::bigint from @tally),
            (select count(*) from @dead),
            (select coalesce(sum(bit_count(live::bit(64))), 0)::bigint from @cart)";
        let row = one(self.run(sql, &[]).await?)?;
        let number = |at: usize| {
            let number: i64 = row.try_get(at).map_err(damaged)?;
            u64::try_from(number).map_err(damaged)
        };
        let (offered, burned, dropped) = (number(0)?, number(1)?, number(2)?);
        Ok(Account { offered, burned, dropped, dead: number(3)?, present: number(4)? })
    }

    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let store = one(self.run("select store from @meta", &[]).await?)?;
        let store = store.try_get::<_, &str>(0).map_err(damaged)?.into();
        let sql = "select p.works, p.name, coalesce(sum(bit_count(c.live::bit(64))), 0)::bigint,
            coalesce(sum(c.bytes), 0)::bigint,
            coalesce(sum(bit_count(c.live::bit(64))) filter (where c.until > now()), 0)::bigint,
            coalesce(sum(bit_count(c.live::bit(64))) filter (where c.due > now()), 0)::bigint,
            (select count(*) from @dead d where d.pile = p.id),
            (extract(epoch from now() - (select f.since from @cart f where f.pile = p.id
                order by f.at limit 1)) * 1000000)::bigint
            from @pile p left join @cart c on c.pile = p.id group by p.id order by p.id";
        let mut piles = Vec::new();
        for row in self.run(sql, &[]).await? {
            let text = |at: usize| row.try_get::<_, &str>(at).map_err(damaged);
            let number = |at: usize| {
                let number: i64 = row.try_get(at).map_err(damaged)?;
                u64::try_from(number).map_err(damaged)
            };
            piles.push(Surveyed {
                name: PileName::new(text(0)?, text(1)?),
                books: number(2)?,
                bytes: number(3)?,
                held: Some(number(4)?),
                delayed: Some(number(5)?),
                oldest: span(row.try_get(7).map_err(damaged)?),
                dead: number(6)?,
            });
        }
        let (holders, account) = (self.holders().await?, Some(self.account().await?));
        Ok(Survey { store, piles, holders, sources: self.sources().await?, account })
    }

    pub async fn peek(&self, name: &PileName, most: usize) -> Result<Vec<Peeked>, StoreError> {
        let (works, pile) = (&*name.works, &*name.pile);
        let sql = "select id from @pile where works = $1 and name = $2";
        let found = self.run(sql, &[(&works, Type::TEXT), (&pile, Type::TEXT)]).await?;
        let found = found.first().ok_or(StoreError::Gone)?;
        let pile: i32 = found.try_get(0).map_err(damaged)?;
        // Rows of one arrival are in any order.
        let limit = i64::try_from(most.saturating_add(64)).unwrap_or(i64::MAX);
        let sql = "select at, live, attempts, deliveries, marks, books,
            case when due > now() then (extract(epoch from due - now()) * 1000000)::bigint end
            from @cart where pile = $1 order by at limit $2";
        let rows = self.run(sql, &[(&pile, Type::INT4), (&limit, Type::INT8)]).await?;
        let mut placed = Vec::new();
        for row in &rows {
            let (due, row) = (span(row.try_get(6).map_err(damaged)?), free(row, 0)?);
            let (group, tries) = (row.at >> 6, row.tries);
            let peeked = |Record { pos, book, .. }| ((group, pos), Peeked { book, tries, due });
            placed.extend(row.records.into_iter().map(peeked));
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(placed.into_iter().take(most).map(|(_, peeked)| peeked).collect())
    }

    /// Reads all rows, some at a time, so that no statement takes long.
    pub async fn check(&self) -> Result<Vec<Finding>, StoreError> {
        let mut found = Vec::new();
        let (mut pile, mut at) = (i32::MIN, i64::MIN);
        loop {
            let sql = "select c.pile, c.at, c.live, c.bytes, c.books, p.name from @cart c
                left join @pile p on p.id = c.pile
                where (c.pile, c.at) > ($1, $2) order by c.pile, c.at limit $3";
            let params: [Param<'_>; 3] =
                [(&pile, Type::INT4), (&at, Type::INT8), (&SOME, Type::INT8)];
            let rows = self.run(sql, &params).await?;
            let Some(last) = rows.last() else { break };
            (pile, at) = (last.try_get(0).map_err(damaged)?, last.try_get(1).map_err(damaged)?);
            for row in &rows {
                self.check_row(row, &mut found).await?;
            }
        }
        let mut from = i64::MIN;
        loop {
            let sql = "select at, book from @dead where at > $1 order by at limit $2";
            let rows = self.run(sql, &[(&from, Type::INT8), (&SOME, Type::INT8)]).await?;
            let Some(last) = rows.last() else { break };
            from = last.try_get(0).map_err(damaged)?;
            for row in &rows {
                let at: i64 = row.try_get(0).map_err(damaged)?;
                if let Err(error) = decode_one(row.try_get(1).map_err(damaged)?) {
                    found.push(finding(format!("dead letter {at}: {error}"), false));
                }
            }
        }
        let account = self.account().await?;
        if !account.balances() {
            found.push(finding(format!("the account does not balance: {account:?}"), false));
        }
        Ok(found)
    }

    async fn check_row(
        &self,
        row: &tokio_postgres::Row,
        found: &mut Vec<Finding>,
    ) -> Result<(), StoreError> {
        let pile: i32 = row.try_get(0).map_err(damaged)?;
        let number = |at: usize| row.try_get::<_, i64>(at).map_err(damaged);
        let (at, live, bytes) = (number(1)?, number(2)?, number(3)?);
        let name: Option<&str> = row.try_get(5).map_err(damaged)?;
        let place = format!("cart {at} of {}", name.unwrap_or("a pile without a name"));
        if name.is_none() {
            found.push(finding(format!("{place}: no row of `pile` has the number {pile}"), false));
        }
        let records = match decode(row.try_get(4).map_err(damaged)?, live) {
            Ok(records) => records,
            Err(error) => {
                found.push(finding(format!("{place}: {error}"), false));
                return Ok(());
            }
        };
        let size: i64 = records.iter().map(|record| i64::from(record.size)).sum();
        let params: [Param<'_>; 5] = [
            (&pile, Type::INT4),
            (&at, Type::INT8),
            (&live, Type::INT8),
            (&bytes, Type::INT8),
            (&size, Type::INT8),
        ];
        // A row that was changed meanwhile is left alone.
        if live == 0 {
            let sql = "delete from @cart where pile = $1 and at = $2 and live = $3 returning 1";
            let gone = self.run(sql, &params[..3]).await?;
            found.push(finding(format!("{place}: no book is left in it"), !gone.is_empty()));
        } else if size != bytes {
            let sql = "update @cart set bytes = $5
                where pile = $1 and at = $2 and live = $3 and bytes = $4 returning 1";
            let set = self.run(sql, &params).await?;
            let what = format!("{place}: its bodies have {size} bytes, not {bytes}");
            found.push(finding(what, !set.is_empty()));
        }
        let ids: Vec<i64> = records.iter().map(|record| record.book.id.0 as i64).collect();
        let known = self.run(crate::admin::ACCEPTED, &[(&ids, Type::INT8_ARRAY)]).await?;
        for (id, known) in ids.iter().zip(&known) {
            if !known.try_get::<_, bool>(0).map_err(damaged)? {
                found.push(finding(format!("{place}: the id {id} was never accepted"), false));
            }
        }
        Ok(())
    }
}

fn finding(what: String, is_repaired: bool) -> Finding {
    Finding { what, is_repaired }
}
