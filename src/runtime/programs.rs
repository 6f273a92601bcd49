//! A thread that starts other programs, for who may not.

use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::threads::{self, Kind};

static STARTER: OnceLock<Handle> = OnceLock::new();

/// Starts the thread.
///
/// # Errors
/// When the system refuses.
pub fn start_programs_aside() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("tidegate-helper".to_owned())
        .spawn(move || {
            threads::begin(Kind::Helper);
            runtime.block_on(std::future::pending::<()>());
        })?;
    // The first one counts.
    let _ = STARTER.set(handle);
    Ok(())
}

/// Where a future that starts programs is to be spawned; none where everybody may.
pub fn starter() -> Option<&'static Handle> {
    STARTER.get()
}
