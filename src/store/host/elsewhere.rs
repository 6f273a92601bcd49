//! Chunks that another blob's cache on this host already has.
//!
//! The index gives hints, the record says what was there, the map that it still
//! is. While bytes that were found this way are held, their chunk is pinned, so
//! that the space they came from can be cloned after they were proved.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::files::BlobFiles;
use super::index::{self, Fingerprint, Hint, Index};
use super::lock::{self, Kind};
use super::place;
use crate::chunk::{Chunk, DigestAlgorithm};

/// Other blobs' files that are kept open.
const OPEN: usize = 8;

/// Hints of one chunk that are tried.
const TRIED: usize = 4;

/// How long a list of the blobs is good enough when one is missing from it.
const LISTING: Duration = Duration::from_secs(1);

/// Bytes of a chunk from another blob's cache. Nobody has proved them.
pub(in crate::store) struct Found {
    pub(in crate::store) bytes: Bytes,
    /// Where they lie in the file that they came from.
    pub(super) offset: u64,
    pub(super) held: Held,
}

/// Where they came from, pinned until dropped.
pub(super) struct Held {
    opened: Arc<Opened>,
    index: u32,
}

impl Held {
    /// The file that they came from.
    pub(super) fn data(&self) -> &File {
        &self.opened.files.data
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pinned = self.opened.pinned.lock();
        let left = pinned.get_mut(&self.index).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            pinned.remove(&self.index);
            lock::unlock(&self.opened.files.map, pin(self.index));
        }
    }
}

/// Another blob's files, and how often each of its chunks is pinned here.
struct Opened {
    files: BlobFiles,
    pinned: Mutex<HashMap<u32, usize>>,
}

/// Looks chunks up all over the host's cache.
pub(in crate::store) struct Elsewhere {
    dir: PathBuf,
    index: Index,
    known: Mutex<Known>,
}

/// What is known of the directory.
#[derive(Default)]
struct Known {
    stems: HashMap<u32, String>,
    listed: Option<Instant>,
    /// The files used last, newest at the end.
    open: Vec<(u32, Arc<Opened>)>,
}

impl Elsewhere {
    /// Opens the index of `dir`.
    ///
    /// # Errors
    /// When it can neither be opened nor made.
    pub(in crate::store) fn open(dir: PathBuf) -> io::Result<Self> {
        Ok(Self {
            index: Index::open(&dir)?,
            dir,
            known: Mutex::default(),
        })
    }

    /// Bytes that may be those of a chunk of the blob `own`, from another place.
    pub(in crate::store) fn find(
        &self,
        algorithm: DigestAlgorithm,
        chunk: &Chunk,
        own: &str,
    ) -> Option<Found> {
        let print = Fingerprint::of(algorithm, chunk.len, &chunk.digest);
        let own = Hint {
            tag: index::tag(own),
            index: chunk.index,
        };
        let hints = self.index.find(print).into_iter();
        hints
            .filter(|hint| *hint != own)
            .take(TRIED)
            .find_map(|hint| self.follow(hint, algorithm, chunk))
    }

    /// Notes that a chunk of the blob `stem` is there now.
    pub(in crate::store) fn learn(&self, algorithm: DigestAlgorithm, chunk: &Chunk, stem: &str) {
        let hint = Hint {
            tag: index::tag(stem),
            index: chunk.index,
        };
        let print = Fingerprint::of(algorithm, chunk.len, &chunk.digest);
        // What is not noted is fetched where it could have been copied.
        let _ = self.index.add(print, hint);
    }

    /// Whether a chunk of the blob `own` seems to be in another place.
    pub(in crate::store) fn has(&self, algorithm: DigestAlgorithm, chunk: &Chunk) -> bool {
        let print = Fingerprint::of(algorithm, chunk.len, &chunk.digest);
        let mut hints = self.index.find(print).into_iter().take(TRIED);
        hints.any(|hint| {
            let opened = self.opened(hint.tag);
            opened.is_some_and(|opened| opened.files.has(hint.index, algorithm, chunk).is_some())
        })
    }

    fn follow(&self, hint: Hint, algorithm: DigestAlgorithm, chunk: &Chunk) -> Option<Found> {
        let opened = self.opened(hint.tag)?;
        let held = opened.hold(hint.index)?;
        let offset = opened.files.has(hint.index, algorithm, chunk)?;
        let mut bytes = vec![0; usize::try_from(chunk.len).ok()?];
        held.data().read_exact_at(&mut bytes, offset).ok()?;
        Some(Found {
            bytes: bytes.into(),
            offset,
            held,
        })
    }

    /// The files of the blob with this tag.
    fn opened(&self, tag: u32) -> Option<Arc<Opened>> {
        let mut known = self.known.lock();
        if let Some(at) = known.open.iter().position(|(open, _)| *open == tag) {
            let found = known.open.remove(at);
            let files = Arc::clone(&found.1);
            known.open.push(found);
            return Some(files);
        }
        let stem = known.stem(&self.dir, tag)?;
        let files = Arc::new(Opened {
            files: BlobFiles::existing(&self.dir, &stem).ok()?,
            pinned: Mutex::default(),
        });
        if known.open.len() == OPEN {
            known.open.remove(0);
        }
        known.open.push((tag, Arc::clone(&files)));
        Some(files)
    }
}

impl Known {
    fn stem(&mut self, dir: &std::path::Path, tag: u32) -> Option<String> {
        if let Some(stem) = self.stems.get(&tag) {
            return Some(stem.clone());
        }
        if self.listed.is_some_and(|listed| listed.elapsed() < LISTING) {
            return None;
        }
        self.listed = Some(Instant::now());
        let stems = place::stems(dir).ok()?;
        self.stems = stems
            .into_iter()
            .map(|stem| (index::tag(&stem), stem))
            .collect();
        self.stems.get(&tag).cloned()
    }
}

impl Opened {
    /// Pins a chunk.
    fn hold(self: &Arc<Self>, index: u32) -> Option<Held> {
        let mut pinned = self.pinned.lock();
        let count = pinned.entry(index).or_insert(0);
        if *count == 0 {
            let locked = lock::try_lock(&self.files.map, pin(index), Kind::Shared);
            if !matches!(locked, Ok(true)) {
                pinned.remove(&index);
                return None;
            }
        }
        *count += 1;
        drop(pinned);
        let opened = Arc::clone(self);
        Some(Held { opened, index })
    }
}

fn pin(index: u32) -> std::ops::Range<u64> {
    lock::pins(index..index.saturating_add(1))
}
