//! What is to be brought, in order: each stage yields chunks until it has no
//! more. Stages read metadata and fetch nothing.

mod baked;
mod everything;
mod files;
mod follow;
#[cfg(test)]
mod tests;
mod traced;

pub(super) use self::baked::Baked;
pub(super) use self::everything::Everything;
pub(super) use self::files::Files;
pub(super) use self::follow::follow;
pub(super) use self::traced::Traced;

use crate::chunk::Chunk;

/// Chunks that a stage yields at once, about.
const BATCH: usize = 1024;

/// A source of chunks to bring.
pub(super) trait Stage: Send {
    /// Adds chunks to `out`, and tells whether there are more. May wait for the
    /// disk.
    fn more(&mut self, out: &mut Vec<Chunk>) -> bool;

    /// What the stage could not look up so far; said in the log once.
    fn faults(&self) -> u64;
}
