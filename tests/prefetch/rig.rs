//! An image of files that do not compress, and a daemon's view of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, Image, noise};
use crate::support::session::Session;

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 << 10;

/// Files, and how many chunks each has.
pub(crate) const FILES: [(&str, usize); 5] = [
    ("a", 3),
    ("dir/b", 2),
    ("dir/deep/odd name\u{1}", 1),
    ("dir/deep/d", 4),
    ("e", 2),
];

/// Chunks of all files.
pub(crate) const CHUNKS: usize = 12;

/// The bytes of a file.
pub(crate) fn content(name: &str) -> Vec<u8> {
    let (seed, chunks) = (1..)
        .zip(FILES)
        .find_map(|(seed, (own, chunks))| (own == name).then_some((seed, chunks)))
        .unwrap();
    noise(seed, chunks * CHUNK)
}

/// The bytes of a file that is no other's.
pub(crate) fn noise_of(seed: u64, chunks: usize) -> Vec<u8> {
    noise(seed, chunks * CHUNK)
}

fn fill(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("dir/deep"))?;
    for (name, _) in FILES {
        fs::write(root.join(name), content(name))?;
    }
    std::os::unix::fs::symlink("deep", root.join("dir/way"))?;
    std::os::unix::fs::symlink("/dir/way/../way/d", root.join("link"))?;
    fs::hard_link(root.join("dir/b"), root.join("z"))
}

/// The image, and places for caches and files.
pub(crate) struct Rig {
    pub(crate) image: Image,
    home: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::built_with(&["--chunk-size", "64KiB"])
    }

    pub(crate) fn built_with(arguments: &[&str]) -> Self {
        Self::of(image::build(fill, arguments).unwrap())
    }

    pub(crate) fn of(image: Image) -> Self {
        Self {
            image,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// A path of this name that is the rig's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file of the rig's own; its path as text.
    pub(crate) fn file(&self, name: &str, text: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A daemon whose cache is the rig's own of that name.
    pub(crate) fn serve(&self, cache: &str, arguments: &[&str]) -> Served {
        let cache = self.path(cache);
        let daemon = self
            .image
            .serve_with_cache(cache.to_str().unwrap(), arguments);
        Served(daemon.unwrap())
    }

    /// The traces in a cache.
    pub(crate) fn traces(&self, cache: &str) -> Vec<PathBuf> {
        let Ok(traces) = fs::read_dir(self.path(cache).join("tidegate/traces")) else {
            return Vec::new();
        };
        traces.map(|entry| entry.unwrap().path()).collect()
    }

    /// The only trace in a cache: the remarks, and the other lines.
    pub(crate) fn trace(&self, cache: &str) -> (Vec<String>, Vec<String>) {
        let [path] = &self.traces(cache)[..] else {
            panic!("not one trace: {:?}", self.traces(cache));
        };
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(str::to_owned);
        lines.partition(|line| line.starts_with('#'))
    }
}

/// A running daemon.
pub(crate) struct Served(pub(crate) Daemon);

impl Served {
    pub(crate) fn guest(&self) -> Session {
        self.0.mount(&Config::default()).unwrap()
    }

    /// A counter's value.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.0.counters().unwrap()[name].as_u64().unwrap()
    }

    /// Waits until the log has a line with `text`.
    pub(crate) fn await_log(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.0.complaints().contains(text) {
            assert!(Instant::now() < end, "no {text:?}: {}", self.0.complaints());
            // A file that grows is no event.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the daemon as its operator does.
    pub(crate) fn end(mut self) -> String {
        let (status, _) = self.0.terminate(Duration::from_secs(10)).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.0.complaints());
        self.0.complaints()
    }
}

/// Reads chunk `number` of a file and compares it.
pub(crate) fn read_chunk(guest: &mut Session, name: &str, number: usize) {
    let node = guest.resolve(name).unwrap();
    let handle = guest.open(node).unwrap();
    let at = number * CHUNK;
    let got = guest.read(node, handle, at as u64, CHUNK).unwrap();
    assert!(
        got == content(name)[at..at + CHUNK],
        "{name}, chunk {number}"
    );
}

/// Reads everything and compares it.
pub(crate) fn read_all(guest: &mut Session) {
    for (name, chunks) in FILES {
        (0..chunks).for_each(|number| read_chunk(guest, name, number));
    }
}
