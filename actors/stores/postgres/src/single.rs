//! Books of one row that undergo different changes: the row is read, and the books that leave it
//! get rows of their own.

use std::collections::{BTreeMap, HashMap};

use gopherworks_pipeline::store::StoreError;
use tokio_postgres::types::Type;

use crate::cart::{Held, Key, Packed, Record, decode};
use crate::commit::Answers;
use crate::core::Core;
use crate::error::Failed;
use crate::fetch::{columns, part};
use crate::link::{Param, Tx};
use crate::plan::{Fate, NewRow, Place, Plan, Stay};
use crate::schema::damaged;

/// A pile, and one arrival on it.
type Group = (i32, i64);

/// A row as it was read, and what is left of it.
struct Stored {
    at: i64,
    token: i64,
    tries: (i32, i32, i16),
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// Bits of the positions that had a book when the row was read.
    was: i64,
    live: i64,
    size: i64,
}

impl Stored {
    /// Takes a book out.
    fn take(&mut self, pos: u8) -> Option<Record> {
        let at = self.records.iter().position(|record| record.pos == pos)?;
        let record = self.records.remove(at);
        self.live &= !(1 << pos);
        self.size -= i64::from(record.size);
        Some(record)
    }
}

/// A row that is split off another one, in its group.
struct Split {
    from: Key,
    at: i64,
    stay: Stay,
    records: Vec<Record>,
}

/// Dead letters, by column.
#[derive(Default)]
struct Dead {
    piles: Vec<i32>,
    attempts: Vec<i32>,
    reasons: Vec<String>,
    nodes: Vec<Option<String>>,
    sizes: Vec<i64>,
    books: Vec<Vec<u8>>,
}

/// Text can't hold zeros.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Core {
    /// Applies the change of each book separately, in order.
    pub async fn single(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        singles: Vec<(Place, Held, Fate)>,
        answers: &mut Answers,
    ) -> Result<(), Failed> {
        let mut groups = tx.read_groups(&singles).await?;
        let mut rows: BTreeMap<usize, NewRow> = BTreeMap::new();
        let mut passed: Vec<(Place, usize, u8, u32)> = Vec::new();
        let mut splits: HashMap<(Key, Stay), Split> = HashMap::new();
        let (mut dead, mut burned, mut dropped) = (Dead::default(), 0i64, 0i64);
        for (place, held, fate) in singles {
            let group = (held.key.pile, held.key.at >> 6);
            let stored = groups.get_mut(&group).map_or(&mut [][..], Vec::as_mut_slice);
            let numbers = stored.iter().fold(0i64, |used, row| used | 1 << (row.at & 63));
            let Some(row) = stored.iter_mut().find(|row| row.live & held.bit() != 0) else {
                answers.acted(place, Err(StoreError::Gone));
                continue;
            };
            if row.token != held.key.token {
                answers.acted(place, Err(StoreError::Stale));
                continue;
            }
            let stay = match &fate {
                Fate::Same { hold: true } => {
                    answers.passed(place, Some(held.receipt()));
                    continue;
                }
                Fate::Same { hold: false } => {
                    Some(Stay { delay: 0, tries: row.tries, hold: false })
                }
                Fate::Stay(stay) => Some(*stay),
                _ => None,
            };
            let from = Key { pile: held.key.pile, at: row.at, token: row.token };
            let record = row.take(held.pos).ok_or_else(|| damaged("a book without a record"))?;
            if let Some(stay) = stay {
                let used =
                    splits.values().filter(|split| (split.from.pile, split.at >> 6) == group);
                let used = used.fold(numbers, |used, split| used | 1 << (split.at & 63));
                let split = match splits.entry((from, stay)) {
                    std::collections::hash_map::Entry::Occupied(split) => split.into_mut(),
                    std::collections::hash_map::Entry::Vacant(slot) => {
                        // There is a number for each of 64 books.
                        let number = i64::from((!used).trailing_zeros().min(63));
                        let at = group.1 << 6 | number;
                        slot.insert(Split { from, at, stay, records: Vec::new() })
                    }
                };
                split.records.push(record);
                answers.acted(place, Ok(()));
                answers.passed(place, None);
                continue;
            }
            match fate {
                Fate::Pass { to, lease, seq, content } => {
                    let token = lease.map_or(0, |_| plan.token);
                    let row_of = || {
                        let (pile, packed) = (to, Packed::default());
                        NewRow { pile, lease, token, seq, packed, live: 0 }
                    };
                    let new = rows.entry(seq).or_insert_with(row_of);
                    let (bytes, size) = match &content {
                        Some((bytes, size)) => (&bytes[..], *size),
                        None => (&row.bytes[record.range], record.size),
                    };
                    let pos = new.packed.add(bytes, size);
                    new.live |= 1 << pos;
                    passed.push((place, seq, pos, size));
                }
                Fate::End { burned: true } => burned += 1,
                Fate::End { burned: false } => dropped += 1,
                Fate::Bury { reason, node, attempts } => {
                    dead.piles.push(held.key.pile);
                    dead.attempts.push(i32::try_from(attempts).unwrap_or(i32::MAX));
                    dead.reasons.push(clean(&reason));
                    dead.nodes.push(node.as_deref().map(clean));
                    dead.sizes.push(i64::from(record.size));
                    dead.books.push(row.bytes[record.range].to_vec());
                }
                Fate::Same { .. } | Fate::Stay(_) => {}
            }
            answers.acted(place, Ok(()));
        }
        for (place, seq, pos, size) in passed {
            let row = &rows[&seq];
            let key = Key { pile: row.pile, at: answers.at(seq)?, token: row.token };
            let held = Held { key, pos, of: row.packed.books, size };
            answers.passed(place, row.lease.map(|_| held.receipt()));
        }
        tx.split(&groups, &mut splits.into_values().collect::<Vec<_>>()).await?;
        tx.shrink(&groups).await?;
        self.insert(tx, &rows.values().collect::<Vec<_>>(), answers).await?;
        tx.bury(&dead).await?;
        if burned + dropped > 0 {
            let params: [Param<'_>; 2] = [(&burned, Type::INT8), (&dropped, Type::INT8)];
            tx.execute("insert into @tally values ($1, $2)", &params).await?;
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// Reads and locks the rows of all arrivals that books are of.
    async fn read_groups(
        &self,
        singles: &[(Place, Held, Fate)],
    ) -> Result<HashMap<Group, Vec<Stored>>, Failed> {
        let keys: Vec<Key> = singles.iter().map(|(_, held, _)| held.key).collect();
        let (piles, places, _) = columns(&keys);
        let sql = "select c.pile, c.at, c.token, c.attempts, c.deliveries, c.marks, c.live, c.books
            from @cart c
            join (select distinct pile, at >> 6 as grp from unnest($1::int[], $2::bigint[])
                k(pile, at)) g
            on c.pile = g.pile and c.at between g.grp << 6 and (g.grp << 6) + 63
            order by c.pile, c.at for update of c";
        let params: [Param<'_>; 2] = [(&piles, Type::INT4_ARRAY), (&places, Type::INT8_ARRAY)];
        let mut groups: HashMap<Group, Vec<Stored>> = HashMap::new();
        for row in self.query(sql, &params).await? {
            let count = |at: usize| row.try_get::<_, i32>(at).map_err(damaged);
            let number = |at: usize| row.try_get::<_, i64>(at).map_err(damaged);
            let (at, live) = (number(1)?, number(6)?);
            let bytes: Vec<u8> = row.try_get(7).map_err(damaged)?;
            let records = decode(&bytes, live)?;
            let tries = (count(3)?, count(4)?, row.try_get(5).map_err(damaged)?);
            let size = records.iter().map(|record| i64::from(record.size)).sum();
            let token = number(2)?;
            let stored = Stored { at, token, tries, bytes, records, was: live, live, size };
            groups.entry((count(0)?, at >> 6)).or_default().push(stored);
        }
        Ok(groups)
    }

    /// Stores rows that are split off, with what they have of the rows that they come from.
    async fn split(
        &self,
        groups: &HashMap<Group, Vec<Stored>>,
        splits: &mut [Split],
    ) -> Result<(), Failed> {
        if splits.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = splits.iter().map(|split| split.from).collect();
        let (piles, places, _) = columns(&keys);
        let at: Vec<i64> = splits.iter().map(|split| split.at).collect();
        let (mut live, mut books, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for split in &mut *splits {
            split.records.sort_unstable_by_key(|record| record.pos);
            let stored = groups.get(&(split.from.pile, split.from.at >> 6));
            let row = stored.and_then(|rows| rows.iter().find(|row| row.at == split.from.at));
            let row = row.ok_or_else(|| damaged("a row that is gone"))?;
            let (part, size) = part(&row.bytes, &split.records);
            live.push(split.records.iter().fold(0i64, |live, record| live | 1 << record.pos));
            books.push(part);
            sizes.push(size);
        }
        let stays = || splits.iter().map(|split| split.stay);
        let delays: Vec<i64> = stays().map(|stay| stay.delay).collect();
        let attempts: Vec<i32> = stays().map(|stay| stay.tries.0).collect();
        let deliveries: Vec<i32> = stays().map(|stay| stay.tries.1).collect();
        let marks: Vec<i16> = stays().map(|stay| stay.tries.2).collect();
        let holds: Vec<bool> = stays().map(|stay| stay.hold).collect();
        let sql = "insert into @cart (pile, at, live, bytes, token, until, due, holder, attempts,
                deliveries, marks, since, books)
            select s.pile, s.new_at, s.live, s.bytes, case when s.hold then c.token else 0 end,
                case when s.hold then c.until else '-infinity' end,
                case when s.delay = 0 then '-infinity'
                    else now() + s.delay * interval '1 microsecond' end,
                case when s.hold then c.holder else 0 end, s.attempts, s.deliveries, s.marks,
                c.since, s.books
            from unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bigint[], $7::int[], $8::int[], $9::smallint[], $10::boolean[], $11::bytea[])
                s(pile, at, new_at, live, bytes, delay, attempts, deliveries, marks, hold, books)
            join @cart c on c.pile = s.pile and c.at = s.at";
        let params: [Param<'_>; 11] = [
            (&piles, Type::INT4_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&at, Type::INT8_ARRAY),
            (&live, Type::INT8_ARRAY),
            (&sizes, Type::INT8_ARRAY),
            (&delays, Type::INT8_ARRAY),
            (&attempts, Type::INT4_ARRAY),
            (&deliveries, Type::INT4_ARRAY),
            (&marks, Type::INT2_ARRAY),
            (&holds, Type::BOOL_ARRAY),
            (&books, Type::BYTEA_ARRAY),
        ];
        self.execute(sql, &params).await.map(drop)
    }

    /// Removes what was taken out of rows, and rows of which nothing is left.
    async fn shrink(&self, groups: &HashMap<Group, Vec<Stored>>) -> Result<(), Failed> {
        let rows = groups.iter().flat_map(|((pile, _), rows)| rows.iter().map(|row| (*pile, row)));
        let rows: Vec<(i32, &Stored)> = rows.filter(|(_, row)| row.live != row.was).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let piles: Vec<i32> = rows.iter().map(|(pile, _)| *pile).collect();
        let at: Vec<i64> = rows.iter().map(|(_, row)| row.at).collect();
        let live: Vec<i64> = rows.iter().map(|(_, row)| row.live).collect();
        let sizes: Vec<i64> = rows.iter().map(|(_, row)| row.size).collect();
        let sql = "with r as (select * from unnest($1::int[], $2::bigint[], $3::bigint[],
                $4::bigint[]) r(pile, at, live, bytes)),
            d as (delete from @cart c using r where c.pile = r.pile and c.at = r.at and r.live = 0)
            update @cart c set live = r.live, bytes = r.bytes from r
            where c.pile = r.pile and c.at = r.at and r.live <> 0";
        let params: [Param<'_>; 4] = [
            (&piles, Type::INT4_ARRAY),
            (&at, Type::INT8_ARRAY),
            (&live, Type::INT8_ARRAY),
            (&sizes, Type::INT8_ARRAY),
        ];
        self.execute(sql, &params).await.map(drop)
    }

    async fn bury(&self, dead: &Dead) -> Result<(), Failed> {
        if dead.piles.is_empty() {
            return Ok(());
        }
        let sql = "insert into @dead (pile, attempts, reason, node, bytes, book)
            select * from unnest($1::int[], $2::int[], $3::text[], $4::text[], $5::bigint[],
                $6::bytea[])";
        let params: [Param<'_>; 6] = [
            (&dead.piles, Type::INT4_ARRAY),
            (&dead.attempts, Type::INT4_ARRAY),
            (&dead.reasons, Type::TEXT_ARRAY),
            (&dead.nodes, Type::TEXT_ARRAY),
            (&dead.sizes, Type::INT8_ARRAY),
            (&dead.books, Type::BYTEA_ARRAY),
        ];
        self.execute(sql, &params).await.map(drop)
    }
}
