//! `tidegate mount`: an image on the host.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome, signals};
use crate::fs::ImageFs;
use crate::fusedev::{self, MountOptions};

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
    let mounted = Arc::new(fusedev::mount(&arguments.mountpoint, fs, options)?);
    let hook = Arc::clone(&mounted);
    signals::handle(Arc::clone(&store), move || {
        if let Err(error) = hook.unmount() {
            log::warn!("{error}");
        }
    })?;
    mounted.wait();
    signals::report(&store);
    Ok(Outcome::Done)
}
