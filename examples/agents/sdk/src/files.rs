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
    whole(|offset| read(path, offset, MAX_READ))
}

/// A whole file, of parts of [`MAX_READ`] bytes; the last one has fewer.
pub(crate) fn whole(part: impl Fn(u64) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut whole = part(0)?;
    let mut full = whole.len() == MAX_READ as usize;
    while full {
        let part = part(whole.len() as u64)?;
        full = part.len() == MAX_READ as usize;
        whole.extend_from_slice(&part);
    }
    Some(whole)
}
