//! Faults under the databases, for tests.
//!
//! For: something that goes wrong at the n-th operation ([`Faults`]), and files that really cannot grow
//! ([`FileLimit`]). Not for: what must hold then: each part's own tests say so.

#![allow(clippy::unwrap_used)]

use std::{
    io,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::{Database, Executor};

use super::{Interference, Operation};

/// No space left on device.
pub(crate) const ENOSPC: i32 = 28;
/// Input/output error.
pub(crate) const EIO: i32 = 5;

/// What goes wrong.
pub(crate) type Effect<DB> = Box<
    dyn for<'a> Fn(Option<&'a mut <DB as Database>::Connection>) -> BoxFuture<'a, Result<(), sqlx::Error>>
        + Send
        + Sync,
>;

fn os_error(code: i32) -> sqlx::Error {
    sqlx::Error::Io(io::Error::from_raw_os_error(code))
}

/// The operation fails, and was not tried.
pub(crate) fn refuses<DB: Database>(code: i32) -> Effect<DB> {
    Box::new(move |_| Box::pin(async move { Err(os_error(code)) }))
}

/// The operation fails, and the database has ended the transaction by itself, as SQLite does when a commit fails.
pub(crate) fn rolls_back<DB: Database>(code: i32) -> Effect<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    Box::new(move |connection| {
        Box::pin(async move {
            if let Some(connection) = connection {
                // Fails where there is no transaction yet, or no longer.
                let _ = connection.execute("ROLLBACK").await;
            }
            Err(os_error(code))
        })
    })
}

/// As long as it `is_full`, SQLite's file gets no further page in transactions: a statement that needs one really fails.
pub(crate) fn pages_end<DB: Database>(is_full: &Arc<AtomicBool>) -> Interference<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let is_full = Arc::clone(is_full);
    Arc::new(move |connection, operation| {
        let is_full = is_full.load(Ordering::SeqCst);
        Box::pin(async move {
            if let (Some(connection), Operation::Begin) = (connection, operation) {
                // What is there stays, and is the least.
                let most =
                    if is_full { "PRAGMA max_page_count = 1" } else { "PRAGMA max_page_count = 4294967294" };
                connection.execute(most).await?;
            }
            Ok(())
        })
    })
}

/// Something that goes wrong once, at an operation that is counted down to.
pub(crate) struct Faults<DB: Database> {
    /// How many operations from now; zero: none.
    left: AtomicUsize,
    hit: Mutex<Option<Operation>>,
    effect: Effect<DB>,
}

impl<DB: Database> Faults<DB> {
    pub(crate) fn new(effect: Effect<DB>) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(0), hit: Mutex::default(), effect })
    }

    /// To be put into a pool.
    pub(crate) fn interference(self: &Arc<Self>) -> Interference<DB> {
        let faults = Arc::clone(self);
        Arc::new(move |connection, operation| {
            let left = faults.left.load(Ordering::SeqCst);
            faults.left.store(left.saturating_sub(1), Ordering::SeqCst);
            if left != 1 {
                return Box::pin(async { Ok(()) });
            }
            *faults.hit.lock().unwrap_or_else(PoisonError::into_inner) = Some(operation);
            (faults.effect)(connection)
        })
    }

    /// It goes wrong at the `n`-th operation from now, counted from 1.
    pub(crate) fn arm(&self, n: usize) {
        *self.hit.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.left.store(n, Ordering::SeqCst);
    }

    /// Nothing goes wrong any more. At which operation it did, if it came to that.
    pub(crate) fn disarm(&self) -> Option<Operation> {
        self.left.store(0, Ordering::SeqCst);
        self.hit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A bound on the files that this process writes: beyond, writing really fails.
pub(crate) struct FileLimit(());

impl FileLimit {
    const CHILD: &str = "PARLOR_TEST_IS_A_CHILD";

    /// Runs the test `name` again in a process of its own, as the bound holds for all that a process writes. Returns
    /// `None` in the process that was asked, after the other one went well; in that other one, the way to set it.
    pub(crate) fn in_a_child(name: &str) -> Option<Self> {
        if std::env::var_os(Self::CHILD).is_some() {
            return Some(Self(()));
        }
        // Writing too much sends a signal, which ends a process that does not ignore it; that is inherited.
        let mut child = Command::new("sh");
        child.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]).env(Self::CHILD, "1");
        let done = child.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
        None
    }

    /// No file grows beyond so many bytes; `None`: as it was.
    pub(crate) fn set(&self, bytes: Option<u64>) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
    }
}
