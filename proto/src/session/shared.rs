//! Serde for keys that several values share: written as if each had its own.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::group::keys::GroupKeys;

pub(super) fn serialize<S: Serializer>(
    keys: &Option<Arc<GroupKeys>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    keys.as_deref().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Arc<GroupKeys>>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(Arc::new))
}
