//! A session's group on disk: what is there of its log, and which run of this node this is.

use std::collections::BTreeMap;

use parlor_proto::{
    group::{Base, Chain, Link, Log, MAX_NUMBER, Saved, Update},
    identity::PeerId,
    ids::{SessionId, UpdateHash},
    rights::Verified,
    time::Timestamp,
};

use super::{Store, StoreError, Transaction, from_blob, parse};

const TABLE: &str = "updates";

impl Store {
    /// A number for this run of the node in a session's group: higher than any before, on disk when this returns.
    /// Not below the time, so that it does not fall back with a database that is restored from a copy either.
    pub async fn raise_boot(&self, session: SessionId, now: Timestamp) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let boot: i64 = sqlx::query_scalar(
            "INSERT INTO groups (session, boot) VALUES (?, max(?, 1))
             ON CONFLICT (session) DO UPDATE SET boot = max(boot + 1, excluded.boot) RETURNING boot",
        )
        .bind(session.to_string())
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX - 1))
        .fetch_one(&mut *write)
        .await?;
        write.commit().await?;
        Ok(boot.unsigned_abs())
    }

    /// What is here of a session, and the newest serial.
    pub async fn log(&self, session: SessionId) -> Result<(Log, u64), StoreError> {
        let of_group: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT serial, depth, landed FROM groups WHERE session = ?")
                .bind(session.to_string())
                .fetch_optional(self.pool())
                .await?;
        let (serial, depth, landed) = of_group.unwrap_or_default();
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT sender, max(serial), sum(size) FROM updates WHERE session = ? GROUP BY sender",
        )
        .bind(session.to_string())
        .fetch_all(self.pool())
        .await?;

        let (mut bytes, mut newest) = (BTreeMap::new(), serial.unsigned_abs());
        for (chain, serial, size) in rows {
            let chain: Chain = parse(TABLE, &chain)?;
            *bytes.entry(chain.sender).or_insert(0) += size.unsigned_abs();
            newest = newest.max(serial.unsigned_abs());
        }
        let saved = Saved {
            newest: self.newest_of_each(session).await?,
            bases: self.bases(session).await?,
            bytes,
            depth: depth.unsigned_abs(),
            landed: self.link_at(session, landed).await?,
        };
        Ok((Log::new(saved), newest))
    }

    async fn newest_of_each(&self, session: SessionId) -> Result<Vec<Verified<Update>>, StoreError> {
        let items: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT updates.item FROM
                 (SELECT sender, max(number) AS number FROM updates WHERE session = ?1 GROUP BY sender) AS newest
             JOIN updates ON updates.session = ?1 AND updates.sender = newest.sender
                 AND updates.number = newest.number",
        )
        .bind(session.to_string())
        .fetch_all(self.pool())
        .await?;
        items.iter().map(|item| from_blob(TABLE, item)).collect()
    }

    async fn link_at(&self, session: SessionId, serial: i64) -> Result<Option<Link>, StoreError> {
        let item: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT item FROM updates WHERE session = ? AND serial = ?")
                .bind(session.to_string())
                .bind(serial)
                .fetch_optional(self.pool())
                .await?;
        let Some(item) = item else { return Ok(None) };
        let update: Verified<Update> = from_blob(TABLE, &item)?;
        Ok(Some(Link { chain: update.chain, number: update.number, hash: update.hash() }))
    }

    async fn bases(&self, session: SessionId) -> Result<BTreeMap<Chain, Base>, StoreError> {
        let rows: Vec<(String, i64, Vec<u8>, Option<i64>)> =
            sqlx::query_as("SELECT sender, number, hash, had FROM bases WHERE session = ?")
                .bind(session.to_string())
                .fetch_all(self.pool())
                .await?;
        let base = |(chain, number, hash, had): (String, i64, Vec<u8>, Option<i64>)| {
            let hash = hash.try_into().map_err(|_| StoreError::Unreadable { table: "bases" })?;
            let had = had.map(i64::unsigned_abs);
            Ok((parse("bases", &chain)?, Base { number: number.unsigned_abs(), hash: UpdateHash(hash), had }))
        };
        rows.into_iter().map(base).collect()
    }

    /// The start of this node's own chain of updates.
    pub async fn own_chain(&self, session: SessionId) -> Result<u64, StoreError> {
        let start: Option<i64> = sqlx::query_scalar("SELECT chain FROM groups WHERE session = ?")
            .bind(session.to_string())
            .fetch_optional(self.pool())
            .await?;
        Ok(start.unwrap_or(0).unsigned_abs())
    }

    /// Begins another chain of updates of this node's; its start is higher than any before, and not below the time, so
    /// that it is another one than any that an older copy of the database has begun.
    pub async fn begin_chain(&self, session: SessionId, now: Timestamp) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let start: i64 = sqlx::query_scalar(
            "INSERT INTO groups (session, chain) VALUES (?, max(?, 1))
             ON CONFLICT (session) DO UPDATE SET chain = max(chain + 1, excluded.chain) RETURNING chain",
        )
        .bind(session.to_string())
        .bind(i64::try_from(now.0.min(MAX_NUMBER)).unwrap_or(i64::MAX - 1))
        .fetch_one(&mut *write)
        .await?;
        write.commit().await?;
        Ok(start.unsigned_abs())
    }

    /// Deletes what comes after these numbers.
    pub async fn void(
        &self,
        write: &mut Transaction,
        session: SessionId,
        chains: &[(Chain, u64)],
    ) -> Result<(), StoreError> {
        for (chain, number) in chains {
            sqlx::query("DELETE FROM updates WHERE session = ? AND sender = ? AND number > ?")
                .bind(session.to_string())
                .bind(chain.to_string())
                .bind(i64::try_from(*number).unwrap_or(i64::MAX))
                .execute(&mut **write)
                .await?;
        }
        Ok(())
    }

    /// A checkpoint counts, which is here: notes up to where each of `chains` is covered by now, as `log` has it, and
    /// deletes what that replaces. `serial`: the newest now.
    pub async fn let_go(
        &self,
        write: &mut Transaction,
        checkpoint: &Update,
        chains: &[Chain],
        log: &Log,
        serial: u64,
    ) -> Result<(), StoreError> {
        let session = checkpoint.session.to_string();
        for chain in chains {
            self.note_base(write, &session, *chain, log).await?;
        }
        sqlx::query(
            "INSERT INTO groups (session, serial, depth) VALUES (?, ?, ?)
             ON CONFLICT (session) DO UPDATE SET serial = max(serial, excluded.serial), depth = excluded.depth",
        )
        .bind(&session)
        .bind(i64::try_from(serial).unwrap_or(i64::MAX))
        .bind(i64::try_from(log.depth()).unwrap_or(i64::MAX))
        .execute(&mut **write)
        .await?;
        sqlx::query("UPDATE updates SET covers = 2 WHERE session = ? AND sender = ? AND number = ?")
            .bind(&session)
            .bind(checkpoint.chain.to_string())
            .bind(checkpoint.number.cast_signed())
            .execute(&mut **write)
            .await?;
        self.discount(write, &session, log).await
    }

    async fn note_base(
        &self,
        write: &mut Transaction,
        session: &str,
        chain: Chain,
        log: &Log,
    ) -> Result<(), StoreError> {
        let text = chain.to_string();
        let Some(base) = log.bases().get(&chain) else {
            sqlx::query("DELETE FROM bases WHERE session = ? AND sender = ?")
                .bind(session)
                .bind(&text)
                .execute(&mut **write)
                .await?;
            return Ok(());
        };
        let number = i64::try_from(base.number).unwrap_or(i64::MAX);
        sqlx::query("REPLACE INTO bases (session, sender, number, hash, had) VALUES (?, ?, ?, ?, ?)")
            .bind(session)
            .bind(&text)
            .bind(number)
            .bind(base.hash.0.as_slice())
            .bind(base.had.map(|had| i64::try_from(had).unwrap_or(i64::MAX)))
            .execute(&mut **write)
            .await?;
        sqlx::query("DELETE FROM updates WHERE session = ? AND sender = ? AND number <= ?")
            .bind(session)
            .bind(&text)
            .bind(number)
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Checkpoints that cover more than is covered now turned out to be wrong: they count no more.
    async fn discount(&self, write: &mut Transaction, session: &str, log: &Log) -> Result<(), StoreError> {
        let counted: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT serial, item FROM updates WHERE session = ? AND covers = 2")
                .bind(session)
                .fetch_all(&mut **write)
                .await?;
        for (serial, item) in counted {
            let update: Verified<Update> = from_blob(TABLE, &item)?;
            if update.covered().iter().any(|link| link.number > log.base(&link.chain)) {
                sqlx::query("UPDATE updates SET covers = 1 WHERE session = ? AND serial = ?")
                    .bind(session)
                    .bind(serial)
                    .execute(&mut **write)
                    .await?;
            }
        }
        Ok(())
    }

    /// By the checkpoint with that serial this node has passed over what it has not had.
    pub async fn landed(
        &self,
        write: &mut Transaction,
        session: SessionId,
        serial: u64,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE groups SET landed = ? WHERE session = ?")
            .bind(i64::try_from(serial).unwrap_or(i64::MAX))
            .bind(session.to_string())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// What the updates of `sender` that are here weigh, bytes.
    pub async fn weight(
        &self,
        write: &mut Transaction,
        session: SessionId,
        sender: PeerId,
    ) -> Result<u64, StoreError> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(size), 0) FROM updates WHERE session = ? AND (sender = ? OR sender GLOB ?)",
        )
        .bind(session.to_string())
        .bind(sender.to_string())
        .bind(format!("{sender}/*"))
        .fetch_one(&mut **write)
        .await?;
        Ok(bytes.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use parlor_proto::{group::Heads, identity::Identity, rights::sign};

    use super::*;

    const SESSION: SessionId = SessionId([3; 16]);

    fn identity(seed: u8) -> Identity {
        Identity::from_seed(&[seed; 32])
    }

    /// The next of that sender, as a log has it.
    fn next(log: &mut Log, seed: u8, len: usize, term: Option<u32>) -> Verified<Update> {
        let chain = identity(seed).peer().into();
        let update =
            sign(&log.compose(SESSION, chain, Timestamp(0), vec![7; len], term), &identity(seed)).unwrap();
        match term {
            Some(_) => drop(log.covered(&update)),
            None => log.appended(&update),
        }
        update
    }

    async fn store(dir: &Path) -> Store {
        Store::open(&dir.join("parlor.db")).await.unwrap()
    }

    async fn put(store: &Store, first: u64, updates: &[Verified<Update>]) {
        let mut write = store.write().await.unwrap();
        for (serial, update) in (first..).zip(updates) {
            store.put_update(&mut write, serial, update).await.unwrap();
        }
        write.commit().await.unwrap();
    }

    #[tokio::test]
    async fn each_run_has_a_higher_number_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let mut last = 0;
        for now in [0, 0, 5_000, 4_000, 0, 6_000] {
            let boot = store.raise_boot(SESSION, Timestamp(now)).await.unwrap();
            assert!(boot > last && boot >= now, "{boot} after {last}");
            last = boot;
        }
        let other = store.raise_boot(SessionId([4; 16]), Timestamp(0)).await.unwrap();
        assert_eq!(other, 1, "each session has its own");
    }

    async fn let_go(store: &Store, checkpoint: &Verified<Update>, log: &Log, serial: u64) -> Transaction {
        let mut write = store.write().await.unwrap();
        let chains: Vec<_> = checkpoint.covered().iter().map(|link| link.chain).collect();
        store.let_go(&mut write, checkpoint, &chains, log, serial).await.unwrap();
        write
    }

    #[tokio::test]
    async fn what_is_let_go_of_stays_known() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let (one, two) = (identity(1).peer(), identity(2).peer());
        let mut log = Log::default();
        let mut said: Vec<_> =
            [(1, 10), (1, 10), (2, 500)].map(|(seed, len)| next(&mut log, seed, len, None)).into();
        let checkpoint =
            sign(&log.compose(SESSION, one.into(), Timestamp(0), vec![8], Some(0)), &identity(1)).unwrap();
        // Said at the same time.
        said.push(next(&mut log, 2, 70_000, None));
        log.covered(&checkpoint);
        said.push(checkpoint.clone());
        put(&store, 1, &said).await;
        let (before, serial) = store.log(SESSION).await.unwrap();
        assert_eq!((before.heads(), serial), (&Heads::from([(one, 3), (two, 2)]), 5));

        let mut write = let_go(&store, &checkpoint, &log, 7).await;
        let weight = store.weight(&mut write, SESSION, two).await.unwrap();
        assert_eq!(weight, said[3].bytes().len() as u64);
        drop(write);
        assert_eq!(store.log(SESSION).await.unwrap().1, 5, "not without a commit");
        let_go(&store, &checkpoint, &log, 7).await.commit().await.unwrap();

        let (after, serial) = store.log(SESSION).await.unwrap();
        assert_eq!((after.heads(), after.bases(), serial), (log.heads(), log.bases(), 7));
        assert_eq!((after.head(&one.into()), after.depth()), (log.head(&one.into()), log.depth()));
        let left = store.updates_after(SESSION, 0, 10).await.unwrap();
        assert_eq!(
            left.iter().map(|one| (one.serial, one.counts)).collect::<Vec<_>>(),
            [(4, false), (5, true)]
        );
        assert_eq!(store.checkpoints(SESSION).await.unwrap(), [checkpoint]);
    }

    #[tokio::test]
    async fn what_somebody_lacks_comes_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let mut log = Log::default();
        let turns = [1, 2, 3, 2, 1, 1, 3, 2, 1, 3].into_iter().cycle().take(90);
        let said: Vec<_> = turns.map(|seed| next(&mut log, seed, 10, None)).collect();
        // Told here in another order than they were said.
        let mut here = said.clone();
        here.sort_by_key(|update| (update.chain, update.number));
        put(&store, 1, &here).await;

        let (mut have, mut got) = (Heads::default(), Vec::new());
        loop {
            let lacking = log.heads().ahead_of(&have).collect();
            let room = super::super::updates::Room { updates: 7, bytes: 1 << 20 };
            let (page, more) = store.updates_lacking(SESSION, lacking, room).await.unwrap();
            assert_eq!(more, got.len() + page.len() < said.len());
            page.iter().for_each(|update| have.raise(update.chain, update.number));
            got.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(got, said);
        let room = super::super::updates::Room { updates: 100, bytes: 1 };
        let (page, more) = store
            .updates_lacking(SESSION, log.heads().ahead_of(&Heads::default()).collect(), room)
            .await
            .unwrap();
        assert_eq!((page.len(), more), (1, true), "one at least");
    }

    #[tokio::test]
    async fn another_chain_is_another_after_each_restore() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        assert_eq!(store.own_chain(SESSION).await.unwrap(), 0);
        let mut last = 0;
        for now in [0, 5_000, 4_000] {
            let start = store.begin_chain(SESSION, Timestamp(now)).await.unwrap();
            assert!(start > last && start >= now);
            assert_eq!(store.own_chain(SESSION).await.unwrap(), start);
            last = start;
        }
    }

    #[tokio::test]
    async fn nothing_of_a_session_that_is_removed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let mut log = Log::default();
        let said = [next(&mut log, 1, 10, None), next(&mut log, 1, 10, Some(0))];
        put(&store, 1, &said).await;
        store.raise_boot(SESSION, Timestamp(0)).await.unwrap();
        let_go(&store, &said[1], &log, 2).await.commit().await.unwrap();
        store.remove_session(SESSION).await.unwrap();
        for table in ["updates", "groups", "bases"] {
            let count = format!("SELECT count(*) FROM {table}");
            let rows: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(store.pool()).await.unwrap();
            assert_eq!(rows, 0, "{table}");
        }
    }
}
