//! The library: programs whose files are here, whole and verified.

use parlor_proto::{identity::PeerId, ids::ProgramId, time::Timestamp};

use super::{Store, StoreError, Transaction, parse};

const TABLE: &str = "programs";

/// One program of the library; its manifest is in its bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryEntry {
    /// By content.
    pub program: ProgramId,
    /// What users call it.
    pub name: String,
    /// Who supplied it; `None` for what the user brought (published or preloaded here).
    pub origin: Option<PeerId>,
    /// Whether it stays when no session needs it any more.
    pub kept: bool,
    /// Since when.
    pub added_at: Timestamp,
}

type Row = (String, String, Option<String>, bool, i64);

fn entry((program, name, origin, kept, added_at): Row) -> Result<LibraryEntry, StoreError> {
    Ok(LibraryEntry {
        program: parse(TABLE, &program)?,
        name,
        origin: origin.map(|origin| parse(TABLE, &origin)).transpose()?,
        kept,
        added_at: Timestamp(added_at.unsigned_abs()),
    })
}

impl Store {
    /// Adds a program; if it is here already, its name and origin stay, and it is kept from now on if either
    /// says so.
    pub async fn put_program(&self, write: &mut Transaction, entry: &LibraryEntry) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO programs (program, name, origin, kept, added_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (program) DO UPDATE SET kept = max(kept, excluded.kept)",
        )
        .bind(entry.program.to_string())
        .bind(&entry.name)
        .bind(entry.origin.map(|origin| origin.to_string()))
        .bind(entry.kept)
        .bind(entry.added_at.0.cast_signed())
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// All, newest first.
    pub async fn programs(&self) -> Result<Vec<LibraryEntry>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT program, name, origin, kept, added_at FROM programs ORDER BY added_at DESC, program",
        )
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(entry).collect()
    }

    /// By content.
    pub async fn program(&self, program: ProgramId) -> Result<Option<LibraryEntry>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT program, name, origin, kept, added_at FROM programs WHERE program = ?")
                .bind(program.to_string())
                .fetch_optional(self.pool())
                .await?;
        row.map(entry).transpose()
    }

    /// By name, newest first.
    pub async fn programs_named(&self, name: &str) -> Result<Vec<LibraryEntry>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as("SELECT program, name, origin, kept, added_at FROM programs WHERE name = ? ORDER BY added_at DESC, program")
        .bind(name)
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(entry).collect()
    }

    /// ST28: keep it, or only as long as a session needs it.
    pub async fn keep_program(&self, program: ProgramId, kept: bool) -> Result<(), StoreError> {
        sqlx::query("UPDATE programs SET kept = ? WHERE program = ?")
            .bind(kept)
            .bind(program.to_string())
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Takes a program out of the library. Its files are the bundles' concern.
    pub async fn remove_program(&self, program: ProgramId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM programs WHERE program = ?")
            .bind(program.to_string())
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
