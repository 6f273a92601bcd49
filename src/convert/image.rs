//! One image of one platform.

use std::path::Path;

use super::bootstrap as boot;
use super::config::{self, ConfigLayer};
use super::layers::Layers;
use super::place::Source;
use super::record::blob_layer;
use super::report::{BlobReport, ImageReport};
use super::uploads::{Uploads, in_memory};
use super::{ConvertError, Form};
use crate::build::bootstrap;
use crate::build::layers::{LayerImage, Merged, merge};
use crate::build::options::BuildOptions;
use crate::chunk::Digest;
use crate::oci::OciImage;
use crate::oci::manifest::{Descriptor, Manifest, media_type};
use crate::oci::media;
use crate::oci::repository::Payload;

/// What the item of history says.
const COMMENT: &str = "Chunks and bootstrap of the layers above, for Nydus and Tidegate";

/// An image whose blobs are on their way.
pub(super) struct Converted {
    /// Its manifest's descriptor, without a platform.
    pub(super) descriptor: Descriptor,
    /// Its manifest.
    pub(super) bytes: Vec<u8>,
    /// The manifest that it is about, if it has a subject.
    pub(super) subject: Option<Digest>,
    /// What was done; how blobs came to the target is filled in later.
    pub(super) report: ImageReport,
}

/// Converts the image that `descriptor` names.
///
/// # Errors
/// When it cannot be read, or holds what an image of chunks cannot.
pub(super) fn convert(
    source: &Source,
    descriptor: &Descriptor,
    layers: &mut Layers<'_>,
    options: &BuildOptions,
    form: Form,
    dir: &Path,
    uploads: &mut Uploads,
) -> Result<Converted, ConvertError> {
    let image = OciImage::read(source.blobs.as_ref(), descriptor, None)?;
    let mut converted = Vec::with_capacity(image.layers.len());
    let mut reports = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        let (layer, report) = layers.prepare(source.blobs.as_ref(), layer, uploads)?;
        converted.push(layer);
        reports.push(report);
    }
    let merged = merge(&converted, options)?;

    let name = descriptor.sha256().unwrap_or_default();
    let path = dir.join(format!("{name}.boot"));
    let written = bootstrap::write(&path, &merged.tree, &merged.packed, options, &[])?;
    let root = format!("sha256:{}", written.root);
    let packed = dir.join(format!("{name}.tar.gz"));
    let packed_layer = boot::pack(&path, &packed, &root)?;
    let payload = Payload::File {
        path: packed,
        size: packed_layer.descriptor.size,
    };
    uploads.send(packed_layer.descriptor.clone(), payload)?;

    let mut entries = blobs(&merged, &converted);
    let mut all: Vec<Descriptor> = entries.iter().map(|(blob, _)| blob.clone()).collect();
    let mut told: Vec<ConfigLayer> = entries
        .drain(..)
        .map(|(blob, from)| ConfigLayer {
            diff_id: blob.sha256().unwrap_or_default(),
            from,
        })
        .collect();
    all.push(packed_layer.descriptor);
    told.push(ConfigLayer {
        diff_id: packed_layer.diff_id,
        from: None,
    });
    let config = config::rewrite(&image.config, &told, COMMENT);
    let config = serde_json::to_vec(&config).unwrap_or_default();
    let (config, payload) = in_memory(media_type::CONFIG, config);
    uploads.send(config.clone(), payload)?;

    let mut manifest = Manifest::new(config, all);
    manifest.annotations.clone_from(&image.manifest.annotations);
    for (key, value) in [
        (media::ROOT, &root),
        (media::SOURCE_DIGEST, &image.descriptor.digest),
        (media::SOURCE_NAME, &source.name),
    ] {
        manifest.annotations.insert(key.into(), value.clone());
    }
    let subject = match form {
        Form::Image => None,
        Form::Referrer => image.descriptor.sha256(),
    };
    if subject.is_some() {
        manifest.artifact_type = Some(media::NYDUS_ARTIFACT.to_owned());
        manifest.subject = Some(Descriptor {
            media_type: image.descriptor.media_type.clone(),
            digest: image.descriptor.digest.clone(),
            size: image.descriptor.size,
            ..Descriptor::default()
        });
    }
    let bytes = manifest.to_bytes();
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
    if subject.is_some() {
        descriptor.artifact_type = Some(media::NYDUS_ARTIFACT.to_owned());
    }
    let report = ImageReport {
        platform: image.platform.to_string(),
        source: image.descriptor.digest.clone(),
        digest: descriptor.digest.clone(),
        root: Some(root),
        layers: reports,
        blobs: blob_reports(&manifest),
    };
    Ok(Converted {
        descriptor,
        bytes,
        subject,
        report,
    })
}

/// What a manifest refers to. How it came to the target is filled in later.
pub(super) fn blob_reports(manifest: &Manifest) -> Vec<BlobReport> {
    let all = manifest.layers.iter().chain([&manifest.config]);
    all.map(|blob| BlobReport {
        digest: blob.digest.clone(),
        media_type: blob.media_type.clone(),
        size: blob.size,
        delivery: crate::oci::repository::Delivery::Present,
    })
    .collect()
}

/// The blobs that an image uses, as its manifest lists them, each with the layer
/// that it comes from.
fn blobs(merged: &Merged, layers: &[LayerImage]) -> Vec<(Descriptor, Option<usize>)> {
    let blobs = merged.packed.blobs.iter();
    blobs
        .filter_map(|blob| {
            let digest = Digest::parse(&blob.id)?;
            let own = |layer: &LayerImage| {
                let mut own = layer.blobs().iter().filter(|blob| !blob.dict);
                own.any(|own| own.id == blob.id)
            };
            let from = layers.iter().position(own);
            Some((blob_layer(&digest, blob.stored_size), from))
        })
        .collect()
}
