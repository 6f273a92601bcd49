//! Work that waits for a disk.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::fs::operation::{PendingChange, Reply};
use crate::fs::{Errno, PendingRead, Pieces};

/// Most requests that wait at once; the runtime's threads serve images too.
const AT_ONCE: usize = 32;

/// Bytes that waiting writes may hold, in units.
const BUDGET: usize = (64 << 20) / UNIT;
const UNIT: usize = 4096;

/// Where slow work is done.
pub(super) struct Slow {
    turns: Arc<Semaphore>,
    budget: Arc<Semaphore>,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            budget: Arc::new(Semaphore::new(BUDGET)),
        }
    }
}

impl Slow {
    /// Does `work` on a thread that may wait.
    async fn run<T: Send + 'static>(
        turns: Arc<Semaphore>,
        work: impl FnOnce() -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        // Never closed.
        let turn = turns.acquire_owned().await.map_err(|_| Errno::EIO)?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        let done = crate::runtime::blocking(work).await;
        done.map_err(|_| Errno::EIO)?
    }

    /// Does a change later.
    pub(super) fn change(
        &self,
        work: impl FnOnce() -> Result<u64, Errno> + Send + 'static,
    ) -> Reply {
        let later: PendingChange = Box::pin(Self::run(Arc::clone(&self.turns), work));
        Reply::Later(later)
    }

    /// The same for one that holds `bytes` of memory; none when too much is held
    /// already, and the caller does it at once.
    pub(super) fn change_holding<W>(&self, bytes: usize, make: impl FnOnce() -> W) -> Option<Reply>
    where
        W: FnOnce() -> Result<u64, Errno> + Send + 'static,
    {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let held = Arc::clone(&self.budget)
            .try_acquire_many_owned(units)
            .ok()?;
        let work = make();
        Some(self.change(move || {
            let done = work();
            drop(held);
            done
        }))
    }

    /// Reads later.
    pub(super) fn read(
        &self,
        work: impl FnOnce() -> Result<Vec<u8>, Errno> + Send + 'static,
    ) -> PendingRead {
        let bytes = Self::run(Arc::clone(&self.turns), work);
        Box::pin(async move { bytes.await.map(|bytes| Pieces::from([bytes.into()])) })
    }
}
