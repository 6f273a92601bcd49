//! Builds of images that have layers: OCI layouts and docker archives.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::build::layers::image::{self, LayerInput, LayerOptions, LayerReport};
use crate::build::layers::{DictId, Merged};
use crate::build::options::BuildOptions;
use crate::build::pack::Dict;
use crate::cli::Failure;
use crate::oci::archive::Archive;
use crate::oci::layout::Layout;
use crate::oci::{BlobSource, Descriptor, OciImage, Platform};

/// Where an image with layers is: what was in front of the colon, and the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `oci:DIR[:TAG]`
    Layout(PathBuf, Option<String>),
    /// `docker-archive:FILE[:REFERENCE]`
    Archive(PathBuf, Option<String>),
}

impl Place {
    /// The place that `source` names; None for a directory or tar archive.
    pub(super) fn of(source: &Path) -> Option<Self> {
        let text = source.to_str()?;
        if let Some(rest) = text.strip_prefix("oci:") {
            let (dir, name) = Layout::split(rest);
            return Some(Self::Layout(dir, name));
        }
        let rest = text.strip_prefix("docker-archive:")?;
        let (file, name) = Archive::split(rest);
        Some(Self::Archive(file, name))
    }

    /// The directory or file.
    pub(super) fn path(&self) -> &Path {
        let (Self::Layout(path, _) | Self::Archive(path, _)) = self;
        path
    }

    /// Opens it and finds the image.
    fn open(&self, spool_dir: &Path) -> Result<(Box<dyn BlobSource>, Descriptor), Failure> {
        Ok(match self {
            Self::Layout(dir, name) => {
                let layout = Layout::open(dir)?;
                let found = layout.find(name.as_deref())?.clone();
                (Box::new(layout), found)
            }
            Self::Archive(file, name) => {
                let archive = Archive::open(file, spool_dir)?;
                let found = archive.find(name.as_deref())?.clone();
                (Box::new(archive), found)
            }
        })
    }
}

/// Which image was built, and of what.
#[derive(Debug, Serialize)]
pub(super) struct ImageReport {
    /// Digest of the manifest.
    manifest: String,
    platform: String,
    layers: Vec<LayerReport>,
}

/// How an image with layers is built.
pub(super) struct Options<'a> {
    pub(super) build: &'a BuildOptions,
    pub(super) dict: &'a dyn Dict,
    pub(super) dict_bootstraps: &'a [PathBuf],
    pub(super) platform: Option<&'a Platform>,
    pub(super) cache: Option<&'a Path>,
}

/// Builds blobs in `output/blobs`.
pub(super) fn build(
    place: &Place,
    options: &Options<'_>,
    output: &Path,
) -> Result<(Merged, ImageReport), Failure> {
    let (source, descriptor) = place.open(output)?;
    let image = OciImage::read(source.as_ref(), &descriptor, options.platform)?;
    let openers: Vec<_> = image
        .layers
        .iter()
        .map(|layer| {
            let source = source.as_ref();
            move || {
                let reader = source.open(&layer.descriptor);
                reader.map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>)
            }
        })
        .collect();
    let layers: Vec<_> = image
        .layers
        .iter()
        .zip(&openers)
        .map(|(layer, open)| LayerInput {
            digest: layer.digest,
            open,
        })
        .collect();
    let dict = DictId::of(options.dict_bootstraps)?;
    let layer_options = LayerOptions {
        build: options.build,
        dict: (options.dict, dict),
        cache: options.cache,
    };
    let (merged, layers) = image::build(&layers, &layer_options, output)?;
    let report = ImageReport {
        manifest: image.descriptor.digest,
        platform: image.platform.to_string(),
        layers,
    };
    Ok((merged, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_prefixes_name_images_with_layers() {
        let place = |text: &str| Place::of(Path::new(text));
        let tag = Some("tag".to_owned());
        assert_eq!(
            place("oci:/none:tag"),
            Some(Place::Layout("/none".into(), tag))
        );
        let none = Some(Place::Archive("/none.tar".into(), None));
        assert_eq!(place("docker-archive:/none.tar"), none);
        for other in ["./oci:dir", "dir", "a.tar", "oci"] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
