//! A session's group on disk: what is there of its log, and which run of this node this is.

use std::collections::BTreeMap;

use parlor_proto::{
    group::{Heads, Log},
    identity::PeerId,
    ids::SessionId,
    time::Timestamp,
};

use super::{Store, StoreError, Transaction, parse};

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
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "SELECT sender, max(number), max(serial), sum(size) FROM updates WHERE session = ? GROUP BY sender",
        )
        .bind(session.to_string())
        .fetch_all(self.pool())
        .await?;
        let serial: Option<i64> = sqlx::query_scalar("SELECT serial FROM groups WHERE session = ?")
            .bind(session.to_string())
            .fetch_optional(self.pool())
            .await?;
        let (mut heads, mut bytes) = (Heads::default(), BTreeMap::new());
        let mut newest = serial.unwrap_or(0).unsigned_abs();
        for (sender, number, serial, size) in rows {
            let sender = parse(TABLE, &sender)?;
            heads.0.insert(sender, number.unsigned_abs());
            bytes.insert(sender, size.unsigned_abs());
            newest = newest.max(serial.unsigned_abs());
        }
        Ok((Log::new(heads, self.bases(session).await?, bytes), newest))
    }

    async fn bases(&self, session: SessionId) -> Result<Heads, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT sender, number FROM bases WHERE session = ?")
            .bind(session.to_string())
            .fetch_all(self.pool())
            .await?;
        let base = |(sender, number): (String, i64)| Ok((parse("bases", &sender)?, number.unsigned_abs()));
        Ok(Heads(rows.into_iter().map(base).collect::<Result<_, StoreError>>()?))
    }

    /// A checkpoint covers: notes up to where, and deletes what it replaces. `serial`: the newest now.
    pub async fn let_go(
        &self,
        write: &mut Transaction,
        session: SessionId,
        covers: &Heads,
        serial: u64,
    ) -> Result<(), StoreError> {
        let session = session.to_string();
        for (sender, number) in &covers.0 {
            let (sender, number) = (sender.to_string(), i64::try_from(*number).unwrap_or(i64::MAX));
            sqlx::query(
                "INSERT INTO bases (session, sender, number) VALUES (?, ?, ?)
                 ON CONFLICT (session, sender) DO UPDATE SET number = max(number, excluded.number)",
            )
            .bind(&session)
            .bind(&sender)
            .bind(number)
            .execute(&mut **write)
            .await?;
            sqlx::query("DELETE FROM updates WHERE session = ? AND sender = ? AND number <= ?")
                .bind(&session)
                .bind(&sender)
                .bind(number)
                .execute(&mut **write)
                .await?;
        }
        sqlx::query(
            "INSERT INTO groups (session, serial) VALUES (?, ?)
             ON CONFLICT (session) DO UPDATE SET serial = max(serial, excluded.serial)",
        )
        .bind(&session)
        .bind(i64::try_from(serial).unwrap_or(i64::MAX))
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
        let bytes: i64 =
            sqlx::query_scalar("SELECT coalesce(sum(size), 0) FROM updates WHERE session = ? AND sender = ?")
                .bind(session.to_string())
                .bind(sender.to_string())
                .fetch_one(&mut **write)
                .await?;
        Ok(bytes.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use parlor_proto::{
        group::Update,
        identity::Identity,
        rights::{Verified, sign},
    };
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::store::{open::MIGRATIONS, to_blob};

    const SESSION: SessionId = SessionId([3; 16]);

    fn identity(seed: u8) -> Identity {
        Identity::from_seed(&[seed; 32])
    }

    fn update(seed: u8, number: u64, len: usize) -> Verified<Update> {
        let sender = identity(seed).peer();
        let (payload, at) = (vec![7; len], Timestamp(0));
        let update = Update { session: SESSION, sender, number, at, payload, covers: None };
        sign(&update, &identity(seed)).unwrap()
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

    #[tokio::test]
    async fn what_is_let_go_of_stays_known() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let said = [update(1, 1, 10), update(1, 2, 10), update(2, 1, 500), update(2, 2, 70_000)];
        put(&store, 1, &said).await;
        let (one, two) = (identity(1).peer(), identity(2).peer());
        let (log, serial) = store.log(SESSION).await.unwrap();
        assert_eq!((log.heads(), serial), (&Heads([(one, 2), (two, 2)].into()), 4));
        let covers = Heads([(one, 9), (two, 1)].into());
        let mut write = store.write().await.unwrap();
        store.let_go(&mut write, SESSION, &covers, 6).await.unwrap();
        let weight = store.weight(&mut write, SESSION, two).await.unwrap();
        assert_eq!(weight, said[3].bytes().len() as u64);
        drop(write);
        assert_eq!(store.log(SESSION).await.unwrap().1, 4, "not without a commit");
        let mut write = store.write().await.unwrap();
        store.let_go(&mut write, SESSION, &covers, 6).await.unwrap();
        store.let_go(&mut write, SESSION, &Heads([(one, 3)].into()), 5).await.unwrap();
        write.commit().await.unwrap();
        let (log, serial) = store.log(SESSION).await.unwrap();
        assert_eq!((log.heads(), log.bases()), (&Heads([(one, 9), (two, 2)].into()), &covers));
        assert_eq!(serial, 6);
        assert_eq!(store.updates_after(SESSION, 0, 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn nothing_of_a_session_that_is_removed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        put(&store, 1, &[update(1, 1, 10)]).await;
        store.raise_boot(SESSION, Timestamp(0)).await.unwrap();
        let mut write = store.write().await.unwrap();
        store.let_go(&mut write, SESSION, &Heads([(identity(1).peer(), 1)].into()), 1).await.unwrap();
        write.commit().await.unwrap();
        store.remove_session(SESSION).await.unwrap();
        for table in ["updates", "groups", "bases"] {
            let count = format!("SELECT count(*) FROM {table}");
            let rows: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(store.pool()).await.unwrap();
            assert_eq!(rows, 0, "{table}");
        }
    }

    #[tokio::test]
    async fn updates_of_an_older_database_weigh_what_they_weigh() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let migrations = MIGRATIONS.migrations.iter().filter(|one| one.version <= 2).cloned().collect();
        let migrator = sqlx::migrate::Migrator { migrations, ..sqlx::migrate::Migrator::DEFAULT };
        migrator.run(&old).await.unwrap();
        let said: Vec<_> = (1..).zip([0, 10, 50, 60, 65_250, 65_300, 100_000]).collect();
        for (number, len) in &said {
            let update = update(1, *number, *len);
            sqlx::query("INSERT INTO updates (session, serial, sender, number, item) VALUES (?, ?, ?, ?, ?)")
                .bind(SESSION.to_string())
                .bind(number.cast_signed())
                .bind(update.sender.to_string())
                .bind(number.cast_signed())
                .bind(to_blob(&update))
                .execute(&old)
                .await
                .unwrap();
        }
        old.close().await;
        let store = store(dir.path()).await;
        for stored in store.updates_after(SESSION, 0, 10).await.unwrap() {
            let size: i64 = sqlx::query_scalar("SELECT size FROM updates WHERE serial = ?")
                .bind(stored.serial.cast_signed())
                .fetch_one(store.pool())
                .await
                .unwrap();
            assert_eq!(size.unsigned_abs(), stored.update.bytes().len() as u64);
        }
    }
}
