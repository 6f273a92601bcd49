//! Bounds on what the slow path does at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::chunk::Chunk;

/// Requests to the backend under way at once.
const FETCHES: usize = 64;

/// Memory of chunks under way at once, in units of 4 KiB: 256 MiB, several
/// times the largest chunk in stored and uncompressed form.
const ROOM: usize = 65_536;

/// Permits for requests, processor work and memory.
pub(super) struct Bounds {
    fetches: Arc<Semaphore>,
    cpu: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// Leave to go on, until dropped. `None` inside when the semaphore was closed,
/// which nothing does.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

impl Default for Bounds {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            fetches: Arc::new(Semaphore::new(FETCHES)),
            cpu: Arc::new(Semaphore::new(cores)),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }
}

impl Bounds {
    /// Leave to ask the backend.
    pub(super) async fn fetch(&self) -> Permit {
        Arc::clone(&self.fetches).acquire_owned().await.ok()
    }

    /// Leave to keep a core busy.
    pub(super) async fn cpu(&self) -> Permit {
        Arc::clone(&self.cpu).acquire_owned().await.ok()
    }

    /// Leave to hold a chunk in both its forms.
    pub(super) async fn room(&self, chunk: &Chunk) -> Permit {
        let units = chunk.len.saturating_add(chunk.stored_len) / 4096 + 1;
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(units).await.ok()
    }
}
