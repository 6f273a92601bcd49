//! The option for what outlives the process.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::attach::StateKey;
use crate::cli::Failure;
use crate::core_dumps;

#[derive(Debug, Default, Args)]
pub(super) struct StateArguments {
    /// Directory in which the daemon writes down what its guest relies on (mounts,
    /// nodes, open files), so that the same command line, started again after a
    /// crash, goes on with the guest. It is made if it does not exist, is of one
    /// daemon, and is emptied when the daemon is stopped.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// File with a secret (32 random bytes or more, mode 0600) that seals the state where
    /// a machine monitor carries it: it may save the guest, and move it to another daemon
    /// that has the same secret.
    #[arg(long, value_name = "FILE", requires = "state")]
    state_key: Option<PathBuf>,
}

impl StateArguments {
    /// What the state is sealed with where it goes elsewhere, if it does.
    ///
    /// # Errors
    /// When the file is no key.
    pub(super) fn key(&self) -> Result<Option<StateKey>, Failure> {
        let Some(path) = &self.state_key else {
            return Ok(None);
        };
        // It stays in memory.
        core_dumps::forbid()?;
        Ok(Some(StateKey::read(path)?))
    }

    /// The directory, if state is kept.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.state.as_deref()
    }
}
