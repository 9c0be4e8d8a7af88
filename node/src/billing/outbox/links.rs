//! Slots that were given back, on their way to the billing peers of their ticket.
//!
//! For: what a billing peer needs to know so that the next holder of a number does not count as a second one. Not for:
//! receipts (see [`super`]). A link is worth nothing to the node that sends it, so it goes once it has arrived.

use parlor_proto::{
    billing::BillingRequest,
    identity::PeerId,
    ids::ReleaseHash,
    rights::{Release, Right, Signed, Verified},
    time::Timestamp,
};
use sqlx::{Row as _, Sqlite, sqlite::SqliteRow};

use super::{MAX_DELAY, MAX_DUE, Outbox, OutboxError, Parcel, What, delay, to_column};
use crate::database::Connection;

/// Most links kept. If there are more, billing peers have not been there for very long, and the oldest are given up.
const MAX_LINKS: i64 = 100_000;

impl Outbox {
    /// Adds a slot that was given back, for each of its billing peers, in the caller's transaction.
    /// [`wake`](Self::wake) once that is committed. The same release again changes nothing.
    pub async fn enqueue_link(
        &self,
        connection: &mut Connection<Sqlite>,
        right: &Right,
        release: &Verified<Release>,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        // Writing to memory cannot fail, and a right always serializes.
        let rights = cbor4ii::serde::to_vec(Vec::new(), &right.to_signed()).expect("a right serializes");
        for peer in &right.ticket().billing {
            let query = "INSERT INTO outbox_links (release, peer, envelope, rights, next_at) \
                         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
            sqlx::query(query)
                .bind(release.hash().to_string())
                .bind(peer.to_string())
                .bind(release.bytes())
                .bind(&rights)
                .bind(to_column(now))
                .execute(&mut *connection)
                .await?;
        }
        let excess = "DELETE FROM outbox_links WHERE serial <= (SELECT MAX(serial) FROM outbox_links) - ?";
        sqlx::query(excess).bind(MAX_LINKS).execute(&mut *connection).await?;
        Ok(())
    }

    /// How many links are on their way.
    pub async fn links(&self) -> Result<u64, OutboxError> {
        let query = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM outbox_links");
        Ok(query.fetch_one(&self.pool).await?.unsigned_abs())
    }

    /// Those to be sent at `now`, in order, a bounded number of them.
    pub(super) async fn due_links(&self, now: Timestamp) -> Result<Vec<Parcel>, OutboxError> {
        let query = "SELECT release, peer, envelope, rights FROM outbox_links \
                     WHERE next_at <= ?1 OR next_at > ?2 ORDER BY serial LIMIT ?3";
        let rows = sqlx::query(query)
            .bind(to_column(now))
            .bind(to_column(now + MAX_DELAY))
            .bind(MAX_DUE)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(parcel).collect()
    }

    /// `peer` can be reached now. Returns how many are for it.
    pub(super) async fn hurry_links(&self, peer: PeerId, now: Timestamp) -> Result<u64, OutboxError> {
        let query = sqlx::query("UPDATE outbox_links SET next_at = ? WHERE peer = ?");
        let moved = query.bind(to_column(now)).bind(peer.to_string()).execute(&self.pool).await?;
        Ok(moved.rows_affected())
    }

    /// It could not be delivered: later.
    pub(super) async fn link_failed(
        &self,
        release: ReleaseHash,
        peer: PeerId,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let query = "SELECT attempts FROM outbox_links WHERE release = ? AND peer = ?";
        let query = sqlx::query_scalar::<_, i64>(query).bind(release.to_string()).bind(peer.to_string());
        let Some(attempts) = query.fetch_optional(&self.pool).await? else { return Ok(()) };
        let at = now + delay(attempts.unsigned_abs() + 1, 1);
        let query =
            "UPDATE outbox_links SET attempts = attempts + 1, next_at = ? WHERE release = ? AND peer = ?";
        let query = sqlx::query(query).bind(to_column(at)).bind(release.to_string()).bind(peer.to_string());
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// `peer` has written it down, or does not want it.
    pub(super) async fn link_settled(&self, release: ReleaseHash, peer: PeerId) -> Result<(), OutboxError> {
        let query = sqlx::query("DELETE FROM outbox_links WHERE release = ? AND peer = ?");
        query.bind(release.to_string()).bind(peer.to_string()).execute(&self.pool).await?;
        Ok(())
    }
}

fn parcel(row: &SqliteRow) -> Result<Parcel, OutboxError> {
    let right = cbor4ii::serde::from_slice(row.try_get("rights")?).map_err(|_| OutboxError::Unreadable)?;
    let release: Signed<Release> =
        Signed::decode(row.try_get("envelope")?).map_err(|_| OutboxError::Unreadable)?;
    Ok(Parcel {
        what: What::Link(row.try_get::<&str, _>("release")?.parse().map_err(|_| OutboxError::Unreadable)?),
        billing: row.try_get::<&str, _>("peer")?.parse().map_err(|_| OutboxError::Unreadable)?,
        request: BillingRequest::Released { right: Box::new(right), release },
    })
}
