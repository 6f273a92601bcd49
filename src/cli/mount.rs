//! `tidegate mount`: an image on the host.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome, signals};
use crate::fs::ImageFs;
use crate::fusedev::{self, MountOptions, Mounted};

/// Show an image on the host, read-only, until SIGTERM or an unmount.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory to mount on.
    mountpoint: PathBuf,
    #[command(flatten)]
    image: ImageOptions,
    /// Threads that read requests.
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let store = arguments.image.open_store(&image)?;
    let fs = Arc::new(ImageFs::new(image, Arc::clone(&store)));
    let options = MountOptions {
        threads: arguments.threads,
        ..MountOptions::default()
    };
    // The handlers come first: a signal during the mount must undo it.
    let slot: Arc<OnceLock<Mounted>> = Arc::default();
    let hook = Arc::clone(&slot);
    let point = arguments.mountpoint.clone();
    signals::handle(Arc::clone(&store), move || {
        let ended = match hook.get() {
            Some(mounted) => mounted.unmount(),
            None => Ok(()),
        };
        if let Err(error) = ended {
            log::warn!("{}: {error}", point.display());
        }
    })?;
    let mounted = fusedev::mount(&arguments.mountpoint, fs, options)?;
    slot.get_or_init(|| mounted).wait();
    signals::report_end(&store);
    Ok(Outcome::Done)
}
