//! The table of mounts on disk, for a daemon that is started after a crash.
//!
//! ```text
//! daemon.json     numbers that were given, how often it was taken up
//! session         what changes with requests: FUSE options, roots that are held
//! requests        what is under way, which is the device's business
//! mount-N.json    mount N: where, what, and the digests that it had
//! mount-N.*       what the guest holds of it
//! ```
//!
//! A mount's file is there before the guest can see it and goes after it is gone.
//! Once the daemon ends nothing is written any more, or the next one would go on from
//! what is left of it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::names::{DAEMON, HANDLES, INODES, NUMBERS, Owner, PARTS, name, owner, table};
use crate::fs::mounts::{MountPath, Places};
use crate::fs::passthrough::KeptFiles;
use crate::state::{StateDir, StateError};

/// The form of these files.
const VERSION: u32 = 1;

/// What is known of the daemon as a whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Whole {
    version: u32,
    /// How often a daemon went on from here.
    pub(super) restored: u64,
    /// Whether what the command line names was mounted.
    pub(super) begun: bool,
    /// Numbers that were given.
    pub(super) places: Places,
}

/// Keeps the table.
pub(super) struct Keeper {
    dir: StateDir,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    whole: Whole,
    mounts: BTreeMap<u32, String>,
    /// Whether the daemon ends, and leaves nothing behind.
    closed: bool,
}

impl Keeper {
    /// Takes charge of a directory. Returns what a daemon before this one left
    /// there; nothing of the mounts is opened yet.
    ///
    /// # Errors
    /// When it cannot be read or is of another version.
    pub(super) fn new(dir: StateDir) -> Result<(Self, Option<Vec<Entry>>), StateError> {
        let mut book = Book::default();
        let mut found = None;
        // Before it had begun, no guest could know anything.
        if let Some(whole) = read::<Whole>(&dir, DAEMON)?.filter(|whole| whole.begun) {
            if !whole.places.are_possible() {
                let reason = "its places are none of a tree's".to_owned();
                let path = dir.file(DAEMON);
                return Err(StateError::Foreign { path, reason });
            }
            book.whole = whole;
            let mut entries = Vec::new();
            for name in dir.names()? {
                let number = name.strip_prefix("mount-");
                if number.is_some_and(|rest| rest.ends_with(".json"))
                    && let Some(entry) = read::<Entry>(&dir, &name)?
                {
                    if table(entry.number) != name || entry.path.parse::<MountPath>().is_err() {
                        let (path, number) = (dir.file(&name), entry.number);
                        let reason = format!("it is about mount {number} at {:?}", entry.path);
                        return Err(StateError::Foreign { path, reason });
                    }
                    book.mounts.insert(entry.number, entry.path.clone());
                    entries.push(entry);
                }
            }
            entries.sort_by_key(|entry| entry.number);
            found = Some(entries);
        } else {
            dir.empty();
        }
        book.whole.version = VERSION;
        let keeper = Self {
            dir,
            book: Mutex::new(book),
        };
        Ok((keeper, found))
    }

    /// The directory.
    pub(super) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// What is known of the daemon as a whole.
    pub(super) fn whole(&self) -> Whole {
        self.book.lock().whole.clone()
    }

    /// Changes that, and writes it down if it is another then.
    pub(super) fn change(&self, how: impl FnOnce(&mut Whole)) -> Result<(), StateError> {
        let mut book = self.book.lock();
        if book.closed {
            return Ok(());
        }
        let before = book.whole.clone();
        how(&mut book.whole);
        let whole = &book.whole;
        let same = (whole.restored, whole.begun) == (before.restored, before.begun)
            && whole.places == before.places;
        if same {
            return Ok(());
        }
        self.write(DAEMON, whole)
    }

    /// Hands each file that another daemon needs to go on, with its name, to `take`.
    /// Nothing is removed meanwhile.
    pub(super) fn hand_over<E: From<StateError>>(
        &self,
        mut take: impl FnMut(&str, &Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let book = self.book.lock();
        for name in self.dir.names()? {
            // What a mount left that is gone is nobody's.
            let goes = match owner(&name) {
                Some(Owner::Daemon) => true,
                Some(Owner::Mount(number)) => book.mounts.contains_key(&number),
                None => false,
            };
            if goes {
                take(&name, &self.dir.file(&name))?;
            }
        }
        Ok(())
    }

    /// A directory for a state that is to take the place of this one.
    ///
    /// # Errors
    /// When it cannot be made, or the daemon ends.
    pub(super) fn incoming(&self) -> Result<StateDir, StateError> {
        let _book = self.open_book()?;
        self.dir.incoming()
    }

    /// Goes on with what another one, in the incoming directory, took charge of.
    pub(super) fn adopt(&self, incoming: Self) -> Result<(), StateError> {
        let mut book = self.open_book()?;
        self.dir.adopt_incoming()?;
        *book = incoming.book.into_inner();
        Ok(())
    }

    /// Removes all that is written down: the daemon ends.
    pub(super) fn close(&self) {
        let mut book = self.book.lock();
        book.closed = true;
        self.dir.empty();
    }

    /// The book, unless the daemon ends.
    fn open_book(&self) -> Result<MutexGuard<'_, Book>, StateError> {
        let book = self.book.lock();
        if book.closed {
            let ends = io::Error::other("the daemon ends");
            return Err(StateError::failed(self.dir.path(), ends));
        }
        Ok(book)
    }

    /// Writes a mount down that is about to be made.
    pub(super) fn add(&self, entry: &Entry) -> Result<(), StateError> {
        let mut book = self.open_book()?;
        book.mounts.insert(entry.number, entry.path.clone());
        self.write(&table(entry.number), entry)
    }

    /// Removes a mount, with all that is written down of it.
    pub(super) fn remove(&self, number: u32) {
        let mut book = self.book.lock();
        book.mounts.remove(&number);
        self.erase(number);
    }

    /// The same for all at a path.
    pub(super) fn remove_at(&self, path: &MountPath) {
        let path = path.to_string();
        let mut book = self.book.lock();
        let gone = book.mounts.extract_if(.., |_, at| *at == path);
        for (number, _) in gone.collect::<Vec<_>>() {
            self.erase(number);
        }
    }

    fn erase(&self, number: u32) {
        // The table first: what is not in it is not looked for.
        for name in [table(number)]
            .into_iter()
            .chain(PARTS.map(|part| name(number, part)))
        {
            self.dir.remove(&name);
        }
    }

    /// Where a part of what the guest holds of a mount is written down.
    pub(super) fn part(&self, number: u32, part: &'static str) -> PathBuf {
        self.dir.file(&name(number, part))
    }

    /// The same for a directory of the host.
    pub(super) fn parts(&self, number: u32) -> KeptFiles {
        KeptFiles {
            nodes: self.part(number, INODES),
            handles: self.part(number, HANDLES),
            numbers: self.part(number, NUMBERS),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(value).map_err(|error| StateError::Failed {
            path: self.dir.file(name),
            source: error.into(),
        })?;
        self.dir.replace(name, &bytes)
    }
}

fn read<T: for<'a> Deserialize<'a>>(dir: &StateDir, name: &str) -> Result<Option<T>, StateError> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<u32>,
    }
    let Some(bytes) = dir.read(name)? else {
        return Ok(None);
    };
    let foreign = |reason: String| StateError::Foreign {
        path: dir.file(name),
        reason,
    };
    // The values are not named: they may be secrets.
    let bad = |error: serde_json::Error| {
        foreign(format!("line {}, column {}", error.line(), error.column()))
    };
    let Version { version } = serde_json::from_slice(&bytes).map_err(bad)?;
    if let Some(version) = version.filter(|&version| version != VERSION) {
        return Err(foreign(format!("version {version}")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(bad)
}
