//! What outlives the process: a directory in which a daemon writes down what its
//! guest relies on, so that one that is started after a crash goes on with it.
//!
//! * [`StateDir`] is the directory: private, and of one daemon at a time.
//!   `incoming` puts another state in the place of the one that is in it.
//! * [`Slots`] is a table in a file, kept up to date record by record.
//! * [`Serial`] gives numbers that no daemon before gave.
//!
//! A process that is killed loses nothing that it has written: the page cache is
//! the kernel's. Nothing here waits for a disk, so a power cut may lose all of it;
//! the guest is gone then too. May use: `error_chain`, `log_limit`. Used by: `fs`,
//! `attach`, `cli`.

mod dir;
mod incoming;
mod serial;
mod slots;

pub use self::dir::{StateDir, StateError};
pub use self::serial::Serial;
pub use self::slots::{Saved, Slot, Slots, failures};
