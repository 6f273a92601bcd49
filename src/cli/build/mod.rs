//! `tidegate build`: makes an image.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::build::dict::read_dict;
use crate::build::options::BuildOptions;
use crate::build::pack::{Dict, Packed};
use crate::build::trace::Traced;
use crate::build::tree::{Content, Tree};
use crate::build::{bootstrap, pack, source};
use crate::chunk::{Compressor, DigestAlgorithm};
use crate::cli::{Failure, Outcome, size};
use crate::image::hints::ChunkRun;
use crate::oci::Platform;
use crate::path_text::show;
use crate::trace::Trace;

mod layered;

use layered::{ImageReport, Place};

/// Make an image from a directory, a tar archive or an OCI image.
///
/// Writes DIR/image.boot and DIR/blobs/, and prints the root digest that pins
/// the image.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory; a .tar, .tar.gz or .tar.zst; `oci:DIR[:TAG]` or
    /// `oci:DIR@sha256:HEX` for an image in an OCI layout;
    /// `docker-archive:FILE[:REFERENCE]` for one that `docker save` wrote.
    source: PathBuf,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Bytes of a chunk: a power of two from 4KiB to 16MiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size::chunk_size)]
    chunk_size: u32,
    /// How chunks are compressed.
    #[arg(long, value_enum, default_value_t = CompressorName::Zstd)]
    compressor: CompressorName,
    /// What names the chunks.
    #[arg(long, value_enum, default_value_t = DigestName::Sha256)]
    digest: DigestName,
    /// Bootstrap of an image whose chunks are used in place of new ones; may
    /// be given several times.
    #[arg(long, value_name = "BOOTSTRAP")]
    chunk_dict: Vec<PathBuf>,
    /// Trace that serve or mount recorded: its chunks come first in the blob,
    /// in its order, and a daemon that serves the image fetches them first.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Platform of the image, where the source has several: by default Linux on
    /// this machine's processor.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Directory that keeps converted layers: a layer that is there is not read
    /// again.
    #[arg(long, value_name = "DIR")]
    layer_cache: Option<PathBuf>,
    /// Threads that read, digest and compress; by default one per core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CompressorName {
    Zstd,
    Lz4,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DigestName {
    Sha256,
    Blake3,
}

impl From<CompressorName> for Compressor {
    fn from(name: CompressorName) -> Self {
        match name {
            CompressorName::Zstd => Self::Zstd,
            CompressorName::Lz4 => Self::Lz4,
            CompressorName::None => Self::None,
        }
    }
}

impl From<DigestName> for DigestAlgorithm {
    fn from(name: DigestName) -> Self {
        match name {
            DigestName::Sha256 => Self::Sha256,
            DigestName::Blake3 => Self::Blake3,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    root: String,
    bootstrap: PathBuf,
    bootstrap_size: u64,
    blobs: Vec<BlobReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<TraceReport>,
    statistics: pack::Statistics,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct BlobReport {
    id: String,
    stored_size: u64,
    uncompressed_size: u64,
    chunks: u32,
    /// Whether the blob belongs to a chunk dict and was not written.
    dict: bool,
}

#[derive(Debug, Serialize)]
struct TraceReport {
    /// Files that the trace names.
    files: usize,
    /// Chunks that come first.
    chunks: u64,
    /// Lines of the trace that the source does not have.
    unknown: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let defaults = BuildOptions::default();
    let options = BuildOptions {
        chunk_size: arguments.chunk_size,
        compressor: arguments.compressor.into(),
        algorithm: arguments.digest.into(),
        threads: arguments.threads.unwrap_or(defaults.threads),
        ..defaults
    };
    let place = Place::of(&arguments.source);
    if place.is_none() && (arguments.platform.is_some() || arguments.layer_cache.is_some()) {
        let text = "--platform and --layer-cache go with a source that has layers: oci:DIR or docker-archive:FILE";
        return Err(text.into());
    }
    let source = place
        .as_ref()
        .map_or(arguments.source.as_path(), Place::path);
    check_places(source, &arguments.output)?;
    let blobs = arguments.output.join("blobs");
    std::fs::create_dir_all(&blobs)
        .map_err(|error| format!("Cannot create directory {}: {error}", blobs.display()))?;
    let dict = read_dict(&arguments.chunk_dict, &options)?;
    let made = match &place {
        None => plain(arguments, &options, &dict, &blobs)?,
        Some(place) => layers(arguments, place, &options, &dict)?,
    };
    let Made {
        tree,
        packed,
        traced,
        image,
    } = made;
    let path = arguments.output.join("image.boot");
    let written = bootstrap::write(&path, &tree, &packed, &options, &traced.files)?;

    let report = Report {
        root: format!("sha256:{}", written.root),
        bootstrap: path,
        bootstrap_size: written.size,
        blobs: packed
            .blobs
            .iter()
            .map(|blob| BlobReport {
                id: blob.id.clone(),
                stored_size: blob.stored_size,
                uncompressed_size: blob.uncompressed_size,
                chunks: blob.chunks,
                dict: blob.dict,
            })
            .collect(),
        image,
        trace: arguments.trace.is_some().then(|| TraceReport {
            files: traced.files.len(),
            chunks: packed.leading.iter().map(|run| u64::from(run.count)).sum(),
            unknown: traced.unknown,
        }),
        statistics: packed.statistics,
        seconds: started.elapsed().as_secs_f64(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, &arguments.output);
    }
    Ok(Outcome::Done)
}

/// A tree with its blobs.
struct Made {
    tree: Tree,
    packed: Packed,
    traced: Traced,
    /// Where the tree came in layers.
    image: Option<ImageReport>,
}

/// Packs a directory or tar archive.
fn plain(
    arguments: &Arguments,
    options: &BuildOptions,
    dict: &dyn Dict,
    blobs: &Path,
) -> Result<Made, Failure> {
    let mut tree = source::scan(&arguments.source, &arguments.output)?;
    let traced = trace(arguments, &tree, options)?;
    let packed = pack::pack_leading(&mut tree, dict, options, blobs, &traced.chunks)?;
    Ok(Made {
        tree,
        packed,
        traced,
        image: None,
    })
}

/// Packs an image layer by layer. Its blobs do not depend on a trace, which
/// only says what is to be fetched first.
fn layers(
    arguments: &Arguments,
    place: &Place,
    options: &BuildOptions,
    dict: &dyn Dict,
) -> Result<Made, Failure> {
    let layered = layered::Options {
        build: options,
        dict,
        dict_bootstraps: &arguments.chunk_dict,
        platform: arguments.platform.as_ref(),
        cache: arguments.layer_cache.as_deref(),
    };
    let (merged, image) = layered::build(place, &layered, &arguments.output)?;
    let (tree, mut packed) = (merged.tree, merged.packed);
    let traced = trace(arguments, &tree, options)?;
    let leading = traced.chunks.iter().filter_map(|&(node, position)| {
        let Content::File(file) = &tree.nodes.get(node)?.content else {
            return None;
        };
        let reference = *file.chunks.get(usize::try_from(position).ok()?)?;
        let chunk = packed.chunks.get(usize::try_from(reference).ok()?)?;
        Some((chunk.blob.into(), chunk.index))
    });
    packed.leading = ChunkRun::of(leading);
    Ok(Made {
        tree,
        packed,
        traced,
        image: Some(image),
    })
}

fn trace(arguments: &Arguments, tree: &Tree, options: &BuildOptions) -> Result<Traced, Failure> {
    match &arguments.trace {
        Some(path) => read_trace(path, tree, options),
        None => Ok(Traced::default()),
    }
}

/// Reads a trace and finds its files; what the source does not have is said
/// once.
fn read_trace(path: &Path, tree: &Tree, options: &BuildOptions) -> Result<Traced, Failure> {
    let shown = path.display();
    let trace = Trace::read(path).map_err(|error| format!("Cannot read trace {shown}: {error}"))?;
    if trace.ignored > 0 {
        log::warn!(
            "{} lines of {shown} make no sense and are ignored",
            trace.ignored
        );
    }
    let traced = Traced::new(&trace, tree, options.chunk_size);
    if let Some(first) = &traced.first_unknown {
        let (count, first) = (traced.unknown, show(first));
        log::warn!("{count} lines of {shown} name what is not in the source, {first} first");
    }
    Ok(traced)
}

/// Refuses a source that is not there before anything is made, and an output
/// inside the source, which would be part of the next image.
fn check_places(source: &Path, output: &Path) -> Result<(), Failure> {
    let real = source
        .canonicalize()
        .map_err(|error| format!("Cannot open source {}: {error}", source.display()))?;
    let inside = output.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        path.canonicalize().ok()
    });
    if real.is_dir() && inside.is_some_and(|place| place.starts_with(&real)) {
        let (output, source) = (output.display(), source.display());
        return Err(format!("Output {output} lies in source {source}; name another place").into());
    }
    Ok(())
}

fn print(report: &Report, output: &Path) {
    eprintln!(
        "{}: bootstrap of {} bytes, {} blobs, {:.1} s",
        output.display(),
        report.bootstrap_size,
        report.blobs.len(),
        report.seconds
    );
    println!("root {}", report.root);
}
