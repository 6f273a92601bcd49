//! `tidegate serve`: an image as a vhost-user-fs device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::prefetch_options::PrefetchArguments;
use crate::cli::{Failure, Outcome, signals};
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
    let (hook, ahead) = (shutdown.clone(), Arc::clone(&prefetch));
    signals::handle(Arc::clone(&store), move || {
        hook.remove_socket();
        ahead.finish();
    })?;
    let options = ServeOptions {
        request_queues: arguments.request_queues,
        queue_size: arguments.queue_size,
        busy_poll: Duration::from_micros(arguments.busy_poll),
        exit_on_disconnect: arguments.exit_on_disconnect,
        ..ServeOptions::new(arguments.socket)
    };
    let fs = ImageFs::new(image, Arc::clone(&store)).noting(prefetch.touches());
    let fs = Arc::new(fs);
    let path = options.socket.clone();
    virtio::serve(&options, fs, &shutdown, || {
        log::info!("Listening on {}", path.display())
    })?;
    prefetch.finish();
    signals::report_end(&store);
    Ok(Outcome::Done)
}
