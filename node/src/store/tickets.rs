//! A host's tickets with their ledgers, and its supply requests.

use parlor_proto::{
    ids::TicketHash,
    rights::Ledger,
    session::{Supply, SupplyState},
    time::Timestamp,
    wire::RequestId,
};

use super::{Store, StoreError, Transaction, from_blob, to_blob};

const TICKETS: &str = "tickets";
const SUPPLIES: &str = "supplies";

/// A ticket that this node holds as host.
#[derive(Debug, Clone)]
pub struct HeldTicket {
    /// The ticket and which of its copies are given out.
    pub ledger: Ledger,
    /// Since when.
    pub added_at: Timestamp,
}

impl Store {
    /// Notes a new ticket. One that is held already keeps its ledger; whether it is new.
    pub async fn add_ledger(
        &self,
        write: &mut Transaction,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ticket = ledger.ticket();
        let added = sqlx::query(
            "INSERT INTO tickets (ticket, name, program, added_at, ledger) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (ticket) DO NOTHING",
        )
        .bind(ticket.hash().to_string())
        .bind(&ticket.name)
        .bind(ticket.program.to_string())
        .bind(now.0.cast_signed())
        .bind(to_blob(ledger))
        .execute(&mut **write)
        .await?;
        Ok(added.rows_affected() > 0)
    }

    /// Notes what a held ticket's ledger has become, with whatever else belongs to the same step.
    pub async fn put_ledger(&self, write: &mut Transaction, ledger: &Ledger) -> Result<(), StoreError> {
        sqlx::query("UPDATE tickets SET ledger = ? WHERE ticket = ?")
            .bind(to_blob(ledger))
            .bind(ledger.ticket().hash().to_string())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// One ticket's ledger.
    pub async fn ledger(&self, ticket: TicketHash) -> Result<Option<Ledger>, StoreError> {
        let row: Option<Vec<u8>> = sqlx::query_scalar("SELECT ledger FROM tickets WHERE ticket = ?")
            .bind(ticket.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.map(|blob| from_blob(TICKETS, &blob)).transpose()
    }

    /// All tickets, newest first.
    pub async fn tickets(&self) -> Result<Vec<HeldTicket>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT added_at, ledger FROM tickets ORDER BY added_at DESC, ticket")
                .fetch_all(self.pool())
                .await?;
        rows.into_iter()
            .map(|(added_at, ledger)| {
                let added_at = Timestamp(added_at.unsigned_abs());
                Ok(HeldTicket { ledger: from_blob(TICKETS, &ledger)?, added_at })
            })
            .collect()
    }

    /// Notes where a supply stands.
    pub async fn put_supply(&self, write: &mut Transaction, supply: &Supply) -> Result<(), StoreError> {
        let done = matches!(supply.state(), SupplyState::Held(_) | SupplyState::Refused(_));
        sqlx::query(
            "INSERT INTO supplies (request, origin, name, done, machine) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (request) DO UPDATE SET done = excluded.done, machine = excluded.machine",
        )
        .bind(hex::encode(supply.request().0))
        .bind(supply.origin().to_string())
        .bind(supply.wanted().0)
        .bind(done)
        .bind(to_blob(supply))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// One supply.
    pub async fn supply(&self, request: RequestId) -> Result<Option<Supply>, StoreError> {
        let row: Option<Vec<u8>> = sqlx::query_scalar("SELECT machine FROM supplies WHERE request = ?")
            .bind(hex::encode(request.0))
            .fetch_optional(self.pool())
            .await?;
        row.map(|machine| from_blob(SUPPLIES, &machine)).transpose()
    }

    /// Supplies that a crash or the user interrupted.
    pub async fn open_supplies(&self) -> Result<Vec<Supply>, StoreError> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT machine FROM supplies WHERE done = 0").fetch_all(self.pool()).await?;
        rows.iter().map(|machine| from_blob(SUPPLIES, machine)).collect()
    }
}
