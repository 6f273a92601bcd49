//! An image with a slow source, served in this process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::fs::ImageFs;
use tidegate::fusedev::{self, MountOptions, Mounted};
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};
use tidegate::virtio::{ServeError, ServeOptions, Shutdown, serve};

use crate::source::SlowSource;
use crate::support::frontend::Config;
use crate::support::image;
use crate::support::session::Session;

/// Files that are fetched one chunk each.
pub(crate) const FILES: usize = 16;

/// Bytes of each.
pub(crate) const LEN: usize = 8192;

/// Name of file `number`.
pub(crate) fn name(number: usize) -> String {
    format!("file-{number:02}")
}

/// Content of file `number`.
pub(crate) fn content(number: usize) -> Vec<u8> {
    image::noise(number as u64, LEN)
}

fn fill(root: &Path) -> io::Result<()> {
    fs::create_dir(root.join("directory"))?;
    (0..FILES).try_for_each(|number| fs::write(root.join(name(number)), content(number)))
}

/// The image and its source.
pub(crate) struct Slow {
    pub(crate) source: Arc<SlowSource>,
    pub(crate) fs: Arc<ImageFs>,
    _image: image::Image,
}

impl Slow {
    /// With this deadline for a chunk.
    pub(crate) fn new(deadline: Duration) -> Self {
        let made = image::build(fill, &[]).unwrap();
        let opened = Arc::new(Image::open(&made.bootstrap(), Pin::default()).unwrap());
        let source = SlowSource::new(DirectoryBackend::new(made.blobs()));
        let config = StoreConfig {
            deadline,
            ..StoreConfig::default()
        };
        let store = Store::open(config, source.clone(), opened.blobs().to_vec()).unwrap();
        Self {
            source,
            fs: Arc::new(ImageFs::new(opened, store)),
            _image: made,
        }
    }

    /// On the host, in a directory of its own.
    pub(crate) fn mount(&self) -> (Mounted, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mounted = fusedev::mount(dir.path(), self.fs.clone(), MountOptions::default());
        (mounted.unwrap(), dir)
    }
}

/// A device that serves it, in a thread.
pub(crate) struct Device {
    socket: PathBuf,
    shutdown: Shutdown,
    server: Option<JoinHandle<Result<(), ServeError>>>,
    _dir: TempDir,
}

impl Device {
    pub(crate) fn new(slow: &Slow) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("fs.sock");
        let options = ServeOptions::new(&socket);
        let shutdown = Shutdown::new().unwrap();
        let (ready, is_ready) = channel();
        let (fs, hook) = (slow.fs.clone(), shutdown.clone());
        let server = thread::spawn(move || serve(&options, fs, &hook, || ready.send(()).unwrap()));
        is_ready.recv().unwrap();
        Self {
            socket,
            shutdown,
            server: Some(server),
            _dir: dir,
        }
    }

    /// A guest with room for a miss of every file on its one queue.
    pub(crate) fn guest(&self) -> Session {
        let config = Config {
            depth: 2 * FILES,
            reply_max: 64 << 10,
            ..Config::default()
        };
        Session::mount(&self.socket, &config).unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shutdown.stop();
        let ended = self.server.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap().unwrap();
        }
    }
}
