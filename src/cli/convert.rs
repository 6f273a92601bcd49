//! `tidegate convert`: makes images of chunks of OCI images, and back.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::build::options::BuildOptions;
use crate::cli::build::{CompressorName, DigestName};
use crate::cli::registry_options::RegistryOptions;
use crate::cli::{Failure, Outcome, size};
use crate::convert::progress::Progress;
use crate::convert::report::{Report, Totals};
use crate::convert::{Form, Options, reverse, run as convert, temporary_work};
use crate::core_dumps;
use crate::oci::platform::Platform;
use crate::oci::reference::Place;

/// Convert an OCI image to one that is served lazily, and back.
///
/// SOURCE and TARGET are names at a registry (registry.example/app:1.2), image
/// layouts (oci:DIR:TAG), or, as a source, what docker save writes
/// (docker-archive:FILE). The result runs on Tidegate, nydusd and
/// containerd's nydus-snapshotter. Only what the target lacks is sent.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What is converted.
    source: Place,
    /// Where it goes; may be left out with --referrer.
    #[arg(required_unless_present = "referrer")]
    target: Option<Place>,
    /// Make a plain OCI image of an image of chunks.
    #[arg(long, conflicts_with_all = ["referrer", "chunk_dict"])]
    to_oci: bool,
    /// Make an artifact that refers to the original and is found from there;
    /// without a target beside the original, which stays as it is.
    #[arg(long, visible_alias = "artifact")]
    referrer: bool,
    /// Platform to convert, as linux/arm64; may be given several times. All, if
    /// left out.
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,
    /// Image of chunks whose chunks are used in place of new ones; may be given
    /// several times.
    #[arg(long, value_name = "IMAGE")]
    chunk_dict: Vec<Place>,
    /// Repository of the target's registry that may have blobs already, as
    /// team/app; may be given several times. The source's is asked anyway.
    #[arg(long, value_name = "REPOSITORY")]
    mount_from: Vec<String>,
    /// Convert layers again that the target says were converted before.
    #[arg(long)]
    no_reuse: bool,
    /// Directory for converted layers, kept for the next run; a temporary one if
    /// left out.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Bytes of a chunk: a power of two from 4KiB to 16MiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size::chunk_size)]
    chunk_size: u32,
    /// How chunks are compressed.
    #[arg(long, value_enum, default_value_t = CompressorName::Zstd)]
    compressor: CompressorName,
    /// What names the chunks.
    #[arg(long, value_enum, default_value_t = DigestName::Sha256)]
    digest: DigestName,
    /// Threads that read, digest and compress; by default one per core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    registry: RegistryOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let started = Instant::now();
    core_dumps::forbid()
        .map_err(|error| format!("Cannot switch core dumps off to protect credentials: {error}"))?;
    let temporary = match &arguments.work {
        None => Some(temporary_work()?),
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .map_err(|error| format!("Cannot create directory {}: {error}", dir.display()))?;
            None
        }
    };
    let work = temporary.as_ref().map(|dir| dir.path().to_owned());
    let work = work.or_else(|| arguments.work.clone()).unwrap_or_default();
    let options = options(arguments, work);
    let report = match (&arguments.target, arguments.to_oci) {
        (Some(target), true) => reverse::run(&arguments.source, target, &options)?,
        (target, _) => convert(&arguments.source, target.as_ref(), &options)?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, started.elapsed().as_secs_f64());
    }
    Ok(Outcome::Done)
}

fn options(arguments: &Arguments, work: PathBuf) -> Options {
    let defaults = BuildOptions::default();
    Options {
        build: BuildOptions {
            chunk_size: arguments.chunk_size,
            compressor: arguments.compressor.into(),
            algorithm: arguments.digest.into(),
            threads: arguments.threads.unwrap_or(defaults.threads),
            ..defaults
        },
        form: match arguments.referrer {
            true => Form::Referrer,
            false => Form::Image,
        },
        platforms: arguments.platform.clone(),
        chunk_dicts: arguments.chunk_dict.clone(),
        mounts: arguments.mount_from.clone(),
        reuse: !arguments.no_reuse,
        work,
        access: arguments.registry.access(),
        progress: Progress::new(!arguments.json),
    }
}

fn print(report: &Report, seconds: f64) {
    let Totals {
        read_bytes,
        uploaded_data_bytes,
        uploaded_other_bytes,
        mounted_bytes,
        present_bytes,
        ..
    } = report.totals;
    for left in &report.left_out {
        eprintln!("left out {}: {}", left.digest, left.reason);
    }
    eprintln!(
        "{}: {} images, {seconds:.1} s; {read_bytes} bytes of layers read; \
         {uploaded_data_bytes} bytes of data and {uploaded_other_bytes} others sent, \
         {mounted_bytes} mounted, {present_bytes} there before",
        report.target.name,
        report.images.len(),
    );
    for image in &report.images {
        if let Some(root) = &image.root {
            println!("root {root} {}", image.platform);
        }
    }
    println!("digest {}", report.target.digest);
}
