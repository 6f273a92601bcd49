//! The store's promises, each a test, and what they share: an image in memory
//! and a backend that counts, waits, hangs and lies.

mod bounds;
mod cache;
mod claims;
mod fetch;
mod hot;
mod limit;
mod source;
mod vandal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::{Snapshot, Store, StoreConfig, Verify};
use crate::backend::sources::Sources;
use crate::backend::{Backend, BackendError, BlobRange, Body, Opening, whole};
use crate::chunk::{BlobInfo, Chunk, Compressor, Digest, DigestAlgorithm};
use crate::destination::Destination;
use crate::records::ChunkRecords;

/// An image of one blob, with the truth about its chunks.
struct Image {
    blob: BlobInfo,
    chunks: Vec<Chunk>,
    plain: Vec<Vec<u8>>,
    stored: Vec<u8>,
}

/// An image whose chunks have the lengths `lens` and bytes without pattern.
fn image(lens: &[usize], compressor: Compressor, algorithm: DigestAlgorithm) -> Image {
    let (mut chunks, mut plain, mut stored, mut offset) = (vec![], vec![], vec![], 0_u64);
    for (index, &len) in lens.iter().enumerate() {
        let mut data = vec![0; len];
        let seed = blake3::hash(&index.to_le_bytes());
        let mut hasher = blake3::Hasher::new_keyed(seed.as_bytes());
        hasher.update(b"chunk").finalize_xof().fill(&mut data);
        let packed = match compressor {
            Compressor::Lz4 => lz4_flex::block::compress(&data),
            Compressor::Zstd => zstd::bulk::compress(&data, 3).unwrap(),
            _ => data.clone(),
        };
        chunks.push(Chunk {
            blob: 0,
            index: u32::try_from(index).unwrap(),
            digest: algorithm.digest(&data),
            len: u32::try_from(len).unwrap(),
            offset,
            stored_offset: u64::try_from(stored.len()).unwrap(),
            stored_len: u32::try_from(packed.len()).unwrap(),
            compressed: compressor != Compressor::None,
        });
        offset += u64::try_from(len.next_multiple_of(4096)).unwrap();
        stored.extend(packed);
        plain.push(data);
    }
    let blob = BlobInfo {
        id: "5a".repeat(32),
        algorithm,
        compressor,
        chunks: u32::try_from(lens.len()).unwrap(),
        uncompressed_size: offset,
        stored_size: u64::try_from(stored.len()).unwrap(),
        layout: Digest([7; 32]),
        packing: Default::default(),
    };
    Image {
        blob,
        chunks,
        plain,
        stored,
    }
}

/// `count` chunks of `len` bytes, zstd and SHA-256 as by default.
fn usual(count: usize, len: usize) -> Image {
    image(&vec![len; count], Compressor::Zstd, DigestAlgorithm::Sha256)
}

/// A backend over a blob in memory.
#[derive(Default)]
struct Source {
    blob: Mutex<Vec<u8>>,
    /// Requests so far.
    reads: AtomicUsize,
    /// Requests under way, and the most there were.
    now: AtomicUsize,
    peak: AtomicUsize,
    /// Time that each request takes.
    delay: Duration,
    /// Requests never end while set.
    hangs: AtomicBool,
    /// Replies still to be altered in their first byte.
    lies: AtomicUsize,
    /// What happens to bodies.
    body: Mutex<Shape>,
    /// Offset and length of each request.
    asked: Mutex<Vec<(u64, usize)>>,
}

/// How a body comes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Whole,
    /// It hangs after so many bytes.
    Hangs(usize),
    /// It breaks off after so many bytes.
    Breaks(usize),
    /// It comes in pieces of 10,000 bytes, one each millisecond.
    Paced,
}

impl Source {
    fn new(image: &Image) -> Self {
        let blob = Mutex::new(image.stored.clone());
        Self {
            blob,
            ..Self::default()
        }
    }

    fn reads(&self) -> usize {
        self.reads.load(SeqCst)
    }
}

/// Counts a request down when it ends or is dropped.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn shaped(shape: Shape, mut bytes: Bytes) -> Body {
    match shape {
        Shape::Whole => whole(bytes),
        Shape::Hangs(after) => {
            let head = whole(bytes.split_to(after.min(bytes.len())));
            head.chain(stream::pending()).boxed()
        }
        Shape::Breaks(after) => {
            let head = whole(bytes.split_to(after.min(bytes.len())));
            let error = BackendError::Io {
                id: "5a".repeat(32),
                source_name: "memory".to_owned(),
                offset: 0,
                len: 0,
                source: std::io::Error::other("the body broke off"),
            };
            head.chain(stream::iter([Err(error)])).boxed()
        }
        Shape::Paced => stream::unfold(bytes, |mut bytes| async move {
            if bytes.is_empty() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok(bytes.split_to(bytes.len().min(10_000))), bytes))
        })
        .boxed(),
    }
}

/// The records of the one blob.
struct Records(Vec<Chunk>);

impl ChunkRecords for Records {
    fn record(&self, blob: u16, index: u32) -> Option<Chunk> {
        let index = usize::try_from(index).ok().filter(|_| blob == 0)?;
        self.0.get(index).copied()
    }
}

impl Backend for Source {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        Box::pin(async move {
            self.reads.fetch_add(1, SeqCst);
            let now = self.now.fetch_add(1, SeqCst) + 1;
            self.peak.fetch_max(now, SeqCst);
            let _done = Done(&self.now);
            if self.hangs.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(self.delay).await;
            let at = usize::try_from(range.offset).unwrap();
            let mut bytes = self.blob.lock()[at..at + range.len].to_vec();
            let lie = self.lies.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
            if lie.is_ok() {
                bytes[0] ^= 1;
            }
            self.asked.lock().push((range.offset, range.len));
            let shape = *self.body.lock();
            Ok(shaped(shape, bytes.into()))
        })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// An image, its source, a cache directory and one store over them.
struct Setup {
    image: Image,
    source: Arc<Source>,
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl Setup {
    fn new(image: Image) -> Self {
        let source = Source::new(&image);
        Self::with(image, source, |_| {})
    }

    fn with(image: Image, source: Source, change: impl FnOnce(&mut StoreConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Arc::new(source);
        let mut config = StoreConfig {
            cache: Some(dir.path().into()),
            ..StoreConfig::default()
        };
        change(&mut config);
        let store = Store::open(config, source.clone(), vec![image.blob.clone()]).unwrap();
        Self {
            image,
            source,
            dir,
            store,
        }
    }

    /// Another store on the same cache, as another process would have it.
    fn again(&self, verify: Verify) -> Arc<Store> {
        let config = StoreConfig {
            cache: Some(self.dir.path().into()),
            verify,
            ..StoreConfig::default()
        };
        let blobs = vec![self.image.blob.clone()];
        Store::open(config, self.source.clone(), blobs).unwrap()
    }

    /// The same on an empty cache, with records of the neighbours.
    fn with_records(self) -> Self {
        let config = StoreConfig {
            cache: Some(self.dir.path().into()),
            ..StoreConfig::default()
        };
        let store = Store::open_with(
            config,
            Sources::single(self.source.clone()),
            vec![self.image.blob.clone()],
            Arc::new(Records(self.image.chunks.clone())),
        );
        let store = store.unwrap();
        Self { store, ..self }
    }

    fn file(&self, kind: &str) -> PathBuf {
        cache_file(self.dir.path(), &self.image.blob, kind)
    }

    fn count(&self) -> Snapshot {
        self.store.counters().snapshot()
    }

    /// Reads chunk `index` the slow way and compares it with the truth.
    async fn expect(&self, index: usize) {
        let got = self.store.read(self.image.chunks[index]).await.unwrap();
        assert!(
            got == self.image.plain[index],
            "chunk {index} has other bytes"
        );
        settled(&self.store).await;
    }

    /// Chunk `index` by the hit path; what is served must be the truth.
    fn hot(&self, index: usize) -> bool {
        let truth = &self.image.plain[index];
        let mut buffer = vec![0xee; truth.len()];
        let served = hot(&self.store, &self.image.chunks[index], 0, &mut buffer);
        assert!(!served || buffer == *truth, "chunk {index} has other bytes");
        assert!(served || buffer.iter().all(|&b| b == 0 || b == 0xee));
        served
    }
}

/// Waits until all that was read is in the cache: readers are answered first.
async fn settled(store: &Store) {
    while !store.is_idle() {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

fn hot(store: &Store, chunk: &Chunk, from: u32, buffer: &mut [u8]) -> bool {
    let len = buffer.len();
    store.read_hot(chunk, from, &mut Destination::from_slice(buffer), 0, len)
}

fn cache_file(dir: &Path, blob: &BlobInfo, kind: &str) -> PathBuf {
    let layout = blob.layout.to_string();
    dir.join(format!("tidegate/v1/{}-{}.{kind}", blob.id, &layout[..16]))
}

/// Flips one bit of the cache's data file.
fn alter(setup: &Setup, offset: u64) {
    use std::os::unix::fs::FileExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(setup.file("data"));
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}
