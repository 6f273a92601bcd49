//! FUSE over `/dev/fuse`: shows an image on the host.
//!
//! * [`mount()`] mounts and starts the threads that read requests.
//! * [`Mounted`] is waited for, and unmounted from a signal thread.
//!
//! A read that has to wait moves to the runtime and writes its own reply, so
//! that misses hold up nobody else.
//!
//! May use: `fuse`, `fs`, `destination`, `runtime`. Used by: `cli`.

mod mount;
mod worker;

pub use mount::{MountError, MountOptions, Mounted, mount};
