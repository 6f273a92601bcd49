//! Bounds on what the slow path holds and does at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fetch::Unit;
use crate::backend::Class;
use crate::chunk::Chunk;

/// Memory of chunks that readers wait for, in units of 4 KiB: 192 MiB, several
/// times the largest chunk in stored and uncompressed form.
const ROOM: usize = 49_152;

/// The same for chunks that are fetched ahead of readers: 96 MiB.
const ROOM_AHEAD: usize = 24_576;

/// Memory of extents that readers wait for, and as much for those that are
/// fetched ahead: 64 MiB each, more than the largest extent. Readers hold room
/// for their chunks meanwhile, so this must be another.
const EXTENTS: u32 = 16_384;

/// Permits for processor work and memory.
pub(super) struct Bounds {
    cpu: Arc<Semaphore>,
    room: Arc<Semaphore>,
    room_ahead: Arc<Semaphore>,
    extents: Arc<Semaphore>,
    extents_ahead: Arc<Semaphore>,
}

/// Leave to go on, until dropped. `None` inside when the semaphore was closed,
/// which nothing does.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

impl Default for Bounds {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            cpu: semaphore(cores),
            room: semaphore(ROOM),
            room_ahead: semaphore(ROOM_AHEAD),
            extents: semaphore(EXTENTS as usize),
            extents_ahead: semaphore(EXTENTS as usize),
        }
    }
}

impl Bounds {
    /// Leave to keep a core busy.
    pub(super) async fn cpu(&self) -> Permit {
        Arc::clone(&self.cpu).acquire_owned().await.ok()
    }

    /// Leave to hold a chunk in both its forms.
    pub(super) async fn room(&self, chunk: &Chunk, class: Class) -> Permit {
        let room = match class {
            Class::Demand => &self.room,
            Class::Readahead | Class::Prefetch => &self.room_ahead,
        };
        Arc::clone(room).acquire_many_owned(units(chunk)).await.ok()
    }

    /// Leave to hold extents of `memory` bytes in both their forms.
    pub(super) async fn room_for_extents(&self, memory: u64, class: Class) -> Permit {
        let room = match class {
            Class::Demand => &self.extents,
            Class::Readahead | Class::Prefetch => &self.extents_ahead,
        };
        let units = u32::try_from(memory / 4096 + 1).unwrap_or(EXTENTS);
        let units = units.min(EXTENTS);
        Arc::clone(room).acquire_many_owned(units).await.ok()
    }

    /// Leave for a unit that nobody waits for, if there is room now.
    pub(super) fn room_now(&self, unit: &Unit) -> Permit {
        let room = match unit {
            Unit::Chunk(_) => &self.room_ahead,
            Unit::Extent(_) => &self.extents_ahead,
        };
        let units = unit.memory() / 4096 + 1;
        Arc::clone(room).try_acquire_many_owned(units).ok()
    }
}

fn units(chunk: &Chunk) -> u32 {
    chunk.len.saturating_add(chunk.stored_len) / 4096 + 1
}
