//! Chunk dicts: images in a registry or layout whose chunks are used in place of
//! new ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::ConvertError;
use super::bootstrap;
use super::place::Source;
use crate::build::dict::read_dict;
use crate::build::layers::DictId;
use crate::build::options::BuildOptions;
use crate::build::pack::ChunkDict;
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platform;
use crate::oci::reference::Place;
use crate::oci::repository::{Access, Payload};
use crate::oci::{BlobSource, media};

/// The dicts of one conversion.
#[derive(Default)]
pub(super) struct Dicts {
    /// Their chunks.
    pub(super) chunks: Option<ChunkDict>,
    /// Their name.
    pub(super) id: DictId,
    /// Where their blobs can be had, when the target lacks them.
    blobs: HashMap<String, std::path::PathBuf>,
}

impl Dicts {
    /// Reads the bootstraps of the images at `places` for the platform of this
    /// machine, or the first one that there is. They are put into `dir`.
    ///
    /// # Errors
    /// When one is no image of chunks, or does not go with the options.
    pub(super) fn read(
        places: &[Place],
        options: &BuildOptions,
        access: &Access,
        dir: &Path,
    ) -> Result<Self, ConvertError> {
        let mut dicts = Self::default();
        let mut paths = Vec::with_capacity(places.len());
        for (number, place) in places.iter().enumerate() {
            let source = Source::open(place, access, dir)?;
            let manifest = manifest_of(&source)?;
            let path = dir.join(format!("dict-{number}.boot"));
            bootstrap::extract(&source, &manifest, &path)?;
            if let Some(layout) = &source.layout {
                let blobs = manifest.layers.iter().filter_map(|layer| layer.sha256());
                dicts.blobs.extend(blobs.map(|digest| {
                    let file = layout.join("blobs/sha256").join(digest.to_string());
                    (digest.to_string(), file)
                }));
            }
            paths.push(path);
        }
        if !paths.is_empty() {
            dicts.chunks = Some(read_dict(&paths, options)?);
            let io = ConvertError::io("read chunk dicts in", dir);
            dicts.id = DictId::of(&paths).map_err(io)?;
        }
        Ok(dicts)
    }

    /// The bytes of a dict's blob, if they are on this machine.
    pub(super) fn payload(&self, id: &str) -> Option<Payload> {
        let path = self.blobs.get(id)?;
        let size = std::fs::metadata(path).ok()?.len();
        let path = path.clone();
        Some(Payload::File { path, size })
    }
}

/// The manifest that a source leads to; of an index the one for this machine,
/// else the first that is an image of chunks.
pub(super) fn manifest_of(source: &Source) -> Result<Manifest, ConvertError> {
    let blobs: &Arc<dyn BlobSource> = &source.blobs;
    let all = crate::oci::image::list_manifests(blobs.as_ref(), &source.root)?;
    let mut fitting: Vec<_> = all.iter().collect();
    if let Some(best) = Platform::host().choose(&all) {
        fitting.insert(0, best);
    }
    for descriptor in fitting {
        let bytes = blobs.read(descriptor)?;
        let what = format!("Manifest {}", descriptor.digest);
        let manifest: Manifest = crate::oci::image::parse(blobs.as_ref(), &what, &bytes)?;
        let mark = |layer: &crate::oci::Descriptor| {
            layer.annotations.contains_key(media::IS_NYDUS_BOOTSTRAP)
        };
        if manifest.layers.iter().any(mark) {
            return Ok(manifest);
        }
    }
    let reason = "it is no image of chunks: none of its layers holds a bootstrap; convert it first";
    Err(ConvertError::unfit(&source.name, reason))
}
