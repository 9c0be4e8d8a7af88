//! Where openmls keeps its state: in memory, and as a snapshot.
//!
//! For: a map that is copied, serialized and forgotten as a whole. Not for: disk. State changes only with
//! commits, so the node's database keeps one snapshot a session and replaces it in the transaction of the
//! step that caused the change.

use std::{collections::BTreeMap, sync::PoisonError};

use openmls_memory_storage::MemoryStorage;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use zeroize::Zeroize;

/// openmls' state. Contains private keys: never shown, overwritten when dropped.
#[derive(Default)]
pub(super) struct Store(MemoryStorage);

impl Store {
    pub(super) fn memory(&self) -> &MemoryStorage {
        &self.0
    }

    fn values(&self) -> std::sync::RwLockReadGuard<'_, std::collections::HashMap<Vec<u8>, Vec<u8>>> {
        // Every write is one insertion, so the map is whole even if its writer panicked.
        self.0.values.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Store {
    fn clone(&self) -> Self {
        Self(MemoryStorage { values: self.values().clone().into() })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let values = self.0.values.get_mut().unwrap_or_else(PoisonError::into_inner);
        values.values_mut().for_each(Zeroize::zeroize);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// As a map in the order of its keys, so that equal states have equal snapshots.
impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.values();
        let sorted: BTreeMap<_, _> = values
            .iter()
            .map(|(key, value)| (serde_bytes::Bytes::new(key), serde_bytes::Bytes::new(value)))
            .collect();
        sorted.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sorted = BTreeMap::<ByteBuf, ByteBuf>::deserialize(deserializer)?;
        let values: std::collections::HashMap<_, _> =
            sorted.into_iter().map(|(key, value)| (key.into_vec(), value.into_vec())).collect();
        Ok(Self(MemoryStorage { values: values.into() }))
    }
}
