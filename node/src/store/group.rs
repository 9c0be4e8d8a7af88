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
