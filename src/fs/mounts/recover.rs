//! The tree takes up what a daemon before this one, or another, wrote down.

use std::path::Path;
use std::sync::Arc;

use super::keep::{Ledger, Places};
use super::{FileSystem, MountPath, MountTree, State, Stats, number};
use crate::state::StateError;

/// A mount that is brought back.
pub struct PutBack {
    /// Its number.
    pub number: u32,
    /// Where it is or was.
    pub path: MountPath,
    /// What it shows.
    pub fs: Arc<dyn FileSystem>,
    /// Where its requests are counted.
    pub stats: Arc<Stats>,
}

impl MountTree {
    /// Writes down in the file at `path`, from now on, what changes with requests,
    /// and knows what a daemon before this one wrote there. For a tree without
    /// mounts; [`MountTree::put_back`] brings those back.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn keep(&self, path: &Path) -> Result<(), StateError> {
        self.ledger.store(Some(Arc::new(Ledger::open(path)?)));
        Ok(())
    }

    /// The numbers that were given so far.
    pub fn places(&self) -> Places {
        let state = self.state.lock();
        let (next, plain) = state.numbers.given();
        let (serials, last) = state.points.given();
        Places {
            next,
            plain,
            serials,
            last,
        }
    }

    /// Brings back the mounts of a daemon before this one, under their numbers. Of
    /// several at one path the last is attached, and the others are those that it
    /// replaced.
    pub fn put_back(&self, places: &Places, mounts: Vec<PutBack>) {
        self.fill(&mut self.state.lock(), places, mounts);
        self.reap();
    }

    /// Puts mounts of another daemon in the place of all that is there, as
    /// [`MountTree::put_back`] does it; `session` is the file that
    /// [`MountTree::keep`] wrote there, and is written from now on. `commit` is called
    /// when nothing else can fail any more; if it does, all stays as it was.
    ///
    /// # Errors
    /// When the file cannot be used, and those of `commit`.
    pub fn exchange(
        &self,
        session: &Path,
        places: &Places,
        mounts: Vec<PutBack>,
        commit: impl FnOnce() -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let ledger = Arc::new(Ledger::open(session)?);
        // Nobody is told of a mount of before that is let go of, as if it were one of
        // those that have its number now.
        let burials = self.burials.lock();
        commit()?;
        let old = {
            let mut state = self.state.lock();
            self.ledger.store(Some(ledger));
            let old = std::mem::take(&mut *state);
            self.fill(&mut state, places, mounts);
            old
        };
        drop(burials);
        // What they hold is released outside the locks.
        drop(old);
        self.reap();
        Ok(())
    }

    fn fill(&self, state: &mut State, places: &Places, mut mounts: Vec<PutBack>) {
        state.numbers.take_up(places.next, places.plain);
        state.points.take_up(&places.serials, places.last);
        mounts.sort_by_key(|mount| mount.number);
        for PutBack {
            number,
            path,
            fs,
            stats,
        } in mounts
        {
            if !number::is_mount(number) {
                continue;
            }
            state.numbers.skip(number);
            let mount = self.make(number, &path, fs, stats);
            if let Some(old) = state.attached.insert(path, mount) {
                state.lingering.push(old);
            }
        }
        self.publish(state);
        for old in &state.lingering {
            old.detach();
        }
    }
}
