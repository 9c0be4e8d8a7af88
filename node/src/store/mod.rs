//! What a node keeps on disk: one SQLite file, and the bundles of its programs.
//!
//! For: every durable fact, with one file here a kind of thing. Not for: deciding anything. What belongs
//! together is written in one transaction ([`Store::write`]), so that a killed node finds all of it or nothing.
//!
//! The idea: write-ahead logging with `synchronous = FULL`: once a commit returns, it survives a power cut.
//! That is what "durable before visible" stands on.

mod agents;
pub mod bundle;
mod cheats;
mod contacts;
mod group;
mod offers;
mod open;
mod packs;
mod places;
mod programs;
mod sent;
mod sessions;
mod settings;
mod tickets;
mod tidy;
mod updates;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Sqlite, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, Notify};

pub use agents::{AgentState, owner_of_session};
pub use bundle::{Bundle, BundleError, Bundles};
pub use cheats::Cheat;
pub use contacts::{Contact, MAX_CONTACTS};
pub use offers::{OfferTerms, Offering};
pub use open::{Before, OpenError};
pub use packs::StoredPack;
pub use programs::LibraryEntry;
pub use sessions::SessionRecord;
pub use tickets::HeldTicket;
pub use updates::{Room, StoredUpdate};

use crate::database::{self, Pool};

/// A write transaction: nobody else writes until it is committed or dropped.
pub type Transaction = database::Transaction<Sqlite>;

/// The node's database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool<Sqlite>,
    options: SqliteConnectOptions,
    untidy: Arc<Notify>,
    /// Held while it is tidied; `true` once it is closed.
    tidying: Arc<Mutex<bool>>,
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error("the node's database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the node's database holds something unreadable in {table}: restore it from a backup")]
    Unreadable { table: &'static str },
}

impl Store {
    /// Begins a write transaction.
    pub async fn write(&self) -> Result<Transaction, StoreError> {
        Ok(self.pool.begin().await?)
    }

    /// The database itself, for other kinds of books kept in it.
    #[must_use]
    pub fn pool(&self) -> &Pool<Sqlite> {
        &self.pool
    }

    /// The same database, with something in between.
    #[cfg(test)]
    pub(crate) fn with_interference(&self, interference: database::Interference<Sqlite>) -> Self {
        Self { pool: self.pool.with_interference(interference), ..self.clone() }
    }

    /// Waits for what is under way, and closes the file.
    pub async fn close(&self) {
        *self.tidying.lock().await = true;
        self.pool.close().await;
    }
}

/// A state machine or another value as it is kept: CBOR.
pub(crate) fn to_blob<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to memory cannot fail, and none of the stored types refuses to be serialized.
    cbor4ii::serde::to_vec(Vec::new(), value).expect("stored types serialize")
}

/// The reverse of [`to_blob`].
pub(crate) fn from_blob<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    cbor4ii::serde::from_slice(bytes).map_err(|_| StoreError::Unreadable { table })
}

/// Text columns that hold ids, peers and JSON.
pub(crate) fn parse<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { table })
}
