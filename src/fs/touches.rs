//! Which chunks of which files were read, in the order of their first read:
//! what a trace is made of. Node numbers only; names are for later, since this
//! runs on queue threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use crate::fs::nodes::{Held, ROOT};
use crate::image::NodeRef;
use crate::image::proof::FANOUT;

/// Most directories between a file and the root that are looked at.
const DEPTH: usize = 4096;

/// Chunks of a file that share a word of the map.
const WORD: u64 = 64;

/// The first read of a chunk of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Node id of the file.
    pub node: u64,
    /// Position of the chunk in the file.
    pub position: u64,
}

/// Where a node was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The node.
    pub node: NodeRef,
    /// Node id of the directory that it was first found in.
    pub parent: u64,
}

/// What was touched, and enough of the tree to name it.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// First reads, in order.
    pub order: Vec<Touch>,
    /// Where the files and the directories above them were found, by node id;
    /// without the root.
    pub origins: HashMap<u64, Origin>,
}

#[derive(Debug, Default)]
struct State {
    touched: Touched,
    /// One bit per chunk, by file and 64 chunks.
    seen: HashMap<(u64, u64), u64>,
    since: Option<Instant>,
    closed: bool,
}

/// Takes down first reads until it has enough of them or is closed.
#[derive(Debug)]
pub struct Touches {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Touches {
    /// Room for the first `limit` reads.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Notes a read of chunk `position` of file `node`; `held` tells what
    /// stands behind a node id.
    pub(super) fn add(&self, node: u64, position: u64, held: impl Fn(u64) -> Option<Held>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.closed || state.touched.order.len() >= self.limit {
            return;
        }
        let seen = state.seen.entry((node, position / WORD)).or_default();
        let bit = 1 << (position % WORD);
        if *seen & bit != 0 {
            return;
        }
        *seen |= bit;
        let touched = &mut state.touched;
        touched.order.push(Touch { node, position });
        let mut id = node;
        for _ in 0..DEPTH {
            if id == ROOT || touched.origins.contains_key(&id) {
                break;
            }
            let Some(Held { node, parent, .. }) = held(id) else {
                break;
            };
            touched.origins.insert(id, Origin { node, parent });
            id = parent;
        }
        let begins = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        if begins || touched.order.len() == self.limit {
            self.changed.notify_all();
        }
    }

    /// Waits until nothing more is taken down: `after` the first read, when
    /// there is no more room, or when it was closed. True if it was not closed.
    pub fn wait(&self, after: Duration) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return false;
            }
            if state.touched.order.len() >= self.limit {
                return true;
            }
            match state.since.and_then(|since| since.checked_add(after)) {
                Some(end) if Instant::now() >= end => return true,
                Some(end) => {
                    self.changed.wait_until(&mut state, end);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// What there is so far.
    pub fn so_far(&self) -> Touched {
        self.state.lock().touched.clone()
    }

    /// Whether there is no more room.
    pub fn is_full(&self) -> bool {
        self.state.lock().touched.order.len() >= self.limit
    }

    /// Takes down nothing more and gives what there is, once.
    pub fn close(&self) -> Option<Touched> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.closed = true;
        state.seen = HashMap::new();
        self.changed.notify_all();
        Some(std::mem::take(&mut state.touched))
    }
}

/// One bit for each chunk of a group: whether it was read through it. The only
/// thing that a read on the hit path looks at.
#[derive(Debug)]
pub(super) struct FirstReads([AtomicU64; FANOUT / 64]);

impl FirstReads {
    /// Bits for a group, all set if nobody wants to know.
    pub(super) fn new(wanted: bool) -> Self {
        let word = if wanted { 0 } else { u64::MAX };
        Self(std::array::from_fn(|_| AtomicU64::new(word)))
    }

    /// Whether this is the first read of the chunk at `index` of the group.
    pub(super) fn is_first(&self, index: usize) -> bool {
        let Some(word) = self.0.get(index / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(parent: u64) -> impl Fn(u64) -> Option<Held> {
        move |nid| {
            let node = NodeRef { nid, proof: None };
            let parent = if nid == 300 { parent } else { ROOT };
            Some(Held::new(node, parent))
        }
    }

    #[test]
    fn chunks_are_noted_once_in_order_with_the_way_to_the_root() {
        let touches = Touches::new(10);
        for (node, position) in [(300, 70), (300, 6), (300, 70), (301, 6), (300, 6)] {
            touches.add(node, position, held(200));
        }
        let touched = touches.close().unwrap();
        let order: Vec<_> = touched.order.iter().map(|t| (t.node, t.position)).collect();
        assert_eq!(order, [(300, 70), (300, 6), (301, 6)]);
        let mut origins: Vec<_> = touched
            .origins
            .iter()
            .map(|(id, o)| (*id, o.parent))
            .collect();
        origins.sort_unstable();
        assert_eq!(origins, [(200, ROOT), (300, 200), (301, ROOT)]);
        assert!(touches.close().is_none());
    }

    #[test]
    fn nodes_that_are_their_own_parents_do_not_hang() {
        let touches = Touches::new(10);
        touches.add(300, 0, held(300));
        assert_eq!(touches.close().unwrap().order.len(), 1);
    }

    #[test]
    fn a_full_or_closed_record_takes_no_more_and_ends_the_wait() {
        let touches = Touches::new(2);
        for position in 0..5 {
            touches.add(300, position, held(ROOT));
        }
        assert!(touches.wait(Duration::from_secs(3600)));
        assert_eq!(touches.close().unwrap().order.len(), 2);
        touches.add(300, 9, held(ROOT));
        assert!(!touches.wait(Duration::from_secs(3600)));
    }

    #[test]
    fn the_wait_ends_after_its_time_from_the_first_read() {
        let touches = Touches::new(2);
        touches.add(300, 0, held(ROOT));
        assert!(touches.wait(Duration::from_millis(1)));
    }

    #[test]
    fn only_the_first_read_of_a_wanted_chunk_is_one() {
        let reads = FirstReads::new(true);
        assert!(reads.is_first(0) && reads.is_first(127) && reads.is_first(64));
        assert!(!reads.is_first(0) && !reads.is_first(127) && !reads.is_first(128));
        assert!(!FirstReads::new(false).is_first(5));
    }
}
