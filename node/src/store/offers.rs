//! An origin's catalog, and the tickets it issued.

use parlor_proto::{
    billing::Tariff,
    identity::PeerId,
    ids::ProgramId,
    program::CopiesRule,
    rights::{LeaseTerms, Signed, Ticket, Verified},
    wire::RequestId,
};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, parse};

const OFFERS: &str = "offers";
const ISSUED: &str = "issued";

/// What `publish` says of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferTerms {
    /// How many copies a host may ask for.
    pub copies: CopiesRule,
    /// Who pays what.
    pub tariff: Tariff,
    /// Set when the program runs under leases only.
    pub lease: Option<LeaseTerms>,
    /// Who gets the receipts.
    pub billing: Vec<PeerId>,
}

/// One program of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offering {
    /// By which it is asked for.
    pub name: String,
    /// By content; in the library.
    pub program: ProgramId,
    /// Under which terms.
    pub terms: OfferTerms,
}

fn offering((name, program, terms): (String, String, String)) -> Result<Offering, StoreError> {
    let terms = serde_json::from_str(&terms).map_err(|_| StoreError::Unreadable { table: OFFERS })?;
    Ok(Offering { name, program: parse(OFFERS, &program)?, terms })
}

impl Store {
    /// Offers a program, in place of the one of the same name.
    pub async fn put_offer(&self, offer: &Offering) -> Result<(), StoreError> {
        let terms =
            serde_json::to_string(&offer.terms).map_err(|_| StoreError::Unreadable { table: OFFERS })?;
        sqlx::query(
            "INSERT INTO offers (name, program, terms) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET program = excluded.program, terms = excluded.terms",
        )
        .bind(&offer.name)
        .bind(offer.program.to_string())
        .bind(terms)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// The whole catalog, by name.
    pub async fn offers(&self) -> Result<Vec<Offering>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, program, terms FROM offers ORDER BY name")
                .fetch_all(self.pool())
                .await?;
        rows.into_iter().map(offering).collect()
    }

    /// The offer of that name.
    pub async fn offer(&self, name: &str) -> Result<Option<Offering>, StoreError> {
        let row: Option<(String, String, String)> =
            sqlx::query_as("SELECT name, program, terms FROM offers WHERE name = ?")
                .bind(name)
                .fetch_optional(self.pool())
                .await?;
        row.map(offering).transpose()
    }

    /// Withdraws whatever offers this program.
    pub async fn remove_offers_of(&self, program: ProgramId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM offers WHERE program = ?")
            .bind(program.to_string())
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// The ticket that answered this request of `host` before.
    pub async fn issued(
        &self,
        host: PeerId,
        request: RequestId,
    ) -> Result<Option<Verified<Ticket>>, StoreError> {
        let row: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT ticket FROM issued WHERE host = ? AND request = ?")
                .bind(host.to_string())
                .bind(hex::encode(request.0))
                .fetch_optional(self.pool())
                .await?;
        let unreadable = StoreError::Unreadable { table: ISSUED };
        match row.map(|bytes| Signed::<Ticket>::decode(&bytes).ok()?.verify().ok()) {
            None => Ok(None),
            Some(None) => Err(unreadable),
            Some(ticket) => Ok(ticket),
        }
    }

    /// How many tickets `host` got.
    pub async fn count_issued(&self, host: PeerId) -> Result<u32, StoreError> {
        let query = sqlx::query_scalar("SELECT count(*) FROM issued WHERE host = ?");
        Ok(query.bind(host.to_string()).fetch_one(self.pool()).await?)
    }

    /// Notes the answer, before it is given.
    pub async fn put_issued(&self, request: RequestId, ticket: &Verified<Ticket>) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO issued (host, request, ticket) VALUES (?, ?, ?)")
            .bind(ticket.host.to_string())
            .bind(hex::encode(request.0))
            .bind(ticket.bytes())
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
