//! `tidegate mount`: an image on the host.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use parking_lot::Mutex;

use crate::attach::id_mapping;
use crate::cli::control_options::{self, ControlArguments};
use crate::cli::image_options::ImageOptions;
use crate::cli::prefetch_options::PrefetchArguments;
use crate::cli::sandbox_options::SandboxArguments;
use crate::cli::{Begun, Failure, Outcome, signals};
use crate::control::{Shown, State};
use crate::fs::ImageFs;
use crate::fusedev::{self, MountOptions, Mounted};
use crate::prefetch::Prefetch;
use crate::sandbox::Plan;

/// Show an image on the host, read-only, until SIGTERM or an unmount.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory to mount on.
    mountpoint: PathBuf,
    #[command(flatten)]
    image: ImageOptions,
    #[command(flatten)]
    prefetch: PrefetchArguments,
    #[command(flatten)]
    pub(super) control: ControlArguments,
    #[command(flatten)]
    sandbox: SandboxArguments,
    /// Threads that read requests.
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: usize,
}

impl Arguments {
    /// What the process forbids itself.
    pub(super) fn plan(&self) -> Plan {
        Plan::host(self.sandbox.level(), false)
    }
}

/// Serves; the process is restricted already.
pub(super) fn run(arguments: &Arguments, begun: Begun) -> Result<Outcome, Failure> {
    let Begun { metrics, sandbox } = begun;
    sandbox.log();
    let control = arguments.control.bind(metrics)?;
    let image = arguments.image.open_image()?;
    let connected = arguments.image.connect()?;
    let store = arguments.image.open_store_over(&image, connected.sources)?;
    let cache = arguments.image.cache_dir()?;
    let prefetch = arguments.prefetch.options(
        cache.as_deref(),
        arguments.image.config()?.prefetch.as_ref(),
    )?;
    let prefetch = Arc::new(Prefetch::start(&prefetch, &image, &store)?);
    let options = MountOptions {
        threads: arguments.threads,
        ..MountOptions::default()
    };
    let daemon = arguments.control.daemon();
    daemon.set_sandbox(sandbox);
    let instance = control_options::instance(
        &arguments.image,
        (&image, &store),
        &prefetch,
        &options.stats,
        connected.registries,
    )?;
    daemon.insert("/", Shown::Image(Box::new(instance)));
    let fs = ImageFs::new(image, Arc::clone(&store))
        .noting(prefetch.touches())
        .mapping(id_mapping(arguments.image.config()?));
    let fs = Arc::new(fs);
    // Signals are handled before there is a mount that they could leave behind;
    // one that comes while we mount waits for the mount and then removes it.
    let slot: Arc<Mutex<Option<Arc<Mounted>>>> = Arc::default();
    let mut place = slot.lock();
    let (hook, ahead) = (Arc::clone(&slot), Arc::clone(&prefetch));
    let remove = control.remover();
    let stores = vec![("/".to_owned(), Arc::clone(&store))];
    let shown = stores.clone();
    signals::handle(
        move || shown.clone(),
        move || {
            remove();
            ahead.finish();
            let Some(mounted) = hook.lock().clone() else {
                return;
            };
            if let Err(error) = mounted.unmount() {
                log::warn!("{error}");
            }
        },
    )?;
    let mounted = Arc::new(fusedev::mount(&arguments.mountpoint, fs, options)?);
    *place = Some(Arc::clone(&mounted));
    drop(place);
    let remove = control.remover();
    daemon.set_state(State::Running);
    control.start(&daemon)?;
    mounted.wait();
    remove();
    prefetch.finish();
    signals::report_end(&stores);
    Ok(Outcome::Done)
}
