//! `tidegate cat`: the bytes of files.

use std::io::Write;

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::fs::walk;

/// Write files of an image to standard output, every chunk proved.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Paths in the image.
    #[arg(required = true)]
    paths: Vec<std::ffi::OsString>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let store = arguments.image.open_store(&image)?;
    let mut out = std::io::stdout().lock();
    for path in &arguments.paths {
        let node = walk::find(&image, path.as_encoded_bytes())?;
        walk::read_file(&image, &store, &node, &mut |bytes| out.write_all(bytes))
            .map_err(|error| named(error, path))?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Gives an error about a node the path that the user knows it by.
fn named(error: walk::WalkError, path: &std::ffi::OsStr) -> walk::WalkError {
    match error {
        walk::WalkError::NotAFile { .. } => walk::WalkError::NotAFile {
            path: walk::show(path.as_encoded_bytes()),
        },
        other => other,
    }
}
