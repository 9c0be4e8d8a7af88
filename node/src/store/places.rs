//! Where peers that are no contacts were said to be: billing peers of tickets.

use parlor_proto::{identity::PeerId, session::Contact, time::Timestamp};

use super::{Store, StoreError, parse};

/// Most peers whose places are kept; the oldest go first.
const MAX_PLACES: i64 = 1_000;
const TABLE: &str = "places";

impl Store {
    /// Notes where these peers were said to be.
    pub async fn put_places(&self, contacts: &[Contact], now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        for contact in contacts.iter().filter(|contact| !contact.addresses.is_empty()) {
            sqlx::query(
                "INSERT INTO places (peer, addresses, noted_at) VALUES (?, ?, ?) ON CONFLICT (peer)
                 DO UPDATE SET addresses = excluded.addresses, noted_at = excluded.noted_at",
            )
            .bind(contact.peer.to_string())
            .bind(serde_json::json!(contact.addresses).to_string())
            .bind(now.0.cast_signed())
            .execute(&mut *write)
            .await?;
        }
        sqlx::query(
            "DELETE FROM places WHERE peer NOT IN (SELECT peer FROM places ORDER BY noted_at DESC LIMIT ?)",
        )
        .bind(MAX_PLACES)
        .execute(&mut *write)
        .await?;
        Ok(write.commit().await?)
    }

    /// All of them. They have no names.
    pub async fn places(&self) -> Result<Vec<Contact>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT peer, addresses FROM places").fetch_all(self.pool()).await?;
        rows.into_iter()
            .map(|(peer, addresses)| {
                let addresses = serde_json::from_str(&addresses);
                let addresses: Vec<String> =
                    addresses.map_err(|_| StoreError::Unreadable { table: TABLE })?;
                let peer: PeerId = parse(TABLE, &peer)?;
                Ok(Contact { peer, name: String::new(), addresses })
            })
            .collect()
    }
}
