//! What a thread does before its work.
//!
//! Threads are started in many places, and what the process forbids them is
//! decided in one. A leaf: the places say what a new thread is for, and whoever
//! called [`at_start`] acts on it. Threads that are of no kind named here are as
//! the thread that started the process.

use std::sync::OnceLock;

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Network, timers and what waits for them; the API.
    Network,
    /// Answers a queue of a guest.
    Queue,
    /// Answers the kernel of the host.
    Fuse,
    /// Starts other programs.
    Helper,
}

type Hook = Box<dyn Fn(Kind) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Has every thread of a kind call `hook` first. The first one counts.
pub fn at_start(hook: impl Fn(Kind) + Send + Sync + 'static) {
    let _ = HOOK.set(Box::new(hook));
}

/// Whether threads are restricted: what was not thought of at the start cannot be
/// done later.
pub fn are_restricted() -> bool {
    HOOK.get().is_some()
}

/// To be called by a thread of this kind before it does anything, or by the
/// thread that starts it and ends afterwards: a new thread is as its parent.
pub fn begin(kind: Kind) {
    if let Some(hook) = HOOK.get() {
        hook(kind);
    }
}
