//! An acknowledgement exists only after a commit: whatever fails under the books, at whichever operation, nothing is
//! acknowledged that is not in them, and everything works again as soon as nothing fails any more.

use std::sync::{Arc, atomic::AtomicBool};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::*;
use crate::database::{
    Operation,
    testing::{EIO, ENOSPC, Effect, Faults, FileLimit, pages_end, refuses, rolls_back},
};

/// Reads the books from outside: what is booked of this receipt, and where.
async fn booked(url: &str, receipt: ReceiptHash) -> Option<u64> {
    let mut outside = AnyConnection::connect(url).await.unwrap();
    let query = sqlx::query("SELECT position FROM billing_log WHERE receipt = $1").bind(receipt.to_string());
    let row = query.fetch_optional(&mut outside).await.unwrap();
    outside.close().await.unwrap();
    row.map(|row| row.get::<i64, _>("position").unsigned_abs())
}

/// Submits, and returns the position that is acknowledged, if one is; that must be what is in the books.
async fn submit_and_look(service: &Service, url: &str, number: u64) -> Option<u64> {
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let used = ReceiptKind::Used { from: NOW, to: NOW + Duration::from_secs(number) };
    let receipt = receipt(&right, MEMBER, used, NOW + Duration::from_secs(number));
    match service.handle(peer(99), submit(&right, &receipt), NOW).await {
        BillingResponse::Acked(ack) => {
            let position = ack.unverified().position;
            assert_eq!(booked(url, receipt.hash()).await, Some(position), "acknowledged, number {number}");
            Some(position)
        }
        BillingResponse::Later => None,
        other => panic!("{other:?}"),
    }
}

/// Counts up the operation at which it fails, until it does not come to that any more. The books are never opened anew.
async fn fails_at_each_operation(disk: &Disk, name: &str, effect: Effect<Any>) {
    let faults = Faults::<Any>::new(effect);
    let service = Service::new(disk.book().await.with_interference(faults.interference()), identity(BILLING));
    let (mut hit, mut refused) = (Vec::new(), 0);

    for n in 1.. {
        faults.arm(n);
        let number = n as u64;
        let first = submit_and_look(&service, &disk.books, number).await;
        // The same once more is another path through the books.
        let second = submit_and_look(&service, &disk.books, number).await;
        let Some(operation) = faults.disarm() else { break };
        hit.push(operation);
        refused += usize::from(first.is_none() || second.is_none());

        let third = submit_and_look(&service, &disk.books, number).await;
        assert!(third.is_some(), "{name}: nothing fails any more after {operation:?}, the {n}th");
        for before in [first, second].into_iter().flatten() {
            assert_eq!(Some(before), third, "{name}: one answer, for ever");
        }
    }

    for operation in [Operation::Begin, Operation::Statement, Operation::Commit, Operation::Committed] {
        assert!(hit.contains(&operation), "{name}: {operation:?} was tried");
    }
    assert!(refused > 0, "{name}: something did fail");
    let before = service.book().receipts().await.unwrap();
    service.book().close().await;
    let book = disk.book().await;
    assert_eq!(book.receipts().await.unwrap(), before, "{name}: the same after a restart");
    assert_eq!(before.len(), hit.len() + 1, "{name}: each once");
    book.close().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_that_is_not_written_wherever_it_fails() {
    let mut effects: Vec<(&str, Effect<Any>)> = vec![
        ("no space", refuses::<Any>(ENOSPC)),
        ("bad disk", refuses::<Any>(EIO)),
        ("no space, and rolled back", rolls_back::<Any>(ENOSPC)),
        ("bad disk, and rolled back", rolls_back::<Any>(EIO)),
    ];
    if is_postgres() {
        effects.push(("cut", cuts()));
    }
    for (name, effect) in effects {
        fails_at_each_operation(&Disk::new().await, name, effect).await;
    }
}

fn is_postgres() -> bool {
    std::env::var_os("PARLOR_TEST_BILLING_DB").is_some()
}

/// PostgreSQL ends the connection, before the operation gets there.
fn cuts() -> Effect<Any> {
    Box::new(|connection| {
        Box::pin(async move {
            let Some(connection) = connection else { return Ok(()) };
            let pid =
                sqlx::query("SELECT CAST(pg_backend_pid() AS BIGINT) AS pid").fetch_one(&mut *connection);
            let pid: i64 = pid.await?.get("pid");
            let template = std::env::var("PARLOR_TEST_BILLING_DB").unwrap();
            let mut outside = AnyConnection::connect(&template.replace("{}", "postgres")).await?;
            // Returns once it is gone.
            let end = format!("SELECT pg_terminate_backend({pid}, 20000)");
            outside.execute(AssertSqlSafe(end)).await?;
            outside.close().await
        })
    })
}

#[tokio::test]
async fn a_book_without_a_page_to_spare_acknowledges_nothing_and_then_all() {
    let disk = Disk::new().await;
    let file = disk.dir.path().join("books.db");
    let book = Book::open_file(&file).await.unwrap();
    let url = format!("sqlite://{}", file.display());
    let is_full = Arc::new(AtomicBool::new(false));
    let service = Service::new(book.with_interference(pages_end::<Any>(&is_full)), identity(BILLING));

    // A page is not wanted each time, but again and again.
    let mut failed = 0;
    for number in 1..=60 {
        is_full.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            failed += usize::from(submit_and_look(&service, &url, number).await.is_none());
        }
        is_full.store(false, Ordering::SeqCst);
        let last = submit_and_look(&service, &url, number).await;
        assert_eq!(last, Some(number), "positions have no gaps");
    }
    assert!(failed > 0, "the file was full at times");
    service.book().close().await;
}

#[tokio::test]
async fn books_that_cannot_grow_acknowledge_nothing_and_then_all() {
    let name = "billing::tests::faults::books_that_cannot_grow_acknowledge_nothing_and_then_all";
    let Some(limit) = FileLimit::in_a_child(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("books.db"), dir.path().join("books.db-wal"));
    let service = Service::new(Book::open_file(&file).await.unwrap(), identity(BILLING));
    let url = format!("sqlite://{}", file.display());

    // From nothing to spare up to enough for all of it.
    let (mut failed, mut number) = (0, 1);
    assert_eq!(submit_and_look(&service, &url, number).await, Some(number));
    for spare in (0..).step_by(1000) {
        number += 1;
        let written = std::fs::metadata(&log).unwrap().len();
        limit.set(Some(written + spare));
        let first = submit_and_look(&service, &url, number).await;
        let again = submit_and_look(&service, &url, number).await;
        // What is booked already is answered from what is there.
        let known = submit_and_look(&service, &url, 1).await;
        limit.set(None);
        failed += usize::from(first.is_none()) + usize::from(again.is_none());
        assert!(matches!(known, None | Some(1)));

        assert_eq!(submit_and_look(&service, &url, number).await, Some(number), "{spare} bytes to spare");
        if first.is_some() {
            break;
        }
    }
    assert!(failed > 4, "files could not grow: {failed}");
    service.book().close().await;
    let book = Book::open_file(&file).await.unwrap();
    assert_eq!(book.receipts().await.unwrap().len() as u64, number, "the same after a restart");
}
