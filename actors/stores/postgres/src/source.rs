//! Sources: their owners and positions.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use gopherworks_pipeline::store::{Ownership, SourceOwner, SourceState, StoreError};
use tokio_postgres::types::Type;

use crate::admin::ACCEPTED;
use crate::core::{Core, micros};
use crate::error::Failed;
use crate::link::{Param, Tx};
use crate::plan::Plan;
use crate::schema::damaged;

/// SQL for the position of a row `s` of `source`, with the parts added to it.
pub(crate) const POSITION: &str = "(select coalesce(s.position || coalesce(m.parts, ''), m.parts)
    from (select string_agg(part, ''::bytea order by n) as parts from @mark
        where works = s.works and name = s.name and share = s.share) m)";

/// Changes of one share of a source by a commit.
#[derive(Default)]
struct Last<'a> {
    /// The appends, and those among them that were stored before.
    appends: Vec<usize>,
    /// The last position that replaces what is stored.
    position: Option<&'a [u8]>,
    /// Parts added after that position.
    added: Vec<u8>,
}

impl Core {
    /// Name of the works that own the sources.
    fn works(&self) -> &str {
        self.works.as_deref().unwrap_or_default()
    }

    pub async fn own(
        &self,
        source: &str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Result<Ownership, StoreError> {
        let (works, share, lease) = (self.works(), i64::from(share), micros(lease));
        let token = token.map(|token| i64::try_from(token).unwrap_or(-1));
        let sql = match token {
            Some(_) => {
                "update @source s set until = now() + $4 * interval '1 microsecond', holder = $5
                where works = $1 and name = $2 and share = $3 and token = $6"
            }
            None => {
                "insert into @source as s (works, name, share, token, until, holder)
                select $1, $2, $3, nextval('@owner'), now() + $4 * interval '1 microsecond', $5
                where $6::bigint is null
                on conflict (works, name, share) do update
                set token = excluded.token, until = excluded.until, holder = excluded.holder,
                    since = now(), ended = false
                where s.until <= now()"
            }
        };
        let sql = format!("{sql} returning token, {POSITION}");
        let params: [Param<'_>; 6] = [
            (&works, Type::TEXT),
            (&source, Type::TEXT),
            (&share, Type::INT8),
            (&lease, Type::INT8),
            (&self.me, Type::INT4),
            (&token, Type::INT8),
        ];
        if let Some(row) = self.run(&sql, &params).await?.first() {
            let position: Option<Vec<u8>> = row.try_get(1).map_err(damaged)?;
            let token = row.try_get::<_, i64>(0).map_err(damaged)? as u64;
            return Ok(Ownership { token, position: position.map(Into::into) });
        }
        if token.is_some() {
            return Err(StoreError::Stale);
        }
        let sql = "select o.name from @source s join @opener o on o.id = s.holder
            where s.works = $1 and s.name = $2 and s.share = $3";
        let owners = self.run(sql, &params[..3]).await?;
        let owner = owners.first().and_then(|row| row.try_get::<_, &str>(0).ok());
        let what = format!("`{source}` is read by {}", owner.unwrap_or("another process"));
        Err(StoreError::InUse { pid: None, what: what.into() })
    }

    pub async fn disown(
        &self,
        source: &str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Result<(), StoreError> {
        let (works, share) = (self.works(), i64::from(share));
        let token = i64::try_from(token).unwrap_or(-1);
        let sql = "update @source set until = '-infinity', holder = 0, ended = $5
            where works = $1 and name = $2 and share = $3 and token = $4 returning 1";
        let params: [Param<'_>; 5] = [
            (&works, Type::TEXT),
            (&source, Type::TEXT),
            (&share, Type::INT8),
            (&token, Type::INT8),
            (&ended, Type::BOOL),
        ];
        self.run(sql, &params).await?.first().map_or(Err(StoreError::Stale), |_| Ok(()))
    }

    /// The sources of the works.
    pub async fn sources(&self) -> Result<Vec<SourceState>, StoreError> {
        let sql = "select s.name, s.share, s.ended,
                case when s.until > now() then coalesce(o.name, 'process ' || s.holder) end,
                (extract(epoch from now() - s.since) * 1000000)::bigint,
                case when s.until > now()
                    then (extract(epoch from s.until - now()) * 1000000)::bigint end
            from @source s left join @opener o on o.id = s.holder
            where $1::text is null or s.works = $1 order by s.works, s.name, s.share";
        let mut sources = Vec::new();
        for row in self.run(sql, &[(&self.works, Type::TEXT)]).await? {
            let span = |at: usize| {
                let micros: Option<i64> = row.try_get(at).map_err(damaged)?;
                Ok::<_, StoreError>(Duration::from_micros(micros.unwrap_or(0).max(0) as u64))
            };
            let owner: Option<&str> = row.try_get(3).map_err(damaged)?;
            let (since, left) = (span(4)?, span(5)?);
            sources.push(SourceState {
                source: row.try_get::<_, &str>(0).map_err(damaged)?.into(),
                share: u32::try_from(row.try_get::<_, i64>(1).map_err(damaged)?)
                    .map_err(damaged)?,
                owner: owner.map(|name| SourceOwner { name: name.into(), since, left }),
                ended: row.try_get(2).map_err(damaged)?,
            });
        }
        Ok(sources)
    }

    /// Forgets the position of a source. Later changes by its present owner are refused.
    pub async fn rewind(&self, source: &str) -> Result<(), StoreError> {
        let works = self.works();
        let sql = "with m as (delete from @mark where works = $1 and name = $2)
            update @source set position = null, token = nextval('@owner'), until = '-infinity',
                holder = 0, ended = false where works = $1 and name = $2";
        self.run(sql, &[(&works, Type::TEXT), (&source, Type::TEXT)]).await.map(drop)
    }

    /// Appends that add to a position, and whose books were all stored before.
    pub async fn repeated(&self, tx: &Tx<'_>, plan: &Plan) -> Result<HashSet<usize>, Failed> {
        let mut repeated = HashSet::new();
        for (at, new) in plan.appends.iter().enumerate() {
            let adds = new.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.adds);
            if !adds || new.books.is_empty() {
                continue;
            }
            let ids: Vec<i64> = new.books.iter().map(|book| book.id).collect();
            let known = tx.query(ACCEPTED, &[(&ids, Type::INT8_ARRAY)]).await?;
            let known: Result<Vec<bool>, _> = known.iter().map(|row| row.try_get(0)).collect();
            if known.map_err(damaged)?.into_iter().all(|known| known) {
                repeated.insert(at);
            }
        }
        Ok(repeated)
    }

    /// Stores the last position of each source, if its owner still owns it. What `repeated` appends
    /// add is stored already. Answers the appends whose owner does not own the source.
    pub async fn check_in(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        repeated: &HashSet<usize>,
    ) -> Result<HashSet<usize>, Failed> {
        let works = self.works();
        // All commits lock the rows in the same order, so they cannot deadlock.
        let mut sources: BTreeMap<_, Last<'_>> = BTreeMap::new();
        for (at, new) in plan.appends.iter().enumerate() {
            let Some(to) = &new.checkpoint else { continue };
            let key = (&*to.source, i64::from(to.share), to.owner as i64);
            let last = sources.entry(key).or_default();
            last.appends.push(at);
            match to.adds {
                true if repeated.contains(&at) => {}
                true => last.added.extend_from_slice(&to.position),
                false => {
                    last.added.clear();
                    last.position = Some(&to.position);
                }
            }
        }
        let mut stale = HashSet::new();
        for ((source, share, owner), Last { appends, position, added }) in sources {
            let params: [Param<'_>; 6] = [
                (&works, Type::TEXT),
                (&source, Type::TEXT),
                (&share, Type::INT8),
                (&owner, Type::INT8),
                (&position, Type::BYTEA),
                (&added, Type::BYTEA),
            ];
            if owner == 0 {
                // A source that was never owned.
                let sql = "insert into @source (works, name, share, token)
                    select $1, $2, $3, 0 where $4 = 0 on conflict (works, name, share) do nothing";
                tx.execute(sql, &params[..4]).await?;
            }
            let sql = "with u as (update @source set position = coalesce($5, position)
                    where works = $1 and name = $2 and share = $3 and token = $4
                    returning works, name, share),
                d as (delete from @mark m using u where $5 is not null
                    and m.works = u.works and m.name = u.name and m.share = u.share),
                a as (insert into @mark (works, name, share, part)
                    select works, name, share, $6 from u where length($6) > 0)
                select 1 from u";
            if tx.query(sql, &params).await?.is_empty() {
                stale.extend(appends);
            }
        }
        Ok(stale)
    }
}
