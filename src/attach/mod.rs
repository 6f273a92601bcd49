//! Mounts of a running daemon: from a request of the API to file systems in the
//! [`MountTree`], and back.
//!
//! * [`Attacher`] knows what is mounted and what is about to be; it is the
//!   [`Mounts`] of the API, and subcommands hand their first image to it.
//! * [`HostRules`] is what the host demands of every mount, whatever a request
//!   says.
//! * `open` makes an image ready to be served out of a request, `directory` a
//!   directory of the host.
//!
//! May use: `config`, `control`, `fs`, `image`, `prefetch`, `store`, `runtime`.
//! Used by: `cli`.

mod directory;
mod open;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use self::open::Prepared;
pub use self::open::{AttachError, Served, announce, scope};
pub use self::rules::{HOST_POLICY, HostRules};

use crate::control::{Daemon, Instance, MountRefusal, MountRequest, Mounts};
use crate::error_chain::chain;
use crate::fs::mounts::{MountPath, MountTree};
use crate::fs::passthrough::PassthroughFs;
use crate::fs::{FileSystem, ImageFs};
use crate::fuse::Stats;
use crate::prefetch::Prefetch;
use crate::store::Store;

/// How long all traces together may take to be saved when the daemon ends.
const GOODBYE: Duration = Duration::from_millis(600);

/// What is mounted, and what makes and removes mounts.
pub struct Attacher {
    tree: Arc<MountTree>,
    daemon: Arc<Daemon>,
    rules: HostRules,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Mounts that are being made, each with a number of its own.
    pending: HashMap<MountPath, u64>,
    live: HashMap<MountPath, Live>,
    last: u64,
}

struct Live {
    store: Arc<Store>,
    prefetch: Arc<Prefetch>,
}

impl Attacher {
    /// An attacher to `tree` that tells `daemon` what is mounted.
    pub fn new(tree: Arc<MountTree>, daemon: Arc<Daemon>, rules: HostRules) -> Arc<Self> {
        Arc::new(Self {
            tree,
            daemon,
            rules,
            table: Mutex::default(),
        })
    }

    /// The tree.
    pub fn tree(&self) -> &Arc<MountTree> {
        &self.tree
    }

    /// Mounts what a request asks for, or puts it in the place of what is
    /// mounted there. Opens the bootstrap; waits for no network.
    ///
    /// # Errors
    /// When the place is taken or, to replace, empty; when the image cannot be
    /// opened or is not what is demanded; when it was unmounted meanwhile.
    pub fn mount_request(
        &self,
        path: &MountPath,
        request: &MountRequest,
        replace: bool,
    ) -> Result<(), AttachError> {
        let number = self.reserve(path, replace)?;
        let prepared = open::prepare(&self.rules, request);
        let mut table = self.table.lock();
        // Whoever unmounts what is not mounted yet takes the reservation away.
        let ours = table.pending.get(path) == Some(&number);
        if ours {
            table.pending.remove(path);
        }
        let prepared = prepared?;
        if !ours {
            return Err(AttachError::Unmounted(path.clone()));
        }
        match prepared {
            Prepared::Image(served) => self.put(&mut table, path, *served, replace),
            Prepared::Directory(fs) => {
                self.put_fs(path, fs, Arc::default(), replace)?;
                self.daemon.remove(&path.to_string());
                let old = table.live.remove(path);
                log::info!("Mounted the directory {} at {path}", request.source);
                finish_aside(old);
                Ok(())
            }
        }
    }

    /// Mounts a directory of the host.
    ///
    /// # Errors
    /// When the place is taken.
    pub fn mount_directory(&self, path: &MountPath, fs: PassthroughFs) -> Result<(), AttachError> {
        self.put_fs(path, Arc::new(fs), Arc::default(), false)
    }

    fn put_fs(
        &self,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
        replace: bool,
    ) -> Result<(), AttachError> {
        if replace {
            self.tree.remount(path, fs, stats)?;
        } else {
            self.tree.mount(path, fs, stats)?;
        }
        Ok(())
    }

    /// Mounts an image that is open already.
    ///
    /// # Errors
    /// When the place is taken.
    pub fn mount_served(&self, path: &MountPath, served: Served) -> Result<(), AttachError> {
        self.put(&mut self.table.lock(), path, served, false)
    }

    /// Removes what is mounted at `path` or about to be. False when there is
    /// nothing.
    pub fn remove(&self, path: &MountPath) -> bool {
        let mut table = self.table.lock();
        let awaited = table.pending.remove(path).is_some();
        let removed = self.tree.unmount(path);
        self.daemon.remove(&path.to_string());
        let live = table.live.remove(path);
        drop(table);
        if removed {
            log::info!("Unmounted {path}");
        }
        finish_aside(live);
        removed || awaited
    }

    /// The stores of all that is mounted, by mountpoint.
    pub fn stores(&self) -> Vec<(String, Arc<Store>)> {
        let table = self.table.lock();
        let stores = table
            .live
            .iter()
            .map(|(path, live)| (path.to_string(), Arc::clone(&live.store)));
        let mut stores: Vec<_> = stores.collect();
        drop(table);
        stores.sort_by(|one, other| one.0.cmp(&other.0));
        stores
    }

    /// Ends all downloads and saves what was recorded, for the end of the
    /// daemon. Takes little more than half a second, however many there are.
    pub fn finish(&self) {
        let all: Vec<_> = {
            let table = self.table.lock();
            let live = table.live.values();
            live.map(|live| Arc::clone(&live.prefetch)).collect()
        };
        let end = Instant::now() + GOODBYE;
        let (done, is_done) = std::sync::mpsc::channel();
        let mut waiting = 0;
        for prefetch in all {
            let done = done.clone();
            let work = move || {
                prefetch.finish();
                // Nobody may wait any more.
                let _ = done.send(());
            };
            let thread = std::thread::Builder::new().name("tidegate-end".to_owned());
            waiting += usize::from(thread.spawn(work).is_ok());
        }
        for _ in 0..waiting {
            let left = end.saturating_duration_since(Instant::now());
            if is_done.recv_timeout(left).is_err() {
                return;
            }
        }
    }

    fn reserve(&self, path: &MountPath, replace: bool) -> Result<u64, AttachError> {
        let mut table = self.table.lock();
        if table.pending.contains_key(path) {
            return Err(AttachError::Busy(path.clone()));
        }
        match (replace, self.tree.is_mounted(path)) {
            (false, true) => return Err(AttachError::Taken(path.clone())),
            (true, false) => return Err(AttachError::NotMounted(path.clone())),
            (false, false) | (true, true) => {}
        }
        table.last += 1;
        let number = table.last;
        table.pending.insert(path.clone(), number);
        Ok(number)
    }

    fn put(
        &self,
        table: &mut Table,
        path: &MountPath,
        served: Served,
        replace: bool,
    ) -> Result<(), AttachError> {
        let stats = Arc::<Stats>::default();
        let live = Live {
            store: Arc::clone(&served.store),
            prefetch: Arc::clone(&served.prefetch),
        };
        let fs = ImageFs::new(Arc::clone(&served.image), Arc::clone(&served.store));
        let fs = Arc::new(fs.noting(served.prefetch.touches()));
        self.put_fs(path, fs, Arc::clone(&stats), replace)?;
        let bootstrap = served.image.path().display().to_string();
        let instance = Instance {
            prefetch: Arc::clone(served.prefetch.progress()),
            image: served.image,
            store: served.store,
            stats,
            sources: served.sources,
            registries: served.registries,
            verify: served.verify,
            cache: served.cache,
            cache_limit: served.cache_limit,
            mounted: SystemTime::now(),
        };
        self.daemon.insert(&path.to_string(), instance);
        let old = table.live.insert(path.clone(), live);
        let done = if replace { "Remounted" } else { "Mounted" };
        log::info!("{done} {bootstrap} at {path}");
        finish_aside(old);
        Ok(())
    }
}

/// Ends the downloads of what is gone, and saves its trace.
fn finish_aside(live: Option<Live>) {
    let Some(Live { prefetch, .. }) = live else {
        return;
    };
    match crate::runtime::handle() {
        Ok(runtime) => {
            runtime.spawn_blocking(move || prefetch.finish());
        }
        Err(error) => log::warn!("A trace is not saved: {error}"),
    }
}

impl Mounts for Attacher {
    fn mount(
        &self,
        mountpoint: &str,
        request: &MountRequest,
        replace: bool,
    ) -> Result<(), MountRefusal> {
        let path = parse(mountpoint)?;
        let mounted = self.mount_request(&path, request, replace);
        mounted.map_err(|error| {
            let text = chain(&error);
            log::warn!("Not mounted at {path}: {text}");
            MountRefusal::Failed(text)
        })
    }

    fn unmount(&self, mountpoint: &str) -> Result<bool, MountRefusal> {
        Ok(self.remove(&parse(mountpoint)?))
    }
}

fn parse(mountpoint: &str) -> Result<MountPath, MountRefusal> {
    let path = mountpoint.parse::<MountPath>();
    path.map_err(|error| MountRefusal::Senseless(error.to_string()))
}
