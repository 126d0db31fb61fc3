//! Carrying out a plan in one transaction, and answering.

use std::sync::Arc;

use gopherworks_pipeline::store::{
    Append, Appended, Arrival, Arrived, Commit, Committed, Pass, Passed, Receipt, StoreError,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cart::{Held, Key};
use crate::core::Core;
use crate::error::Failed;
use crate::fetch::columns;
use crate::link::{Param, Tx, retried};
use crate::plan::{Fate, Moved, NewRow, Place, Plan, reads_files};
use crate::schema::{damaged, one};

/// How a transaction treats the appends of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Appends {
    /// Store them as if all ids were new; if one is not, the transaction is rolled back.
    Fast,
    /// Look up each id and key first.
    Careful,
    /// Refuse them, since the database has no room.
    Refused,
}

/// The answers of a commit, while it is carried out.
pub(crate) struct Answers {
    pub done: Committed,
    /// Arrival numbers.
    seqs: Vec<i64>,
}

impl Answers {
    fn of(commit: &Commit, seqs: Vec<i64>) -> Self {
        let gone = || Err(StoreError::Gone);
        let arrived = |arrival: &Arrival| match arrival {
            Arrival::Append(_) => Arrived::Appended(gone().map(|()| Vec::new())),
            Arrival::Pass(pass) => {
                let none = || Err::<Passed, _>(StoreError::Gone);
                Arrived::Passed((0..pass.books.len()).map(|_| none()).collect())
            }
        };
        let arrivals = commit.arrivals.iter().map(arrived).collect();
        let acts = commit.acts.iter().map(|_| gone()).collect();
        Self { done: Committed { arrivals, acts }, seqs }
    }

    /// The first place of an arrival number: rows that are split off get the next ones.
    pub fn at(&self, seq: usize) -> Result<i64, Failed> {
        let seq = self.seqs.get(seq).ok_or_else(|| damaged("too few arrival numbers"))?;
        Ok(seq << 6)
    }

    pub fn appended(&mut self, arrival: usize, answer: Result<Vec<Appended>, StoreError>) {
        if let Some(Arrived::Appended(slot)) = self.done.arrivals.get_mut(arrival) {
            *slot = answer;
        }
    }

    /// Answers a pass, with the receipt if the book stays held.
    pub fn passed(&mut self, place: Place, receipt: Option<Receipt>) {
        if let Place::Pass { arrival, book } = place
            && let Some(Arrived::Passed(slots)) = self.done.arrivals.get_mut(arrival)
            && let Some(slot) = slots.get_mut(book)
        {
            *slot = Ok(Passed { receipt, acked: true });
        }
    }

    pub fn acted(&mut self, place: Place, answer: Result<(), StoreError>) {
        match (place, answer) {
            (Place::Act(at), answer) => {
                if let Some(slot) = self.done.acts.get_mut(at) {
                    *slot = answer;
                }
            }
            (Place::Pass { arrival, book }, Err(error)) => {
                if let Some(Arrived::Passed(slots)) = self.done.arrivals.get_mut(arrival)
                    && let Some(slot) = slots.get_mut(book)
                {
                    *slot = Err(error);
                }
            }
            (Place::Pass { .. }, Ok(())) => {}
        }
    }
}

/// The number in the first column of each row.
fn numbers(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    rows.iter().map(|row| row.try_get(0).map_err(damaged)).collect()
}

impl Core {
    pub async fn append(self: Arc<Self>, append: Append) -> Result<Vec<Appended>, StoreError> {
        let commit = Commit { arrivals: vec![Arrival::Append(append)], acts: vec![] };
        match self.commit(commit.into()).await?.arrivals.pop() {
            Some(Arrived::Appended(answer)) => answer,
            _ => Err(damaged("an append")),
        }
    }

    pub async fn pass(
        self: Arc<Self>,
        pass: Pass,
    ) -> Result<Vec<Result<Passed, StoreError>>, StoreError> {
        let commit = Commit { arrivals: vec![Arrival::Pass(pass)], acts: vec![] };
        match self.commit(commit.into()).await?.arrivals.pop() {
            Some(Arrived::Passed(answers)) => Ok(answers),
            _ => Err(damaged("a pass")),
        }
    }

    pub async fn commit(self: Arc<Self>, commit: Arc<Commit>) -> Result<Committed, StoreError> {
        let plan = match reads_files(&commit) {
            false => Plan::of(&self, &commit),
            true => {
                let (core, commit) = (self.clone(), commit.clone());
                let planned = tokio::task::spawn_blocking(move || Plan::of(&core, &commit)).await;
                planned.map_err(|error| StoreError::Other(error.to_string().into()))?
            }
        };
        let mut appends = if plan.careful { Appends::Careful } else { Appends::Fast };
        let mut done = retried!(self.attempt(&commit, &plan, &mut appends).await);
        if matches!(done, Err(StoreError::Full)) && !plan.appends.is_empty() {
            appends = Appends::Refused;
            done = retried!(self.attempt(&commit, &plan, &mut appends).await);
        }
        done
    }

    async fn attempt(
        &self,
        commit: &Commit,
        plan: &Plan,
        appends: &mut Appends,
    ) -> Result<Committed, Failed> {
        let tx = self.connect().await?;
        let (began, seqs) = tokio::join!(tx.begin(), tx.arrivals(plan.seqs));
        began?;
        let mut answers = Answers::of(commit, seqs?);
        for (arrival, error) in &plan.failed {
            answers.appended(*arrival, Err(error.clone()));
        }
        for (place, error) in &plan.refused {
            answers.acted(*place, Err(error.clone()));
        }
        match *appends {
            Appends::Careful => self.append_careful(&tx, plan, &mut answers).await?,
            Appends::Refused => {
                let full = |new: &crate::plan::Planned| (new.arrival, Err(StoreError::Full));
                plan.appends.iter().map(full).for_each(|(at, full)| answers.appended(at, full));
            }
            Appends::Fast => {
                if !self.check_in(&tx, plan, &Default::default()).await?.is_empty() {
                    *appends = Appends::Careful;
                    return Err(Failed::Again);
                }
            }
        }
        // Sent together.
        let fast = *appends == Appends::Fast;
        let rows: Vec<&NewRow> = plan.rows.iter().filter(|_| fast).collect();
        let (stored, moved, ended, stays) = tokio::join!(
            self.append_fast(&tx, plan, &rows, &answers),
            self.move_units(&tx, plan, &answers),
            tx.end(plan),
            tx.stay(plan),
        );
        if fast && !stored? {
            *appends = Appends::Careful;
            return Err(Failed::Again);
        }
        if fast {
            self.answer_fast(plan, &mut answers)?;
        }
        let mut singles = Vec::new();
        let moved = moved?;
        for (unit, moved) in plan.moved.iter().zip(moved) {
            match moved {
                true => self.answer_moved(plan, unit, &mut answers)?,
                false => singles.extend(apart(unit)),
            }
        }
        singles.extend(plan.singles.iter().filter(is_arrival).cloned());
        // Books that come together have one number.
        singles.sort_by_key(|(.., fate)| match fate {
            Fate::Pass { seq, .. } => *seq,
            _ => 0,
        });
        let ended = ended?;
        for (at, unit) in plan.ended.values().enumerate() {
            for (place, held, burned) in &unit.books {
                match ended.contains(&(at as i64)) {
                    true => answers.acted(*place, Ok(())),
                    false => singles.push((*place, *held, Fate::End { burned: *burned })),
                }
            }
        }
        let stays = stays?;
        for (at, ((_, stay), books)) in plan.stays.iter().enumerate() {
            for (place, held) in books {
                match stays.contains(&(at as i64)) {
                    true => answers.acted(*place, Ok(())),
                    false => singles.push((*place, *held, Fate::Stay(*stay))),
                }
            }
        }
        singles.extend(plan.singles.iter().filter(|single| !is_arrival(single)).cloned());
        if !singles.is_empty() {
            self.single(&tx, plan, singles, &mut answers).await?;
        }
        tx.commit().await?;
        Ok(answers.done)
    }

    /// Passes units on: rows of which all books go are moved, others give books away. True for
    /// each that did.
    async fn move_units(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        answers: &Answers,
    ) -> Result<Vec<bool>, Failed> {
        let mut moved = vec![false; plan.moved.len()];
        let units = || plan.moved.iter().enumerate();
        let whole: Vec<_> = units().filter(|(_, unit)| unit.whole || unit.new.is_none()).collect();
        let parts: Vec<_> = units().filter(|(_, unit)| !unit.whole && unit.new.is_some()).collect();
        let (whole, given) = tokio::join!(
            self.move_whole(tx, plan, &whole, answers),
            self.move_parts(tx, plan, &parts, answers)
        );
        whole?.into_iter().chain(given?).for_each(|at| moved[at] = true);
        // The last books of a row, whose others have gone before.
        let rest: Vec<_> = parts.into_iter().filter(|(at, _)| !moved[*at]).collect();
        for at in self.move_whole(tx, plan, &rest, answers).await? {
            moved[at] = true;
        }
        Ok(moved)
    }

    /// Moves rows without reading their books, and answers which.
    async fn move_whole(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        units: &[(usize, &Moved)],
        answers: &Answers,
    ) -> Result<Vec<usize>, Failed> {
        // TOASTed books that did not change are not written again: their pointer stays.
        let sql = "update @cart c set pile = m.to_pile, at = m.to_at, token = m.to_token,
                until = coalesce(now() + m.lease * interval '1 microsecond', '-infinity'),
                holder = case when m.lease is null then 0 else $9 end, due = '-infinity',
                attempts = 0, deliveries = 0, marks = 0, live = coalesce(m.to_live, c.live),
                bytes = coalesce(m.to_bytes, c.bytes), books = coalesce(m.books, c.books)
            from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::int[], $7::bigint[], $8::bigint[], $10::bigint[], $11::bigint[], $12::bytea[],
                $13::bigint[])
                m(ord, pile, at, token, live, to_pile, to_at, lease, to_live, to_bytes, books,
                    to_token)
            where c.pile = m.pile and c.at = m.at and c.token = m.token and c.live = m.live
            returning m.ord";
        self.move_by(tx, plan, units, answers, sql).await
    }

    /// Moves books whose new content is known out of rows that keep others, and answers which.
    async fn move_parts(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        units: &[(usize, &Moved)],
        answers: &Answers,
    ) -> Result<Vec<usize>, Failed> {
        let sql = "with m as (select * from unnest($1::bigint[], $2::int[], $3::bigint[],
                $4::bigint[], $5::bigint[], $6::int[], $7::bigint[], $8::bigint[], $10::bigint[],
                $11::bigint[], $12::bytea[], $13::bigint[], $14::bigint[])
                m(ord, pile, at, token, live, to_pile, to_at, lease, to_live, to_bytes, books,
                    to_token, size)),
            u as (update @cart c set live = c.live & ~m.live, bytes = c.bytes - m.size from m
                where c.pile = m.pile and c.at = m.at and c.token = m.token
                    and c.live & m.live = m.live and c.live <> m.live
                returning m.ord),
            i as (insert into @cart (pile, at, live, bytes, token, until, holder, books)
                select to_pile, to_at, to_live, to_bytes, to_token,
                    coalesce(now() + lease * interval '1 microsecond', '-infinity'),
                    case when lease is null then 0 else $9 end, books
                from u join m using (ord))
            select ord from u";
        self.move_by(tx, plan, units, answers, sql).await
    }

    async fn move_by(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        units: &[(usize, &Moved)],
        answers: &Answers,
        sql: &str,
    ) -> Result<Vec<usize>, Failed> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let ords: Vec<i64> = units.iter().map(|(at, _)| *at as i64).collect();
        let keys: Vec<Key> = units.iter().map(|(_, unit)| unit.key).collect();
        let (piles, places, tokens) = columns(&keys);
        let masks: Vec<i64> = units.iter().map(|(_, unit)| unit.mask).collect();
        let targets: Vec<i32> = units.iter().map(|(_, unit)| unit.to).collect();
        let at = units.iter().map(|(_, unit)| answers.at(unit.seq));
        let at: Vec<i64> = at.collect::<Result<_, _>>()?;
        let leases: Vec<Option<i64>> = units.iter().map(|(_, unit)| unit.lease).collect();
        let token = |unit: &Moved| unit.lease.map_or(0, |_| plan.token);
        let new_tokens: Vec<i64> = units.iter().map(|(_, unit)| token(unit)).collect();
        let new = || units.iter().map(|(_, unit)| unit.new.as_ref());
        let live: Vec<Option<i64>> = new().map(|new| Some(new?.live())).collect();
        let bytes: Vec<Option<i64>> = new().map(|new| Some(new?.size)).collect();
        let books: Vec<Option<&[u8]>> = new().map(|new| Some(&*new?.bytes)).collect();
        let sizes: Vec<i64> = units.iter().map(|(_, unit)| unit.size).collect();
        let params: [Param<'_>; 14] = [
            (&ords, Type::INT8_ARRAY),
            (&piles, Type::INT4_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&masks, Type::INT8_ARRAY),
            (&targets, Type::INT4_ARRAY),
            (&at, Type::INT8_ARRAY),
            (&leases, Type::INT8_ARRAY),
            (&self.me, Type::INT4),
            (&live, Type::INT8_ARRAY),
            (&bytes, Type::INT8_ARRAY),
            (&books, Type::BYTEA_ARRAY),
            (&new_tokens, Type::INT8_ARRAY),
            (&sizes, Type::INT8_ARRAY),
        ];
        let needed = if sql.contains("$14") { 14 } else { 13 };
        let rows = tx.query(sql, &params[..needed]).await?;
        Ok(numbers(&rows)?.into_iter().map(|ord| ord as usize).collect())
    }

    fn answer_moved(&self, plan: &Plan, unit: &Moved, answers: &mut Answers) -> Result<(), Failed> {
        let key = Key { pile: unit.to, at: answers.at(unit.seq)?, token: plan.token };
        let of = unit.books.len() as u8;
        for (nth, (place, held, size)) in (0..).zip(&unit.books) {
            let now = match size {
                Some(size) => Held { key, pos: nth, of, size: *size },
                None => Held { key, of, ..*held },
            };
            answers.passed(*place, unit.lease.map(|_| now.receipt()));
        }
        Ok(())
    }
}

/// Splits a unit into the changes of its books, because their outcomes differ.
fn apart(unit: &Moved) -> impl Iterator<Item = (Place, Held, Fate)> + '_ {
    let mut contents = Vec::new();
    if let Some(new) = &unit.new {
        let records = crate::cart::decode(&new.bytes, new.live()).unwrap_or_default();
        contents = records.into_iter().map(|r| (new.bytes[r.range].to_vec(), r.size)).collect();
    }
    let mut contents = contents.into_iter();
    unit.books.iter().map(move |(place, held, _)| {
        let (to, lease, seq) = (unit.to, unit.lease, unit.seq);
        (*place, *held, Fate::Pass { to, lease, seq, content: contents.next() })
    })
}

fn is_arrival(single: &&(Place, Held, Fate)) -> bool {
    matches!(single.0, Place::Pass { .. })
}

impl Tx<'_> {
    /// New arrival numbers, ascending.
    async fn arrivals(&self, count: usize) -> Result<Vec<i64>, Failed> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let count = count as i64;
        let sql = "select array_agg(nextval('@arrival')) from generate_series(1, $1::bigint)";
        let row = one(self.query(sql, &[(&count, Type::INT8)]).await?)?;
        let mut seqs: Vec<i64> = row.try_get(0).map_err(damaged)?;
        seqs.sort_unstable();
        Ok(seqs)
    }

    /// Removes books that have ended: rows of which all have, and bits of others. Answers which
    /// units did.
    async fn end(&self, plan: &Plan) -> Result<std::collections::HashSet<i64>, Failed> {
        let mut done = std::collections::HashSet::new();
        if plan.ended.is_empty() {
            return Ok(done);
        }
        let ords: Vec<i64> = (0..plan.ended.len() as i64).collect();
        let keys: Vec<Key> = plan.ended.keys().copied().collect();
        let (piles, places, tokens) = columns(&keys);
        let units = || plan.ended.values();
        let masks: Vec<i64> = units().map(|unit| unit.mask).collect();
        let burned: Vec<i64> = units().map(|unit| unit.burned).collect();
        let dropped: Vec<i64> = units().map(|unit| unit.dropped).collect();
        let sizes: Vec<i64> = units().map(|unit| unit.size).collect();
        let params: [Param<'_>; 8] = [
            (&ords, Type::INT8_ARRAY),
            (&piles, Type::INT4_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&masks, Type::INT8_ARRAY),
            (&burned, Type::INT8_ARRAY),
            (&dropped, Type::INT8_ARRAY),
            (&sizes, Type::INT8_ARRAY),
        ];
        const TALLIED: &str = "t as (insert into @tally select sum(burned), sum(dropped) from e
            having count(*) > 0) select ord from e";
        let whole = format!(
            "with e as (delete from @cart c using unnest($1::bigint[], $2::int[], $3::bigint[],
                $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
                m(ord, pile, at, token, mask, burned, dropped)
                where c.pile = m.pile and c.at = m.at and c.token = m.token and c.live = m.mask
                returning m.ord, m.burned, m.dropped), {TALLIED}"
        );
        let part = format!(
            "with e as (update @cart c set live = c.live & ~m.mask, bytes = c.bytes - m.size
                from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bigint[], $7::bigint[], $8::bigint[])
                m(ord, pile, at, token, mask, burned, dropped, size)
                where c.pile = m.pile and c.at = m.at and c.token = m.token
                    and c.live & m.mask = m.mask and c.live <> m.mask
                returning m.ord, m.burned, m.dropped), {TALLIED}"
        );
        done.extend(numbers(&self.query(&whole, &params[..7]).await?)?);
        if done.len() < plan.ended.len() {
            done.extend(numbers(&self.query(&part, &params).await?)?);
        }
        Ok(done)
    }

    /// Stores tries and delays of rows of which all books are held. Answers which units were.
    async fn stay(&self, plan: &Plan) -> Result<std::collections::HashSet<i64>, Failed> {
        if plan.stays.is_empty() {
            return Ok(std::collections::HashSet::new());
        }
        let ords: Vec<i64> = (0..plan.stays.len() as i64).collect();
        let keys: Vec<Key> = plan.stays.keys().map(|(key, _)| *key).collect();
        let (piles, places, tokens) = columns(&keys);
        let mask =
            |books: &Vec<(Place, Held)>| books.iter().fold(0, |mask, (_, held)| mask | held.bit());
        let masks: Vec<i64> = plan.stays.values().map(mask).collect();
        let stays = || plan.stays.keys().map(|(_, stay)| stay);
        let delays: Vec<i64> = stays().map(|stay| stay.delay).collect();
        let attempts: Vec<i32> = stays().map(|stay| stay.tries.0).collect();
        let deliveries: Vec<i32> = stays().map(|stay| stay.tries.1).collect();
        let marks: Vec<i16> = stays().map(|stay| stay.tries.2).collect();
        let holds: Vec<bool> = stays().map(|stay| stay.hold).collect();
        let sql = "update @cart c set attempts = m.attempts, deliveries = m.deliveries,
                marks = m.marks, due = case when m.delay = 0 then '-infinity'
                    else now() + m.delay * interval '1 microsecond' end,
                token = case when m.hold then c.token else 0 end,
                until = case when m.hold then c.until else '-infinity' end,
                holder = case when m.hold then c.holder else 0 end
            from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bigint[], $7::int[], $8::int[], $9::smallint[], $10::boolean[])
                m(ord, pile, at, token, mask, delay, attempts, deliveries, marks, hold)
            where c.pile = m.pile and c.at = m.at and c.token = m.token and c.live = m.mask
            returning m.ord";
        let params: [Param<'_>; 10] = [
            (&ords, Type::INT8_ARRAY),
            (&piles, Type::INT4_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&masks, Type::INT8_ARRAY),
            (&delays, Type::INT8_ARRAY),
            (&attempts, Type::INT4_ARRAY),
            (&deliveries, Type::INT4_ARRAY),
            (&marks, Type::INT2_ARRAY),
            (&holds, Type::BOOL_ARRAY),
        ];
        Ok(numbers(&self.query(sql, &params).await?)?.into_iter().collect())
    }
}
