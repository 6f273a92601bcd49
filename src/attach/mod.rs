//! Mounts of a running daemon: from a request of the API to file systems in the
//! [`MountTree`], and back.
//!
//! * [`Attacher`] knows what is mounted and what is about to be; it is the
//!   [`Mounts`] of the API, and subcommands hand their first image to it.
//! * [`HostRules`] is what the host demands of every mount, whatever a request
//!   says.
//! * `keeper` writes down what is mounted (`entry`, in files with `names`), for a daemon
//!   that is started after this one was killed, and `restore` brings it back (`taken`).
//! * `transfer` hands what is written down over to a daemon that serves the same guest
//!   elsewhere or later, in the form of `stream`, sealed by `seal`, and takes it over
//!   from one; `named` is for what the command line mounts.
//! * `open` makes an image ready to be served out of a request, `directory` a
//!   directory of the host.
//!
//! May use: `config`, `control`, `fs`, `image`, `prefetch`, `state`, `store`,
//! `runtime`.
//! Used by: `cli`.

mod directory;
mod entry;
mod keeper;
mod named;
mod names;
mod open;
mod restore;
mod rules;
mod seal;
mod stream;
mod taken;
mod transfer;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use self::entry::Entry;
use self::keeper::Keeper;
use self::named::Named;
use self::names::NODES;
use self::open::Prepared;
pub use self::open::{AttachError, Served, announce, id_mapping, scope};
pub use self::rules::{HOST_POLICY, HostRules};
pub use self::seal::{KeyError, StateKey};
pub use self::stream::TransferError;
use self::taken::Taken;

use crate::control::{Daemon, Directory, Instance, MountRefusal, MountRequest, Mounts, Shown};
use crate::error_chain::chain;
use crate::fs::mounts::{MountPath, MountTree};
use crate::fs::passthrough::PassthroughFs;
use crate::fs::{FileSystem, ImageFs};
use crate::fuse::Stats;
use crate::image::Image;
use crate::prefetch::Prefetch;
use crate::state::StateError;
use crate::store::Store;

/// How long all traces together may take to be saved when the daemon ends.
const GOODBYE: Duration = Duration::from_millis(600);

/// What is mounted, and what makes and removes mounts.
pub struct Attacher {
    tree: Arc<MountTree>,
    daemon: Arc<Daemon>,
    rules: HostRules,
    table: Mutex<Table>,
    /// Writes down what is mounted, if anybody does.
    keeper: OnceLock<Arc<Keeper>>,
    /// What seals it where it goes elsewhere, if it does.
    key: OnceLock<StateKey>,
    /// What a killed daemon left, until it is brought back.
    taken: Mutex<Option<Taken>>,
    restoring: AtomicBool,
}

#[derive(Default)]
struct Table {
    /// Mounts that are being made, each with a number of its own.
    pending: HashMap<MountPath, u64>,
    live: HashMap<MountPath, Live>,
    last: u64,
    /// What a state that is taken over may need again.
    named: Named,
}

/// A file system that is ready for its place.
struct Made {
    fs: Arc<dyn FileSystem>,
    stats: Arc<Stats>,
    live: Option<Live>,
    shown: Shown,
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
            keeper: OnceLock::new(),
            key: OnceLock::new(),
            taken: Mutex::default(),
            restoring: AtomicBool::new(false),
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
        if self.is_restoring() {
            return Err(AttachError::Restoring);
        }
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
        let image = match &prepared {
            Prepared::Image(served) => Some(&served.image),
            Prepared::Directory(_) => None,
        };
        let entry = self.entry(path, Some(request), image)?;
        let made = |keeper: Option<&Keeper>| match prepared {
            Prepared::Image(served) => Self::image(keeper, entry.number, *served),
            Prepared::Directory(fs) => Self::directory(keeper, entry.number, *fs),
        };
        self.put(&mut table, path, &entry, made, replace)?;
        let done = if replace { "Remounted" } else { "Mounted" };
        log::info!("{done} {} at {path}", request.source);
        Ok(())
    }

    /// Mounts a directory of the host that the command line names.
    ///
    /// # Errors
    /// When the place is taken.
    pub fn mount_directory(&self, path: &MountPath, fs: PassthroughFs) -> Result<(), AttachError> {
        if self.keeper.get().is_some() {
            self.table.lock().named.directory(path, &fs);
        }
        let Some(fs) = self.take_directory(path, fs) else {
            return Ok(());
        };
        if self.is_restoring() {
            self.table.lock().named.forget(path);
            log::info!("{path} was unmounted before the daemon was started again");
            return Ok(());
        }
        let entry = self.entry(path, None, None)?;
        let made = |keeper: Option<&Keeper>| Self::directory(keeper, entry.number, fs);
        self.put(&mut self.table.lock(), path, &entry, made, false)
    }

    /// Mounts an image that the command line names and that is open already.
    ///
    /// # Errors
    /// When the place is taken.
    pub fn mount_served(&self, path: &MountPath, served: Served) -> Result<(), AttachError> {
        if self.keeper.get().is_some() {
            self.table.lock().named.image(path, &served);
        }
        let Some(served) = self.take_image(path, served) else {
            return Ok(());
        };
        if self.is_restoring() {
            self.table.lock().named.forget(path);
            log::info!("{path} was unmounted before the daemon was started again");
            return Ok(());
        }
        let entry = self.entry(path, None, Some(&served.image))?;
        let bootstrap = served.image.path().display().to_string();
        let made = |keeper: Option<&Keeper>| Self::image(keeper, entry.number, served);
        self.put(&mut self.table.lock(), path, &entry, made, false)?;
        log::info!("Mounted {bootstrap} at {path}");
        Ok(())
    }

    /// Removes what is mounted at `path` or about to be. False when there is
    /// nothing.
    pub fn remove(&self, path: &MountPath) -> bool {
        let mut table = self.table.lock();
        let awaited = table.pending.remove(path).is_some();
        table.named.forget(path);
        let removed = self.tree.unmount(path);
        if let Some(keeper) = self.keeper.get() {
            keeper.remove_at(path);
            if let Err(error) = self.note_places(keeper) {
                log::warn!("{}", chain(&error));
            }
        }
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

    /// What is written down of a mount that is about to be made, under a new number.
    fn entry(
        &self,
        path: &MountPath,
        request: Option<&MountRequest>,
        image: Option<&Arc<Image>>,
    ) -> Result<Entry, AttachError> {
        let number = self.tree.reserve(path)?;
        let mut entry = Entry {
            number,
            path: path.to_string(),
            image: image.is_some(),
            request: None,
            root: None,
            bootstrap: None,
        };
        if self.keeper.get().is_some() {
            entry.request = request.map(Into::into);
            if let Some(image) = image {
                entry.root = image.root_digest().map(|root| root.to_string());
                entry.bootstrap = restore::bootstrap_digest(image)?;
            }
        }
        Ok(entry)
    }

    /// Makes a mount and puts it at its place.
    fn put(
        &self,
        table: &mut Table,
        path: &MountPath,
        entry: &Entry,
        make: impl FnOnce(Option<&Keeper>) -> Result<Made, AttachError>,
        replace: bool,
    ) -> Result<(), AttachError> {
        let keeper = self.keeper.get().map(AsRef::as_ref);
        if let Some(keeper) = keeper {
            self.note_places(keeper)?;
            keeper.add(entry)?;
        }
        let placed = make(keeper).and_then(|made| {
            let (fs, stats) = (made.fs, made.stats);
            let placed = match replace {
                true => self.tree.remount_as(entry.number, path, fs, stats),
                false => self.tree.mount_as(entry.number, path, fs, stats),
            };
            placed?;
            Ok((made.live, made.shown))
        });
        if let (Err(_), Some(keeper)) = (&placed, keeper) {
            keeper.remove(entry.number);
        }
        let (live, shown) = placed?;
        self.daemon.insert(&path.to_string(), shown);
        let old = match live {
            Some(live) => table.live.insert(path.clone(), live),
            None => table.live.remove(path),
        };
        finish_aside(old);
        if let Some(keeper) = keeper {
            self.note_places(keeper)?;
        }
        Ok(())
    }

    fn note_places(&self, keeper: &Keeper) -> Result<(), StateError> {
        keeper.change(|whole| whole.places = self.tree.places())
    }

    /// An image as a file system with this number.
    fn image(keeper: Option<&Keeper>, number: u32, served: Served) -> Result<Made, AttachError> {
        let stats = Arc::<Stats>::default();
        let fs = ImageFs::new(Arc::clone(&served.image), Arc::clone(&served.store));
        let mut fs = fs.noting(served.prefetch.touches()).mapping(served.ids);
        if let Some(keeper) = keeper {
            fs = fs.keeping(&keeper.part(number, NODES))?;
        }
        Ok(Made {
            fs: Arc::new(fs),
            stats: Arc::clone(&stats),
            live: Some(Live {
                store: Arc::clone(&served.store),
                prefetch: Arc::clone(&served.prefetch),
            }),
            shown: Shown::Image(Box::new(Instance {
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
            })),
        })
    }

    /// A directory as a file system with this number.
    fn directory(
        keeper: Option<&Keeper>,
        number: u32,
        mut fs: PassthroughFs,
    ) -> Result<Made, AttachError> {
        if let Some(keeper) = keeper {
            fs = fs.keeping(&keeper.parts(number))?;
        }
        let (fs, stats) = (Arc::new(fs), Arc::<Stats>::default());
        Ok(Made {
            fs: Arc::clone(&fs) as _,
            stats: Arc::clone(&stats),
            live: None,
            shown: Shown::Directory(Directory {
                fs,
                stats,
                mounted: SystemTime::now(),
            }),
        })
    }
}

/// Ends the downloads of what is gone, and saves its trace.
fn finish_aside(live: Option<Live>) {
    let Some(Live { prefetch, .. }) = live else {
        return;
    };
    // Nobody waits for it.
    drop(crate::runtime::blocking(move || prefetch.finish()));
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
