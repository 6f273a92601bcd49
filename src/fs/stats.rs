//! What a file system was asked, how often that failed and how long it took.
//!
//! Counted on the queues' threads, so each thread adds to cells of its own.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Requests that are counted one by one, in nydusd's order; the last stands for
/// all others.
pub const OPERATIONS: [&str; 16] = [
    "getattr",
    "readlink",
    "open",
    "release",
    "read",
    "statfs",
    "getxattr",
    "listxattr",
    "opendir",
    "lookup",
    "readdir",
    "readdirplus",
    "access",
    "forget",
    "batch_forget",
    "other",
];

/// Position of READ in [`OPERATIONS`].
pub const READ: usize = 4;

/// Upper bounds of all but the last class of read latencies, in microseconds.
pub const LATENCY_BOUNDS: [u64; 7] = [200, 1_000, 20_000, 50_000, 500_000, 1_000_000, 2_000_000];

/// Upper bounds of all but the last class of read sizes, in bytes.
pub const SIZE_BOUNDS: [u64; 7] = [
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    128 << 10,
    512 << 10,
    1 << 20,
];

const CELLS: usize = 8;

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Sums {
    requests: [AtomicU64; OPERATIONS.len()],
    errors: [AtomicU64; OPERATIONS.len()],
    nanos: [AtomicU64; OPERATIONS.len()],
    read_bytes: AtomicU64,
    read_sizes: [AtomicU64; 8],
    read_latencies: [AtomicU64; 8],
}

/// Running totals of one or more sessions, relaxed: good for looking at.
#[derive(Debug, Default)]
pub struct Stats {
    cells: [Sums; CELLS],
}

/// The totals at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Requests, by position in [`OPERATIONS`]. One that waits counts when it
    /// is answered.
    pub requests: [u64; OPERATIONS.len()],
    /// Those of them that were answered with an error.
    pub errors: [u64; OPERATIONS.len()],
    /// Time from their parsing to their answer, in nanoseconds.
    pub nanos: [u64; OPERATIONS.len()],
    /// Bytes of READs that were answered.
    pub read_bytes: u64,
    /// READs by size of their answer, see [`SIZE_BOUNDS`]: below the bound.
    pub read_sizes: [u64; 8],
    /// READs by latency, see [`LATENCY_BOUNDS`]: up to the bound.
    pub read_latencies: [u64; 8],
}

/// A request that is being served.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Position of the operation in [`OPERATIONS`].
    pub operation: usize,
    /// When it was parsed.
    pub at: Instant,
}

impl Stats {
    /// Counts a request that was answered, with so many bytes or an error.
    pub fn note(&self, begun: Begun, answer: Option<usize>) {
        let nanos = u64::try_from(begun.at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some(sums) = self.cells.get(cell()) else {
            return;
        };
        let operation = begun.operation.min(OPERATIONS.len() - 1);
        sums.requests[operation].fetch_add(1, Relaxed);
        sums.nanos[operation].fetch_add(nanos, Relaxed);
        let Some(len) = answer else {
            sums.errors[operation].fetch_add(1, Relaxed);
            return;
        };
        if operation == READ {
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            sums.read_bytes.fetch_add(len, Relaxed);
            sums.read_sizes[class(&SIZE_BOUNDS, len.saturating_add(1))].fetch_add(1, Relaxed);
            sums.read_latencies[class(&LATENCY_BOUNDS, nanos / 1000)].fetch_add(1, Relaxed);
        }
    }

    /// The totals now.
    pub fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::default();
        for sums in &self.cells {
            add(&mut all.requests, &sums.requests);
            add(&mut all.errors, &sums.errors);
            add(&mut all.nanos, &sums.nanos);
            add(&mut all.read_sizes, &sums.read_sizes);
            add(&mut all.read_latencies, &sums.read_latencies);
            all.read_bytes = all.read_bytes.wrapping_add(sums.read_bytes.load(Relaxed));
        }
        all
    }
}

fn add<const N: usize>(all: &mut [u64; N], sums: &[AtomicU64; N]) {
    for (all, sum) in all.iter_mut().zip(sums) {
        *all = all.wrapping_add(sum.load(Relaxed));
    }
}

/// The class of a value: the first whose bound it does not exceed.
fn class(bounds: &[u64; 7], value: u64) -> usize {
    bounds.iter().take_while(|&&bound| value > bound).count()
}

/// The calling thread's cell: threads take turns.
fn cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    CELL.with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT.fetch_add(1, Relaxed) % CELLS);
        }
        cell.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: usize = 9;
    const OTHER: usize = OPERATIONS.len() - 1;

    fn begun(operation: usize) -> Begun {
        let at = Instant::now();
        Begun { operation, at }
    }

    #[test]
    fn requests_are_counted_where_they_belong() {
        let stats = Stats::default();
        for (operation, answer) in [
            (READ, Some(4096)),
            (READ, Some(1 << 20)),
            (READ, None),
            (LOOKUP, Some(0)),
            (9999, None),
        ] {
            stats.note(begun(operation), answer);
        }
        let seen = stats.snapshot();
        assert_eq!((seen.requests[READ], seen.errors[READ]), (3, 1));
        assert_eq!((seen.requests[LOOKUP], seen.errors[LOOKUP]), (1, 0));
        assert_eq!((seen.requests[OTHER], seen.errors[OTHER]), (1, 1));
        assert_eq!(seen.read_bytes, 4096 + (1 << 20));
        assert_eq!(seen.read_sizes, [0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(seen.read_latencies.iter().sum::<u64>(), 2);
    }

    #[test]
    fn many_threads_lose_no_request() {
        let stats = Stats::default();
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        stats.note(begun(0), Some(0));
                    }
                });
            }
        });
        assert_eq!(stats.snapshot().requests[0], 12_000);
    }

    #[test]
    fn classes_are_bounded_as_in_nydusd() {
        assert_eq!(class(&LATENCY_BOUNDS, 200), 0);
        assert_eq!(class(&LATENCY_BOUNDS, 201), 1);
        assert_eq!(class(&LATENCY_BOUNDS, u64::MAX), 7);
    }
}
