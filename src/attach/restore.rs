//! Mounts of a daemon before this one, brought back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::entry::Entry;
use super::keeper::Keeper;
use super::names::SESSION;
use super::open::{self, AttachError, Prepared, Served};
use super::taken::Taken;
use super::{Attacher, Live, Made, Table, finish_aside};
use crate::control::{Kept, MountRequest};
use crate::fs::mounts::{MountPath, PutBack};
use crate::fs::passthrough::PassthroughFs;
use crate::image::Image;
use crate::state::{StateDir, StateError};

impl Attacher {
    /// Writes down in `dir`, from now on, what a daemon needs that is started after
    /// this one was killed. If one was, its mounts are brought back by
    /// [`Attacher::restore`] and [`Attacher::begin`]; until then the API is refused
    /// others.
    ///
    /// # Errors
    /// When the directory cannot be used or holds something else.
    pub fn keep(&self, dir: StateDir) -> Result<(), StateError> {
        let (keeper, found) = Keeper::new(dir)?;
        self.tree.keep(&keeper.dir().file(SESSION))?;
        let keeper = Arc::new(keeper);
        let hears = Arc::clone(&keeper);
        self.tree.on_burial(move |number| hears.remove(number));
        *self.taken.lock() = found.map(Taken::new);
        self.restoring
            .store(self.taken.lock().is_some(), Ordering::Release);
        // Only a second call could find it set.
        let _ = self.keeper.set(keeper);
        Ok(())
    }

    /// Opens what a killed daemon had mounted at the request of its API. What
    /// cannot be opened, or is another than it was, is said, and stands as
    /// something that answers ESTALE.
    pub fn restore(&self) {
        let mut taken = self.taken.lock();
        if let (Some(taken), Some(keeper)) = (taken.as_mut(), self.keeper.get()) {
            self.reopen_requested(keeper, taken);
        }
    }

    /// The same for all that is `taken`.
    pub(super) fn reopen_requested(&self, keeper: &Keeper, taken: &mut Taken) {
        for entry in std::mem::take(&mut taken.awaited) {
            let Some(request) = entry.request.clone() else {
                taken.awaited.push(entry);
                continue;
            };
            let made = self.reopen(keeper, &entry, &request.into());
            taken.put(&entry, made);
        }
    }

    fn reopen(
        &self,
        keeper: &Keeper,
        entry: &Entry,
        request: &MountRequest,
    ) -> Result<Made, AttachError> {
        match open::prepare(&self.rules, request)? {
            Prepared::Image(served) => Self::again(keeper, entry, *served),
            Prepared::Directory(fs) => Self::directory(Some(keeper), entry.number, *fs),
        }
    }

    /// An image under the number that it had.
    pub(super) fn again(
        keeper: &Keeper,
        entry: &Entry,
        served: Served,
    ) -> Result<Made, AttachError> {
        let image = &served.image;
        let root = image.root_digest().map(|digest| digest.to_string());
        let bootstrap = bootstrap_digest(image)?;
        if (&root, &bootstrap) != (&entry.root, &entry.bootstrap) {
            let shown = |root: Option<String>, bootstrap: Option<String>| {
                let digest = root.or(bootstrap).unwrap_or_default();
                format!("sha256:{digest}")
            };
            return Err(AttachError::Changed {
                image: image.path().to_owned(),
                found: shown(root, bootstrap),
                wanted: shown(entry.root.clone(), entry.bootstrap.clone()),
            });
        }
        Self::image(Some(keeper), entry.number, served)
    }

    /// Whether this daemon goes on where another was killed, and what the command
    /// line names is brought back or was unmounted.
    pub fn is_restoring(&self) -> bool {
        self.restoring.load(Ordering::Acquire)
    }

    /// Brings back an image that the command line names again. Gives it back if
    /// there is nothing to bring back.
    pub(super) fn take_image(&self, path: &MountPath, served: Served) -> Option<Served> {
        let mut taken = self.taken.lock();
        let (Some(taken), Some(keeper)) = (taken.as_mut(), self.keeper.get()) else {
            return Some(served);
        };
        match taken.awaited_at(path, true) {
            Some(entry) => {
                let made = Self::again(keeper, &entry, served);
                taken.put(&entry, made);
                None
            }
            None => Some(served),
        }
    }

    /// The same for a directory.
    pub(super) fn take_directory(
        &self,
        path: &MountPath,
        fs: PassthroughFs,
    ) -> Option<PassthroughFs> {
        let mut taken = self.taken.lock();
        let (Some(taken), Some(keeper)) = (taken.as_mut(), self.keeper.get()) else {
            return Some(fs);
        };
        match taken.awaited_at(path, false) {
            Some(entry) => {
                let made = Self::directory(Some(keeper), entry.number, fs);
                taken.put(&entry, made);
                None
            }
            None => Some(fs),
        }
    }

    /// Ends the setting up: what is brought back is shown to the guest, and the API
    /// may mount.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn begin(&self) -> Result<(), StateError> {
        let Some(keeper) = self.keeper.get() else {
            return Ok(());
        };
        let mut restored = keeper.whole().restored;
        let mut lost = Vec::new();
        if let Some(taken) = self.taken.lock().take() {
            restored += 1;
            let places = keeper.whole().places;
            lost = self.settle(&mut self.table.lock(), taken, |back| {
                self.tree.put_back(&places, back);
                Ok(())
            })?;
        }
        self.note_begun(keeper, restored, lost)?;
        self.restoring.store(false, Ordering::Release);
        Ok(())
    }

    /// Shows what is brought back in the place of all that is mounted: to the guest by
    /// way of `put_back`, and to the API. Returns the mountpoints of what is lost.
    pub(super) fn settle(
        &self,
        table: &mut Table,
        mut taken: Taken,
        put_back: impl FnOnce(Vec<PutBack>) -> Result<(), StateError>,
    ) -> Result<Vec<String>, StateError> {
        for entry in std::mem::take(&mut taken.awaited) {
            taken.put(&entry, Err(AttachError::NotNamed));
        }
        log::info!(
            "Going on where another daemon ended: {} mounts, {} of them lost",
            taken.back.len(),
            taken.lost.len()
        );
        // Of several at one path the last is attached.
        taken.back.sort_by_key(|back| back.number);
        let last = taken
            .back
            .iter()
            .map(|back| (back.path.clone(), back.number));
        let last: HashMap<_, _> = last.collect();
        put_back(taken.back)?;
        // Whoever is making a mount finds that it was unmounted.
        table.pending.clear();
        let mut over: Vec<_> = std::mem::take(&mut table.live).into_values().collect();
        for path in self.daemon.mountpoints() {
            self.daemon.remove(&path);
        }
        for (path, number) in last {
            let at = taken.made.iter().position(|(made, ..)| *made == number);
            let Some((_, live, shown)) = at.map(|at| taken.made.swap_remove(at)) else {
                continue;
            };
            self.daemon.insert(&path.to_string(), shown);
            if let Some(live) = live {
                table.live.insert(path, live);
            }
        }
        over.extend(taken.made.into_iter().filter_map(|(_, live, _)| live));
        // What the command line names may be there again.
        let lives = |over: &Live| {
            let mut live = table.live.values();
            live.any(|live| Arc::ptr_eq(&live.prefetch, &over.prefetch))
        };
        for over in over.into_iter().filter(|over| !lives(over)) {
            finish_aside(Some(over));
        }
        Ok(taken.lost)
    }

    /// Writes down that the guest may rely on what is there.
    pub(super) fn note_begun(
        &self,
        keeper: &Keeper,
        restored: u64,
        lost: Vec<String>,
    ) -> Result<(), StateError> {
        self.daemon.set_kept(Kept {
            dir: keeper.dir().path().to_owned(),
            restored,
            lost,
        });
        keeper.change(|whole| {
            whole.restored = restored;
            whole.begun = true;
            whole.places = self.tree.places();
        })
    }

    /// Removes all that is written down: the end is an orderly one, and nobody is
    /// to go on.
    pub fn forget_state(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.close();
        }
    }
}

/// What names an image that has no root digest.
pub(super) fn bootstrap_digest(image: &Image) -> Result<Option<String>, AttachError> {
    if image.root_digest().is_some() {
        return Ok(None);
    }
    Ok(Some(image.bootstrap_digest()?.to_string()))
}
