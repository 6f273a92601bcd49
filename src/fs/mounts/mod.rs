//! Many file systems in one tree: mounts at paths that appear and vanish while
//! a guest looks on.
//!
//! * [`MountTree`] is the tree; [`MountPath`] says where in it a mount is. A mount
//!   is any [`FileSystem`]: an image, or a directory of the host.
//! * `view` is what there is at one moment: directories of the tree's own, mounts,
//!   and the names that a mount inside another adds. It is never changed but
//!   replaced as a whole, so requests take no lock to read it.
//! * `number` puts the number of a mount above the node ids and inode numbers of
//!   its file system, so that both are unique on the device. Numbers of mounts are
//!   never used twice.
//! * `keep` writes down what the guest relies on, and `recover` takes it up in the
//!   daemon after a crash, or in another.
//! * `mount` knows what a guest still holds of a mount; `serve` answers requests,
//!   `perform` those that open or change something.
//!
//! What a guest sees:
//!
//! * The tree's own directories, the roots of mounts and names that do not exist
//!   beside them may not be kept by the guest, so that each path is looked up
//!   anew. Inside a mount the file system's own times hold.
//! * *Unmount*: the name is gone, and whatever the guest holds of the mount is
//!   answered ESTALE. Reads that wait are answered as if nothing had been.
//! * *Remount*: the name leads to the new file system; what the guest holds of the
//!   old one is served until it forgets it. Node 1 is the root of whatever is
//!   mounted at `/`.
//! * A mount below another: directories that the outer one has are used, others
//!   stand in front of it.

mod keep;
mod list;
mod mount;
mod number;
mod path;
mod perform;
mod recover;
mod serve;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

pub use self::keep::Places;
pub use self::path::{BadPath, MountPath};
pub use self::recover::PutBack;

use self::keep::Ledger;
use self::mount::Mount;
use self::view::{Points, View};
use super::FileSystem;
use super::stats::Stats;

/// Why a mount cannot be made or found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The place is taken.
    #[error("Something is mounted at {0} already; unmount it first, or remount")]
    Taken(MountPath),
    /// There is nothing to replace.
    #[error("Nothing is mounted at {0}")]
    NotMounted(MountPath),
    /// All numbers were used.
    #[error("This daemon has made {0} mounts and can make no more; start a new one")]
    UsedUp(u32),
}

/// The tree of mounts of one device.
pub struct MountTree {
    view: ArcSwap<View>,
    state: Mutex<State>,
    /// Whether directories of the host are expected.
    hybrid: AtomicBool,
    /// Whether somebody is on the way to [`MountTree::reap`].
    reaping: AtomicBool,
    /// What is written down, if anything is.
    ledger: ArcSwapOption<Ledger>,
    /// Taken by whoever lets go of replaced mounts, until that was told.
    burials: Mutex<()>,
    /// Who hears of replaced mounts that are let go of.
    buried: OnceLock<Box<dyn Fn(u32) + Send + Sync>>,
    me: Weak<Self>,
}

#[derive(Default)]
struct State {
    attached: BTreeMap<MountPath, Arc<Mount>>,
    /// Replaced by a remount, and held by the guest.
    lingering: Vec<Arc<Mount>>,
    points: Points,
    numbers: number::Numbers,
}

impl MountTree {
    /// A tree that is one empty directory.
    pub fn new() -> Arc<Self> {
        let mut state = State::default();
        let view = View::build(&View::default(), &state.attached, &[], &mut state.points);
        Arc::new_cyclic(|me| Self {
            view: ArcSwap::from_pointee(view),
            state: Mutex::new(state),
            hybrid: AtomicBool::new(false),
            reaping: AtomicBool::new(false),
            ledger: ArcSwapOption::empty(),
            burials: Mutex::default(),
            buried: OnceLock::new(),
            me: Weak::clone(me),
        })
    }

    /// Has sessions that begin from now on open files, although nothing is mounted
    /// yet that needs it: whether files are opened is agreed on once for all mounts
    /// of a session. What is mounted into a session that agreed otherwise is
    /// served without handles, slower.
    pub fn expect_directories(&self) {
        self.hybrid.store(true, Ordering::Relaxed);
    }

    /// Mounts `fs` at `path`; its requests are counted in `stats`. Guests see it
    /// when this returns.
    ///
    /// # Errors
    /// When something is mounted there, or there are no more numbers.
    pub fn mount(
        &self,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
    ) -> Result<(), TreeError> {
        let number = self.reserve(path)?;
        self.mount_as(number, path, fs, stats)
    }

    /// A number for a mount at `path`, never given before.
    ///
    /// # Errors
    /// When there are no more numbers.
    pub fn reserve(&self, path: &MountPath) -> Result<u32, TreeError> {
        let mut state = self.state.lock();
        let number = state.numbers.next(path.is_root());
        number.ok_or(TreeError::UsedUp(number::LAST))
    }

    /// As [`MountTree::mount`], with a reserved number.
    ///
    /// # Errors
    /// When something is mounted there.
    pub fn mount_as(
        &self,
        number: u32,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
    ) -> Result<(), TreeError> {
        let mut state = self.state.lock();
        if state.attached.contains_key(path) {
            return Err(TreeError::Taken(path.clone()));
        }
        let mount = self.make(number, path, fs, stats);
        state.attached.insert(path.clone(), mount);
        self.publish(&mut state);
        Ok(())
    }

    /// Puts `fs` in the place of what is mounted at `path`.
    ///
    /// # Errors
    /// When nothing is mounted there, or there are no more numbers.
    pub fn remount(
        &self,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
    ) -> Result<(), TreeError> {
        let number = self.reserve(path)?;
        self.remount_as(number, path, fs, stats)
    }

    /// As [`MountTree::remount`], with a reserved number.
    ///
    /// # Errors
    /// When nothing is mounted there.
    pub fn remount_as(
        &self,
        number: u32,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
    ) -> Result<(), TreeError> {
        let mut state = self.state.lock();
        if !state.attached.contains_key(path) {
            return Err(TreeError::NotMounted(path.clone()));
        }
        let mount = self.make(number, path, fs, stats);
        if let Some(old) = state.attached.insert(path.clone(), mount) {
            state.lingering.push(old);
        }
        // The old mount stays in the view until nobody can be on the way to it.
        self.publish(&mut state);
        for old in &state.lingering {
            old.detach();
        }
        drop(state);
        self.reap();
        Ok(())
    }

    /// Removes the mount at `path`, and what a guest holds of its forerunners.
    /// False when there is none.
    pub fn unmount(&self, path: &MountPath) -> bool {
        let mut state = self.state.lock();
        let gone = state.attached.remove(path);
        let replaced = state.lingering.extract_if(.., |old| old.path == *path);
        let replaced: Vec<_> = replaced.collect();
        if gone.is_none() && replaced.is_empty() {
            return false;
        }
        self.publish(&mut state);
        drop(state);
        gone.iter()
            .chain(&replaced)
            .for_each(|mount| mount.retire());
        // What they hold is released outside the lock.
        drop((gone, replaced));
        true
    }

    /// Whether something is mounted at `path`.
    pub fn is_mounted(&self, path: &MountPath) -> bool {
        self.state.lock().attached.contains_key(path)
    }

    /// How many file systems were replaced and are still held by the guest.
    pub fn lingering(&self) -> usize {
        self.state.lock().lingering.len()
    }

    /// Lets go of replaced file systems of which the guest holds nothing.
    fn reap(&self) {
        let _burials = self.burials.lock();
        let mut state = self.state.lock();
        self.reaping.store(false, Ordering::SeqCst);
        let buried = state.lingering.extract_if(.., |old| old.bury());
        let buried: Vec<_> = buried.collect();
        if !buried.is_empty() {
            self.publish(&mut state);
        }
        drop(state);
        for mount in buried {
            mount.retire();
            if let Some(hear) = self.buried.get() {
                hear(mount.number);
            }
        }
    }

    /// Has `hear` told the number of each replaced mount that is let go of.
    pub fn on_burial(&self, hear: impl Fn(u32) + Send + Sync + 'static) {
        let _ = self.buried.set(Box::new(hear));
    }

    fn make(
        &self,
        number: u32,
        path: &MountPath,
        fs: Arc<dyn FileSystem>,
        stats: Arc<Stats>,
    ) -> Arc<Mount> {
        let ledger = self.ledger.load();
        let roots = ledger.as_ref().map(|ledger| ledger.roots(number));
        Arc::new(Mount::new(number, path.clone(), (fs, stats), roots))
    }

    /// Has [`MountTree::reap`] done aside: a queue's thread must not wait.
    fn reap_soon(&self) {
        if self.reaping.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.me.upgrade() {
            // Nobody waits for it.
            Some(tree) => drop(crate::runtime::blocking(move || tree.reap())),
            // The next one tries again.
            None => self.reaping.store(false, Ordering::SeqCst),
        }
    }

    fn publish(&self, state: &mut State) {
        let before = self.view.load_full();
        let view = View::build(
            &before,
            &state.attached,
            &state.lingering,
            &mut state.points,
        );
        self.view.store(Arc::new(view));
    }
}
