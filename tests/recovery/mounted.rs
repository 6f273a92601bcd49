//! What tests mount on the host, which needs root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that is mounted until this is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory with these options.
    pub(crate) fn tmpfs(options: &str, at: PathBuf) -> Self {
        let line = ["-t", "tmpfs", "-o", options, "none"];
        Self::new(&line.map(OsStr::new), at)
    }

    /// A directory once more.
    pub(crate) fn bind(what: &Path, at: PathBuf) -> Self {
        Self::new(&[OsStr::new("--bind"), what.as_os_str()], at)
    }

    fn new(line: &[&OsStr], at: PathBuf) -> Self {
        let done = Command::new("mount").args(line).arg(&at).status();
        assert!(done.unwrap().success());
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
