//! The option for what the process forbids itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::backend::registry::credentials::names_helpers;
use crate::runtime;
use crate::sandbox::{Level, Plan, Report, Sandbox};

#[derive(Debug, Args)]
pub(super) struct SandboxArguments {
    /// What the daemon forbids itself.
    #[arg(long, global = true, value_enum, value_name = "LEVEL", default_value_t = Wanted::Standard)]
    sandbox: Wanted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Wanted {
    /// Nothing.
    None,
    /// All that its work does not need, as far as the system can forbid it.
    Standard,
    /// The same; it does not start if the system cannot, and ends when it does
    /// what it should not.
    Strict,
}

impl SandboxArguments {
    /// The level.
    pub(super) fn level(&self) -> Level {
        match self.sandbox {
            Wanted::None => Level::None,
            Wanted::Standard => Level::Standard,
            Wanted::Strict => Level::Strict,
        }
    }
}

/// Restricts the process, whose only thread this is, and starts the threads that
/// must not come from narrower ones. `docker` is the configuration that may name
/// programs which know credentials.
pub(super) fn start(plan: Plan, docker: Option<PathBuf>) -> Result<Report, Failure> {
    let failed = |error| format!("Cannot start the threads that fetch: {error}");
    let sandbox = Sandbox::begin(plan)?;
    if plan.level == Level::None {
        return Ok(sandbox.finish()?);
    }
    if docker.is_some_and(|file| names_helpers(&file)) {
        runtime::start_programs_aside().map_err(failed)?;
    }
    let report = sandbox.finish()?;
    runtime::start().map_err(failed)?;
    Ok(report)
}
