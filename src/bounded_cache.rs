//! Caches in memory with a bound on what they hold.

use std::hash::Hash;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Parts with a lock of their own: enough for the threads of a few queues. The
/// crate's own choice asks the system for its cores, which costs a start some
/// fifty system calls.
const SHARDS: usize = 8;

/// A cache that holds up to `capacity` in the unit of `weighter`, and about
/// `items` entries. It allocates nothing before it is used.
pub fn bounded<Key, Val, We>(items: usize, capacity: u64, weighter: We) -> Cache<Key, Val, We>
where
    Key: Eq + Hash,
    Val: Clone,
    We: Weighter<Key, Val> + Clone,
{
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items)
        .weight_capacity(capacity)
        .shards(SHARDS)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            weighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        Err(_) => Cache::with_weighter(items, capacity, weighter),
    }
}
