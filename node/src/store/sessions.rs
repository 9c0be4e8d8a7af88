//! Sessions, as the state machines that they are.

use parlor_proto::{ids::SessionId, session::Role, time::Timestamp};

use super::{Store, StoreError, Transaction, from_blob, parse, to_blob};

const TABLE: &str = "sessions";

/// One session.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// Which.
    pub session: SessionId,
    /// The machine.
    pub role: Role,
    /// The unguessable first label of its web part's origin; stays, so that the browser's storage does.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Nothing more is to be done for it.
    pub ended: bool,
}

type Row = (String, String, String, i64, bool, Vec<u8>);

fn record((session, role, label, created_at, ended, machine): Row) -> Result<SessionRecord, StoreError> {
    let role = match role.as_str() {
        "host" => Role::Host(from_blob(TABLE, &machine)?),
        _ => Role::Member(from_blob(TABLE, &machine)?),
    };
    let created_at = Timestamp(created_at.unsigned_abs());
    Ok(SessionRecord { session: parse(TABLE, &session)?, role, label, created_at, ended })
}

impl Store {
    /// Notes a session's step, with whatever else belongs to it.
    pub async fn put_session(
        &self,
        write: &mut Transaction,
        record: &SessionRecord,
    ) -> Result<(), StoreError> {
        let (role, machine) = match &record.role {
            Role::Host(host) => ("host", to_blob(host)),
            Role::Member(member) => ("member", to_blob(member)),
        };
        sqlx::query(
            "INSERT INTO sessions (session, role, label, created_at, ended, machine) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (session) DO UPDATE SET
                 role = excluded.role, ended = excluded.ended, machine = excluded.machine",
        )
        .bind(record.session.to_string())
        .bind(role)
        .bind(&record.label)
        .bind(record.created_at.0.cast_signed())
        .bind(record.ended)
        .bind(machine)
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Forgets a session, all updates of it, its group, and what its program's agents kept for it.
    pub async fn remove_session(&self, session: SessionId) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        for query in [
            "DELETE FROM updates WHERE session = ?",
            "DELETE FROM bases WHERE session = ?",
            "DELETE FROM sent_keys WHERE session = ?",
            "DELETE FROM groups WHERE session = ?",
            "DELETE FROM agent_states WHERE session = ?",
            "DELETE FROM agent_values WHERE owner = 'session:' || ?",
            "DELETE FROM sessions WHERE session = ?",
        ] {
            sqlx::query(query).bind(session.to_string()).execute(&mut *write).await?;
        }
        write.commit().await?;
        self.tidy_soon();
        Ok(())
    }

    /// All sessions, oldest first.
    pub async fn sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT session, role, label, created_at, ended, machine FROM sessions ORDER BY created_at, session",
        )
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(record).collect()
    }
}
