//! Single values that outlive a run.

use super::{Store, StoreError};

impl Store {
    /// The value under `name`.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT value FROM settings WHERE name = ?");
        Ok(query.bind(name).fetch_optional(self.pool()).await?)
    }

    /// Sets the value under `name`.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(name)
            .bind(value)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
