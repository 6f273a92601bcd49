//! Records of converted layers in the place that images go to: what a layer that
//! is in no need of being read again was converted to.
//!
//! A record is an OCI artifact under a tag that names the layer, the options and
//! the chunk dicts, so that registries without the referrers API have it too,
//! and so that their garbage collection keeps its blobs:
//!
//! ```text
//! config  {}                          application/vnd.oci.empty.v1+json
//! layers  the record                  application/vnd.tidegate.layer.record.v1
//!         the layer's blobs, if any   application/vnd.oci.image.layer.nydus.blob.v1
//! ```

use std::path::Path;

use super::ConvertError;
use super::place::{Target, block_on, read_whole};
use crate::build::layers::LayerImage;
use crate::chunk::Digest;
use crate::oci::manifest::{Descriptor, Manifest};
use crate::oci::media;
use crate::oci::repository::Delivery;

/// The type of the artifact.
const ARTIFACT: &str = "application/vnd.tidegate.layer.v1";

/// The type of the record in it.
const RECORD: &str = "application/vnd.tidegate.layer.record.v1";

/// Longest record that is taken.
const RECORD_MAX: u64 = 1 << 30;

/// The configuration: an artifact has none.
pub(super) const NO_CONFIG: &[u8] = b"{}";

/// The manifest of a record.
pub(super) fn manifest(layer: &LayerImage, record: Descriptor) -> Manifest {
    let config = Descriptor::of(media::EMPTY, NO_CONFIG);
    let mut layers = vec![record];
    for blob in layer.blobs() {
        if let Some(digest) = Digest::parse(&blob.id) {
            layers.push(blob_layer(&digest, blob.stored_size));
        }
    }
    let mut manifest = Manifest::new(config, layers);
    manifest.artifact_type = Some(ARTIFACT.to_owned());
    let source = format!("sha256:{}", layer.layer());
    let of = media::SOURCE_DIGEST.to_owned();
    manifest.annotations.insert(of, source);
    manifest
}

/// The descriptor of a record's file.
pub(super) fn descriptor(digest: &Digest, size: u64) -> Descriptor {
    Descriptor::new(RECORD, digest, size)
}

/// The layer of an image that is a blob of chunks.
pub(super) fn blob_layer(digest: &Digest, size: u64) -> Descriptor {
    let mut layer = Descriptor::new(media::NYDUS_BLOB, digest, size);
    let mark = media::IS_NYDUS_BLOB.to_owned();
    layer.annotations.insert(mark, "true".to_owned());
    layer
}

/// A layer that was converted before.
pub(super) struct Known {
    /// Its converted form.
    pub(super) image: LayerImage,
    /// How its blobs came to the target.
    pub(super) blobs: Vec<(String, u64, Delivery)>,
    /// Whether the target itself has the record.
    pub(super) own: bool,
}

/// Looks for the record of a layer in the target and writes it to `path`. None
/// if there is none of use: one that is damaged, that is about another layer, or
/// whose blobs cannot be brought without sending them, is as good as missing.
///
/// # Errors
/// When a registry does not answer, or the file cannot be written.
pub(super) fn fetch(
    target: &Target,
    key: &Digest,
    layer: &Digest,
    path: &Path,
) -> Result<Option<Known>, ConvertError> {
    let Some(record) = block_on(target.find_record(key))?? else {
        return Ok(None);
    };
    let own = record.own;
    let useless = |reason: &str| {
        let place = target.place();
        log::warn!("The record of layer sha256:{layer} in {place} {reason}; the layer is read");
        Ok(None)
    };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&record.manifest) else {
        return useless("is no manifest");
    };
    let found = manifest.layers.iter().find(|it| it.media_type == RECORD);
    let Some(found) = found else {
        return useless("has no record");
    };
    let record = record.blobs.open(found).map_err(std::io::Error::other);
    let record = match record.and_then(|reader| read_whole(reader, RECORD_MAX)) {
        Ok(Some(record)) => record,
        Ok(None) => return useless("is too long"),
        Err(error) => return useless(&format!("cannot be read ({error})")),
    };
    std::fs::write(path, &record).map_err(ConvertError::io("write layer record", path))?;
    let image = match LayerImage::open(path) {
        Ok(image) if image.layer() == *layer => image,
        Ok(_) => return useless("is about another one"),
        Err(error) => return useless(&format!("is damaged ({error})")),
    };
    let mut blobs = Vec::with_capacity(image.blobs().len());
    for blob in image.blobs() {
        let there = match Digest::parse(&blob.id) {
            Some(digest) => block_on(target.bring(&digest, blob.stored_size))??,
            None => None,
        };
        match there {
            Some(delivery) => {
                blobs.push((format!("sha256:{}", blob.id), blob.stored_size, delivery));
            }
            None => return useless(&format!("needs blob {}, which is not there", blob.id)),
        }
    }
    Ok(Some(Known { image, blobs, own }))
}
