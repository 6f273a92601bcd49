//! Requests in the figures of [`crate::fs::stats`]: which operation an opcode is,
//! and the clock from a request to its answer.

use std::sync::Arc;
use std::time::Instant;

use super::opcode as op;
pub use crate::fs::stats::{Begun, LATENCY_BOUNDS, OPERATIONS, READ, SIZE_BOUNDS, Snapshot, Stats};

/// Starts the clock of a request.
pub(super) fn begin(opcode: u32) -> Begun {
    Begun {
        operation: operation(opcode),
        at: Instant::now(),
    }
}

/// Stands for a request until its answer, which may come from another thread.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    pub(super) stats: Arc<Stats>,
    pub(super) begun: Begun,
}

/// Position of an opcode in [`OPERATIONS`].
fn operation(opcode: u32) -> usize {
    match opcode {
        op::GETATTR => 0,
        op::READLINK => 1,
        op::OPEN => 2,
        op::RELEASE => 3,
        op::READ => READ,
        op::STATFS => 5,
        op::GETXATTR => 6,
        op::LISTXATTR => 7,
        op::OPENDIR => 8,
        op::LOOKUP => 9,
        op::READDIR => 10,
        op::READDIRPLUS => 11,
        op::ACCESS => 12,
        op::FORGET => 13,
        op::BATCH_FORGET => 14,
        _ => OPERATIONS.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_named_as_they_are_counted() {
        for (opcode, name) in [
            (op::READ, "read"),
            (op::LOOKUP, "lookup"),
            (op::GETATTR, "getattr"),
            (op::BATCH_FORGET, "batch_forget"),
            (9999, "other"),
        ] {
            assert_eq!(OPERATIONS[operation(opcode)], name);
        }
    }
}
