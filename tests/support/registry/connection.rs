//! What belongs to one connection: shared by its wire and its answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::wire::Ending;

/// One connection's own state.
#[derive(Debug)]
pub(super) struct Connection {
    /// It came to the second port.
    pub(super) second_port: bool,
    /// Nothing was answered on it yet.
    pub(super) fresh: AtomicBool,
    /// This answer is not paced.
    pub(super) free: Arc<AtomicBool>,
    /// Close with RST.
    pub(super) reset: Arc<AtomicBool>,
    pub(super) ending: Ending,
}

impl Connection {
    pub(super) fn new(second_port: bool) -> Self {
        Self {
            second_port,
            fresh: AtomicBool::new(true),
            free: Arc::default(),
            reset: Arc::default(),
            ending: Ending::default(),
        }
    }
}
