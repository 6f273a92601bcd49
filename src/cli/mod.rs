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
mod ctl;
mod descriptors;
mod directory_options;
mod host;
mod image_options;
mod index;
mod inspect;
mod log_sink;
mod logging;
mod ls;
mod mount;
mod nydusd;
mod prefetch_options;
mod prove;
mod registry_options;
mod sandbox_options;
mod serve;
mod signals;
mod size;
mod state_options;
mod system_log;
mod unpack;
mod virtiofsd;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::backend::registry::credentials::docker_config;
use crate::error_chain::chain;
use crate::sandbox::{Plan, Report};

use self::control_options::ControlArguments;
use self::log_sink::Sink;
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
    /// Be nydusd: its command line and its API, for Kata Containers and
    /// nydus-snapshotter. So is a program of this name.
    #[command(disable_help_flag = true)]
    Nydusd {
        /// nydusd's arguments; --help shows them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Be virtiofsd: its command line, for Kata Containers and libvirt. So is a
    /// program of this name.
    #[command(disable_help_flag = true)]
    Virtiofsd {
        /// virtiofsd's arguments; --help shows them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
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
    let mut line: Vec<OsString> = std::env::args_os().collect();
    let name = line.first().map(Path::new).and_then(Path::file_name);
    let second = line.get(1).cloned();
    let outcome = match (name.and_then(personality), second) {
        (Some(run), _) => run(line),
        (None, Some(word)) if let Some(run) = personality(&word) => {
            line.remove(0);
            run(line)
        }
        _ => dispatch(Cli::parse()),
    };
    let status = match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faults) => ExitCode::from(1),
        Err(error) => {
            logging::print(&format!("tidegate: {}", chain(error.as_ref())));
            ExitCode::from(1)
        }
    };
    logging::flush();
    status
}

/// Runs with a whole command line, whose first word is the program's name.
type Personality = fn(Vec<OsString>) -> Result<Outcome, Failure>;

/// What a program of this name does, if it stands in for another.
fn personality(name: &OsStr) -> Option<Personality> {
    match name.to_str() {
        Some("nydusd") => Some(nydusd::run),
        Some("virtiofsd") => Some(virtiofsd::run),
        _ => None,
    }
}

fn dispatch(cli: Cli) -> Result<Outcome, Failure> {
    // A daemon must not wait for who reads its log; everybody else may.
    let begun = match &cli.command {
        // Before there is any other thread.
        Command::Serve(arguments) => Some(begin(&arguments.control, arguments.plan())?),
        Command::Mount(arguments) => Some(begin(&arguments.control, arguments.plan())?),
        _ => None,
    };
    let sink = match cli.command {
        Command::Serve(_) | Command::Mount(_) => Sink::never_waiting(),
        _ => Sink::Direct,
    };
    if let Command::Nydusd { arguments } = cli.command {
        let name = [OsString::from("nydusd")];
        return nydusd::run(name.into_iter().chain(arguments).collect());
    }
    if let Command::Virtiofsd { arguments } = cli.command {
        let name = [OsString::from("virtiofsd")];
        return virtiofsd::run(name.into_iter().chain(arguments).collect());
    }
    logging::start(cli.log_level, cli.log_format, sink);
    if begun.is_some() {
        logging::take_panics();
    }
    match (cli.command, begun) {
        (Command::Serve(arguments), Some(begun)) => serve::run(&arguments, begun),
        (Command::Mount(arguments), Some(begun)) => mount::run(&arguments, begun),
        (command, _) => work(command),
    }
}

/// What a daemon did before it took its rights from itself, and what is left of them.
struct Begun {
    metrics: Option<TcpListener>,
    sandbox: Report,
}

fn begin(control: &ControlArguments, plan: Plan) -> Result<Begun, Failure> {
    Ok(Begun {
        metrics: control.listen()?,
        sandbox: sandbox_options::start(plan, docker_config())?,
    })
}

/// Does what ends by itself.
fn work(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Build(arguments) => build::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Index(arguments) => index::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Unpack(arguments) => unpack::run(&arguments),
        Command::Ctl(arguments) => ctl::run(&arguments),
        // Started above.
        Command::Serve(_)
        | Command::Mount(_)
        | Command::Nydusd { .. }
        | Command::Virtiofsd { .. } => Ok(Outcome::Done),
    }
}
