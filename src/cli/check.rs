//! `tidegate check`: proves everything.

use std::collections::HashSet;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use crate::chunk::Chunk;
use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::error_chain::chain;
use crate::fs::walk::{self, Step};
use crate::image::{Content, Image, ImageError, Node};
use crate::store::Store;

/// Chunks that are read at the same time.
const IN_FLIGHT: usize = 8;

/// Prove an image: every node against the root digest, every chunk against its
/// digest. Prints one line per fault; exit status 1 if there is any.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Check the metadata only.
    #[arg(long)]
    no_data: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    root: Option<String>,
    pinned: bool,
    names: u64,
    chunks: u64,
    bytes: u64,
    faults: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let mut report = Report {
        root: image.root_digest().map(|root| format!("sha256:{root}")),
        pinned: image.pinned(),
        ..Report::default()
    };
    let mut users: Vec<(Chunk, Vec<u8>)> = Vec::new();
    let mut seen = HashSet::new();
    walk::walk(&image, &mut |step| {
        match step {
            Step::Node(path, node) => {
                report.names += 1;
                let found = collect(&image, node, &mut |chunk| {
                    if seen.insert((chunk.blob, chunk.index)) {
                        users.push((chunk, path.to_vec()));
                    }
                });
                if let Err(error) = found {
                    report
                        .faults
                        .push(format!("{}: {}", walk::show(path), chain(&error)));
                }
            }
            Step::Fault(path, error) => {
                report
                    .faults
                    .push(format!("{}: {}", walk::show(path), chain(&error)));
            }
        }
        true
    });
    if !arguments.no_data {
        let store = arguments.image.open_checking_store(&image)?;
        check_chunks(&store, users, &mut report)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.faults.iter().for_each(|fault| println!("{fault}"));
        println!(
            "{}: {} names, {} chunks, {} bytes, {} faults",
            arguments.image.bootstrap.display(),
            report.names,
            report.chunks,
            report.bytes,
            report.faults.len()
        );
    }
    Ok(if report.faults.is_empty() {
        Outcome::Done
    } else {
        Outcome::Faults
    })
}

/// Hands all chunks of a node to `add`.
fn collect(image: &Image, node: &Node, add: &mut dyn FnMut(Chunk)) -> Result<(), ImageError> {
    let Content::File(file) = &node.content else {
        return Ok(());
    };
    let mut position = 0;
    while position < file.chunks() {
        let group = image.chunk_group(file, node.attr.size, position)?;
        group.chunks.iter().for_each(|chunk| add(*chunk));
        position = group.start + group.chunks.len() as u64;
    }
    Ok(())
}

fn check_chunks(
    store: &Arc<Store>,
    users: Vec<(Chunk, Vec<u8>)>,
    report: &mut Report,
) -> Result<(), Failure> {
    let reads = users.into_iter().map(|(chunk, path)| {
        let store = Arc::clone(store);
        async move { (store.read(chunk).await, path) }
    });
    crate::runtime::handle()?.block_on(async {
        let mut reads = stream::iter(reads).buffered(IN_FLIGHT);
        while let Some((read, path)) = reads.next().await {
            match read {
                Ok(bytes) => {
                    report.chunks += 1;
                    report.bytes += bytes.len() as u64;
                }
                Err(error) => {
                    report
                        .faults
                        .push(format!("{}: {}", walk::show(&path), chain(&error)));
                }
            }
        }
    });
    Ok(())
}
