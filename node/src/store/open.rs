//! Opening the database: what must be there, whether it is whole, and how it is written.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Sqlite,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::Store;
use crate::{database::Pool, home::create_private};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// Connections to the database, at most.
const MAX_CONNECTIONS: u32 = 4;
/// How long to wait for somebody else who writes.
const PATIENCE: Duration = Duration::from_secs(30);
/// A database up to this size is read whole at each start, as that takes a moment only.
const ALWAYS_CHECKED: u64 = 32 * 1024 * 1024;

/// What is known of a database before it is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// There was one, which must not be gone.
    pub exists: bool,
    /// Whoever wrote it last may have been interrupted.
    pub was_interrupted: bool,
}

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("this home was written by a newer version of parlor: update parlor, or choose another --home")]
    Newer,
    #[error(
        "{0} is missing or empty, or another program's, and identity.key is there: restore it from a backup, or go on as the same node \
         without its programs, tickets and sessions: parlor up --new-database"
    )]
    Gone(PathBuf),
    #[error(
        "{file} is damaged ({why}): restore it from a backup, or move it away and go on without what was in it: \
         parlor up --new-database"
    )]
    Damaged { file: PathBuf, why: String },
    #[error("{file} cannot be made: {source}")]
    Create { file: PathBuf, source: io::Error },
    #[error("the node's database cannot be brought up to date: {0}")]
    Migrate(#[source] MigrateError),
    #[error("the node's database cannot be opened: {0}")]
    Open(#[source] sqlx::Error),
}

impl Store {
    /// Opens, and creates or brings up to date, the database in `file`.
    pub async fn open(file: &Path) -> Result<Self, OpenError> {
        Self::open_after(file, Before::default()).await
    }

    /// Opens the database in `file`, and refuses what is not as it was left.
    pub async fn open_after(file: &Path, before: Before) -> Result<Self, OpenError> {
        let size = file.metadata().map_or(0, |data| data.len());
        if before.exists && size == 0 {
            return Err(OpenError::Gone(file.to_owned()));
        }
        create_private(file).map_err(|source| OpenError::Create { file: file.to_owned(), source })?;

        let failed = |error| failure(file, error);
        let options = options(file);
        let connections = Pool::<Sqlite>::options().max_connections(MAX_CONNECTIONS);
        let pool = connections.connect_with(options.clone()).await.map_err(failed)?;
        if before.exists && is_empty(&pool).await.map_err(failed)? {
            return Err(OpenError::Gone(file.to_owned()));
        }
        if before.was_interrupted || size <= ALWAYS_CHECKED {
            check(file, &pool).await?;
        }

        shrinks(&pool).await.map_err(failed)?;
        match MIGRATIONS.run(&pool).await {
            Ok(()) => Ok(Self {
                pool: Pool::new(pool, "BEGIN IMMEDIATE"),
                options,
                untidy: Arc::default(),
                tidying: Arc::default(),
            }),
            Err(MigrateError::VersionMissing(_)) => Err(OpenError::Newer),
            Err(error) => Err(OpenError::Migrate(error)),
        }
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Keys of the past are not to be found in pages that are free.
        .pragma("secure_delete", "ON")
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
}

/// Returns whether no node has written anything into it; somebody else may have.
async fn is_empty(pool: &sqlx::SqlitePool) -> Result<bool, sqlx::Error> {
    let query = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
    Ok(tables == 0)
}

/// Reads all of it, and refuses it if it is not whole.
async fn check(file: &Path, pool: &sqlx::SqlitePool) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await
        .map_err(|error| failure(file, error))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError::Damaged { file: file.to_owned(), why: found }),
    }
}

/// A database of before is written anew, once, so that it can give back what it does not need.
async fn shrinks(pool: &sqlx::SqlitePool) -> Result<(), sqlx::Error> {
    let auto_vacuum: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(pool).await?;
    if auto_vacuum == 0 {
        sqlx::query("VACUUM").execute(pool).await?;
    }
    Ok(())
}

/// What SQLite says of a file that is none of its own, or not whole.
fn failure(file: &Path, error: sqlx::Error) -> OpenError {
    /// SQLITE_CORRUPT and SQLITE_NOTADB, in the low byte of its codes.
    const DAMAGED: [i32; 2] = [11, 26];
    let code =
        error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    match (code, error.as_database_error()) {
        (Some(code), Some(error)) if DAMAGED.contains(&(code & 0xff)) => {
            OpenError::Damaged { file: file.to_owned(), why: error.message().to_owned() }
        }
        _ => OpenError::Open(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KNOWN: Before = Before { exists: true, was_interrupted: true };

    /// A database with something in it, closed.
    async fn written(file: &Path) {
        let store = Store::open(file).await.unwrap();
        for number in 0..200 {
            store.set_setting(&format!("name {number}"), &"value ".repeat(100)).await.unwrap();
        }
        store.close().await;
    }

    async fn refusal(file: &Path, before: Before) -> OpenError {
        Store::open_after(file, before).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_was_there_must_not_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        assert!(matches!(refusal(&file, KNOWN).await, OpenError::Gone(_)));
        assert!(!file.exists(), "nothing is made in its place");
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(refusal(&file, KNOWN).await, OpenError::Gone(_)));

        // Of SQLite, and nobody has written anything into it.
        let empty = sqlx::SqlitePool::connect_with(options(&file)).await.unwrap();
        empty.close().await;
        assert!(file.metadata().unwrap().len() > 0);
        assert!(matches!(refusal(&file, KNOWN).await, OpenError::Gone(_)));
        Store::open(&file).await.unwrap().close().await;
        Store::open_after(&file, KNOWN).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused_with_a_reason_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        std::fs::write(&file, [0x55; 10_000]).unwrap();
        let text = refusal(&file, KNOWN).await.to_string();
        assert!(text.contains("is damaged (file is not a database): restore it from a backup"), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), [0x55; 10_000]);
    }

    #[tokio::test]
    async fn one_page_of_zeros_is_noticed_whichever_it_is() {
        use std::os::unix::fs::FileExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        written(&file).await;
        let (whole, page) = (std::fs::read(&file).unwrap(), 4096);
        assert!(whole.len() > 20 * page, "there are pages of all kinds");
        for start in (0..whole.len()).step_by(page) {
            std::fs::write(&file, &whole).unwrap();
            std::fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .write_all_at(&[0; 4096], start as u64)
                .unwrap();
            let refused = refusal(&file, KNOWN).await;
            let first_page = start == 0;
            assert!(
                matches!(refused, OpenError::Damaged { .. })
                    || first_page && matches!(refused, OpenError::Gone(_)),
                "the page at {start}: {refused}"
            );
        }
        std::fs::write(&file, &whole).unwrap();
        Store::open_after(&file, KNOWN).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(&dir.path().join("parlor.db")).await.unwrap();
        store.set_setting("name", "value").await.unwrap();
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 3, "with its log and its index");
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }
}
