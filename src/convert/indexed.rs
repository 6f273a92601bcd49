//! Puts the index of an unchanged image beside the image, as an artifact that is
//! found from there.

use std::path::Path;
use std::sync::Arc;

use super::bootstrap as boot;
use super::config::{self, ConfigLayer};
use super::place::{Target, block_on};
use super::progress::Progress;
use super::record::blob_layer;
use super::report::Totals;
use super::uploads::{Uploads, in_file, in_memory};
use super::{ConvertError, beside};
use crate::chunk::Digest;
use crate::oci::OciImage;
use crate::oci::manifest::{Descriptor, Manifest, media_type};
use crate::oci::media;
use crate::oci::reference::Place;
use crate::oci::repository::{Access, Payload};

/// What the item of history says.
const COMMENT: &str = "Index of the unchanged layers, for Nydus and Tidegate";

/// An index that was made.
pub struct Index<'a> {
    /// The image.
    pub image: &'a OciImage,
    /// Its bootstrap.
    pub bootstrap: &'a Path,
    /// `sha256:HEX` that pins it.
    pub root: &'a str,
    /// Directory of the blobs beside the layers, each under its SHA-256.
    pub blobs: &'a Path,
    /// For each layer with data: its position, the SHA-256 of the blob beside
    /// it, and that blob's length in bytes.
    pub parts: Vec<(usize, Digest, u64)>,
}

/// What was pushed.
pub struct Pushed {
    /// `sha256:HEX` of the artifact's manifest.
    pub digest: String,
    /// What was sent for it.
    pub totals: Totals,
}

/// Pushes `index` to where the image is, which stays as it is: the blobs, the
/// bootstrap's layer (made in `work`) and a manifest whose subject is the image.
///
/// # Errors
/// When the image is in an archive, or its place does not take something.
pub fn push(
    place: &Place,
    index: &Index<'_>,
    access: &Access,
    progress: Progress,
    work: &Path,
) -> Result<Pushed, ConvertError> {
    let image = index.image;
    let unfit = |reason: &str| ConvertError::unfit(&image.descriptor.digest, reason);
    let subject = image.descriptor.sha256();
    let subject = subject.ok_or_else(|| unfit("only SHA-256 can be referred to"))?;
    let target = Arc::new(Target::open(&beside(place)?, access, &[])?);
    let mut uploads = Uploads::new(Arc::clone(&target), progress);

    let (mut layers, mut told) = (Vec::new(), Vec::new());
    for (position, digest, size) in &index.parts {
        let mut layer = blob_layer(digest, *size);
        if let Some(original) = image.layers.get(*position) {
            let digest = original.descriptor.digest.clone();
            layer.annotations.insert(media::NYDUS_REF.into(), digest);
        }
        uploads.send(layer.clone(), in_file(index.blobs, digest, *size))?;
        layers.push(layer);
        told.push(ConfigLayer {
            diff_id: *digest,
            from: Some(*position),
        });
    }
    let path = work.join(format!("{subject}.tar.gz"));
    let packed = boot::pack(index.bootstrap, &path, index.root)?;
    let size = packed.descriptor.size;
    uploads.send(packed.descriptor.clone(), Payload::File { path, size })?;
    layers.push(packed.descriptor);
    told.push(ConfigLayer {
        diff_id: packed.diff_id,
        from: None,
    });
    let config = config::rewrite(&image.config, &told, COMMENT);
    let config = serde_json::to_vec(&config).unwrap_or_default();
    let (config, payload) = in_memory(media_type::CONFIG, config);
    uploads.send(config.clone(), payload)?;
    uploads.finish()?;

    let mut manifest = Manifest::new(config, layers);
    manifest.artifact_type = Some(media::NYDUS_ARTIFACT.to_owned());
    manifest.subject = Some(Descriptor {
        media_type: image.descriptor.media_type.clone(),
        digest: image.descriptor.digest.clone(),
        size: image.descriptor.size,
        ..Descriptor::default()
    });
    for (key, value) in [
        (media::ROOT, index.root),
        (media::SOURCE_DIGEST, &image.descriptor.digest),
    ] {
        manifest.annotations.insert(key.into(), value.to_owned());
    }
    let bytes = manifest.to_bytes();
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
    descriptor.artifact_type = Some(media::NYDUS_ARTIFACT.to_owned());
    let new = block_on(target.put_manifest(&descriptor, &bytes, None))??;
    block_on(target.put_referrer(&descriptor, &bytes, &subject))??;
    let mut totals = Totals {
        manifests: usize::from(new),
        ..Totals::default()
    };
    uploads.add_to(&mut totals);
    Ok(Pushed {
        digest: descriptor.digest,
        totals,
    })
}
