//! Builds an image of a list of layers.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::cache::{LayerCache, place_blob};
use super::convert::{LayerPlaces, convert};
use super::error::LayerError;
use super::key::{DictId, layer_key};
use super::merge::{Merged, merge};
use super::record::LayerImage;
use crate::build::options::BuildOptions;
use crate::build::pack::Dict;
use crate::chunk::Digest;

/// Opens a layer: its bytes as they are stored, checked by whoever gives them.
pub type OpenLayer<'a> =
    dyn Fn() -> Result<Box<dyn Read + Send>, Box<dyn Error + Send + Sync>> + Sync + 'a;

/// A layer to convert.
pub struct LayerInput<'a> {
    /// SHA-256 of its bytes as they are stored.
    pub digest: Digest,
    /// Opens it; not asked if it was converted before.
    pub open: &'a OpenLayer<'a>,
}

/// How the layers are converted.
pub struct LayerOptions<'a> {
    /// How chunks are cut, compressed and named.
    pub build: &'a BuildOptions,
    /// Chunks that are used in place of new ones, and their name.
    pub dict: (&'a dyn Dict, DictId),
    /// Directory of layers that were converted before.
    pub cache: Option<&'a Path>,
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LayerReport {
    /// `sha256:HEX` of the layer.
    pub digest: String,
    /// Whether it was converted before, and not read.
    pub reused: bool,
    /// Its entries, whiteouts included.
    pub entries: u64,
    /// The blobs that were made of it.
    pub blobs: Vec<String>,
}

/// Converts the layers, lowest first, and merges them. The blobs that the image
/// uses go to `output/blobs`, which must be there.
///
/// # Errors
/// As [`convert`](super::convert()) and [`merge`](super::merge()).
pub fn build(
    layers: &[LayerInput<'_>],
    options: &LayerOptions<'_>,
    output: &Path,
) -> Result<(Merged, Vec<LayerReport>), LayerError> {
    // Removed at the end, with the blobs that the image does not use.
    let private = tempfile::Builder::new()
        .prefix(".layers-")
        .tempdir_in(output)
        .map_err(|source| LayerError::Io {
            action: "make a temporary directory in",
            path: output.to_owned(),
            source,
        })?;
    let cache = LayerCache::open(options.cache.unwrap_or(private.path()))?;
    let mut images: Vec<LayerImage> = Vec::with_capacity(layers.len());
    let mut reports = Vec::with_capacity(layers.len());
    for (number, layer) in (1..).zip(layers) {
        let key = layer_key(&layer.digest, options.build, &options.dict.1);
        let known = cache.get(&key);
        let reused = known.is_some();
        let image = match known {
            Some(image) => image,
            None => convert_one(layer, &key, &cache, options)?,
        };
        let own = image.blobs().iter().filter(|blob| !blob.dict);
        let report = LayerReport {
            digest: format!("sha256:{}", layer.digest),
            reused,
            entries: image.entries(),
            blobs: own.map(|blob| blob.id.clone()).collect(),
        };
        let (all, what) = (layers.len(), if reused { "known" } else { "converted" });
        log::info!("Layer {number} of {all}, {}: {what}", report.digest);
        reports.push(report);
        images.push(image);
    }
    let merged = merge(&images, options.build)?;
    let to = output.join("blobs");
    for blob in merged.packed.blobs.iter().filter(|blob| !blob.dict) {
        if options.cache.is_some() {
            place_blob(&blob.id, cache.blobs(), &to)?;
        } else {
            let target = to.join(&blob.id);
            let moved = fs::rename(cache.blobs().join(&blob.id), &target);
            moved.map_err(|source| LayerError::Io {
                action: "write blob",
                path: target,
                source,
            })?;
        }
    }
    Ok((merged, reports))
}

fn convert_one(
    layer: &LayerInput<'_>,
    key: &Digest,
    cache: &LayerCache,
    options: &LayerOptions<'_>,
) -> Result<LayerImage, LayerError> {
    let name = format!("sha256:{}", layer.digest);
    let bytes = (layer.open)().map_err(|source| LayerError::Open {
        layer: name.clone(),
        source,
    })?;
    let record = cache.start()?;
    let places = LayerPlaces {
        blobs: cache.blobs(),
        record: (record.as_file(), record.path()),
    };
    let name = format!("layer {name}");
    let dict = options.dict.0;
    let image = convert(&name, layer.digest, bytes, dict, options.build, &places)?;
    cache.put(key, record)?;
    Ok(image)
}
