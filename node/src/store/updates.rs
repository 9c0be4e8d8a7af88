//! The updates of sessions, in this node's order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use parlor_proto::{
    group::{Chain, Update},
    identity::PeerId,
    ids::SessionId,
    rights::Verified,
};

use super::{Store, StoreError, Transaction, from_blob, to_blob};

const TABLE: &str = "updates";
/// Of how many updates of one chain the places are read at a time, at least.
const MIN_CHUNK: usize = 8;

/// One update with its place in this node's order.
#[derive(Debug, Clone)]
pub struct StoredUpdate {
    /// From 1, in the order in which this node was told; with gaps where a checkpoint replaced some.
    pub serial: u64,
    /// Whether it is a checkpoint that counts.
    pub counts: bool,
    /// The update.
    pub update: Verified<Update>,
}

/// Up to how many updates are read, and what they may weigh together, bytes; one alone may weigh more.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Updates.
    pub updates: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Store {
    /// Appends an update. `serial` must be the next one.
    pub async fn put_update(
        &self,
        write: &mut Transaction,
        serial: u64,
        update: &Verified<Update>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO updates (session, serial, sender, number, item, size, covers, hash, depth)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(update.session.to_string())
        .bind(serial.cast_signed())
        .bind(update.chain.to_string())
        .bind(update.number.cast_signed())
        .bind(to_blob(update))
        .bind(update.bytes().len() as i64)
        .bind(update.covers.is_some())
        .bind(update.hash().0.as_slice())
        .bind(update.depth.cast_signed())
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Up to `most` updates with a serial above `serial`, in order.
    pub async fn updates_after(
        &self,
        session: SessionId,
        serial: u64,
        most: usize,
    ) -> Result<Vec<StoredUpdate>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT serial, covers, item FROM updates WHERE session = ? AND serial > ? ORDER BY serial LIMIT ?",
        )
        .bind(session.to_string())
        .bind(i64::try_from(serial).unwrap_or(i64::MAX))
        .bind(most as i64)
        .fetch_all(self.pool())
        .await?;
        rows.into_iter()
            .map(|(serial, covers, item)| {
                let update = from_blob(TABLE, &item)?;
                Ok(StoredUpdate { serial: serial.unsigned_abs(), counts: covers == 2, update })
            })
            .collect()
    }

    /// The hash of one update, if it is here.
    pub async fn update_hash(
        &self,
        session: SessionId,
        chain: Chain,
        number: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let hash =
            sqlx::query_scalar("SELECT hash FROM updates WHERE session = ? AND sender = ? AND number = ?")
                .bind(session.to_string())
                .bind(chain.to_string())
                .bind(i64::try_from(number).unwrap_or(i64::MAX))
                .fetch_optional(self.pool())
                .await?;
        Ok(hash)
    }

    /// What comes after `lacking` (ascending), for each of its chains, sorted by [`Update::place`]; and whether there is more than
    /// there is room for. In its chain each update is deeper than the one before it, so that the chains are merged, and
    /// no more is read of them than that takes.
    pub async fn updates_lacking(
        &self,
        session: SessionId,
        lacking: Vec<(Chain, u64)>,
        room: Room,
    ) -> Result<(Vec<Verified<Update>>, bool), StoreError> {
        let chunk = (2 * room.updates / lacking.len().max(1)).clamp(MIN_CHUNK, room.updates + 1);
        let (mut streams, mut first) = (Vec::with_capacity(lacking.len()), BinaryHeap::new());
        for (index, (chain, after)) in lacking.into_iter().enumerate() {
            let mut stream = Stream { chain, after, places: VecDeque::new() };
            self.fill(session, &mut stream, chunk).await?;
            first.extend(stream.places.front().map(|place| Reverse((place.depth, index))));
            streams.push(stream);
        }

        let (mut plan, mut bytes, mut more) = (Vec::new(), 0, false);
        while let Some(Reverse((_, index))) = first.pop() {
            let stream: &mut Stream = &mut streams[index];
            let Some(place) = stream.places.pop_front() else { continue };
            if plan.len() == room.updates || (!plan.is_empty() && bytes + place.size > room.bytes) {
                more = true;
                break;
            }
            bytes += place.size;
            plan.push((stream.chain, place.number));
            if stream.places.is_empty() {
                self.fill(session, stream, chunk).await?;
            }
            first.extend(stream.places.front().map(|place| Reverse((place.depth, index))));
        }
        Ok((self.updates_at(session, &plan).await?, more))
    }

    /// Reads the places of what comes next in a chain.
    async fn fill(&self, session: SessionId, stream: &mut Stream, most: usize) -> Result<(), StoreError> {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT number, depth, size FROM updates WHERE session = ? AND sender = ? AND number > ?
             ORDER BY number LIMIT ?",
        )
        .bind(session.to_string())
        .bind(stream.chain.to_string())
        .bind(i64::try_from(stream.after).unwrap_or(i64::MAX))
        .bind(most as i64)
        .fetch_all(self.pool())
        .await?;
        stream.places.extend(rows.into_iter().map(|(number, depth, size)| Place {
            number: number.unsigned_abs(),
            depth: depth.unsigned_abs(),
            size: usize::try_from(size).unwrap_or(usize::MAX),
        }));
        stream.after = stream.places.back().map_or(stream.after, |place| place.number);
        Ok(())
    }

    /// These, in the same order, less those that are not here any more.
    async fn updates_at(
        &self,
        session: SessionId,
        plan: &[(Chain, u64)],
    ) -> Result<Vec<Verified<Update>>, StoreError> {
        let mut spans: BTreeMap<Chain, (u64, u64)> = BTreeMap::new();
        for (chain, number) in plan {
            let (_, last) = spans.entry(*chain).or_insert((*number, *number));
            *last = (*last).max(*number);
        }
        let mut found = BTreeMap::new();
        for (chain, (first, last)) in spans {
            let items: Vec<(i64, Vec<u8>)> = sqlx::query_as(
                "SELECT number, item FROM updates WHERE session = ? AND sender = ? AND number BETWEEN ? AND ?",
            )
            .bind(session.to_string())
            .bind(chain.to_string())
            .bind(first.cast_signed())
            .bind(last.cast_signed())
            .fetch_all(self.pool())
            .await?;
            for (number, item) in items {
                found.insert((chain, number.unsigned_abs()), from_blob::<Verified<Update>>(TABLE, &item)?);
            }
        }
        Ok(plan.iter().filter_map(|place| found.remove(place)).collect())
    }

    /// The checkpoints that count and have not been replaced, the earliest first.
    pub async fn checkpoints(&self, session: SessionId) -> Result<Vec<Verified<Update>>, StoreError> {
        let items: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT item FROM updates WHERE session = ? AND covers = 2 ORDER BY serial")
                .bind(session.to_string())
                .fetch_all(self.pool())
                .await?;
        items.iter().map(|item| from_blob(TABLE, item)).collect()
    }

    /// The newest update in the sender's chain that says that it replaces others, and does not count yet.
    pub async fn newest_checkpoint(
        &self,
        session: SessionId,
        sender: PeerId,
    ) -> Result<Option<Verified<Update>>, StoreError> {
        let item: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT item FROM updates WHERE session = ? AND covers = 1 AND (sender = ? OR sender GLOB ?)
             ORDER BY serial DESC LIMIT 1",
        )
        .bind(session.to_string())
        .bind(sender.to_string())
        .bind(format!("{sender}/*"))
        .fetch_optional(self.pool())
        .await?;
        item.map(|item| from_blob(TABLE, &item)).transpose()
    }
}

/// The places of the next updates of one chain.
struct Stream {
    chain: Chain,
    /// The newest that was read.
    after: u64,
    places: VecDeque<Place>,
}

struct Place {
    number: u64,
    depth: u64,
    size: usize,
}
