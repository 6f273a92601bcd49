//! What proving costs on the hit path: `read_hot` with every block checked,
//! without, and the bare `preadv` under both.

// A bench has nobody to report to: what cannot be set up ends it.
#![allow(clippy::expect_used)]

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use tidegate::backend::{Backend, BlobRange, Opening, whole};
use tidegate::chunk::{BlobInfo, Chunk, Compressor, Digest, DigestAlgorithm};
use tidegate::destination::Destination;
use tidegate::store::{Store, StoreConfig, Verify};

/// Length of the one chunk that is read, in bytes.
const CHUNK: usize = 1 << 20;

struct Source(Bytes);

impl Backend for Source {
    fn open<'a>(&'a self, _: BlobRange<'a>) -> Opening<'a> {
        Box::pin(async { Ok(whole(self.0.clone())) })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// A store whose cache holds the chunk.
fn store(data: &Bytes, chunk: Chunk, verify: Verify) -> Arc<Store> {
    let blob = BlobInfo {
        id: "5a".repeat(32),
        algorithm: DigestAlgorithm::Blake3,
        compressor: Compressor::None,
        chunks: 1,
        uncompressed_size: u64::from(chunk.len),
        stored_size: u64::from(chunk.len),
        layout: Digest::default(),
        packing: Default::default(),
    };
    let config = StoreConfig {
        verify,
        ..StoreConfig::default()
    };
    let source = Arc::new(Source(data.clone()));
    let store = Store::open(config, source, vec![blob]).expect("the store opens");
    let runtime = tidegate::runtime::handle().expect("the runtime starts");
    runtime
        .block_on(store.read(chunk))
        .expect("the chunk is read");
    store
}

fn hot_read(c: &mut Criterion) {
    let data: Bytes = (0..CHUNK).map(|n| n.to_le_bytes()[n % 3]).collect();
    let len = u32::try_from(CHUNK).expect("a chunk's length has 32 bits");
    let chunk = Chunk {
        blob: 0,
        index: 0,
        digest: DigestAlgorithm::Blake3.digest(&data),
        len,
        offset: 0,
        stored_offset: 0,
        stored_len: len,
        compressed: false,
    };
    let mut file: File = tempfile::tempfile().expect("a temporary file opens");
    file.write_all(&data).expect("a temporary file is written");
    let stores = [Verify::Always, Verify::Off].map(|mode| (mode, store(&data, chunk, mode)));

    let mut buffer = vec![0; CHUNK];
    let mut group = c.benchmark_group("hot_read");
    for size in [4 << 10, 128 << 10, CHUNK] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("preadv", size), |b| {
            b.iter(|| {
                let mut dest = Destination::from_slice(&mut buffer);
                let got = dest.read_from(0, size, file.as_fd(), 0, true);
                assert_eq!(black_box(got.expect("the file is in memory")), size);
            });
        });
        for (mode, store) in &stores {
            group.bench_function(BenchmarkId::new(mode.to_string(), size), |b| {
                b.iter(|| {
                    let mut dest = Destination::from_slice(&mut buffer);
                    assert!(store.read_hot(black_box(&chunk), 0, &mut dest, 0, size));
                });
            });
        }
    }
    group.finish();
}

/// A fresh daemon on a full cache: the first touch proves the whole chunk by its
/// digest, and makes its tags.
fn first_touch(c: &mut Criterion) {
    let data: Bytes = (0..CHUNK).map(|n| n.to_le_bytes()[n % 3]).collect();
    let len = u32::try_from(CHUNK).expect("a chunk's length has 32 bits");
    let runtime = tidegate::runtime::handle().expect("the runtime starts");
    let mut group = c.benchmark_group("first_touch");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Blake3] {
        let chunk = Chunk {
            blob: 0,
            index: 0,
            digest: algorithm.digest(&data),
            len,
            offset: 0,
            stored_offset: 0,
            stored_len: len,
            compressed: false,
        };
        let cache = tempfile::tempdir().expect("a temporary directory is made");
        let open = || {
            let blob = BlobInfo {
                id: "5b".repeat(32),
                algorithm,
                compressor: Compressor::None,
                chunks: 1,
                uncompressed_size: u64::from(len),
                stored_size: u64::from(len),
                layout: Digest::default(),
                packing: Default::default(),
            };
            let config = StoreConfig {
                cache: Some(cache.path().to_owned()),
                ..StoreConfig::default()
            };
            let source = Arc::new(Source(data.clone()));
            Store::open(config, source, vec![blob]).expect("the store opens")
        };
        runtime
            .block_on(open().read(chunk))
            .expect("the chunk is fetched");
        group.bench_function(format!("{algorithm:?}"), |b| {
            b.iter_batched(
                &open,
                |store| {
                    let bytes = runtime
                        .block_on(store.read(chunk))
                        .expect("the chunk is read");
                    assert_eq!(store.counters().snapshot().fetches, 0);
                    bytes
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, hot_read, first_touch);
criterion_main!(benches);
