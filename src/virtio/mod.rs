//! The vhost-user-fs device: carries FUSE messages between a guest's
//! virtqueues and [`fuse`](crate::fuse).
//!
//! * [`serve()`] listens on a socket and serves one VMM after the other.
//! * `handler` answers a VMM's messages, `memory_table` maps its guest's memory.
//! * Every queue has its own thread (`workers`). What the cache holds is answered there;
//!   a read that has to wait moves to the runtime together with its place in
//!   the ring, so that it holds up nobody else.
//! * `record` keeps what is under way for a process that comes after this one dies;
//!   `dirty_log` and `device_state` are for a VMM that moves its guest.
//! * [`Shutdown`] is for the thread that handles signals.
//!
//! Nothing that a guest puts into its rings ends a thread; nothing that a VMM
//! says ends more than its connection.
//!
//! May use: `fuse`, `fs`, `destination`, `runtime`. Used by: `cli`.

mod chain;
mod device;
mod device_state;
mod dirty_log;
mod flight;
mod handler;
mod memory;
mod memory_table;
mod pace;
mod queue;
mod record;
mod ring;
mod serve;
mod shutdown;
mod workers;

#[cfg(test)]
mod tests;

use ring::Ring;

pub use device_state::DeviceState;
pub use serve::{ServeError, ServeOptions, serve};
pub use shutdown::Shutdown;

/// Guest memory, replaced as a whole when the VMM changes it.
type Memory = vm_memory::GuestMemoryAtomic<vm_memory::GuestMemoryMmap>;
