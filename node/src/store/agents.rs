//! What agents keep: the state that each has put aside, and programs' keys and values.
//!
//! For: the tables. Not for: who may keep how much of what: see [`crate::session`] and [`crate::runtime::agent`].

use parlor_proto::ids::SessionId;

use super::{Store, StoreError};

/// What an agent has put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentState {
    /// Its own words.
    pub state: Vec<u8>,
    /// The last update that it had taken: a serial.
    pub serial: u64,
}

impl Store {
    /// What this part of the session's program put aside last.
    pub async fn agent_state(
        &self,
        session: SessionId,
        part: &str,
    ) -> Result<Option<AgentState>, StoreError> {
        let row: Option<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT state, serial FROM agent_states WHERE session = ? AND part = ?")
                .bind(session.to_string())
                .bind(part)
                .fetch_optional(self.pool())
                .await?;
        Ok(row.map(|(state, serial)| AgentState { state, serial: serial.unsigned_abs() }))
    }

    /// Keeps it, in place of the one before.
    pub async fn put_agent_state(
        &self,
        session: SessionId,
        part: &str,
        state: &AgentState,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO agent_states (session, part, state, serial) VALUES (?, ?, ?, ?)
             ON CONFLICT (session, part) DO UPDATE SET state = excluded.state, serial = excluded.serial",
        )
        .bind(session.to_string())
        .bind(part)
        .bind(&state.state)
        .bind(i64::try_from(state.serial).unwrap_or(i64::MAX))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// A value.
    pub async fn agent_value(&self, owner: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM agent_values WHERE owner = ? AND key = ?")
            .bind(owner)
            .bind(key)
            .fetch_optional(self.pool())
            .await?)
    }

    /// Keeps a value; `false`, and nothing changes, if all keys and values would add up to more than `quota` bytes.
    pub async fn put_agent_value(
        &self,
        owner: &str,
        key: &str,
        value: &[u8],
        quota: u64,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let others: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM agent_values
             WHERE owner = ? AND key <> ?",
        )
        .bind(owner)
        .bind(key)
        .fetch_one(&mut *write)
        .await?;
        if others.unsigned_abs() + (key.len() + value.len()) as u64 > quota {
            write.rollback().await?;
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO agent_values (owner, key, value) VALUES (?, ?, ?)
             ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value",
        )
        .bind(owner)
        .bind(key)
        .bind(value)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(true)
    }

    /// Forgets a value.
    pub async fn remove_agent_value(&self, owner: &str, key: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM agent_values WHERE owner = ? AND key = ?")
            .bind(owner)
            .bind(key)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// All keys, in order.
    pub async fn agent_keys(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT key FROM agent_values WHERE owner = ? ORDER BY key")
            .bind(owner)
            .fetch_all(self.pool())
            .await?)
    }
}

/// Whose values are a session's.
#[must_use]
pub fn owner_of_session(session: SessionId) -> String {
    format!("session:{session}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).await.unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn a_state_replaces_the_one_before_and_goes_with_its_session() {
        let (_dir, store) = store().await;
        let session = SessionId([1; 16]);
        assert_eq!(store.agent_state(session, "agent").await.unwrap(), None);
        for serial in [3, 9] {
            let state = AgentState { state: vec![serial as u8], serial };
            store.put_agent_state(session, "agent", &state).await.unwrap();
            assert_eq!(store.agent_state(session, "agent").await.unwrap(), Some(state));
            assert_eq!(store.agent_state(session, "host").await.unwrap(), None);
        }
        store.put_agent_value(&owner_of_session(session), "k", b"v", 10).await.unwrap();
        store.put_agent_value("user:o/n", "k", b"v", 10).await.unwrap();
        store.remove_session(session).await.unwrap();
        assert_eq!(store.agent_state(session, "agent").await.unwrap(), None);
        assert!(store.agent_keys(&owner_of_session(session)).await.unwrap().is_empty());
        assert_eq!(store.agent_keys("user:o/n").await.unwrap(), ["k"], "the user's stays");
    }

    #[tokio::test]
    async fn values_have_a_quota_for_each_owner() {
        let (_dir, store) = store().await;
        assert!(store.put_agent_value("a", "one", &[0; 7], 20).await.unwrap());
        assert!(!store.put_agent_value("a", "two", &[0; 8], 20).await.unwrap(), "10 and 11 bytes");
        assert!(store.put_agent_value("a", "two", &[0; 7], 20).await.unwrap());
        assert!(store.put_agent_value("a", "two", &[1; 7], 20).await.unwrap(), "in place of the one before");
        assert!(store.put_agent_value("b", "two", &[0; 8], 20).await.unwrap(), "another owner");
        assert_eq!(store.agent_value("a", "two").await.unwrap(), Some(vec![1; 7]));
        store.remove_agent_value("a", "one").await.unwrap();
        assert_eq!(store.agent_keys("a").await.unwrap(), ["two"]);
        assert!(store.put_agent_value("a", "more", &[0; 6], 20).await.unwrap());
    }
}
