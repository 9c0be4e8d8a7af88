//! The address book: names for peers, where they were last, and whether their invitations are trusted.

use parlor_proto::identity::PeerId;

use super::{Store, StoreError, parse};

/// Most contacts of one node.
pub const MAX_CONTACTS: usize = 10_000;
const TABLE: &str = "contacts";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// What the user calls it; unique.
    pub name: String,
    /// Who it is; unique too.
    pub peer: PeerId,
    /// Its invitations are accepted by themselves.
    pub trusted: bool,
    /// Multiaddrs.
    pub addresses: Vec<String>,
}

type Row = (String, String, bool, String);

fn contact((name, peer, trusted, addresses): Row) -> Result<Contact, StoreError> {
    let addresses = serde_json::from_str(&addresses).map_err(|_| StoreError::Unreadable { table: TABLE })?;
    Ok(Contact { name, peer: parse(TABLE, &peer)?, trusted, addresses })
}

impl Store {
    /// Adds a contact, or changes the one of the same name or the same peer.
    pub async fn put_contact(&self, contact: &Contact) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM contacts WHERE name = ? OR peer = ?")
            .bind(&contact.name)
            .bind(contact.peer.to_string())
            .execute(&mut *write)
            .await?;
        sqlx::query("INSERT INTO contacts (name, peer, trusted, addresses) VALUES (?, ?, ?, ?)")
            .bind(&contact.name)
            .bind(contact.peer.to_string())
            .bind(contact.trusted)
            .bind(serde_json::json!(contact.addresses).to_string())
            .execute(&mut *write)
            .await?;
        Ok(write.commit().await?)
    }

    /// All, by name.
    pub async fn contacts(&self) -> Result<Vec<Contact>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT name, peer, trusted, addresses FROM contacts ORDER BY name LIMIT ?")
                .bind(MAX_CONTACTS as i64)
                .fetch_all(self.pool())
                .await?;
        rows.into_iter().map(contact).collect()
    }

    /// The one of that name.
    pub async fn contact_named(&self, name: &str) -> Result<Option<Contact>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT name, peer, trusted, addresses FROM contacts WHERE name = ?")
                .bind(name)
                .fetch_optional(self.pool())
                .await?;
        row.map(contact).transpose()
    }

    /// The one that is this peer.
    pub async fn contact_of(&self, peer: PeerId) -> Result<Option<Contact>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT name, peer, trusted, addresses FROM contacts WHERE peer = ?")
                .bind(peer.to_string())
                .fetch_optional(self.pool())
                .await?;
        row.map(contact).transpose()
    }

    /// Forgets the one of that name; whether there was one.
    pub async fn remove_contact(&self, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM contacts WHERE name = ?").bind(name).execute(self.pool()).await?;
        Ok(done.rows_affected() > 0)
    }
}
