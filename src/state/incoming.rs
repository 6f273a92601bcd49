//! Another state in the place of the one that is there, as a whole.
//!
//! ```text
//! incoming.new    is being written; a start removes it
//! incoming        is whole and counts: what is beside it goes
//! entering        counts, and nothing else is left: its files go where they belong
//! ```
//!
//! Each step is a rename, and a process that was killed in between is followed by one
//! that goes on with the next, so the state is always either the old one or the new.

use std::fs;
use std::io;
use std::path::Path;

use super::StateError;
use super::dir::{StateDir, UNFINISHED, is_state};
use crate::error_chain::chain;

/// Names of the directory; the first with [`UNFINISHED`] while it is written.
const WHOLE: &str = "incoming";
const ENTERING: &str = "entering";

/// What is the device's, whatever state it serves.
const DEVICES: &str = "requests";

/// Whether a name is one of these directories'.
pub(super) fn is_incoming(name: &str) -> bool {
    matches!(name, WHOLE | ENTERING)
}

impl StateDir {
    /// An empty directory for a state that is to take the place of this one. What was
    /// in it from before goes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn incoming(&self) -> Result<Self, StateError> {
        self.discard_incoming();
        Self::open(&self.unfinished())
    }

    /// Removes what [`StateDir::incoming`] made.
    pub fn discard_incoming(&self) {
        let path = self.unfinished();
        if let Err(error) = remove_dir(&path) {
            log::warn!("Cannot remove {}: {error}", path.display());
        }
    }

    /// Puts the files that were written to [`StateDir::incoming`] in the place of those
    /// that are here, all or none of them. Those that are open stay open.
    ///
    /// # Errors
    /// When the system refuses; those that are here count then, as before.
    pub fn adopt_incoming(&self) -> Result<(), StateError> {
        let whole = self.file(WHOLE);
        let renamed = fs::rename(self.unfinished(), &whole);
        renamed.map_err(|error| StateError::failed(&whole, error))?;
        // From here on the new ones count, and are open; the next start tidies up.
        if let Err(error) = settle(self.path()) {
            log::error!("{}", chain(&error));
        }
        Ok(())
    }

    fn unfinished(&self) -> std::path::PathBuf {
        self.file(&format!("{WHOLE}{UNFINISHED}"))
    }
}

/// Goes on where a process was killed that put a state in the place of another.
pub(super) fn settle(home: &Path) -> Result<(), StateError> {
    let failed = |source: io::Error| StateError::failed(home, source);
    remove_dir(&home.join(format!("{WHOLE}{UNFINISHED}"))).map_err(failed)?;
    let (whole, entering) = (home.join(WHOLE), home.join(ENTERING));
    if whole.exists() {
        for entry in fs::read_dir(home).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let goes = |name: &str| is_state(name) && !is_incoming(name) && name != DEVICES;
            if name.to_str().is_some_and(goes) {
                fs::remove_file(home.join(name)).map_err(failed)?;
            }
        }
        fs::rename(&whole, &entering).map_err(failed)?;
    }
    if entering.exists() {
        for entry in fs::read_dir(&entering).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            fs::rename(entering.join(&name), home.join(&name)).map_err(failed)?;
        }
        fs::remove_dir(&entering).map_err(failed)?;
    }
    Ok(())
}

/// Removes a directory; that there is none is as good.
fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes all of them, at an orderly end.
pub(super) fn empty(home: &Path) {
    for name in [
        WHOLE.to_owned(),
        ENTERING.to_owned(),
        format!("{WHOLE}{UNFINISHED}"),
    ] {
        if let Err(error) = remove_dir(&home.join(&name)) {
            log::warn!("Cannot remove {}: {error}", home.join(name).display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The files in a directory, with what is in them.
    fn content(path: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        };
        entries.map(read).collect()
    }

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        list.iter().map(owned).collect()
    }

    /// A directory with a state, and another one that is written and not taken.
    fn two() -> (tempfile::TempDir, StateDir) {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&home.path().join("state")).unwrap();
        dir.replace("daemon.json", b"old").unwrap();
        dir.replace("mount-1.json", b"old").unwrap();
        fs::write(dir.file("requests"), "device's").unwrap();
        let aside = dir.incoming().unwrap();
        aside.replace("daemon.json", b"new").unwrap();
        aside.replace("session", b"new").unwrap();
        aside.replace("mount-2.json", b"new").unwrap();
        (home, dir)
    }

    fn new() -> BTreeMap<String, String> {
        files(&[
            ("daemon.json", "new"),
            ("session", "new"),
            ("mount-2.json", "new"),
            ("requests", "device's"),
        ])
    }

    #[test]
    fn a_state_takes_the_place_of_another() {
        let (_home, dir) = two();
        dir.adopt_incoming().unwrap();
        assert_eq!(content(dir.path()), new());
        // And again.
        dir.incoming()
            .unwrap()
            .replace("session", b"third")
            .unwrap();
        dir.adopt_incoming().unwrap();
        let third = files(&[("session", "third"), ("requests", "device's")]);
        assert_eq!(content(dir.path()), third);
    }

    #[test]
    fn a_process_killed_in_between_leaves_one_of_the_two() {
        let old = files(&[
            ("daemon.json", "old"),
            ("mount-1.json", "old"),
            ("requests", "device's"),
        ]);
        // What was done when it was killed: nothing; one rename; some files are gone; all
        // are; some files are in place.
        for done in 0..5 {
            let (_home, dir) = two();
            let path = dir.path().to_owned();
            if done > 0 {
                fs::rename(path.join("incoming.new"), path.join("incoming")).unwrap();
            }
            if done > 1 {
                fs::remove_file(path.join("daemon.json")).unwrap();
            }
            if done > 2 {
                fs::remove_file(path.join("mount-1.json")).unwrap();
                fs::rename(path.join("incoming"), path.join("entering")).unwrap();
            }
            if done > 3 {
                fs::rename(path.join("entering/session"), path.join("session")).unwrap();
            }
            drop(dir);
            let dir = StateDir::open(&path).unwrap();
            let expected = if done == 0 { old.clone() } else { new() };
            assert_eq!(content(dir.path()), expected, "{done}");
        }
    }

    #[test]
    fn what_cannot_be_tidied_up_is_so_by_the_next_start() {
        let (_home, dir) = two();
        let path = dir.path().to_owned();
        // Stands for a file that a disk does not give up.
        let stuck = path.join("mount-3.json");
        fs::create_dir(&stuck).unwrap();
        dir.adopt_incoming().unwrap();
        drop(dir);
        assert!(StateDir::open(&path).is_err());
        fs::remove_dir(&stuck).unwrap();
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(content(dir.path()), new());
    }

    #[test]
    fn an_orderly_end_leaves_nothing_of_either() {
        let (_home, dir) = two();
        dir.empty();
        assert_eq!(content(dir.path()), files(&[]));
    }
}
