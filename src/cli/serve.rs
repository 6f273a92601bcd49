//! `tidegate serve`: an image as a vhost-user-fs device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::control_options::{self, ControlArguments};
use crate::cli::image_options::ImageOptions;
use crate::cli::prefetch_options::PrefetchArguments;
use crate::cli::{Failure, Outcome, chain, signals};
use crate::fs::ImageFs;
use crate::prefetch::Prefetch;
use crate::virtio::{self, ServeOptions, Shutdown};

/// Serve an image to a virtual machine: QEMU's vhost-user-fs-pci or
/// cloud-hypervisor --fs connect to the socket.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Unix socket that the virtual machine monitor connects to.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    #[command(flatten)]
    image: ImageOptions,
    #[command(flatten)]
    prefetch: PrefetchArguments,
    #[command(flatten)]
    control: ControlArguments,
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

pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let control = arguments.control.bind()?;
    let image = arguments.image.open_image()?;
    let connected = arguments.image.connect()?;
    let store = arguments.image.open_store_over(&image, connected.sources)?;
    let cache = arguments.image.cache_dir()?;
    let prefetch = arguments.prefetch.options(
        cache.as_deref(),
        arguments.image.config()?.prefetch.as_ref(),
    )?;
    let prefetch = Arc::new(Prefetch::start(&prefetch, &image, &store)?);
    let shutdown = Shutdown::new()?;
    let (hook, ahead, remove) = (shutdown.clone(), Arc::clone(&prefetch), control.remover());
    signals::handle(Arc::clone(&store), move || {
        hook.remove_socket();
        remove();
        ahead.finish();
    })?;
    let daemon = arguments.control.daemon();
    let options = ServeOptions {
        request_queues: arguments.request_queues,
        queue_size: arguments.queue_size,
        busy_poll: Duration::from_micros(arguments.busy_poll),
        exit_on_disconnect: arguments.exit_on_disconnect,
        ..ServeOptions::new(arguments.socket)
    };
    let served = (&image, &store);
    let instance = control_options::instance(
        &arguments.image,
        served,
        &prefetch,
        &options.stats,
        connected.registries,
    )?;
    daemon.insert("/", instance);
    let fs = ImageFs::new(image, Arc::clone(&store)).noting(prefetch.touches());
    let fs = Arc::new(fs);
    let remove = control.remover();
    virtio::serve(&options, fs, &shutdown, || {
        log::info!("Listening on {}", options.socket.display());
        if let Err(error) = control.start(&daemon) {
            log::error!("{}", chain(&error));
        }
    })?;
    remove();
    prefetch.finish();
    signals::report_end(&store);
    Ok(Outcome::Done)
}
