//! Eight readers that know the truth.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::rig::{DEADLINE, Piece, Rig, name};
use crate::support::session::Session;
use crate::support::session::wire::{Body, op};

/// Reads that are under way at once.
pub(crate) const READERS: usize = 8;

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(1500);

/// How reads ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Right bytes.
    pub(crate) right: usize,
    /// EIO.
    pub(crate) errors: usize,
    /// The longest wait.
    pub(crate) slowest: Duration,
}

impl Tally {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            errors: self.errors + other.errors,
            slowest: self.slowest.max(other.slowest),
        }
    }
}

/// Reads these pieces, eight at a time, and begins none after `limit`.
///
/// # Panics
/// When a read brings a wrong byte, another error than EIO, or no answer within
/// the deadline.
pub(crate) fn read(rig: &Rig, guest: &mut Session, pieces: &[Piece], limit: Duration) -> Tally {
    let nodes: Vec<u64> = (0..rig.truth.len())
        .map(|file| guest.resolve(&name(file)).unwrap())
        .collect();
    let begin = Instant::now();
    let mut left = pieces.iter();
    let mut under_way = HashMap::new();
    let mut tally = Tally::default();
    loop {
        while under_way.len() < READERS
            && begin.elapsed() < limit
            && let Some(piece) = left.next()
        {
            let len = u32::try_from(piece.len).unwrap();
            let body = Body::read(0, piece.offset as u64, len).0;
            let node = nodes[piece.file];
            let ticket = guest.submit(1, op::READ, node, &body, Some(piece.len));
            guest.flush(1).unwrap();
            under_way.insert(ticket.unwrap(), (*piece, Instant::now()));
        }
        if under_way.is_empty() {
            return tally;
        }
        let reply = guest.complete(1).unwrap();
        let (piece, asked) = under_way.remove(&reply.ticket).unwrap();
        let took = asked.elapsed();
        tally.slowest = tally.slowest.max(took);
        assert!(took < DEADLINE + SLACK, "{piece:?} took {took:?}");
        match guest.body(reply) {
            Ok(bytes) => {
                let right = &rig.truth[piece.file][piece.offset..piece.offset + piece.len];
                assert!(bytes == right, "WRONG BYTES of {piece:?}");
                tally.right += 1;
            }
            Err(failure) => {
                assert_eq!(failure.errno(), Some(libc::EIO), "{piece:?}: {failure}");
                tally.errors += 1;
            }
        }
    }
}

/// Reads everything; nothing may fail, since the source is good.
pub(crate) fn read_all_right(rig: &Rig, guest: &mut Session, pieces: &[Piece]) -> Tally {
    let tally = read(rig, guest, pieces, Duration::MAX);
    assert_eq!(tally.errors, 0, "of {tally:?} at a good source");
    assert_eq!(tally.right, pieces.len());
    tally
}
