//! What a trace costs over a link with a round trip and a bandwidth.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::backend::http::{Http, Options, Transport};
use tidegate::backend::sources::Sources;
use tidegate::chunk::Chunk;
use tidegate::fs::walk;
use tidegate::image::{Content, Image, Pin};
use tidegate::prefetch::{Prefetch, PrefetchOptions};
use tidegate::store::{Store, StoreConfig};

use crate::support::image::{self, noise};
use crate::support::registry::{Counts, Registry, Settings};

/// Files of the image, and every how manieth is in the trace.
const FILES: usize = 600;
const STEP: usize = 7;

/// Round trip.
const RTT: Duration = Duration::from_millis(40);

/// Bytes per second.
const BANDWIDTH: u64 = 8_000_000;

fn name(number: usize) -> String {
    format!("d{}/f{number:03}", number % 9)
}

fn fill(root: &Path) -> io::Result<()> {
    for number in 0..FILES {
        let path = root.join(name(number));
        fs::create_dir_all(path.parent().unwrap())?;
        let len = 500 + number * 7919 % 120_000;
        fs::write(path, noise(number as u64, len))?;
    }
    Ok(())
}

/// The files of the trace, in an order that no layout has by itself.
fn traced() -> Vec<String> {
    let numbers = (0..FILES).step_by(STEP).map(|number| number * 389 % FILES);
    numbers.map(name).collect()
}

/// The result of a run of a program that reads the files of the trace one after
/// the other.
struct Run {
    took: Duration,
    counts: Counts,
    /// Stored bytes of the chunks that it read.
    bytes: u64,
}

/// The image, its store over the link, and what is fetched ahead.
struct Rig {
    image: Arc<Image>,
    store: Arc<Store>,
    prefetch: Prefetch,
    registry: Registry,
}

fn rig(image: &image::Image, options: &PrefetchOptions) -> Rig {
    let settings = Settings {
        rtt_ms: RTT.as_secs_f64() * 1000.0,
        bandwidth: BANDWIDTH,
        ..Settings::default()
    };
    let registry = Registry::start(&image.blobs(), settings).unwrap();
    let http = Http::new(&Options {
        addr: registry.url(),
        path: String::new(),
        transport: Transport::default(),
    });
    let sources = Sources::single(Arc::new(http.unwrap()));
    let image = Arc::new(Image::open(&image.bootstrap(), Pin::default()).unwrap());
    let blobs = image.blobs().to_vec();
    let records = Arc::clone(&image);
    let store = Store::open_with(StoreConfig::default(), sources, blobs, records).unwrap();
    let prefetch = Prefetch::start(options, &image, &store).unwrap();
    Rig {
        image,
        store,
        prefetch,
        registry,
    }
}

fn run(image: &image::Image, options: &PrefetchOptions) -> Run {
    let start = Instant::now();
    let rig = rig(image, options);
    let chunks: Vec<Chunk> = traced()
        .iter()
        .flat_map(|path| chunks_of(&rig.image, path))
        .collect();
    tidegate::runtime::handle().unwrap().block_on(async {
        for chunk in &chunks {
            rig.store.read(*chunk).await.unwrap();
        }
    });
    Run {
        took: start.elapsed(),
        counts: rig.registry.counts(),
        bytes: chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum(),
    }
}

fn chunks_of(image: &Image, path: &str) -> Vec<Chunk> {
    let node = walk::find(image, path.as_bytes()).unwrap();
    let Content::File(file) = &node.content else {
        panic!("{path} is no file");
    };
    let group = image.chunk_group(file, node.attr.size, 0).unwrap();
    group.chunks.to_vec()
}

#[test]
fn a_trace_of_the_image_costs_its_bytes_and_hardly_more_time() {
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    let lines: String = traced().iter().map(|path| format!("0 /{path}\n")).collect();
    fs::write(&trace, lines).unwrap();
    let line = ["--chunk-size", "128KiB", "--trace", trace.to_str().unwrap()];
    let with = image::build(fill, &line).unwrap();
    let without = image::build(fill, &line[..2]).unwrap();

    let plain = run(&without, &PrefetchOptions::default());
    let recorded = run(
        &without,
        &PrefetchOptions {
            replay: tidegate::prefetch::Keep::File(trace.clone()),
            ..PrefetchOptions::default()
        },
    );
    let baked = run(&with, &PrefetchOptions::default());
    let ideal = |run: &Run| 3 * RTT + Duration::from_secs_f64(run.bytes as f64 / BANDWIDTH as f64);
    for (what, run) in [
        ("no trace", &plain),
        ("recorded", &recorded),
        ("baked", &baked),
    ] {
        println!(
            "{what}: {:?} (ideal {:?}), {} requests, {} bytes of {}",
            run.took,
            ideal(run),
            run.counts.blob_gets,
            run.counts.bytes,
            run.bytes
        );
    }
    assert!(
        baked.counts.bytes * 4 <= baked.bytes * 5,
        "{:?}",
        baked.counts
    );
    // Generous: other tests run beside this one.
    assert!(baked.took < ideal(&baked) * 2, "{:?}", baked.took);
    assert!(baked.took < plain.took && recorded.took < plain.took);
}

/// Sorted times of reads of distinct files, each after a pause.
fn read_times(rig: &Rig) -> Vec<Duration> {
    let runtime = tidegate::runtime::handle().unwrap();
    let mut times: Vec<Duration> = (0..40)
        .map(|number| {
            let chunk = chunks_of(&rig.image, &name(number * 389 % FILES))[0];
            std::thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            runtime.block_on(rig.store.read(chunk)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn readers_go_before_the_background() {
    let image = image::build(fill, &["--chunk-size", "128KiB"]).unwrap();
    let alone = read_times(&rig(&image, &PrefetchOptions::default()));
    let options = PrefetchOptions {
        scope: tidegate::prefetch::Scope::All,
        ..PrefetchOptions::default()
    };
    let busy = rig(&image, &options);
    let beside = read_times(&busy);
    let at = |times: &[Duration], part: usize| times[times.len() * part / 100];
    for (what, times) in [("alone", &alone), ("beside a download", &beside)] {
        let (half, most) = (at(times, 50), at(times, 95));
        println!(
            "{what}: p50 {half:?}, p95 {most:?}, max {:?}",
            times[times.len() - 1]
        );
    }
    let progress = busy.prefetch.progress().snapshot();
    println!("{progress:?}");
    assert!(progress.done > 0);
    // Generous: other tests run beside this one.
    assert!(at(&beside, 95) < at(&alone, 95) * 3);
}
