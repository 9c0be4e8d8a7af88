//! One booking: a transaction that nobody else's booking overlaps.

use parlor_proto::{
    billing::{
        Charge,
        copies::{Place, Places},
    },
    identity::PeerId,
    ids::{ReceiptHash, TicketHash},
    rights::{Ack, EquivocationProof, Receipt, Right, Signed, Slot, Subject, Ticket, Verdict, Verified},
    time::Timestamp,
};
use sqlx::{Any, Row as _, any::AnyRow};

use super::{Book, BookError, from_column, to_column, to_time};
use crate::database::Transaction;

/// An open booking. Dropped without [`commit`](Self::commit), nothing of it happened.
pub(in crate::billing) struct Booking {
    tx: Transaction<Any>,
    /// The position that this booking takes in the log.
    pub(in crate::billing) position: u64,
}

/// What is in the log about a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::billing) struct Booked {
    pub(in crate::billing) position: u64,
    pub(in crate::billing) receipt: ReceiptHash,
    pub(in crate::billing) booked_at: Timestamp,
    pub(in crate::billing) ack: Signed<Ack>,
}

/// A row for the log.
pub(in crate::billing) struct NewRow<'a> {
    pub(in crate::billing) right: &'a Right,
    pub(in crate::billing) receipt: &'a Verified<Receipt>,
    pub(in crate::billing) subject: &'a Subject,
    pub(in crate::billing) ack: &'a Verified<Ack>,
    pub(in crate::billing) charges: &'a [Charge],
}

const LOG: &str = "billing_log";
const SLOTS: &str = "billing_slots";

impl Book {
    /// Begins a booking, once all others are done.
    pub(in crate::billing) async fn begin(&self) -> Result<Booking, BookError> {
        let mut tx = self.pool.begin().await?;
        // The first statement writes, which takes the lock in SQLite and in PostgreSQL.
        let next = "UPDATE billing_counter SET position = position + 1 WHERE id = 1 RETURNING position";
        let position: i64 = sqlx::query_scalar(next).fetch_one(&mut *tx).await?;
        Ok(Booking { tx, position: from_column("billing_counter", position)? })
    }
}

impl Book {
    /// Begins to write something down that takes no position in the log, once all bookings are done.
    pub(in crate::billing) async fn begin_note(&self) -> Result<Booking, BookError> {
        let mut tx = self.pool.begin().await?;
        let lock = "UPDATE billing_counter SET position = position WHERE id = 1 RETURNING position";
        let position: i64 = sqlx::query_scalar(lock).fetch_one(&mut *tx).await?;
        Ok(Booking { tx, position: from_column("billing_counter", position)? })
    }
}

impl Booking {
    /// What is in the log about this receipt, or about another one with the same subject.
    pub(in crate::billing) async fn find(
        &mut self,
        receipt: ReceiptHash,
        subject: &Subject,
    ) -> Result<Option<Booked>, BookError> {
        let query =
            "SELECT position, receipt, booked_at, ack FROM billing_log WHERE receipt = $1 OR subject = $2";
        let row = sqlx::query(query).bind(receipt.to_string()).bind(subject.to_string());
        let Some(row) = row.fetch_optional(&mut *self.tx).await? else {
            return Ok(None);
        };
        Ok(Some(Booked {
            position: from_column(LOG, row.try_get("position")?)?,
            receipt: super::parse(LOG, row.try_get("receipt")?)?,
            booked_at: to_time(LOG, row.try_get("booked_at")?)?,
            ack: decode(LOG, row.try_get("ack")?)?,
        }))
    }

    /// What is known of the number of `slot`, in its generation and in those next to it.
    pub(in crate::billing) async fn places_near(&mut self, slot: &Slot) -> Result<Places, BookError> {
        let query = "SELECT envelope, reported, released FROM billing_slots \
                     WHERE ticket = $1 AND k = $2 AND generation >= $3 AND generation <= $4";
        let generation = i64::from(slot.generation);
        let rows = sqlx::query(query)
            .bind(slot.ticket.to_string())
            .bind(i64::from(slot.k))
            .bind(generation - 1)
            .bind(generation + 1)
            .fetch_all(&mut *self.tx)
            .await?;
        rows.iter().map(place).collect()
    }

    /// Keeps what is known of a number, where that has changed.
    pub(in crate::billing) async fn keep_places(
        &mut self,
        before: &Places,
        now: &Places,
    ) -> Result<(), BookError> {
        let query = "INSERT INTO billing_slots (ticket, k, generation, envelope, reported, released) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (ticket, k, generation) \
                     DO UPDATE SET reported = excluded.reported, released = excluded.released";
        for place in now.iter().filter(|place| !before.iter().any(|known| known == *place)) {
            sqlx::query(query)
                .bind(place.slot.ticket.to_string())
                .bind(i64::from(place.slot.k))
                .bind(i64::from(place.slot.generation))
                .bind(hex::encode(place.slot.bytes()))
                .bind(i64::from(place.reported))
                .bind(i64::from(place.released))
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    /// How many members have a copy of this number, as far as is known.
    pub(in crate::billing) async fn holders(&mut self, slot: &Slot) -> Result<u64, BookError> {
        let query = "SELECT COUNT(*) FROM billing_slots \
                     WHERE ticket = $1 AND k = $2 AND reported = 1 AND released = 0";
        let query = sqlx::query_scalar(query).bind(slot.ticket.to_string()).bind(i64::from(slot.k));
        from_column(SLOTS, query.fetch_one(&mut *self.tx).await?)
    }

    /// Remembers the ticket.
    pub(in crate::billing) async fn keep_ticket(
        &mut self,
        ticket: &Verified<Ticket>,
        now: Timestamp,
    ) -> Result<(), BookError> {
        let query = "INSERT INTO billing_tickets \
                     (ticket, origin, host, program, name, copies, envelope, first_seen) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        sqlx::query(query)
            .bind(ticket.hash().to_string())
            .bind(ticket.origin.to_string())
            .bind(ticket.host.to_string())
            .bind(ticket.program.to_string())
            .bind(ticket.name.clone())
            .bind(i64::from(ticket.copies))
            .bind(hex::encode(ticket.bytes()))
            .bind(to_column(now.0))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Keeps a proof, if it is the first against its host at its place.
    pub(in crate::billing) async fn keep_proof(
        &mut self,
        proof: &EquivocationProof,
        now: Timestamp,
    ) -> Result<(), BookError> {
        let [_, second] = proof.slots();
        let query = "INSERT INTO billing_proofs (ticket, k, generation, host, found_at, proof) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        sqlx::query(query)
            .bind(proof.ticket().to_string())
            .bind(i64::from(second.k))
            .bind(i64::from(second.generation))
            .bind(proof.host().to_string())
            .bind(to_column(now.0))
            .bind(hex::encode(proof.encode()))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Whether there is a proof against `host`.
    pub(in crate::billing) async fn is_cheat(&mut self, host: PeerId) -> Result<bool, BookError> {
        let query = "SELECT k FROM billing_proofs WHERE host = $1 LIMIT 1";
        let row = sqlx::query(query).bind(host.to_string()).fetch_optional(&mut *self.tx).await?;
        Ok(row.is_some())
    }

    /// Whether anything is booked under `ticket`.
    pub(in crate::billing) async fn knows_ticket(&mut self, ticket: TicketHash) -> Result<bool, BookError> {
        let query = "SELECT position FROM billing_log WHERE ticket = $1 AND verdict = 'accepted' LIMIT 1";
        let row = sqlx::query(query).bind(ticket.to_string()).fetch_optional(&mut *self.tx).await?;
        Ok(row.is_some())
    }

    /// Whether anything is booked about this copy.
    pub(in crate::billing) async fn knows_copy(&mut self, right: &Right) -> Result<bool, BookError> {
        let query = "SELECT position FROM billing_log WHERE ticket = $1 AND member = $2 AND verdict = 'accepted' \
                     AND COALESCE(k, -1) = $3 AND COALESCE(generation, -1) = $4 LIMIT 1";
        let (k, generation) =
            right.slot().map_or((-1, -1), |slot| (i64::from(slot.k), i64::from(slot.generation)));
        let row = sqlx::query(query)
            .bind(right.ticket().hash().to_string())
            .bind(right.holder().to_string())
            .bind(k)
            .bind(generation)
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(row.is_some())
    }

    /// Whether there are at least `most` rows of this node under this ticket.
    pub(in crate::billing) async fn is_full(&mut self, right: &Right, most: u32) -> Result<bool, BookError> {
        let query = "SELECT position FROM billing_log WHERE ticket = $1 AND member = $2 LIMIT 1 OFFSET $3";
        let row = sqlx::query(query)
            .bind(right.ticket().hash().to_string())
            .bind(right.holder().to_string())
            .bind(i64::from(most.saturating_sub(1)))
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(row.is_some())
    }

    /// Adds a row to the log, at this booking's position, and its charges.
    pub(in crate::billing) async fn append(&mut self, row: &NewRow<'_>) -> Result<(), BookError> {
        let NewRow { right, receipt, subject, ack, charges } = row;
        let place = right.slot().map(|slot| (i64::from(slot.k), i64::from(slot.generation)));
        let accepted = ack.verdict == Verdict::Accepted;
        let query = "INSERT INTO billing_log (position, receipt, subject, ticket, k, generation, member, \
                     session, kind, at, booked_at, verdict, envelope, ack) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        sqlx::query(query)
            .bind(to_column(self.position))
            .bind(receipt.hash().to_string())
            .bind(subject.to_string())
            .bind(receipt.ticket.to_string())
            .bind(place.map(|place| place.0))
            .bind(place.map(|place| place.1))
            .bind(receipt.member.to_string())
            .bind(receipt.session.map(|session| session.to_string()))
            .bind(receipt.kind.name())
            .bind(to_column(receipt.at.0))
            .bind(to_column(ack.at.0))
            .bind(if accepted { "accepted" } else { "refused" })
            .bind(hex::encode(receipt.bytes()))
            .bind(hex::encode(ack.bytes()))
            .execute(&mut *self.tx)
            .await?;
        for (line, charge) in (0i64..).zip(*charges) {
            self.append_charge(line, charge).await?;
        }
        Ok(())
    }

    async fn append_charge(&mut self, line: i64, charge: &Charge) -> Result<(), BookError> {
        let query = "INSERT INTO billing_charges (position, line, payer, kind, quantity, price, currency) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(query)
            .bind(to_column(self.position))
            .bind(line)
            .bind(charge.payer.to_string())
            .bind(charge.kind.name())
            .bind(to_column(charge.quantity))
            .bind(to_column(charge.price))
            .bind(charge.currency.map(|currency| currency.to_string()))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Makes it so.
    pub(in crate::billing) async fn commit(self) -> Result<(), BookError> {
        Ok(self.tx.commit().await?)
    }

    /// Lets go of the lock; nothing happened, and the position is free again.
    pub(in crate::billing) async fn give_up(self) -> Result<(), BookError> {
        Ok(self.tx.rollback().await?)
    }
}

fn place(row: &AnyRow) -> Result<Place, BookError> {
    let slot = decode::<Slot>(SLOTS, row.try_get("envelope")?)?.verify();
    let is_set = |column: &str| Ok::<_, BookError>(row.try_get::<i64, _>(column)? != 0);
    Ok(Place {
        slot: slot.map_err(|_| BookError::Unreadable(SLOTS))?,
        reported: is_set("reported")?,
        released: is_set("released")?,
    })
}

/// A signed item in a text column.
fn decode<T: parlor_proto::rights::Item>(table: &'static str, text: &str) -> Result<Signed<T>, BookError> {
    let bytes = hex::decode(text).map_err(|_| BookError::Unreadable(table))?;
    Signed::decode(&bytes).map_err(|_| BookError::Unreadable(table))
}
