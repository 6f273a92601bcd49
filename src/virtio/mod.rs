//! The vhost-user-fs device: carries FUSE messages between a guest's
//! virtqueues and [`fuse`](crate::fuse).
//!
//! * [`serve()`] listens on a socket and serves one VMM after the other.
//! * Every queue has its own thread. What the cache holds is answered there;
//!   a read that has to wait moves to the runtime together with its place in
//!   the ring, so that it holds up nobody else.
//! * [`Shutdown`] is for the thread that handles signals.
//!
//! Nothing that a guest puts into its rings ends a thread; nothing that a VMM
//! says ends more than its connection.
//!
//! May use: `fuse`, `fs`, `destination`, `runtime`. Used by: `cli`.

mod chain;
mod device;
mod exit_events;
mod flight;
mod memory;
mod pace;
mod queue;
mod ring;
mod serve;
mod shutdown;

#[cfg(test)]
mod tests;

use ring::Ring;

pub use serve::{ServeError, ServeOptions, serve};
pub use shutdown::Shutdown;

/// Guest memory, replaced as a whole when the VMM changes it.
type Memory = vm_memory::GuestMemoryAtomic<vm_memory::GuestMemoryMmap>;
