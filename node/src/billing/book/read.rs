//! Reading the books.

use parlor_proto::{
    billing::{Charge, ChargeKind, Entry},
    identity::PeerId,
    ids::{ProgramId, ReceiptHash, SessionId, TicketHash},
    rights::EquivocationProof,
    time::Timestamp,
};
use serde::{Serialize, Serializer};
use sqlx::{Row as _, any::AnyRow};

use super::{Book, BookError, from_column, parse, to_time};
use crate::clock::rfc3339;

/// A row of the log. Serializes to the JSON that `bill receipts` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookedReceipt {
    /// The receipt.
    pub receipt: ReceiptHash,
    /// Its ticket.
    pub ticket: TicketHash,
    /// The program.
    pub program: ProgramId,
    /// The program's name.
    pub name: String,
    /// Who signed it.
    pub member: PeerId,
    /// Under whose ticket.
    pub host: PeerId,
    /// "received", "started", "used" or "ended".
    pub kind: String,
    /// When it happened, by the member's clock.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// When it was booked, by the billing peer's clock.
    #[serde(serialize_with = "as_text")]
    pub booked_at: Timestamp,
    /// Where in the log, counted from 1.
    pub position: u64,
    /// The member's place; `None` for the host's own copy.
    pub slot: Option<Place>,
    /// The session; `None` for a copy that came outside of one.
    pub session: Option<SessionId>,
    /// "accepted" or "refused".
    pub verdict: String,
}

/// A slot's place in its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its number.
    pub k: u64,
    /// How many held it before.
    pub generation: u64,
}

/// A proof that a host gave one slot to two members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptProof {
    /// When it was found.
    pub found_at: Timestamp,
    /// The proof.
    pub proof: EquivocationProof,
}

/// A number that more members report to have than one, as far as is known. No proof: a release may be on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overdrawn {
    /// The ticket.
    pub ticket: TicketHash,
    /// Its host.
    pub host: PeerId,
    /// The number.
    pub k: u64,
    /// How many members have it.
    pub holders: u64,
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

impl Book {
    /// The log, in order.
    pub async fn receipts(&self) -> Result<Vec<BookedReceipt>, BookError> {
        let query = "SELECT l.receipt, l.ticket, t.program, t.name, l.member, t.host, l.kind, l.at, l.booked_at, \
                     l.position, l.k, l.generation, l.session, l.verdict \
                     FROM billing_log l JOIN billing_tickets t ON t.ticket = l.ticket ORDER BY l.position";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        rows.iter().map(booked_receipt).collect()
    }

    /// The charges, in order: all, or those of one payer.
    pub async fn entries(&self, payer: Option<PeerId>) -> Result<Vec<Entry>, BookError> {
        let query = "SELECT c.position, l.at, l.booked_at, l.receipt, l.ticket, t.program, t.name, l.member, \
                     c.payer, c.kind, c.quantity, c.price, c.currency \
                     FROM billing_charges c JOIN billing_log l ON l.position = c.position \
                     JOIN billing_tickets t ON t.ticket = l.ticket \
                     WHERE $1 = '' OR c.payer = $1 ORDER BY c.position, c.line";
        let payer = payer.map(|payer| payer.to_string()).unwrap_or_default();
        let rows = sqlx::query(query).bind(payer).fetch_all(&self.pool).await?;
        rows.iter().map(entry).collect()
    }

    /// The proofs against hosts, the oldest first.
    pub async fn proofs(&self) -> Result<Vec<KeptProof>, BookError> {
        let table = "billing_proofs";
        let query =
            "SELECT found_at, proof FROM billing_proofs ORDER BY found_at, ticket, k, generation, host";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        let kept = |row: &AnyRow| {
            let proof = hex::decode(row.try_get::<String, _>("proof")?).ok();
            let proof = proof.and_then(|bytes| EquivocationProof::decode(&bytes).ok());
            let proof = proof.ok_or(BookError::Unreadable(table))?;
            Ok(KeptProof { found_at: to_time(table, row.try_get("found_at")?)?, proof })
        };
        rows.iter().map(kept).collect()
    }

    /// Numbers with more holders than one.
    pub async fn overdrawn(&self) -> Result<Vec<Overdrawn>, BookError> {
        let query = "SELECT s.ticket, t.host, s.k, COUNT(*) AS holders \
                     FROM billing_slots s JOIN billing_tickets t ON t.ticket = s.ticket \
                     WHERE s.reported = 1 AND s.released = 0 GROUP BY s.ticket, t.host, s.k \
                     HAVING COUNT(*) > 1 ORDER BY s.ticket, s.k";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        rows.iter().map(overdrawn).collect()
    }
}

fn overdrawn(row: &AnyRow) -> Result<Overdrawn, BookError> {
    let table = "billing_slots";
    Ok(Overdrawn {
        ticket: parse(table, row.try_get("ticket")?)?,
        host: parse(table, row.try_get("host")?)?,
        k: from_column(table, row.try_get("k")?)?,
        holders: from_column(table, row.try_get("holders")?)?,
    })
}

fn booked_receipt(row: &AnyRow) -> Result<BookedReceipt, BookError> {
    let table = "billing_log";
    let place: Option<i64> = row.try_get("k")?;
    let slot = match place {
        Some(k) => Some(Place {
            k: from_column(table, k)?,
            generation: from_column(table, row.try_get("generation")?)?,
        }),
        None => None,
    };
    let session: Option<String> = row.try_get("session")?;
    Ok(BookedReceipt {
        receipt: parse(table, row.try_get("receipt")?)?,
        ticket: parse(table, row.try_get("ticket")?)?,
        program: parse(table, row.try_get("program")?)?,
        name: row.try_get("name")?,
        member: parse(table, row.try_get("member")?)?,
        host: parse(table, row.try_get("host")?)?,
        kind: row.try_get("kind")?,
        at: to_time(table, row.try_get("at")?)?,
        booked_at: to_time(table, row.try_get("booked_at")?)?,
        position: from_column(table, row.try_get("position")?)?,
        slot,
        session: session.map(|session| parse(table, &session)).transpose()?,
        verdict: row.try_get("verdict")?,
    })
}

fn entry(row: &AnyRow) -> Result<Entry, BookError> {
    let table = "billing_charges";
    let currency: Option<String> = row.try_get("currency")?;
    let kind: String = row.try_get("kind")?;
    let charge = Charge {
        payer: parse(table, row.try_get("payer")?)?,
        kind: ChargeKind::from_name(&kind).ok_or(BookError::Unreadable(table))?,
        quantity: from_column(table, row.try_get("quantity")?)?,
        price: from_column(table, row.try_get("price")?)?,
        currency: currency.map(|currency| parse(table, &currency)).transpose()?,
    };
    Ok(Entry {
        position: from_column(table, row.try_get("position")?)?,
        at: to_time(table, row.try_get("at")?)?,
        booked_at: to_time(table, row.try_get("booked_at")?)?,
        receipt: parse(table, row.try_get("receipt")?)?,
        ticket: parse(table, row.try_get("ticket")?)?,
        program: parse(table, row.try_get("program")?)?,
        name: row.try_get("name")?,
        member: parse(table, row.try_get("member")?)?,
        charge,
    })
}
