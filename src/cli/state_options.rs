//! The option for what outlives the process.

use std::path::{Path, PathBuf};

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct StateArguments {
    /// Directory in which the daemon writes down what its guest relies on (mounts,
    /// nodes, open files), so that the same command line, started again after a
    /// crash, goes on with the guest; and so that a machine monitor can save the guest
    /// or move it to another daemon. It is made if it does not exist, is of one
    /// daemon, and is emptied when the daemon is stopped.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateArguments {
    /// The directory, if state is kept.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.state.as_deref()
    }
}
