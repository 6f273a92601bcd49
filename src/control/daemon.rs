//! What the API tells about and acts on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::RwLock;
use serde_json::Value;

use super::events::Events;
use super::mounts::Mounts;
use crate::backend::registry::credentials::Credentials;
use crate::fs::passthrough::PassthroughFs;
use crate::fuse::Stats;
use crate::image::Image;
use crate::prefetch::Progress;
use crate::sandbox::Report;
use crate::store::{Store, Verify};

/// A running daemon.
pub struct Daemon {
    /// The name that it was given.
    pub id: Option<String>,
    /// The last errors of the process.
    pub events: &'static Events,
    instances: RwLock<BTreeMap<String, Arc<Instance>>>,
    directories: RwLock<BTreeMap<String, Arc<Directory>>>,
    state: AtomicU8,
    mounts: OnceLock<Arc<dyn Mounts>>,
    kept: RwLock<Option<Kept>>,
    sandbox: OnceLock<Report>,
    exit: Box<dyn Fn() + Send + Sync>,
}

/// How far a daemon is, in nydusd's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// It is being set up.
    Init,
    /// It can serve, and nobody can connect yet.
    Ready,
    /// It serves whoever connects.
    Running,
    /// It is ending.
    Stopped,
}

impl State {
    /// The name that nydusd's clients know.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Ready => "READY",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// An image that is served.
pub struct Instance {
    /// Its metadata.
    pub image: Arc<Image>,
    /// Its chunks.
    pub store: Arc<Store>,
    /// What is fetched ahead.
    pub prefetch: Arc<Progress>,
    /// Requests of its users.
    pub stats: Arc<Stats>,
    /// Where its blobs come from.
    pub sources: Vec<ShownSource>,
    /// Who asks its registries.
    pub registries: Vec<Credentials>,
    /// When its bytes are proved.
    pub verify: Verify,
    /// The host's cache directory.
    pub cache: Option<PathBuf>,
    /// Most bytes there.
    pub cache_limit: Option<u64>,
    /// Since when it is served.
    pub mounted: SystemTime,
}

/// A directory of the host that is served.
pub struct Directory {
    /// It, as a file system.
    pub fs: Arc<PassthroughFs>,
    /// Requests of its users.
    pub stats: Arc<Stats>,
    /// Since when it is served.
    pub mounted: SystemTime,
}

/// Something that is served.
pub enum Shown {
    /// An image.
    Image(Box<Instance>),
    /// A directory.
    Directory(Directory),
}

/// What is written down for a daemon that is started after this one was killed.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where.
    pub dir: PathBuf,
    /// How often a daemon went on from there.
    pub restored: u64,
    /// Mountpoints of what this one could not bring back.
    pub lost: Vec<String>,
}

/// A configured source, without secrets.
#[derive(Clone, Debug)]
pub struct ShownSource {
    /// nydusd's name of its type.
    pub kind: &'static str,
    /// Its keys.
    pub config: Value,
}

impl Daemon {
    /// A daemon that serves nothing yet; `exit` makes the process end soon.
    pub fn new(
        id: Option<String>,
        events: &'static Events,
        exit: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            events,
            instances: RwLock::default(),
            directories: RwLock::default(),
            state: AtomicU8::new(State::Init as u8),
            mounts: OnceLock::new(),
            kept: RwLock::default(),
            sandbox: OnceLock::new(),
            exit: Box::new(exit),
        }
    }

    /// Notes what is served at `mountpoint`, in the place of something else if there
    /// was something.
    pub fn insert(&self, mountpoint: &str, shown: Shown) {
        let place = mountpoint.to_owned();
        match shown {
            Shown::Image(instance) => {
                let old = self.instances.write().insert(place, Arc::from(instance));
                let other = self.directories.write().remove(mountpoint);
                // What they held is released outside the locks.
                drop((old, other));
            }
            Shown::Directory(directory) => {
                let old = self.directories.write().insert(place, Arc::new(directory));
                let other = self.instances.write().remove(mountpoint);
                drop((old, other));
            }
        }
    }

    /// Notes that nothing is served at `mountpoint` any more.
    pub fn remove(&self, mountpoint: &str) {
        let image = self.instances.write().remove(mountpoint);
        let directory = self.directories.write().remove(mountpoint);
        // What they held is released outside the locks.
        drop((image, directory));
    }

    /// Where something is mounted.
    pub fn mountpoints(&self) -> Vec<String> {
        let mut all: Vec<_> = self.instances.read().keys().cloned().collect();
        all.extend(self.directories.read().keys().cloned());
        all
    }

    /// How far it is.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Init,
            1 => State::Ready,
            2 => State::Running,
            _ => State::Stopped,
        }
    }

    /// Notes how far it is; it never goes back.
    pub fn set_state(&self, state: State) {
        self.state.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// Notes what is written down.
    pub fn set_kept(&self, kept: Kept) {
        *self.kept.write() = Some(kept);
    }

    /// What is written down, once all is brought back; none without `--state`.
    pub fn kept(&self) -> Option<Kept> {
        self.kept.read().clone()
    }

    /// Notes what the process may not do. The first one counts.
    pub fn set_sandbox(&self, report: Report) {
        let _ = self.sandbox.set(report);
    }

    /// What the process may not do, once that is settled.
    pub(super) fn sandbox(&self) -> Option<&Report> {
        self.sandbox.get()
    }

    /// Names what makes mounts. The first one counts.
    pub fn set_mounts(&self, mounts: Arc<dyn Mounts>) {
        let _ = self.mounts.set(mounts);
    }

    pub(super) fn mounts(&self) -> Option<Arc<dyn Mounts>> {
        self.mounts.get().cloned()
    }

    /// All images that are served, by mountpoint.
    pub fn instances(&self) -> Vec<(String, Arc<Instance>)> {
        let instances = self.instances.read();
        let pairs = instances
            .iter()
            .map(|(place, it)| (place.clone(), Arc::clone(it)));
        pairs.collect()
    }

    /// All directories that are served, by mountpoint.
    pub fn directories(&self) -> Vec<(String, Arc<Directory>)> {
        let directories = self.directories.read();
        let pairs = directories
            .iter()
            .map(|(place, it)| (place.clone(), Arc::clone(it)));
        pairs.collect()
    }

    /// The directory at a mountpoint.
    pub fn directory(&self, mountpoint: &str) -> Option<Arc<Directory>> {
        self.directories.read().get(mountpoint).cloned()
    }

    /// The instance at a mountpoint; the only one if none is named.
    pub fn instance(&self, mountpoint: Option<&str>) -> Option<Arc<Instance>> {
        let instances = self.instances.read();
        match mountpoint {
            Some(mountpoint) => instances.get(mountpoint).cloned(),
            None if instances.len() == 1 => instances.values().next().cloned(),
            None => None,
        }
    }

    /// Makes the process end soon.
    pub(super) fn exit(&self) {
        (self.exit)();
    }
}
