//! Which chunk of the image is the first with its content.
//!
//! Workers digest chunks in no fixed order, the blob holds the first copy in
//! build order. So a worker claims a digest with its chunk's ordinal and may
//! leave the compressing out only if a *lower* ordinal has claimed it: that
//! chunk is stored by its own worker and gets to the writer earlier. A chunk
//! that claims before a lower one is compressed in vain, and dropped by the
//! writer, which asks once all lower ordinals have claimed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use crate::chunk::Digest;

const SHARDS: usize = 16;

type Shard = HashMap<(Digest, u32), u64>;

/// Lowest ordinal so far of every distinct chunk.
#[derive(Default)]
pub(super) struct Claims {
    shards: [Mutex<Shard>; SHARDS],
}

impl Claims {
    /// Claims a chunk for `ordinal`. Gives the lowest ordinal that has it,
    /// which is `ordinal` itself when the chunk must be stored.
    pub(super) fn claim(&self, digest: &Digest, len: u32, ordinal: u64) -> u64 {
        let shard = &self.shards[usize::from(digest.0[0]) % SHARDS];
        match shard.lock().entry((*digest, len)) {
            Entry::Occupied(mut entry) => {
                let lowest = ordinal.min(*entry.get());
                *entry.get_mut() = lowest;
                lowest
            }
            Entry::Vacant(entry) => *entry.insert(ordinal),
        }
    }
}
