//! What stands between the node and its databases: a pool of connections, and the only way to write in steps.
//!
//! For: one rule, for SQLite and PostgreSQL alike: a connection whose begin, statement or commit failed is closed and
//! never used again, and a [`Transaction`] is written exactly when its [`commit`](Transaction::commit) says so. Not for:
//! what is kept (see [`crate::store`] and [`crate::billing::book`]).
//!
//! The idea: sqlx counts how deep in transactions a connection is, and nests a savepoint where it believes itself to be
//! inside of one. After a failed commit SQLite has rolled back, and the count says otherwise: what follows on that
//! connection is then released, never committed. So transactions here are begun and ended by plain statements, which
//! the database itself refuses in the wrong place, and a connection is used again only after an end that succeeded.
//!
//! Tests put an [`Interference`] before every operation, which fails it, cuts the connection, or fills the disk.

mod executor;
#[cfg(test)]
pub(crate) mod testing;
mod transaction;

use std::fmt;

use sqlx::{
    Connection as _, Database,
    pool::{PoolConnection, PoolOptions},
};

pub use transaction::{Connection, Transaction};

/// One thing that a database is asked for.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The beginning of a transaction.
    Begin,
    /// A statement of a transaction.
    Statement,
    /// The end of a transaction, before it is written.
    Commit,
    /// The end of a transaction, written: the answer is on its way.
    Committed,
    /// A statement by itself.
    Single,
}

/// What a test does before an operation; its error is the operation's. Statements by themselves have no connection yet.
#[cfg(test)]
pub(crate) type Interference<DB> = std::sync::Arc<
    dyn for<'a> Fn(
            Option<&'a mut <DB as Database>::Connection>,
            Operation,
        ) -> futures::future::BoxFuture<'a, Result<(), sqlx::Error>>
        + Send
        + Sync,
>;

/// Connections to one database. Clones share them. Statements by themselves run on it directly.
pub struct Pool<DB: Database> {
    connections: sqlx::Pool<DB>,
    begin: &'static str,
    #[cfg(test)]
    interference: Option<Interference<DB>>,
}

impl<DB: Database> Pool<DB> {
    /// A pool of these connections, whose transactions start with the statement `begin`.
    #[must_use]
    pub fn new(connections: sqlx::Pool<DB>, begin: &'static str) -> Self {
        Self {
            connections,
            begin,
            #[cfg(test)]
            interference: None,
        }
    }

    /// The options for [`Self::new`]'s connections: none comes back to the pool inside of a transaction.
    #[must_use]
    pub fn options() -> PoolOptions<DB> {
        PoolOptions::new().after_release(|connection: &mut DB::Connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
    }

    /// Waits for what is under way, and closes all connections.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn acquire(&self) -> Result<PoolConnection<DB>, sqlx::Error> {
        self.connections.acquire().await
    }

    /// The same connections, with something in between.
    #[cfg(test)]
    pub(crate) fn with_interference(&self, interference: Interference<DB>) -> Self {
        Self { interference: Some(interference), ..self.clone() }
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self {
            connections: self.connections.clone(),
            begin: self.begin,
            #[cfg(test)]
            interference: self.interference.clone(),
        }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connections.fmt(f)
    }
}
