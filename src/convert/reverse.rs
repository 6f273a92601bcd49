//! From an image of chunks back to a plain image: one layer with the whole tree.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use flate2::{Compression, GzBuilder};
use serde_json::Value;

use super::bootstrap::{self, Hashed};
use super::config::{self, ConfigLayer};
use super::image::blob_reports;
use super::place::{Source, Target};
use super::report::{ImageReport, Named, Report, Totals};
use super::uploads::{Uploads, in_memory};
use super::{ConvertError, Options, choose, push};
use crate::backend::directory::DirectoryBackend;
use crate::backend::sources::Sources;
use crate::chunk::Digest;
use crate::image::{Image, Pin};
use crate::oci::manifest::{Descriptor, Manifest, media_type};
use crate::oci::media;
use crate::oci::reference::Place;
use crate::oci::repository::Payload;
use crate::records::ChunkRecords;
use crate::store::{Store, StoreConfig};
use crate::unpack::archive;

/// What the item of history says.
const COMMENT: &str = "The whole tree of an image of chunks in one layer";

/// What a manifest may say of where it comes from that is no more so.
const STALE: [&str; 3] = [media::ROOT, media::SOURCE_DIGEST, media::SOURCE_NAME];

/// Converts the image of chunks at `source` to a plain image at `target`. Every
/// byte of it is proved as far as the image can be.
///
/// # Errors
/// When the source cannot be read or proved, or the target does not take it.
pub fn run(source: &Place, target: &Place, options: &Options) -> Result<Report, ConvertError> {
    let opened = Source::open(source, &options.access, &options.work)?;
    let mounts = super::mounts(source, target, options);
    let target = Arc::new(Target::open(target, &options.access, &mounts)?);
    let mut uploads = Uploads::new(Arc::clone(&target), options.progress.clone());
    let choice = choose(&opened, &options.platforms)?;
    let mut images = Vec::with_capacity(choice.chosen.len());
    for descriptor in &choice.chosen {
        let image = plain(&opened, descriptor, options, &mut uploads)?;
        images.push((image, descriptor.platform.clone()));
    }
    uploads.finish()?;
    let index = choice.index.map(|index| (index, &opened.root));
    let tag = target.tag.clone();
    let (pushed, root) = push(&target, tag.as_deref(), &mut images, index, &opened.name)?;
    let mut totals = Totals {
        manifests: pushed,
        ..Totals::default()
    };
    uploads.add_to(&mut totals);
    let images = images.into_iter().map(|(image, _)| {
        let mut report = image.report;
        for blob in &mut report.blobs {
            blob.delivery = uploads.delivery(&blob.digest);
        }
        report
    });
    Ok(Report {
        images: images.collect(),
        source: Named {
            name: opened.name,
            digest: opened.root.digest,
        },
        target: Named {
            name: target.name.clone(),
            digest: root,
        },
        left_out: choice.left_out,
        signatures: Vec::new(),
        totals,
    })
}

fn plain(
    source: &Source,
    descriptor: &Descriptor,
    options: &Options,
    uploads: &mut Uploads,
) -> Result<super::Converted, ConvertError> {
    let blobs = source.blobs.as_ref();
    let what = format!("Manifest {}", descriptor.digest);
    let manifest: Manifest = crate::oci::image::parse(blobs, &what, &blobs.read(descriptor)?)?;
    let what = format!("Configuration {}", manifest.config.digest);
    let config: Value = crate::oci::image::parse(blobs, &what, &blobs.read(&manifest.config)?)?;
    let name = descriptor.sha256().unwrap_or_default();
    let path = options.work.join(format!("{name}.boot"));
    bootstrap::extract(source, &manifest, &path)?;

    let layer = options.work.join(format!("{name}.tar.gz"));
    let (digest, size, diff_id) = write_layer(source, &manifest, &path, &layer)?;
    let layer_blob = Descriptor::new(media_type::LAYER_GZIP, &digest, size);
    uploads.send(layer_blob.clone(), Payload::File { path: layer, size })?;
    let told = [ConfigLayer {
        diff_id,
        from: None,
    }];
    let config = config::rewrite(&config, &told, COMMENT);
    let platform = ["os", "architecture"].map(|key| config.get(key).and_then(Value::as_str));
    let platform = platform.map(|part| part.unwrap_or("unknown")).join("/");
    let config = serde_json::to_vec(&config).unwrap_or_default();
    let (config, payload) = in_memory(media_type::CONFIG, config);
    uploads.send(config.clone(), payload)?;

    let mut made = Manifest::new(config, vec![layer_blob]);
    made.annotations.clone_from(&manifest.annotations);
    made.annotations
        .retain(|key, _| !STALE.contains(&key.as_str()));
    let bytes = made.to_bytes();
    let made_descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
    Ok(super::Converted {
        report: ImageReport {
            platform,
            source: descriptor.digest.clone(),
            digest: made_descriptor.digest.clone(),
            root: None,
            layers: Vec::new(),
            blobs: blob_reports(&made),
        },
        descriptor: made_descriptor,
        bytes,
        subject: None,
    })
}

/// Writes the whole tree as a gzipped archive to `layer`: its digest and length,
/// and its digest without compression.
fn write_layer(
    source: &Source,
    manifest: &Manifest,
    bootstrap: &Path,
    layer: &Path,
) -> Result<(Digest, u64, Digest), ConvertError> {
    let root = manifest.annotations.get(media::ROOT);
    let root = root.map(|text| {
        let digest = crate::oci::manifest::parse_digest(text);
        digest.ok_or_else(|| {
            let reason = format!("its annotation {} is no digest", media::ROOT);
            ConvertError::unfit(&source.name, reason)
        })
    });
    let pin = Pin {
        root: root.transpose()?,
        ..Pin::default()
    };
    let image = Arc::new(Image::open(bootstrap, pin)?);
    let config = StoreConfig::default();
    let sources = sources(source)?;
    let records = Arc::clone(&image) as Arc<dyn ChunkRecords>;
    let store = Store::open_with(config, sources, image.blobs().to_vec(), records);
    let store = store.map_err(|error| ConvertError::Store {
        image: source.name.clone(),
        source: error,
    })?;
    let io = |error: io::Error| ConvertError::io("write layer", layer)(error);
    let file = BufWriter::with_capacity(1 << 20, File::create(layer).map_err(io)?);
    let gzip = GzBuilder::new().mtime(0).operating_system(255);
    let gzip = gzip.write(Hashed::new(file), Compression::default());
    let mut archive = Hashed::new(gzip);
    archive::unpack(&image, &store, &mut archive)?;
    let (gzip, diff_id, _) = archive.finish();
    let (file, digest, size) = gzip.finish().map_err(io)?.finish();
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok((digest, size, diff_id))
}

/// Where the chunks of an image are.
fn sources(source: &Source) -> Result<Sources, ConvertError> {
    if let Some((_, repository)) = &source.repository {
        return Ok(Sources::single(repository.backend()));
    }
    match &source.layout {
        Some(dir) => {
            let blobs = DirectoryBackend::new(dir.join("blobs/sha256"));
            Ok(Sources::single(Arc::new(blobs)))
        }
        None => {
            let reason = "images of chunks are in registries and image layouts";
            Err(ConvertError::unfit(&source.name, reason))
        }
    }
}
