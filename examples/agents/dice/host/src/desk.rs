//! Who is heard: nobody too often, and all together not more than the node lets through.

use std::collections::HashMap;

use parlor_agent::Pace;

/// Rolls a second for one member.
const EACH: u32 = 2;
/// Rolls a second for all. A node lets 60 messages a second through.
const ALL: u32 = 30;
/// Members whose pace is known.
const MEMBERS: usize = 1000;

/// Where members come to ask.
pub(crate) struct Desk {
    each: HashMap<String, Pace>,
    all: Pace,
}

impl Default for Desk {
    fn default() -> Self {
        Self { each: HashMap::new(), all: Pace::per_second(ALL) }
    }
}

impl Desk {
    /// Whether this member is heard now, milliseconds.
    pub(crate) fn hears(&mut self, who: &str, now: u64) -> bool {
        if self.each.len() >= MEMBERS && !self.each.contains_key(who) {
            self.each.clear();
        }
        let each = self.each.entry(who.to_owned()).or_insert_with(|| Pace::per_second(EACH));
        each.take(now) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Desk};

    #[test]
    fn nobody_is_heard_too_often_and_the_others_still_are() {
        let mut desk = Desk::default();
        let heard = |desk: &mut Desk, who| (0..100).filter(|_| desk.hears(who, 1000)).count();
        assert_eq!(heard(&mut desk, "mallory"), 2);
        assert_eq!(heard(&mut desk, "ann"), 2);
        assert!(desk.hears("mallory", 1500));
    }

    #[test]
    fn all_together_are_not_too_many() {
        let mut desk = Desk::default();
        let heard = (0..100).filter(|i| desk.hears(&i.to_string(), 1000)).count();
        assert_eq!(heard, ALL as usize);
    }
}
