//! Lanes.

/// Which of the two kinds of traffic a frame belongs to. Each has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Durable; for everyone.
    Updates,
    /// Fire and forget.
    Realtime,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Updates, Self::Realtime];

    /// How it is written in what is authenticated and derived.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Updates => 1,
            Self::Realtime => 2,
        }
    }
}
