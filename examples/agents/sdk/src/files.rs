//! The program's own files, as far as this node has them. The host's files are on the host alone.

use crate::bindings::parlor::agent::files;
pub use crate::bindings::parlor::agent::files::Entry;

/// What one call of [`read`] reads at most, bytes.
pub const MAX_READ: u32 = 1 << 20;

/// All files that are here, in order.
#[must_use]
pub fn entries() -> Vec<Entry> {
    files::entries()
}

/// At most `length` bytes from `offset`; fewer at the end. `None`: there is no such file here.
#[must_use]
pub fn read(path: &str, offset: u64, length: u32) -> Option<Vec<u8>> {
    files::read(path, offset, length)
}

/// All of a file. It has to fit the agent's memory.
#[must_use]
pub fn read_all(path: &str) -> Option<Vec<u8>> {
    let mut whole = read(path, 0, MAX_READ)?;
    let mut full = whole.len() == MAX_READ as usize;
    while full {
        let part = read(path, whole.len() as u64, MAX_READ)?;
        full = part.len() == MAX_READ as usize;
        whole.extend_from_slice(&part);
    }
    Some(whole)
}
