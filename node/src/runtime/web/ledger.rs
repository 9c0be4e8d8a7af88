//! What a page has sent already, so that sending it again sends it once.
//!
//! For: [`Ledger`], one an instance. Not for: updates of other members (the group's log does that).
//!
//! The idea: a page numbers its updates 1, 2, 3… and, after a reconnect, sends those again that it has no answer for.
//! The ledger keeps the last number done for each page. A page's sends happen one at a time, also across its old and
//! its new connection, because each waits for the page's lock.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

/// Pages remembered, the most recently used ones. Opening a tab makes one.
pub(super) const MAX_PAGES: usize = 64;

/// One load of a page: random, chosen by `webxdc.js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageId(pub(super) [u8; 16]);

/// The number of the last update that page is done with.
type Done = Arc<Mutex<u64>>;

/// What the pages of one instance have sent.
#[derive(Debug, Default)]
pub(super) struct Ledger(StdMutex<Vec<(PageId, Done)>>);

impl Ledger {
    fn done(&self, page: PageId) -> Done {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match pages.iter().position(|(id, _)| *id == page) {
            Some(at) => pages.remove(at),
            None => (page, Done::default()),
        };
        let done = entry.1.clone();
        pages.insert(0, entry);
        pages.truncate(MAX_PAGES);
        done
    }

    /// Does `send` unless update `n` of that page is done already. One that failed may be tried again.
    pub(super) async fn once<E>(
        &self,
        page: PageId,
        n: u64,
        send: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let done = self.done(page);
        let mut last = done.lock().await;
        if n > *last {
            send.await?;
            *last = n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const PAGE: PageId = PageId([1; 16]);

    #[tokio::test]
    async fn the_same_number_is_sent_once_and_a_failure_again() {
        let (ledger, sent) = (Ledger::default(), AtomicU32::new(0));
        let send = |result: Result<(), ()>| {
            let sent = &sent;
            async move {
                sent.fetch_add(1, Ordering::Relaxed);
                result
            }
        };
        assert_eq!(ledger.once(PAGE, 1, send(Err(()))).await, Err(()));
        for _ in 0..3 {
            assert_eq!(ledger.once(PAGE, 1, send(Ok(()))).await, Ok(()));
        }
        assert_eq!(sent.load(Ordering::Relaxed), 2);
        assert_eq!(ledger.once(PageId([2; 16]), 1, send(Ok(()))).await, Ok(()));
        assert_eq!(sent.load(Ordering::Relaxed), 3, "another page counts for itself");
    }

    #[tokio::test]
    async fn a_second_attempt_waits_for_the_first() {
        let ledger = Arc::new(Ledger::default());
        let (go, started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = tokio::spawn({
            let (ledger, go, started) = (ledger.clone(), go.clone(), started.clone());
            async move {
                let send = async {
                    started.notify_one();
                    go.notified().await;
                    Ok::<(), ()>(())
                };
                ledger.once(PAGE, 1, send).await
            }
        });
        started.notified().await;
        let mut second = Box::pin(ledger.once(PAGE, 1, async { Err(()) }));
        assert!(futures::poll!(&mut second).is_pending());
        go.notify_one();
        assert_eq!(second.await, Ok(()), "it was not sent again");
        assert!(matches!(first.await, Ok(Ok(()))));
    }

    #[tokio::test]
    async fn pages_are_bounded() {
        let ledger = Ledger::default();
        for n in 0..=255 {
            let _ = ledger.once(PageId([n; 16]), 1, async { Ok::<(), ()>(()) }).await;
        }
        assert_eq!(ledger.0.lock().unwrap_or_else(PoisonError::into_inner).len(), MAX_PAGES);
    }
}
