//! What is deleted goes: from the file, from its write-ahead log, and from the disk's space.
//!
//! For: that keys of the past, which are overwritten with every change of a group's keys, are not found in the log, and
//! that a database does not stay as large as it ever was. Not for: what is free within the file: `secure_delete` fills
//! that with zeros, always.

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};

/// How long it waits for whoever reads or writes; then the next time will do.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is done at least, if anything was written.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often at most, however often it is asked for.
const PAUSE: Duration = Duration::from_secs(2);
/// Pages that are given back at a time, while nobody else writes.
const PAGES: &str = "PRAGMA incremental_vacuum(2048)";

impl Store {
    /// Gives back what is free, and empties the write-ahead log into the database. Returns whether that is empty then:
    /// not while somebody reads. Does nothing once the store is closed.
    pub async fn tidy(&self) -> Result<bool, StoreError> {
        let is_closed = self.tidying.lock().await;
        if *is_closed {
            return Ok(true);
        }
        let options = self.options.clone().busy_timeout(PATIENCE);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let mut free: i64 = i64::MAX;
        loop {
            let left = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut connection).await?;
            if left == 0 || left >= free {
                break;
            }
            free = left;
            sqlx::query(PAGES).execute(&mut connection).await?;
        }

        let (is_busy, _, _): (bool, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(!is_busy)
    }

    /// Asks for that to be done soon: something was deleted that nobody shall find.
    pub fn tidy_soon(&self) {
        self.untidy.notify_one();
    }

    /// Tidies when asked to, and now and then, until `stop`.
    pub async fn keep_tidy(self, stop: CancellationToken) {
        let mut log = self.options.get_filename().as_os_str().to_owned();
        log.push("-wal");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.untidy.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let is_written = tokio::fs::metadata(&log).await.is_ok_and(|data| data.len() > 0);
            if is_written {
                match self.tidy().await {
                    Ok(true) => {}
                    Ok(false) => self.tidy_soon(),
                    Err(error) => tracing::debug!(%error, "the database was not tidied"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{AgentState, owner_of_session};
    use parlor_proto::ids::SessionId;

    #[tokio::test]
    async fn what_a_session_took_is_given_back_and_nothing_of_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        let store = Store::open(&file).await.unwrap();
        let session = SessionId([3; 16]);
        let secret = b"what nobody shall find later on";
        let on_disk = || {
            let files =
                ["parlor.db", "parlor.db-wal"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
            let found = files.iter().any(|bytes| bytes.windows(secret.len()).any(|window| window == secret));
            (files.map(|bytes| bytes.len()), found)
        };
        assert!(store.tidy().await.unwrap());
        let ([before, _], _) = on_disk();

        // Values of all sizes: within pages, and on pages of their own; each is overwritten, too.
        for len in [1, 50, 400, 3_000, 70_000, 3_000_000] {
            for _ in 0..3 {
                let value = secret.repeat(len / secret.len() + 1);
                store
                    .put_agent_value(&owner_of_session(session), &format!("{len}"), &value, 1 << 30)
                    .await
                    .unwrap();
                let state = AgentState { state: value, serial: 1 };
                store.put_agent_state(session, &format!("{len}"), &state).await.unwrap();
            }
        }
        let ([_, log], found) = on_disk();
        assert!(found && log > 6_000_000, "the log holds all of it: {log}");

        store.remove_session(session).await.unwrap();
        assert!(store.tidy().await.unwrap());
        let ([after, log], found) = on_disk();
        assert!(!found, "nothing of it is there");
        assert_eq!(log, 0);
        assert!(after <= before + 4 * 4096, "{after} bytes after {before}");
    }

    #[tokio::test]
    async fn it_is_done_soon_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlor.db");
        let store = Store::open(&file).await.unwrap();
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(store.clone().keep_tidy(stop.clone()));
        store.set_setting("name", "value").await.unwrap();
        let log = || std::fs::metadata(dir.path().join("parlor.db-wal")).unwrap().len();
        assert!(log() > 0);
        store.tidy_soon();
        let is_empty = async {
            while log() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_empty).await.unwrap();
        stop.cancel();
        keeping.await.unwrap();
    }
}
