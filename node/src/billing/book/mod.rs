//! A billing peer's books on disk: SQLite in the node's own file by default, or PostgreSQL.
//!
//! For: keeping and reading the log, its charges and the proofs against hosts. Not for: deciding what is
//! booked (see [`super::service`]).
//!
//! One portable SQL text serves both databases, by sqlx's `Any` driver: `$1` parameters, TEXT and BIGINT
//! columns. Whoever books takes the lock on the one row of `billing_counter` first, so that bookings happen
//! one after the other in both.

mod booking;
mod read;

use std::{path::Path, time::Duration};

use parlor_proto::time::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sqlx::{
    Any, Executor as _,
    any::install_default_drivers,
    migrate::{MigrateError, Migrator},
    sqlite::SqliteConnectOptions,
};

pub(super) use booking::{Booked, Booking, NewRow};
pub use read::{BookedReceipt, KeptProof, Overdrawn};

use crate::{database::Pool, home::create_private};

/// Connections to the database, at most.
const MAX_CONNECTIONS: u32 = 4;

/// How long to wait for a connection, or for another program that writes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Set for each connection to SQLite. As the node's own connections: what is committed survives a power cut.
const SQLITE_PRAGMAS: &str = "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
     PRAGMA journal_size_limit = 1048576;";

/// What is written as a number in the path of a URL: also `%`, which would name another path.
const NOT_IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// Where the tables' versions are kept: apart from the node's own, as the file may be the same.
const VERSIONS_TABLE: &str = "billing_migrations";

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/billing");

/// A billing peer's books. Clones share them.
#[derive(Debug, Clone)]
pub struct Book {
    pool: Pool<Any>,
}

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such database, or no way in.
    #[error("the billing database cannot be opened (a sqlite: or postgres: URL is wanted): {0}")]
    Connect(#[source] sqlx::Error),
    /// Tables of a version that is not known here.
    #[error("the billing database was written by a newer version of parlor: update parlor")]
    Newer,
    /// The tables cannot be made.
    #[error("the billing database cannot be brought up to date: {0}")]
    Migrate(#[source] MigrateError),
}

/// Why the books cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The database failed.
    #[error("the billing database: {0}")]
    Database(#[from] sqlx::Error),
    /// Somebody else wrote into it.
    #[error("the billing database holds something unreadable in {0}: restore it from a backup")]
    Unreadable(&'static str),
}

impl Book {
    /// Opens the books at a `sqlite:` or `postgres:` URL, and makes or updates their tables.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        install_default_drivers();
        // SQLite makes a file only when it is told to.
        let url = match url.strip_prefix("sqlite:") {
            Some(rest) if !rest.contains('?') => &format!("{url}?mode=rwc"),
            _ => url,
        };
        make_private(url);
        let options = Pool::<Any>::options().max_connections(MAX_CONNECTIONS).acquire_timeout(PATIENCE);
        let options = options.after_connect(|connection, _| {
            Box::pin(async move {
                if connection.backend_name() == "SQLite" {
                    connection.execute(SQLITE_PRAGMAS).await?;
                }
                Ok(())
            })
        });
        let pool = options.connect(url).await.map_err(OpenError::Connect)?;
        let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
        migrator.dangerous_set_table_name(VERSIONS_TABLE);
        match migrator.run(&pool).await {
            // The first statement of a booking takes the lock.
            Ok(()) => Ok(Self { pool: Pool::new(pool, "BEGIN") }),
            Err(MigrateError::VersionMissing(_)) => Err(OpenError::Newer),
            Err(error) => Err(OpenError::Migrate(error)),
        }
    }

    /// Opens the books in a file of SQLite's, the node's own for example.
    pub async fn open_file(file: &Path) -> Result<Self, OpenError> {
        let path = percent_encode(file.as_os_str().as_encoded_bytes(), NOT_IN_A_PATH);
        Self::open(&format!("sqlite://{path}?mode=rwc")).await
    }

    /// The same books, with something between them and the database.
    #[cfg(test)]
    pub(crate) fn with_interference(&self, interference: crate::database::Interference<Any>) -> Self {
        Self { pool: self.pool.with_interference(interference) }
    }

    /// Waits for what is under way, and lets go of the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A file of SQLite's that is to be made is its owner's alone. Where that fails, opening it says why.
fn make_private(url: &str) {
    if let Ok(options) = url.parse::<SqliteConnectOptions>()
        && url.starts_with("sqlite:")
        && url.contains("mode=rwc")
    {
        let _ = create_private(options.get_filename());
    }
}

/// What the database's integers cannot hold (the year 292 million) is their end.
fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_column(table: &'static str, number: i64) -> Result<u64, BookError> {
    u64::try_from(number).map_err(|_| BookError::Unreadable(table))
}

fn to_time(table: &'static str, number: i64) -> Result<Timestamp, BookError> {
    from_column(table, number).map(Timestamp)
}

fn parse<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, BookError> {
    text.parse().map_err(|_| BookError::Unreadable(table))
}
