//! What was posted under which key: so that it is posted once.
//!
//! All of it is bounded: the newest keys of a source, and the pages that posted last.

use parlor_proto::ids::SessionId;

use super::{Store, StoreError, Transaction};
use crate::group::key::{MAX_PAGES, PAGES, PostKey};

impl Store {
    /// The serial of the update that was posted under this key; `None` if none was, or it is forgotten.
    pub async fn sent(&self, session: SessionId, key: &PostKey) -> Result<Option<u64>, StoreError> {
        let serial: Option<i64> =
            sqlx::query_scalar("SELECT serial FROM sent_keys WHERE session = ? AND source = ? AND key = ?")
                .bind(session.to_string())
                .bind(key.source())
                .bind(key.key())
                .fetch_optional(self.pool())
                .await?;
        Ok(serial.map(i64::unsigned_abs))
    }

    /// Notes that the update at `serial` was posted under this key, in the transaction that writes the update.
    pub async fn note_sent(
        &self,
        write: &mut Transaction,
        session: SessionId,
        serial: u64,
        key: &PostKey,
    ) -> Result<(), StoreError> {
        let session = session.to_string();
        sqlx::query("INSERT OR REPLACE INTO sent_keys (session, source, key, serial) VALUES (?, ?, ?, ?)")
            .bind(&session)
            .bind(key.source())
            .bind(key.key())
            .bind(serial.cast_signed())
            .execute(&mut **write)
            .await?;

        let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM sent_keys WHERE session = ? AND source = ?")
            .bind(&session)
            .bind(key.source())
            .fetch_one(&mut **write)
            .await?;
        if keys == 1 && key.source().starts_with(PAGES) {
            forget_pages(write, &session).await?;
        }
        if keys.unsigned_abs() > key.kept() as u64 {
            forget_keys(write, &session, key).await?;
        }
        Ok(())
    }
}

/// Those of a source but the newest.
async fn forget_keys(write: &mut Transaction, session: &str, key: &PostKey) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sent_keys WHERE session = ?1 AND source = ?2 AND serial <= (
             SELECT serial FROM sent_keys WHERE session = ?1 AND source = ?2
             ORDER BY serial DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(session)
    .bind(key.source())
    .bind(key.kept() as i64)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// All pages but those that posted last.
async fn forget_pages(write: &mut Transaction, session: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sent_keys WHERE session = ?1 AND source IN (
             SELECT source FROM sent_keys WHERE session = ?1 AND substr(source, 1, ?2) = ?3
             GROUP BY source ORDER BY max(serial) DESC LIMIT -1 OFFSET ?4)",
    )
    .bind(session)
    .bind(PAGES.len() as i64)
    .bind(PAGES)
    .bind(MAX_PAGES as i64)
    .execute(&mut **write)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::group::key::KEPT_OF_PAGE;

    const SESSION: SessionId = SessionId([3; 16]);

    async fn note(store: &Store, noted: impl IntoIterator<Item = (u64, PostKey)>) {
        let mut write = store.write().await.unwrap();
        for (serial, key) in noted {
            store.note_sent(&mut write, SESSION, serial, &key).await.unwrap();
        }
        write.commit().await.unwrap();
    }

    async fn rows(store: &Store) -> usize {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM sent_keys").fetch_one(store.pool()).await.unwrap();
        usize::try_from(rows).unwrap()
    }

    #[tokio::test]
    async fn a_key_is_there_if_its_transaction_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("parlor.db")).await.unwrap();
        let key = PostKey::of_page([1; 16], 1);
        let mut write = store.write().await.unwrap();
        store.note_sent(&mut write, SESSION, 7, &key).await.unwrap();
        drop(write);
        assert_eq!(store.sent(SESSION, &key).await.unwrap(), None);
        note(&store, [(7, key.clone())]).await;
        assert_eq!(store.sent(SESSION, &key).await.unwrap(), Some(7));
        for other in [PostKey::of_page([1; 16], 2), PostKey::of_page([2; 16], 1), PostKey::of_user("1")] {
            assert_eq!(store.sent(SESSION, &other).await.unwrap(), None);
        }
        assert_eq!(store.sent(SessionId([4; 16]), &key).await.unwrap(), None);
        store.remove_session(SESSION).await.unwrap();
        assert_eq!(rows(&store).await, 0);
    }

    #[tokio::test]
    async fn keys_of_a_page_and_pages_are_bounded_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("parlor.db")).await.unwrap();
        let of = |page: u8, n: u64| PostKey::of_page([page; 16], n);
        let kept = KEPT_OF_PAGE as u64;
        note(&store, (1..=kept + 3).map(|n| (n, of(1, n)))).await;
        assert_eq!(rows(&store).await, KEPT_OF_PAGE);
        assert_eq!(store.sent(SESSION, &of(1, 3)).await.unwrap(), None);
        assert_eq!(store.sent(SESSION, &of(1, 4)).await.unwrap(), Some(4));

        note(&store, [(900, PostKey::of_user("first")), (901, PostKey::of_agent("host", 1, 0, b"x"))]).await;
        note(&store, (2..=MAX_PAGES + 1).map(|page| (1_000 + page as u64, of(page as u8, 1)))).await;
        assert_eq!(store.sent(SESSION, &of(1, kept)).await.unwrap(), None, "the page of before is forgotten");
        assert_eq!(store.sent(SESSION, &of(2, 1)).await.unwrap(), Some(1_002));
        assert_eq!(store.sent(SESSION, &PostKey::of_user("first")).await.unwrap(), Some(900), "no page");
        assert_eq!(rows(&store).await, MAX_PAGES + 2);
    }
}
