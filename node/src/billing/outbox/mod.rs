//! A node's receipts on their way to a billing peer: a queue that survives everything.
//!
//! For: keeping each receipt until one of its ticket's billing peers has signed for it. Not for: sending (see
//! [`courier`]), nor for the answer itself (see [`super::service`]).
//!
//! A receipt is written in the transaction of what it reports ([`Outbox::enqueue`]), so that there is no
//! moment at which a copy is here and its receipt is not. It leaves the queue in one of two ways: a billing
//! peer signed an answer, or each of them refused it for good. Both are kept, and shown.
//!
//! Slots that were given back ([`links`]) go the same way, but to each of the billing peers, and are forgotten then.

pub mod courier;
mod links;

use std::{sync::Arc, time::Duration};

use parlor_proto::{
    billing::BillingRequest,
    identity::PeerId,
    ids::{ReceiptHash, ReleaseHash},
    rights::{Ack, Receipt, Right, Signed, SignedRight, Verdict, Verified},
    time::Timestamp,
};
use serde::Serialize;
use sqlx::{Row as _, Sqlite, sqlite::SqliteRow};
use tokio::sync::Notify;

use crate::{
    clock::rfc3339,
    database::{Connection, Pool},
};

/// Time to the second try, after all billing peers failed once. Doubles with each round.
pub const FIRST_DELAY: Duration = Duration::from_secs(2);

/// Longest time between two tries.
pub const MAX_DELAY: Duration = Duration::from_secs(15 * 60);

/// Most receipts taken out of the queue at once.
const MAX_DUE: i64 = 64;

/// Longest reason kept, characters.
const MAX_REASON: usize = 300;

/// The queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    pool: Pool<Sqlite>,
    wake: Arc<Notify>,
}

/// Why the queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database failed.
    #[error("the node's database: {0}")]
    Database(#[from] sqlx::Error),
    /// Somebody else wrote into it.
    #[error("the node's database holds something unreadable in outbox: restore it from a backup")]
    Unreadable,
}

/// Something whose time to be sent has come.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// What.
    pub what: What,
    /// To whom.
    pub billing: PeerId,
    /// What to send.
    pub request: BillingRequest,
}

/// What goes to a billing peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A receipt, until one of its billing peers has signed for it.
    Receipt(ReceiptHash),
    /// The release of a slot, until this billing peer has written it down.
    Link(ReleaseHash),
}

/// Where a receipt is. Serializes to what `outbox` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxEntry {
    /// Which.
    pub receipt: ReceiptHash,
    /// "received", "started", "used" or "ended".
    pub kind: &'static str,
    /// Name of the program.
    pub name: String,
    /// When it happened, RFC 3339.
    pub at: String,
    /// "pending", "acked" or "refused".
    pub state: String,
    /// Who is asked next, or was last.
    pub billing: PeerId,
    /// How often it could not be delivered.
    pub attempts: u64,
    /// When it is tried next, RFC 3339; `None` if it is settled.
    pub next: Option<String>,
    /// Why the last try failed, or why it was refused.
    pub reason: Option<String>,
    /// Its position in the billing log, once it is acknowledged.
    pub position: Option<u64>,
}

impl Outbox {
    /// The queue in a node's database, whose tables exist.
    #[must_use]
    pub fn new(pool: Pool<Sqlite>) -> Self {
        Self { pool, wake: Arc::new(Notify::new()) }
    }

    /// Adds a receipt, in the caller's transaction. [`wake`](Self::wake) once that is committed. The same
    /// receipt again changes nothing, and where nobody counts, nothing is queued.
    pub async fn enqueue(
        &self,
        connection: &mut Connection<Sqlite>,
        right: &Right,
        receipt: &Verified<Receipt>,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let billing = &right.ticket().billing;
        let Some(first) = billing.first() else {
            return Ok(());
        };
        // Writing to memory cannot fail, and a right always serializes.
        let rights = cbor4ii::serde::to_vec(Vec::new(), &right.to_signed()).expect("a right serializes");
        let receipt_id = receipt.hash().to_string();
        let query = "INSERT INTO outbox (receipt, envelope, rights, enqueued_at, next_at, next_peer) \
                     VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT DO NOTHING";
        let added = sqlx::query(query)
            .bind(&receipt_id)
            .bind(receipt.bytes())
            .bind(rights)
            .bind(to_column(now))
            .bind(first.to_string())
            .execute(&mut *connection)
            .await?;
        if added.rows_affected() == 0 {
            return Ok(());
        }
        for (number, peer) in (0i64..).zip(billing) {
            sqlx::query("INSERT INTO outbox_peers (receipt, number, peer) VALUES (?, ?, ?)")
                .bind(&receipt_id)
                .bind(number)
                .bind(peer.to_string())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    /// Tells the courier to look for new receipts.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// `peer` can be reached now: what it may acknowledge is due, and for it.
    pub async fn peer_connected(&self, peer: PeerId, now: Timestamp) -> Result<(), OutboxError> {
        let query = "UPDATE outbox SET next_at = ?1, next_peer = ?2 WHERE state = 'pending' AND EXISTS \
                     (SELECT 1 FROM outbox_peers p \
                      WHERE p.receipt = outbox.receipt AND p.peer = ?2 AND p.refusal IS NULL)";
        let moved =
            sqlx::query(query).bind(to_column(now)).bind(peer.to_string()).execute(&self.pool).await?;
        if moved.rows_affected() + self.hurry_links(peer, now).await? > 0 {
            self.wake();
        }
        Ok(())
    }

    /// What is to be sent at `now`, in order, a bounded number of each kind. What is due absurdly late, because
    /// the clock was set back, is due as well.
    pub async fn due(&self, now: Timestamp) -> Result<Vec<Parcel>, OutboxError> {
        let query = "SELECT receipt, envelope, rights, next_peer FROM outbox \
                     WHERE state = 'pending' AND (next_at <= ?1 OR next_at > ?2) ORDER BY serial LIMIT ?3";
        let rows = sqlx::query(query)
            .bind(to_column(now))
            .bind(to_column(now + MAX_DELAY))
            .bind(MAX_DUE)
            .fetch_all(&self.pool)
            .await?;
        let receipts = rows.iter().map(parcel).collect::<Result<Vec<_>, _>>()?;
        Ok(receipts.into_iter().chain(self.due_links(now).await?).collect())
    }

    /// How long until the next one that is not due at `now`, if there is one.
    pub async fn next_due_in(&self, now: Timestamp) -> Result<Option<Duration>, OutboxError> {
        let query = "SELECT MIN(next_at) FROM (SELECT next_at FROM outbox WHERE state = 'pending' \
                     UNION ALL SELECT next_at FROM outbox_links) WHERE next_at > ?";
        let next: Option<i64> = sqlx::query_scalar(query).bind(to_column(now)).fetch_one(&self.pool).await?;
        Ok(next.map(|next| from_column(next).since(now)))
    }

    /// A billing peer signed for it: done. The caller has checked that it is the peer asked, and the receipt.
    pub async fn acked(&self, ack: &Verified<Ack>) -> Result<(), OutboxError> {
        let (state, reason) = match ack.verdict {
            Verdict::Accepted => ("acked", None),
            Verdict::Refused(refusal) => ("refused", Some(refusal.to_string())),
        };
        let query = "UPDATE outbox SET state = ?, ack = ?, reason = ?, next_peer = ? \
                     WHERE receipt = ? AND state = 'pending'";
        sqlx::query(query)
            .bind(state)
            .bind(ack.bytes())
            .bind(reason)
            .bind(ack.billing.to_string())
            .bind(ack.receipt.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// It could not be delivered to `billing`: later, or to the next one. After each round of all billing peers
    /// the wait gets longer, up to [`MAX_DELAY`].
    pub async fn failed(
        &self,
        receipt: ReceiptHash,
        billing: PeerId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let mut tx = self.pool.begin().await?;
        let query = "UPDATE outbox SET attempts = attempts + 1, reason = ? \
                     WHERE receipt = ? AND state = 'pending' RETURNING attempts";
        let attempts: Option<i64> = sqlx::query_scalar(query)
            .bind(shortened(reason))
            .bind(receipt.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let peers = open_peers(&mut tx, receipt).await?;
        if let (Some(attempts), Some(next)) = (attempts, after(&peers, billing)) {
            let at = now + delay(attempts.unsigned_abs(), peers.len() as u64);
            schedule(&mut tx, receipt, next, at).await?;
        }
        Ok(tx.commit().await?)
    }

    /// `billing` refused it for good. The next one is asked at once; if there is none, it stays refused.
    pub async fn refused(
        &self,
        receipt: ReceiptHash,
        billing: PeerId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let mut tx = self.pool.begin().await?;
        let before = open_peers(&mut tx, receipt).await?;
        sqlx::query("UPDATE outbox_peers SET refusal = ? WHERE receipt = ? AND peer = ?")
            .bind(shortened(reason))
            .bind(receipt.to_string())
            .bind(billing.to_string())
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE outbox SET reason = ? WHERE receipt = ? AND state = 'pending'")
            .bind(shortened(reason))
            .bind(receipt.to_string())
            .execute(&mut *tx)
            .await?;
        match after(&before, billing).filter(|next| *next != billing) {
            Some(next) => schedule(&mut tx, receipt, next, now).await?,
            None => {
                sqlx::query("UPDATE outbox SET state = 'refused' WHERE receipt = ? AND state = 'pending'")
                    .bind(receipt.to_string())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Every receipt that is not acknowledged, in order: those on their way, and those refused.
    pub async fn unacknowledged(&self) -> Result<Vec<OutboxEntry>, OutboxError> {
        self.entries("SELECT * FROM outbox WHERE state != 'acked' ORDER BY serial").await
    }

    /// Every receipt there ever was, in order.
    pub async fn all(&self) -> Result<Vec<OutboxEntry>, OutboxError> {
        self.entries("SELECT * FROM outbox ORDER BY serial").await
    }

    async fn entries(&self, query: &'static str) -> Result<Vec<OutboxEntry>, OutboxError> {
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        rows.iter().map(entry).collect()
    }
}

/// The billing peers that have not refused it, in order.
async fn open_peers(
    connection: &mut Connection<Sqlite>,
    receipt: ReceiptHash,
) -> Result<Vec<PeerId>, OutboxError> {
    let query = "SELECT peer FROM outbox_peers WHERE receipt = ? AND refusal IS NULL ORDER BY number";
    let peers: Vec<String> =
        sqlx::query_scalar(query).bind(receipt.to_string()).fetch_all(connection).await?;
    peers.iter().map(|peer| peer.parse().map_err(|_| OutboxError::Unreadable)).collect()
}

/// The one after `peer`, going round; the first if it is not in the list.
fn after(peers: &[PeerId], peer: PeerId) -> Option<PeerId> {
    let next = peers.iter().position(|other| *other == peer).map_or(0, |index| index + 1);
    peers.get(next).or(peers.first()).copied()
}

/// How long to wait after so many failed attempts at so many peers: not at all within a round.
fn delay(attempts: u64, peers: u64) -> Duration {
    let peers = peers.max(1);
    if !attempts.is_multiple_of(peers) {
        return Duration::ZERO;
    }
    // Above 2^20 times the first delay, the bound holds anyway.
    let doublings = (attempts / peers).saturating_sub(1).min(20) as u32;
    (FIRST_DELAY * 2u32.pow(doublings)).min(MAX_DELAY)
}

async fn schedule(
    connection: &mut Connection<Sqlite>,
    receipt: ReceiptHash,
    next: PeerId,
    at: Timestamp,
) -> Result<(), OutboxError> {
    sqlx::query("UPDATE outbox SET next_peer = ?, next_at = ? WHERE receipt = ? AND state = 'pending'")
        .bind(next.to_string())
        .bind(to_column(at))
        .bind(receipt.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

fn parcel(row: &SqliteRow) -> Result<Parcel, OutboxError> {
    let (right, receipt) = contents(row)?;
    Ok(Parcel {
        what: What::Receipt(id(row)?),
        billing: peer(row)?,
        request: BillingRequest::Submit { right: Box::new(right), receipt },
    })
}

fn entry(row: &SqliteRow) -> Result<OutboxEntry, OutboxError> {
    let (right, receipt) = contents(row)?;
    let ack: Option<Vec<u8>> = row.try_get("ack")?;
    let ack = ack.map(|bytes| Signed::<Ack>::decode(&bytes).map_err(|_| OutboxError::Unreadable));
    let state: String = row.try_get("state")?;
    let next = (state == "pending").then(|| row.try_get("next_at")).transpose()?;
    Ok(OutboxEntry {
        receipt: id(row)?,
        kind: receipt.unverified().kind.name(),
        name: right.ticket.unverified().name.clone(),
        at: rfc3339(receipt.unverified().at),
        state,
        billing: peer(row)?,
        attempts: row.try_get::<i64, _>("attempts")?.unsigned_abs(),
        next: next.map(|next| rfc3339(from_column(next))),
        reason: row.try_get("reason")?,
        position: ack.transpose()?.map(|ack| ack.unverified().position),
    })
}

fn contents(row: &SqliteRow) -> Result<(SignedRight, Signed<Receipt>), OutboxError> {
    let right = cbor4ii::serde::from_slice(row.try_get("rights")?).map_err(|_| OutboxError::Unreadable)?;
    let receipt = Signed::decode(row.try_get("envelope")?).map_err(|_| OutboxError::Unreadable)?;
    Ok((right, receipt))
}

fn id(row: &SqliteRow) -> Result<ReceiptHash, OutboxError> {
    row.try_get::<&str, _>("receipt")?.parse().map_err(|_| OutboxError::Unreadable)
}

fn peer(row: &SqliteRow) -> Result<PeerId, OutboxError> {
    row.try_get::<&str, _>("next_peer")?.parse().map_err(|_| OutboxError::Unreadable)
}

fn to_column(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn from_column(time: i64) -> Timestamp {
    Timestamp(u64::try_from(time).unwrap_or_default())
}

/// What a peer says is kept, but not any amount of it, and on one line.
fn shortened(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}
