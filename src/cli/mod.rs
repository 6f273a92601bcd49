//! The command line: one file per subcommand, which parses, calls and prints.
//!
//! Exit status: 0 done, 1 the work or a check failed, 2 wrong usage.
//! May use: everything. Used by: `main`.

mod build;
mod cache;
mod cat;
mod check;
mod control_options;
mod convert;
mod core_dumps;
mod ctl;
mod image_options;
mod index;
mod inspect;
mod logging;
mod ls;
mod mount;
mod prefetch_options;
mod prove;
mod serve;
mod signals;
mod size;
mod unpack;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::logging::{LogFormat, LogLevel};

/// Serves container images to microVMs over virtio-fs: lazily, and verified on
/// every access.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// How much is logged, on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
    /// How the lines of the log look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Arguments),
    Convert(Box<convert::Arguments>),
    Cache(cache::Arguments),
    Serve(serve::Arguments),
    Mount(mount::Arguments),
    Check(check::Arguments),
    Index(index::Arguments),
    Inspect(inspect::Arguments),
    Ls(ls::Arguments),
    Cat(cat::Arguments),
    Prove(prove::Arguments),
    Unpack(unpack::Arguments),
    Ctl(ctl::Arguments),
}

/// What a subcommand can fail with: printed once, with its chain of causes.
type Failure = Box<dyn Error + Send + Sync>;

/// Whether a command found what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Done.
    Done,
    /// A check found faults, which were printed.
    Faults,
}

/// Parses the arguments of the process and runs its subcommand.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_level, cli.log_format);
    let outcome = match cli.command {
        Command::Build(arguments) => build::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Mount(arguments) => mount::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Index(arguments) => index::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::Unpack(arguments) => unpack::run(&arguments),
        Command::Ctl(arguments) => ctl::run(&arguments),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faults) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tidegate: {}", chain(error.as_ref()));
            ExitCode::from(1)
        }
    }
}

/// An error and its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
