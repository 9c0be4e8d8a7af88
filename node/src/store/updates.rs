//! The updates of sessions, in this node's order.

use futures::TryStreamExt as _;
use parlor_proto::{group::Update, identity::PeerId, ids::SessionId, rights::Verified};

use super::{Store, StoreError, Transaction, from_blob, to_blob};

const TABLE: &str = "updates";

/// One update with its place in this node's order.
#[derive(Debug, Clone)]
pub struct StoredUpdate {
    /// From 1, in the order in which they came; with gaps where a checkpoint replaced some.
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
        sqlx::query(
            "INSERT INTO updates (session, serial, sender, number, item, size, covers)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(update.session.to_string())
        .bind(serial.cast_signed())
        .bind(update.sender.to_string())
        .bind(update.number.cast_signed())
        .bind(to_blob(update))
        .bind(update.bytes().len() as i64)
        .bind(update.covers.is_some())
        .execute(&mut **write)
        .await?;
        Ok(())
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

    /// Updates of `sender` numbered above `number`, in order: up to `most`, and no more once they weigh `most_bytes`
    /// together.
    pub async fn updates_of(
        &self,
        session: SessionId,
        sender: PeerId,
        number: u64,
        most: usize,
        most_bytes: usize,
    ) -> Result<Vec<Verified<Update>>, StoreError> {
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT item FROM updates WHERE session = ? AND sender = ? AND number > ? ORDER BY number LIMIT ?",
        )
        .bind(session.to_string())
        .bind(sender.to_string())
        .bind(i64::try_from(number).unwrap_or(i64::MAX))
        .bind(most as i64)
        .fetch(self.pool());
        let (mut updates, mut bytes) = (Vec::new(), 0);
        while bytes < most_bytes
            && let Some(item) = rows.try_next().await?
        {
            let update: Verified<Update> = from_blob(TABLE, &item)?;
            bytes += update.bytes().len();
            updates.push(update);
        }
        Ok(updates)
    }

    /// The newest update of `sender` that says it replaces others.
    pub async fn newest_checkpoint(
        &self,
        session: SessionId,
        sender: PeerId,
    ) -> Result<Option<Verified<Update>>, StoreError> {
        let item: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT item FROM updates WHERE session = ? AND sender = ? AND covers = 1
             ORDER BY number DESC LIMIT 1",
        )
        .bind(session.to_string())
        .bind(sender.to_string())
        .fetch_optional(self.pool())
        .await?;
        item.map(|item| from_blob(TABLE, &item)).transpose()
    }
}
