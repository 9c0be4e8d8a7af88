//! A success exists only after a commit: whatever fails under the store, at whichever operation, what was said to be
//! written is there, what was not is there as a whole or not at all, and everything works again afterwards.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parlor_proto::{ids::SessionId, time::Timestamp};

use super::*;
use crate::database::{
    Operation,
    testing::{EIO, ENOSPC, Effect, Faults, FileLimit, pages_end, refuses, rolls_back},
};

const SESSION: SessionId = SessionId([3; 16]);

/// Reads the file from outside.
async fn outside<T>(file: &Path, query: &'static str) -> T
where
    T: Send + Unpin + sqlx::Type<Sqlite> + for<'r> sqlx::Decode<'r, Sqlite>,
{
    use sqlx::Connection as _;
    let options = SqliteConnectOptions::new().filename(file);
    let mut outside = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let value = sqlx::query_scalar(query).fetch_one(&mut outside).await.unwrap();
    outside.close().await.unwrap();
    value
}

/// One write of each kind: a statement by itself, one in a transaction, several. What is said to be written is there,
/// and several come together. Returns how many of the three failed.
async fn write_and_look(store: &Store, file: &Path, number: i64, padding: usize) -> usize {
    let mut failed = 0;
    match store.set_setting("number", &format!("{number:0>padding$}")).await {
        Ok(()) => {
            let query = "SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'number'";
            assert_eq!(outside::<i64>(file, query).await, number, "a setting");
        }
        Err(_) => failed += 1,
    }
    match store.raise_boot(SESSION, Timestamp(number.unsigned_abs() * 1000)).await {
        Ok(boot) => {
            let there: i64 = outside(file, "SELECT boot FROM groups").await;
            assert_eq!(there.unsigned_abs(), boot, "a boot");
        }
        Err(_) => failed += 1,
    }
    let pair = async {
        let mut write = store.write().await?;
        for name in ["one", "two"] {
            sqlx::query("INSERT OR REPLACE INTO agent_values (owner, key, value) VALUES ('o', ?, ?)")
                .bind(name)
                .bind(format!("{number:0>padding$}").into_bytes())
                .execute(&mut *write)
                .await?;
        }
        Ok::<_, StoreError>(write.commit().await?)
    };
    let is_written = pair.await.is_ok();
    failed += usize::from(!is_written);
    let count: i64 = outside(file, "SELECT count(DISTINCT value) FROM agent_values").await;
    assert!(count <= 1, "both or neither");
    if is_written {
        assert_eq!(
            outside::<i64>(file, "SELECT CAST(max(value) AS INTEGER) FROM agent_values").await,
            number
        );
    }
    failed
}

async fn fails_at_each_operation(name: &str, effect: Effect<Sqlite>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parlor.db");
    let faults = Faults::<Sqlite>::new(effect);
    let store = Store::open(&file).await.unwrap().with_interference(faults.interference());
    let (mut hit, mut failed) = (Vec::new(), 0);

    for n in 1.. {
        faults.arm(n);
        let number = n as i64;
        failed += write_and_look(&store, &file, 2 * number, 6).await;
        let Some(operation) = faults.disarm() else { break };
        hit.push(operation);
        let still = write_and_look(&store, &file, 2 * number + 1, 6).await;
        assert_eq!(still, 0, "{name}: nothing fails any more after {operation:?}, the {n}th");
    }

    let all =
        [Operation::Single, Operation::Begin, Operation::Statement, Operation::Commit, Operation::Committed];
    assert!(all.iter().all(|operation| hit.contains(operation)), "{name}: {hit:?}");
    assert_eq!(failed, hit.len(), "{name}: each fails what it hits, and nothing else");
}

#[tokio::test]
async fn what_is_said_to_be_written_is_wherever_it_fails() {
    let effects: [(&str, Effect<Sqlite>); 4] = [
        ("no space", refuses::<Sqlite>(ENOSPC)),
        ("bad disk", refuses::<Sqlite>(EIO)),
        ("no space, and rolled back", rolls_back::<Sqlite>(ENOSPC)),
        ("bad disk, and rolled back", rolls_back::<Sqlite>(EIO)),
    ];
    for (name, effect) in effects {
        fails_at_each_operation(name, effect).await;
    }
}

#[tokio::test]
async fn a_transaction_whose_statement_failed_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("parlor.db")).await.unwrap();
    let mut write = store.write().await.unwrap();
    sqlx::query("INSERT INTO settings (name, value) VALUES ('a', 'b')").execute(&mut *write).await.unwrap();
    sqlx::query("INSERT INTO settings (name, value) VALUES ('a', 'c')")
        .execute(&mut *write)
        .await
        .unwrap_err();
    write.commit().await.unwrap_err();
    assert_eq!(store.setting("a").await.unwrap(), None);

    // Dropped half-way, as when whoever waits for it goes away: nobody is kept out.
    let write = store.write().await.unwrap();
    drop(write);
    store.set_setting("a", "d").await.unwrap();
}

#[tokio::test]
async fn a_store_without_a_page_to_spare_writes_again_when_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parlor.db");
    let is_full = Arc::new(AtomicBool::new(false));
    let store = Store::open(&file).await.unwrap().with_interference(pages_end::<Sqlite>(&is_full));
    let mut failed = 0;
    for number in 1..=20 {
        is_full.store(true, Ordering::SeqCst);
        failed += write_and_look(&store, &file, 2 * number, 3000 * number as usize).await;
        is_full.store(false, Ordering::SeqCst);
        assert_eq!(write_and_look(&store, &file, 2 * number + 1, 3000 * number as usize).await, 0);
    }
    assert!(failed > 0, "the file was full at times");
}

#[tokio::test]
async fn a_store_that_cannot_grow_writes_again_when_it_can() {
    let Some(limit) =
        FileLimit::in_a_child("store::tests::a_store_that_cannot_grow_writes_again_when_it_can")
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("parlor.db"), dir.path().join("parlor.db-wal"));
    let store = Store::open(&file).await.unwrap();
    let (mut number, mut failed) = (30, 0);
    for before in 1..=number {
        assert_eq!(write_and_look(&store, &file, before, 6).await, 0);
    }
    // The log's index is smaller than that, and does not grow any more. Somebody has it open all the time: the last one
    // to close the database would remove both.
    assert!(std::fs::metadata(&log).unwrap().len() > 100_000);
    let reader = Store::open(&file).await.unwrap();
    assert!(reader.setting("number").await.unwrap().is_some());
    for spare in (0..).step_by(1000) {
        limit.set(Some(std::fs::metadata(&log).unwrap().len() + spare));
        let these = write_and_look(&store, &file, number + 1, 6).await;
        limit.set(None);
        failed += these;
        assert_eq!(write_and_look(&store, &file, number + 2, 6).await, 0, "{spare} bytes to spare");
        number += 2;
        if these == 0 {
            break;
        }
    }
    assert!(failed > 4, "files could not grow: {failed}");
}
