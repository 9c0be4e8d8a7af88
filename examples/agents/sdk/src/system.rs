//! Time, randomness, and a word to the author.

use crate::bindings::parlor::agent::system;

/// Milliseconds since 1970, UTC, by this node's clock. Other nodes' clocks say otherwise.
#[must_use]
pub fn now() -> u64 {
    system::now()
}

/// Fresh randomness: at most 65,536 bytes.
#[must_use]
pub fn random(length: u32) -> Vec<u8> {
    system::random(length)
}

/// A number from 0 to `bound - 1`, each as likely as the others; 0 if `bound` is 0.
#[must_use]
pub fn random_below(bound: u32) -> u32 {
    below(bound, || random(4).try_into().map_or(0, u32::from_le_bytes))
}

/// A line for the author, in the node's log at level DEBUG.
pub fn log(text: &str) {
    system::log(text);
}

/// Draws until the number does not favour any remainder.
fn below(bound: u32, mut draw: impl FnMut() -> u32) -> u32 {
    if bound == 0 {
        return 0;
    }
    let fair = u32::MAX - u32::MAX % bound;
    loop {
        let drawn = draw();
        if drawn < fair {
            return drawn % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn numbers_that_would_favour_some_are_drawn_again() {
        let mut drawn = [u32::MAX, u32::MAX - 3, 8].into_iter();
        assert_eq!(below(6, || drawn.next().unwrap()), 2);
        assert_eq!(drawn.next(), None);
        assert_eq!(below(0, || unreachable!()), 0);
        assert_eq!(below(1, || 77), 0);
    }
}
