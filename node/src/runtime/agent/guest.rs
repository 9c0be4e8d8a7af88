//! What belongs to one instance of an agent on the node's side.
//!
//! For: [`Guest`], what is in the instance's store: its surroundings, how much it has used, and a WASI context with
//! nothing in it. Not for: what the imports do (see `imports`).

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{Limits, Surroundings, Upon, diary::Diary, pace::Pace};

/// The most that an agent hands over in one call, bytes: a value for its store and what comes with it, twice.
pub(super) const MAX_CALL: usize = 4 << 20;
/// Handles of WASI's (streams, clocks and the like) that an agent may hold.
const MAX_HANDLES: usize = 1_024;
/// Core modules in a component, their memories and tables. Toolchains need a handful; interpreters bring dozens.
const MAX_INSTANCES: usize = 256;
const MAX_MEMORIES: usize = 16;
const MAX_TABLES: usize = 64;

/// The data of one instance's store.
pub(super) struct Guest {
    pub(super) surroundings: Arc<dyn Surroundings>,
    /// Whether the group is there: not in setup.
    pub(super) has_group: bool,
    pub(super) messages: Pace,
    pub(super) output: Pace,
    pub(super) quota: u64,
    /// Whether something was not written, since this was last set back.
    pub(super) is_unwritten: bool,
    /// While it is told of an update: what it posts then is upon that.
    pub(super) upon: Option<Upon>,
    pub(super) diary: Arc<Mutex<Diary>>,
    pub(super) memory: Memory,
    /// Made when it is first asked for: many agents never do.
    wasi: Option<WasiCtx>,
    handles: ResourceTable,
}

impl Guest {
    pub(super) fn new(surroundings: Arc<dyn Surroundings>, limits: &Limits, has_group: bool) -> Self {
        let now = Instant::now();
        let diary = Arc::new(Mutex::new(Diary::new(limits.output, now)));
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MAX_HANDLES);
        Self {
            surroundings,
            has_group,
            messages: Pace::new(limits.messages, now),
            output: Pace::new(limits.output, now),
            quota: limits.store,
            is_unwritten: false,
            upon: None,
            wasi: None,
            diary,
            memory: Memory { most: limits.memory, used: 0, is_short: false },
            handles,
        }
    }
}

/// WASI as ordinary guests expect it, and nothing behind it: no folder, no socket, no name, no environment.
fn nothing(diary: &Arc<Mutex<Diary>>) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdout(super::diary::Stream(Arc::clone(diary)))
        .stderr(super::diary::Stream(Arc::clone(diary)))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .allow_blocking_current_thread(false)
        .max_random_size(super::imports::MAX_RANDOM.into())
        .build()
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| nothing(&self.diary));
        WasiCtxView { ctx, table: &mut self.handles }
    }
}

/// All memories and tables of one instance together.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) most: u64,
    used: u64,
    /// Whether something was refused since this was last set back.
    pub(super) is_short: bool,
}

impl Memory {
    /// From `current` to `desired` units of `size` bytes; `maximum` is what the agent itself set.
    fn grow(&mut self, size: u64, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let more = desired.saturating_sub(current) as u64;
        let used = self.used.saturating_add(more.saturating_mul(size));
        let fits = used <= self.most;
        if fits {
            self.used = used;
        } else {
            self.is_short = true;
        }
        fits
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(1, current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(size_of::<usize>() as u64, current, desired, maximum))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut memory = Memory { most: 100, used: 0, is_short: false };
        assert!(memory.grow(1, 0, 50, None));
        assert!(memory.grow(8, 0, 5, None));
        assert!(!memory.grow(8, 5, 50, Some(40)) && !memory.is_short, "more than it allows itself");
        assert!(!memory.grow(8, 5, 7, None) && memory.is_short);
        assert!(memory.grow(1, 50, 60, None), "what was refused does not count");
        assert!(!memory.grow(1, 60, usize::MAX, None));
    }
}
