//! What small reads cost.

use std::fs;
use std::path::Path;

use crate::layout::{Layout, Piece, bytes, gzip, tar};
use crate::support::daemon::{Daemon, WORK};
use crate::support::frontend::Config;
use crate::support::registry::{Registry, Settings};
use crate::{blobs_of, text, tidegate};

/// Reads of 4 KiB each.
const READS: usize = 200;

/// Most bytes that one may cost.
const MOST: u64 = 2 << 20;

/// Files of many sizes, 24 MB.
fn files() -> Vec<(String, Vec<u8>)> {
    let sizes = [5_000_000, 40_000, 1_200_000, 900, 8_000, 300_000];
    let all = (0..24).map(|number| {
        let len = sizes[number % sizes.len()];
        let seed = u32::try_from(number).unwrap() + 1;
        (format!("file-{number:02}"), bytes(seed, len))
    });
    all.collect()
}

#[test]
fn a_random_read_fetches_two_mebibytes_at_most() {
    let files = files();
    let pieces: Vec<_> = files
        .iter()
        .map(|(name, bytes)| Piece::File(name, bytes))
        .collect();
    let layer = gzip(&tar(&pieces));
    let layer_len = layer.len();
    let layout = Layout::new(&[layer]);
    let out = tempfile::tempdir().unwrap();
    let index = out.path().join("index");
    let source = format!("oci:{}", layout.path().display());
    text(&tidegate(&[
        "index",
        &source,
        "--output",
        index.to_str().unwrap(),
    ]));
    let written = fs::read_dir(index.join("blobs")).unwrap();
    let metas: u64 = written
        .map(|it| it.unwrap().metadata().unwrap().len())
        .sum();
    let boot = zstd::bulk::compress(&fs::read(index.join("image.boot")).unwrap(), 3).unwrap();
    let share = (metas + boot.len() as u64) as f64 / layer_len as f64;
    assert!(share <= 0.05, "the index has {share:.4} of the layer");

    let blobs = blobs_of(&layout, &index);
    let registry = Registry::start(Path::new(&blobs), Settings::default()).unwrap();
    let config = out.path().join("config.json");
    let keys = serde_json::json!({
        "scheme": "http", "host": registry.address().to_string(), "repo": "team/app"
    });
    let keys = serde_json::json!({"sources": [{"type": "registry", "config": keys}]});
    fs::write(&config, keys.to_string()).unwrap();
    let boot = index.join("image.boot");
    let cache = format!("{WORK}/cache");
    let line = [
        "--bootstrap",
        boot.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
        "--cache",
        &cache,
    ];
    let mut state = 7_u64;
    let mut dice = |most: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most.max(1)
    };
    let (mut most, mut total, mut costly) = (0, 0, 0);
    for _ in 0..READS {
        // Nothing is in its cache.
        let daemon = Daemon::tidegate(&line).unwrap();
        let mut session = daemon.mount(&Config::default()).unwrap();
        let (name, bytes) = &files[dice(files.len())];
        let at = dice(bytes.len().saturating_sub(4096));
        let node = session.resolve(name).unwrap();
        let handle = session.open(node).unwrap();
        registry.reset();
        let got = session.read(node, handle, at as u64, 4096).unwrap();
        let end = bytes.len().min(at + 4096);
        assert!(got == bytes[at..end], "{name} at {at}");
        // The reader is answered before all that comes along is here.
        while registry.counts().in_flight > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // Once in its life a daemon fetches the tables of a layer too.
        let cost = registry.counts().bytes.saturating_sub(metas);
        most = most.max(cost);
        total += cost;
        costly += usize::from(cost > 0);
    }
    assert_eq!(costly, READS, "each read fetches something");
    println!("{READS} reads, {costly} fetched, {total} bytes, {most} at most");
    assert!(most <= MOST, "a read fetched {most} bytes");
}
