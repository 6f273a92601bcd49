//! `tidegate unpack`: an image's tree as files or as a tar archive.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::unpack::{archive, directory};

/// Restore an image's tree, every byte proved.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Directory to unpack to, new or empty.
    #[arg(required_unless_present = "tar", conflicts_with = "tar")]
    directory: Option<PathBuf>,
    /// Write a tar archive in place of files; - is standard output.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let store = arguments.image.open_store(&image)?;
    if let Some(target) = &arguments.directory {
        directory::unpack(&image, &store, target)?;
    }
    if let Some(path) = &arguments.tar {
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout().lock())
        } else {
            let file = File::create(path)
                .map_err(|error| format!("Cannot create {}: {error}", path.display()))?;
            Box::new(file)
        };
        archive::unpack(&image, &store, BufWriter::with_capacity(1 << 20, out))?;
    }
    Ok(Outcome::Done)
}
