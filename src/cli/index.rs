//! `tidegate index`: serves an unchanged OCI image lazily.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::build::index::{self, Layer};
use crate::build::layers::{self, LayerImage};
use crate::build::options::BuildOptions;
use crate::build::{bootstrap, pack};
use crate::chunk::Digest;
use crate::cli::registry_options::RegistryOptions;
use crate::cli::{Failure, Outcome, size};
use crate::convert::indexed::{self, Index};
use crate::convert::place::Source;
use crate::convert::progress::Progress;
use crate::convert::report::Totals;
use crate::core_dumps;
use crate::oci::platform::Platform;
use crate::oci::reference::Place;
use crate::oci::{self, BlobSource, OciImage};

/// Make an index of an unchanged OCI image, so that it is served lazily from its
/// own layers.
///
/// Writes DIR/image.boot and, for each layer with data, DIR/blobs/SHA256: what
/// a reader must know to enter the layer in the middle. Prints the root digest
/// that pins the image.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The image: a name at a registry (registry.example/app:1.2), an image
    /// layout (oci:DIR:TAG), or what docker save writes (docker-archive:FILE).
    source: Place,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Push the index to where the image is, as an artifact that refers to it;
    /// the image stays as it is.
    #[arg(long)]
    push: bool,
    /// Platform to index, as linux/arm64, where the image has several.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    registry: RegistryOptions,
    /// Bytes of a chunk, which is what is proved at once: a power of two from
    /// 4KiB to 16MiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size::chunk_size)]
    chunk_size: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    root: String,
    bootstrap: PathBuf,
    bootstrap_size: u64,
    /// Digest of the manifest that was indexed.
    manifest: String,
    /// Digest of the artifact that was pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pushed: Option<String>,
    /// What was sent for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
    layers: Vec<LayerReport>,
    statistics: pack::Statistics,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    layer: String,
    size: u64,
    /// The file in `blobs`, if the image has data of the layer.
    index: Option<String>,
    index_size: u64,
    chunks: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let started = Instant::now();
    core_dumps::forbid()
        .map_err(|error| format!("Cannot switch core dumps off to protect credentials: {error}"))?;
    let blobs = arguments.output.join("blobs");
    fs::create_dir_all(&blobs)
        .map_err(|error| format!("Cannot make directory {}: {error}", blobs.display()))?;
    let options = index::options(arguments.chunk_size);
    let spool = tempfile::Builder::new()
        .prefix(".index-")
        .tempdir_in(&arguments.output)?;
    let access = arguments.registry.access();
    let source = Source::open(&arguments.source, &access, spool.path())?;
    let layers = source.blobs.as_ref();
    let image = OciImage::read(layers, &source.root, arguments.platform.as_ref())?;
    let records = image
        .layers
        .iter()
        .map(|layer| record(layer, layers, &options, spool.path()))
        .collect::<Result<Vec<_>, _>>()?;
    let merged = layers::merge(&records, &options)?;
    for (meta, _) in merged.packed.blobs.iter().filter_map(|blob| blob.meta) {
        let name = meta.to_string();
        let to = blobs.join(&name);
        fs::rename(spool.path().join(&name), &to)
            .map_err(|error| format!("Cannot write {}: {error}", to.display()))?;
    }
    let path = arguments.output.join("image.boot");
    let written = bootstrap::write(&path, &merged.tree, &merged.packed, &options, &[])?;
    let root = format!("sha256:{}", written.root);
    let pushed = match arguments.push {
        false => None,
        true => {
            let index = Index {
                image: &image,
                bootstrap: &path,
                root: &root,
                blobs: &blobs,
                parts: parts(&image, &merged.packed.blobs),
            };
            let progress = Progress::new(!arguments.json);
            let (place, work) = (&arguments.source, spool.path());
            Some(indexed::push(place, &index, &access, progress, work)?)
        }
    };
    let report = Report {
        root,
        bootstrap: path,
        bootstrap_size: written.size,
        manifest: image.descriptor.digest.clone(),
        pushed: pushed.as_ref().map(|pushed| pushed.digest.clone()),
        totals: pushed.map(|pushed| pushed.totals),
        layers: report_layers(&image, &merged.packed.blobs),
        statistics: merged.packed.statistics,
        seconds: started.elapsed().as_secs_f64(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, &arguments.output);
    }
    Ok(Outcome::Done)
}

/// Reads a layer and indexes it in `dir`.
fn record(
    layer: &oci::Layer,
    source: &dyn BlobSource,
    options: &BuildOptions,
    dir: &Path,
) -> Result<LayerImage, Failure> {
    let input = source.open(&layer.descriptor)?;
    let unpacked = Layer::read(layer.digest, input, dir)?;
    let record = tempfile::NamedTempFile::new_in(dir)?;
    let places = (record.as_file(), record.path());
    let image = index::index(&unpacked, options, dir, places)?;
    log::info!("Layer sha256:{}: {} entries", layer.digest, image.entries());
    Ok(image)
}

/// The blobs beside the layers: position of the layer, digest, length.
fn parts(image: &OciImage, blobs: &[pack::PackedBlob]) -> Vec<(usize, Digest, u64)> {
    let own = |blob: &pack::PackedBlob| {
        let (id, len) = blob.meta?;
        let is = |layer: &oci::Layer| layer.digest.to_string() == blob.id;
        Some((image.layers.iter().position(is)?, id, len))
    };
    blobs.iter().filter_map(own).collect()
}

fn report_layers(image: &OciImage, blobs: &[pack::PackedBlob]) -> Vec<LayerReport> {
    let known: HashMap<&str, &pack::PackedBlob> =
        blobs.iter().map(|blob| (blob.id.as_str(), blob)).collect();
    let report = |layer: &oci::Layer| {
        let blob = known.get(layer.digest.to_string().as_str());
        let meta = blob.and_then(|blob| blob.meta);
        LayerReport {
            layer: format!("sha256:{}", layer.digest),
            size: layer.descriptor.size,
            index: meta.map(|(id, _)| id.to_string()),
            index_size: meta.map_or(0, |(_, len)| len),
            chunks: blob.map_or(0, |blob| blob.chunks),
        }
    };
    image.layers.iter().map(report).collect()
}

fn print(report: &Report, output: &Path) {
    let layers: u64 = report.layers.iter().map(|layer| layer.size).sum();
    let indexes: u64 = report.layers.iter().map(|layer| layer.index_size).sum();
    eprintln!(
        "{}: bootstrap of {} bytes and {indexes} bytes of indexes for {} layers of {layers} bytes, {:.1} s",
        output.display(),
        report.bootstrap_size,
        report.layers.len(),
        report.seconds
    );
    println!("root {}", report.root);
    if let Some(digest) = &report.pushed {
        println!("digest {digest}");
    }
}
