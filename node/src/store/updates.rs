//! The updates of sessions, in this node's order.

use parlor_proto::{
    group::{Heads, Update},
    identity::PeerId,
    ids::SessionId,
    rights::Verified,
};

use super::{Store, StoreError, Transaction, from_blob, parse, to_blob};

const TABLE: &str = "updates";

/// One update with its place in this node's order.
#[derive(Debug, Clone)]
pub struct StoredUpdate {
    /// From 1, without gaps.
    pub serial: u64,
    /// The update.
    pub update: Verified<Update>,
}

impl Store {
    /// Appends an update. `serial` must be the next one.
    pub async fn put_update(
        &self,
        write: &mut Transaction,
        serial: u64,
        update: &Verified<Update>,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO updates (session, serial, sender, number, item) VALUES (?, ?, ?, ?, ?)")
            .bind(update.session.to_string())
            .bind(serial.cast_signed())
            .bind(update.sender.to_string())
            .bind(update.number.cast_signed())
            .bind(to_blob(update))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// What is here of a session: one number a sender, and the newest serial.
    pub async fn heads(&self, session: SessionId) -> Result<(Heads, u64), StoreError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT sender, max(number), max(serial) FROM updates WHERE session = ? GROUP BY sender",
        )
        .bind(session.to_string())
        .fetch_all(self.pool())
        .await?;
        let mut heads = Heads::default();
        let mut newest = 0;
        for (sender, number, serial) in rows {
            heads.0.insert(parse(TABLE, &sender)?, number.unsigned_abs());
            newest = newest.max(serial.unsigned_abs());
        }
        Ok((heads, newest))
    }

    /// Up to `most` updates with a serial above `serial`, in order.
    pub async fn updates_after(
        &self,
        session: SessionId,
        serial: u64,
        most: usize,
    ) -> Result<Vec<StoredUpdate>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT serial, item FROM updates WHERE session = ? AND serial > ? ORDER BY serial LIMIT ?",
        )
        .bind(session.to_string())
        .bind(i64::try_from(serial).unwrap_or(i64::MAX))
        .bind(most as i64)
        .fetch_all(self.pool())
        .await?;
        rows.into_iter()
            .map(|(serial, item)| {
                Ok(StoredUpdate { serial: serial.unsigned_abs(), update: from_blob(TABLE, &item)? })
            })
            .collect()
    }

    /// Up to `most` updates of `sender` numbered above `number`, in order.
    pub async fn updates_of(
        &self,
        session: SessionId,
        sender: PeerId,
        number: u64,
        most: usize,
    ) -> Result<Vec<Verified<Update>>, StoreError> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT item FROM updates WHERE session = ? AND sender = ? AND number > ? ORDER BY number LIMIT ?",
        )
        .bind(session.to_string())
        .bind(sender.to_string())
        .bind(i64::try_from(number).unwrap_or(i64::MAX))
        .bind(most as i64)
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(|item| from_blob(TABLE, item)).collect()
    }
}
