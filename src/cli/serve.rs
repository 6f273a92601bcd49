//! `tidegate serve`: images as a vhost-user-fs device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::attach::{Served, id_mapping};
use crate::cli::control_options::ControlArguments;
use crate::cli::descriptors;
use crate::cli::directory_options::DirectoryOptions;
use crate::cli::host::{self, Host};
use crate::cli::image_options::ServingOptions;
use crate::cli::prefetch_options::PrefetchArguments;
use crate::cli::sandbox_options::SandboxArguments;
use crate::cli::state_options::StateArguments;
use crate::cli::{Begun, Failure, Outcome};
use crate::control::ShownSource;
use crate::fs::mounts::MountPath;
use crate::prefetch::Prefetch;
use crate::sandbox::Plan;
use crate::virtio::{ServeOptions, Shutdown};

/// Serve images to a virtual machine: QEMU's vhost-user-fs-pci or
/// cloud-hypervisor --fs connect to the socket. Without --bootstrap the device
/// is empty until images are mounted through --api-socket (see `ctl mount`).
/// --shared-dir serves a directory of the host as virtiofsd does.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Unix socket that the virtual machine monitor connects to.
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket: Option<PathBuf>,
    /// Descriptor of a Unix socket that listens already, in place of --socket.
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    fd: Option<i32>,
    /// The metadata of an image that is served from the start, as `build`
    /// writes it.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["api_socket", "shared_dir"])]
    bootstrap: Option<PathBuf>,
    #[command(flatten)]
    directory: DirectoryOptions,
    #[command(flatten)]
    image: ServingOptions,
    #[command(flatten)]
    prefetch: PrefetchArguments,
    #[command(flatten)]
    pub(super) control: ControlArguments,
    #[command(flatten)]
    state: StateArguments,
    #[command(flatten)]
    sandbox: SandboxArguments,
    /// File that holds the process id while the daemon runs.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Request queues, each served by a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    request_queues: usize,
    /// Most entries of a queue.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    queue_size: u16,
    /// How long a queue's thread looks for the next request before it sleeps,
    /// while the guest keeps several in flight; 0 to sleep at once.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 50)]
    busy_poll: u64,
    /// End when the virtual machine disconnects; otherwise wait for the next.
    #[arg(long)]
    exit_on_disconnect: bool,
}

impl Arguments {
    /// What the process forbids itself. Directories may be mounted through the API
    /// later.
    pub(super) fn plan(&self) -> Plan {
        let directories = self.directory.is_named() || self.control.has_api();
        Plan::machine(self.sandbox.level(), directories)
    }
}

/// Serves; the process is restricted already.
pub(super) fn run(arguments: &Arguments, begun: Begun) -> Result<Outcome, Failure> {
    let Begun { metrics, sandbox } = begun;
    let listener = arguments.fd.map(host::listener).transpose()?;
    let control = arguments.control.bind(metrics)?;
    descriptors::raise_to_hard();
    sandbox.log();
    let shutdown = Shutdown::new()?;
    let host = Host::start(
        arguments.control.daemon(),
        control,
        arguments.image.rules(),
        arguments.pid_file.as_deref(),
        &arguments.state,
    )?;
    host.daemon.set_sandbox(sandbox);
    let hook = shutdown.clone();
    host.end_at_signals(move || hook.remove_socket())?;
    host.attacher.restore();
    let mut at = MountPath::default();
    if arguments.directory.is_named() {
        host.attacher.tree().expect_directories();
        match arguments.directory.open() {
            Ok(fs) => host.attacher.mount_directory(&at, fs)?,
            Err(failure) => host.lose(failure)?,
        }
        at = DirectoryOptions::IMAGE_BESIDE.parse()?;
    }
    if let Some(bootstrap) = &arguments.bootstrap {
        match first_image(arguments, bootstrap) {
            Ok(served) => host.attacher.mount_served(&at, served)?,
            Err(failure) => host.lose(failure)?,
        }
    }
    let socket = match (&arguments.socket, arguments.fd) {
        (Some(path), _) => path.clone(),
        (None, fd) => format!("descriptor {}", fd.unwrap_or(-1)).into(),
    };
    let options = ServeOptions {
        listener,
        request_queues: arguments.request_queues,
        queue_size: arguments.queue_size,
        busy_poll: Duration::from_micros(arguments.busy_poll),
        exit_on_disconnect: arguments.exit_on_disconnect,
        record: arguments.state.dir().map(Into::into),
        ..ServeOptions::new(socket)
    };
    host.serve(&options, &shutdown)?;
    host.finish();
    Ok(Outcome::Done)
}

/// The image that the command line names.
fn first_image(arguments: &Arguments, bootstrap: &Path) -> Result<Served, Failure> {
    let options = &arguments.image;
    let image = options.open_bootstrap(bootstrap)?;
    let connected = options.connect()?;
    let store = options.open_store_over(&image, connected.sources)?;
    let cache = options.cache_dir()?;
    let config = options.config()?.prefetch.as_ref();
    let prefetch = arguments.prefetch.options(cache.as_deref(), config)?;
    let prefetch = Arc::new(Prefetch::start(&prefetch, &image, &store)?);
    let sources = options.sources()?.into_iter();
    Ok(Served {
        image,
        store,
        ids: id_mapping(options.config()?),
        prefetch,
        sources: sources
            .map(|(kind, config)| ShownSource { kind, config })
            .collect(),
        registries: connected.registries,
        verify: options.verify(),
        cache,
        cache_limit: options.cache_limit()?,
    })
}
