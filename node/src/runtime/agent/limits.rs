//! What an agent may use: what its program's manifest asks for, and never more than a node gives.
//!
//! For: [`Limits`]. Not for: enforcing them (see `actor` and `imports`).

use std::time::Duration;

use parlor_proto::program::AgentWishes;

/// The largest component, bytes.
pub const MAX_COMPONENT: u64 = 32 << 20;

const MIB: u64 = 1 << 20;

/// One agent's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All its linear memories and tables, bytes.
    pub memory: u64,
    /// What one event may take.
    pub event: Duration,
    /// What setup, start, suspend and end may take.
    pub phase: Duration,
    /// Realtime messages and updates a second, together; as many at once.
    pub messages: u32,
    /// What it may keep in each of its scopes, bytes.
    pub store: u64,
    /// Lines to the terminal and values to the page a second, together; as many at once.
    pub output: u32,
    /// How often it gets a tick.
    pub tick: Option<Duration>,
}

impl Default for Limits {
    /// Of a program that asks for nothing in particular.
    fn default() -> Self {
        Self {
            memory: 32 * MIB,
            event: Duration::from_secs(1),
            phase: Duration::from_secs(10),
            messages: 60,
            store: 4 * MIB,
            output: 60,
            tick: None,
        }
    }
}

impl Limits {
    /// What a program wishes, as far as this node goes along.
    #[must_use]
    pub fn of(wishes: &AgentWishes) -> Self {
        let default = Self::default();
        let millis = |millis: u32| Duration::from_millis(millis.into());
        Self {
            memory: wishes.memory.unwrap_or(default.memory).clamp(MIB, 256 * MIB),
            event: wishes.event_ms.map_or(default.event, millis).min(Duration::from_secs(10)),
            phase: default.phase,
            messages: wishes.messages_per_second.unwrap_or(default.messages).min(200),
            store: wishes.store.unwrap_or(default.store).min(64 * MIB),
            output: wishes.output_per_second.unwrap_or(default.output).min(200),
            tick: wishes.tick_ms.map(|tick| millis(tick).max(Duration::from_millis(10))),
        }
    }
}
