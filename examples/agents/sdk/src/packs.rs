//! Packs: programs that are content for this one (a map, a level), as far as this node's user has any.
//!
//! They come and go while the agent runs, and other members' nodes may have others: what all are to know of a pack is
//! posted. Its `id` is the same everywhere.
//!
//! ```no_run
//! use parlor_agent::packs;
//!
//! /// The newest map that is meant for a character of this level.
//! fn map_for(level: u32) -> Option<Vec<u8>> {
//!     let pack = packs::all().into_iter().find(|pack| pack.is_for(level))?;
//!     packs::read_all(&pack.id, "map.txt")
//! }
//! ```

use crate::{bindings::parlor::agent::packs, files::whole};
pub use crate::{
    bindings::parlor::agent::packs::Pack,
    files::{Entry, MAX_READ},
};

/// All that are here, newest first: at most 256.
#[must_use]
pub fn all() -> Vec<Pack> {
    packs::all()
}

/// The files of the pack of this id, in order; none if it is not here. Those that only a host gets are there for the host
/// part alone, if this node has them.
#[must_use]
pub fn files(pack: &str) -> Vec<Entry> {
    packs::files(pack)
}

/// At most `length` bytes from `offset` of one of its files; fewer at the end, and no more than [`MAX_READ`]. `None`: there
/// is no such pack here, or no such file in it.
#[must_use]
pub fn read(pack: &str, path: &str, offset: u64, length: u32) -> Option<Vec<u8>> {
    packs::read(pack, path, offset, length)
}

/// All of one of its files. It has to fit the agent's memory. Another origin may have made it: expect anything.
#[must_use]
pub fn read_all(pack: &str, path: &str) -> Option<Vec<u8>> {
    whole(|offset| read(pack, path, offset, MAX_READ))
}

impl Pack {
    /// Whether it is meant for this level; one that names no levels is for all.
    #[must_use]
    pub fn is_for(&self, level: u32) -> bool {
        self.levels.is_none_or(|(low, high)| (low..=high).contains(&level))
    }
}

#[cfg(test)]
mod tests {
    use super::Pack;

    #[test]
    fn levels_are_from_and_to_and_without_them_a_pack_is_for_all() {
        let pack = |levels| {
            let [id, name, version] = ["1f", "hills", "1"].map(str::to_owned);
            Pack { id, name, version, origin: None, levels }
        };
        let some = pack(Some((1, 9)));
        assert_eq!([0, 1, 9, 10].map(|level| some.is_for(level)), [false, true, true, false]);
        assert!(pack(None).is_for(u32::MAX));
    }
}
