//! Proofs that hosts cheated, for good.

use parlor_proto::{rights::EquivocationProof, time::Timestamp};

use super::{Store, StoreError, Transaction};

const TABLE: &str = "cheats";

/// A proof that a host gave one slot to two members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cheat {
    /// When it was found.
    pub found_at: Timestamp,
    /// The proof.
    pub proof: EquivocationProof,
}

impl Store {
    /// Keeps a proof; one that is kept already stays as it is.
    pub async fn keep_cheat(
        &self,
        write: &mut Transaction,
        proof: &EquivocationProof,
        found_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT OR IGNORE INTO cheats (ticket, host, found_at, proof) VALUES (?, ?, ?, ?)")
            .bind(proof.ticket().to_string())
            .bind(proof.host().to_string())
            .bind(found_at.0.cast_signed())
            .bind(proof.encode())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Whether a proof against this host is kept.
    pub async fn is_cheat(&self, host: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM cheats WHERE host = ? LIMIT 1")
            .bind(host)
            .fetch_optional(self.pool())
            .await?;
        Ok(found.is_some())
    }

    /// All proofs, the oldest first.
    pub async fn cheats(&self) -> Result<Vec<Cheat>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT found_at, proof FROM cheats ORDER BY found_at, ticket, proof")
                .fetch_all(self.pool())
                .await?;
        let cheat = |(found_at, proof): (i64, Vec<u8>)| {
            let proof =
                EquivocationProof::decode(&proof).map_err(|_| StoreError::Unreadable { table: TABLE })?;
            Ok(Cheat { found_at: Timestamp(found_at.unsigned_abs()), proof })
        };
        rows.into_iter().map(cheat).collect()
    }
}
