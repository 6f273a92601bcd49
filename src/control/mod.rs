//! The HTTP API of a running daemon, on a Unix socket, and its metrics, which
//! may be had by TCP as well.
//!
//! * [`Daemon`] is what the API tells about and acts on: a table of
//!   [`Instance`]s, one per image that is served, and of [`Directory`]s, and what
//!   ends the process.
//! * [`Bound`] holds the sockets, bound early; `router` says what answers where.
//! * [`Mounts`] makes and removes them at the API's request.
//! * `nydusd` answers as nydusd does, `info` adds what only Tidegate knows,
//!   `credentials` replaces them while they are used.
//! * [`metrics`] is the table of everything that is measured.
//! * [`events`] keeps the last errors, [`client`] asks another daemon.
//!
//! Handlers run on [`crate::runtime`] and read counters; they hold no lock that
//! a queue's thread takes, and what may wait for a disk is done aside. Secrets
//! never come here but through `credentials`, and never leave it. May use:
//! `backend`, `fs`, `fuse`, `image`, `prefetch`, `runtime`, `socket`, `state`, `store`. Used
//! by: `cli`.

mod answer;
pub mod client;
mod credentials;
mod daemon;
pub mod events;
mod info;
mod limit;
pub mod metrics;
mod mounts;
mod nydusd;
mod router;
mod server;
#[cfg(test)]
mod tests;

pub use self::daemon::{Daemon, Directory, Instance, Kept, Shown, ShownSource, State};
pub use self::mounts::{MountRefusal, MountRequest, Mounts};
pub use self::server::{Bound, ControlError, listen_for_metrics};
