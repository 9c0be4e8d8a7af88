//! Packs: those programs of the library that are content for another one.

use parlor_proto::{
    identity::PeerId,
    ids::ProgramId,
    program::{Levels, Pack, Program},
};

use super::{Store, StoreError, Transaction, parse};

const TABLE: &str = "packs";

/// A pack of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPack {
    /// By content.
    pub program: ProgramId,
    /// What users call it.
    pub name: String,
    /// As its origin writes it.
    pub version: String,
    /// Who supplied it; `None` for what the user brought.
    pub origin: Option<PeerId>,
    /// For which levels it is meant; without, for all.
    pub levels: Option<Levels>,
}

type Row = (String, String, String, Option<String>, Option<u32>, Option<u32>);

fn pack((program, name, version, origin, low, high): Row) -> Result<StoredPack, StoreError> {
    let levels = low.zip(high).map(|(low, high)| Levels::new(low, high)).transpose();
    Ok(StoredPack {
        program: parse(TABLE, &program)?,
        name,
        version,
        origin: origin.map(|origin| parse(TABLE, &origin)).transpose()?,
        levels: levels.map_err(|_| StoreError::Unreadable { table: TABLE })?,
    })
}

impl Store {
    /// Notes what a program of the library is content for. It goes with the program.
    pub async fn put_pack(
        &self,
        write: &mut Transaction,
        program: &Program,
        pack: &Pack,
    ) -> Result<(), StoreError> {
        // What is here already says the same: it is of the same content.
        sqlx::query(
            "INSERT OR IGNORE INTO packs (program, pack_for, version, low, high) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(program.id().to_string())
        .bind(pack.program.as_str())
        .bind(&program.manifest().version)
        .bind(pack.levels.map(Levels::low))
        .bind(pack.levels.map(Levels::high))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// The packs for programs of this name, newest first, and no more than so many.
    pub async fn packs_for(&self, name: &str, most: u32) -> Result<Vec<StoredPack>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT program, name, version, origin, low, high FROM packs JOIN programs USING (program)
             WHERE pack_for = ? ORDER BY added_at DESC, program LIMIT ?",
        )
        .bind(name)
        .bind(most)
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(pack).collect()
    }

    /// Whether this program is in the library, as a pack for programs of this name.
    pub async fn is_pack_for(&self, program: ProgramId, name: &str) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM packs WHERE program = ? AND pack_for = ?)")
            .bind(program.to_string())
            .bind(name)
            .fetch_one(self.pool())
            .await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use parlor_proto::{
        program::{CopiesRule, FileEntry, FilePath, Manifest, Role},
        time::Timestamp,
    };

    use super::*;
    use crate::store::LibraryEntry;

    /// Takes a pack in at this time, and returns its id.
    async fn put(store: &Store, name: &str, pack: Pack, at: u64) -> ProgramId {
        let path = FilePath::new("map.txt").unwrap();
        let manifest = Manifest {
            name: name.parse().unwrap(),
            title: name.into(),
            version: "1.2".into(),
            summary: None,
            copies: CopiesRule::Free,
            agent: Default::default(),
            pack: Some(pack.clone()),
            files: vec![FileEntry { path, role: Role::Everyone, size: 0, chunks: vec![] }],
        };
        let program = Program::new(manifest).unwrap();
        let (id, name, added_at) = (program.id(), name.to_owned(), Timestamp(at));
        let mut write = store.write().await.unwrap();
        let entry = LibraryEntry { program: id, name, origin: None, kept: true, added_at };
        store.put_program(&mut write, &entry).await.unwrap();
        store.put_pack(&mut write, &program, &pack).await.unwrap();
        write.commit().await.unwrap();
        id
    }

    #[tokio::test]
    async fn packs_are_found_by_what_they_are_for_and_go_with_their_program() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).await.unwrap();
        let pack = |program: &str, levels| Pack { program: program.parse().unwrap(), levels };
        let levels = Levels::new(0, u32::MAX).ok();
        let hills = put(&store, "hills", pack("dungeon", levels), 1).await;
        put(&store, "streets", pack("city", None), 2).await;
        let caves = put(&store, "caves", pack("dungeon", None), 3).await;
        // The same once more changes nothing.
        put(&store, "hills", pack("dungeon", levels), 4).await;
        let found = store.packs_for("dungeon", 9).await.unwrap();
        assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["caves", "hills"]);
        let version = "1.2".to_owned();
        assert_eq!(
            found[1],
            StoredPack { program: hills, name: "hills".into(), version, origin: None, levels }
        );
        assert_eq!(store.packs_for("dungeon", 1).await.unwrap(), found[..1], "the newest");
        assert!(store.is_pack_for(hills, "dungeon").await.unwrap());
        assert!(!store.is_pack_for(hills, "city").await.unwrap());

        store.remove_program(caves).await.unwrap();
        assert!(!store.is_pack_for(caves, "dungeon").await.unwrap());
        assert_eq!(store.packs_for("dungeon", 9).await.unwrap(), found[1..]);
    }
}
