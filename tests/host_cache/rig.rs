//! An image of many files, a cache directory, and guests that know the truth.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, Image, noise};
use crate::support::session::wire::{Body, op};
use crate::support::session::{Answer, Session};

/// Bytes of a chunk and of a file: a few chunks.
pub(crate) const CHUNK: usize = 64 << 10;
pub(crate) const FILE: usize = 4 * CHUNK;

/// Bytes of one READ.
const STEP: usize = 128 << 10;

/// Numbers without pattern.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    pub(crate) fn place(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}

/// An image, what is in it, and a cache.
pub(crate) struct Rig {
    pub(crate) image: Image,
    cache: TempDir,
    truth: Vec<Vec<u8>>,
}

impl Rig {
    /// An image of the files that `seeds` make, one each.
    pub(crate) fn new(seeds: &[u64]) -> Self {
        let truth: Vec<_> = seeds.iter().map(|&seed| noise(seed, FILE)).collect();
        let fill = |root: &Path| -> io::Result<()> {
            let mut files = (0..).zip(&truth);
            files.try_for_each(|(number, bytes): (usize, _)| {
                fs::write(root.join(name(number)), bytes)
            })
        };
        let chunk = format!("{}KiB", CHUNK >> 10);
        Self {
            image: image::build(fill, &["--chunk-size", &chunk]).unwrap(),
            cache: tempfile::tempdir().unwrap(),
            truth,
        }
    }

    pub(crate) fn files(&self) -> usize {
        self.truth.len()
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        (self.truth.len() * FILE) as u64
    }

    pub(crate) fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// The directory of the cache's files.
    pub(crate) fn dir(&self) -> PathBuf {
        self.cache.path().join("tidegate/v1")
    }

    /// A daemon on this rig's cache that reads for its guest only.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Daemon {
        self.serve_on(self.cache.path(), arguments)
    }

    /// A daemon on any cache.
    pub(crate) fn serve_on(&self, cache: &Path, arguments: &[&str]) -> Daemon {
        let mut all = vec!["--replay-trace", "off", "--record-trace", "off"];
        all.extend(["--prefetch", "off"]);
        all.extend(arguments);
        self.image
            .serve_with_cache(cache.to_str().unwrap(), &all)
            .unwrap()
    }

    /// Reads a file and compares it with the truth. False: it was told to stop.
    pub(crate) fn check(&self, guest: &mut Session, file: usize, stop: &AtomicBool) -> bool {
        let Some(found) = self.read(guest, file, stop).unwrap() else {
            return false;
        };
        assert!(found == self.truth[file], "wrong bytes of {}", name(file));
        true
    }

    /// Reads and compares all files, from some file on.
    pub(crate) fn check_all(&self, guest: &mut Session, from: usize) {
        let count = self.files();
        for file in (0..count).map(|number| (from + number) % count) {
            assert!(self.check(guest, file, &AtomicBool::new(false)));
        }
    }

    /// Reads all files until the cache holds them: guests are answered before
    /// it is written.
    pub(crate) fn read_until_kept(&self, daemon: &Daemon) {
        let mut guest = guest(daemon);
        loop {
            let before = count(daemon, "misses");
            self.check_all(&mut guest, 0);
            if count(daemon, "misses") == before {
                break;
            }
        }
    }

    fn read(&self, guest: &mut Session, file: usize, stop: &AtomicBool) -> Answer<Option<Vec<u8>>> {
        let body = Body::default().name(name(file).as_bytes()).0;
        let Some(entry) = call(guest, op::LOOKUP, 1, &body, 128, stop)? else {
            return Ok(None);
        };
        let node = u64::from_le_bytes(*entry.first_chunk().unwrap());
        let mut found = Vec::new();
        for at in (0..FILE).step_by(STEP) {
            let body = Body::read(0, at as u64, u32::try_from(STEP).unwrap()).0;
            match call(guest, op::READ, node, &body, STEP, stop)? {
                Some(bytes) => found.extend(bytes),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }
}

/// One request. None: it was told to stop before the answer came.
fn call(
    guest: &mut Session,
    opcode: u32,
    node: u64,
    body: &[u8],
    room: usize,
    stop: &AtomicBool,
) -> Answer<Option<Vec<u8>>> {
    let sent = guest.submit(1, opcode, node, body, Some(room));
    if stop.load(SeqCst) {
        return Ok(None);
    }
    sent?;
    if guest.flush(1).is_err() && stop.load(SeqCst) {
        return Ok(None);
    }
    loop {
        if let Some(reply) = guest.try_complete(1)? {
            return guest.body(reply).map(Some);
        }
        if stop.load(SeqCst) {
            return Ok(None);
        }
        // A daemon that is killed gives no event to wait for.
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Connects a guest.
pub(crate) fn guest(daemon: &Daemon) -> Session {
    daemon.mount(&Config::default()).unwrap()
}

fn name(number: usize) -> String {
    format!("file-{number:03}")
}

/// One of a daemon's counters.
pub(crate) fn count(daemon: &Daemon, name: &str) -> u64 {
    daemon.counters().unwrap()[name].as_u64().unwrap()
}
