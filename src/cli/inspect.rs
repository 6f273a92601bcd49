//! `tidegate inspect`: what an image is.

use clap::Args;
use serde::Serialize;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::image::Format;

/// Print what an image is: root digest, sizes, blobs.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    format: &'static str,
    root: Option<String>,
    /// Of RAFS v5: the digest of the root's content, which covers no attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    root_inode_digest: Option<String>,
    pinned: bool,
    inodes: u64,
    chunk_size: u32,
    digest: String,
    compressor: String,
    blobs: Vec<BlobReport>,
    /// Chunks that the image's trace names as needed first.
    trace_chunks: u64,
}

#[derive(Debug, Serialize)]
struct BlobReport {
    id: String,
    chunks: u32,
    stored_size: u64,
    uncompressed_size: u64,
    /// How chunks are packed: plain, batch, zran or tar.
    form: String,
    encrypted: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let summary = image.summary();
    let report = Report {
        format: match summary.format {
            Format::RafsV5 => "RAFS v5",
            Format::RafsV6 => "RAFS v6",
        },
        root_inode_digest: image.root_inode_digest().map(|digest| digest.to_string()),
        root: image.root_digest().map(|root| format!("sha256:{root}")),
        pinned: image.pinned(),
        inodes: summary.inodes,
        chunk_size: summary.chunk_size,
        digest: format!("{:?}", summary.algorithm).to_lowercase(),
        compressor: format!("{:?}", summary.compressor).to_lowercase(),
        blobs: image
            .blobs()
            .iter()
            .map(|blob| BlobReport {
                id: blob.id.clone(),
                chunks: blob.chunks,
                stored_size: blob.stored_size,
                uncompressed_size: blob.uncompressed_size,
                form: format!("{:?}", blob.packing.form).to_lowercase(),
                encrypted: blob.packing.key.is_some(),
            })
            .collect(),
        trace_chunks: image.trace()?.iter().map(|run| u64::from(run.count)).sum(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Outcome::Done);
    }
    let root = report
        .root
        .as_deref()
        .unwrap_or("none (no integrity section)");
    println!("format      {}", report.format);
    println!(
        "root        {root}{}",
        if report.pinned {
            " (pinned)"
        } else {
            " (not pinned)"
        }
    );
    if let Some(digest) = &report.root_inode_digest {
        println!("root inode  {digest} (of contents only, for information)");
    }
    println!("inodes      {}", report.inodes);
    println!("chunk size  {}", report.chunk_size);
    println!("digest      {}", report.digest);
    println!("compressor  {}", report.compressor);
    if report.trace_chunks > 0 {
        println!("trace       {} chunks", report.trace_chunks);
    }
    for blob in &report.blobs {
        println!(
            "blob        {}  {} chunks, {} bytes stored, {} uncompressed, {}{}",
            blob.id,
            blob.chunks,
            blob.stored_size,
            blob.uncompressed_size,
            blob.form,
            if blob.encrypted { ", encrypted" } else { "" }
        );
    }
    Ok(Outcome::Done)
}
