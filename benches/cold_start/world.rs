//! Images to start from, and where they are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::catalog::Catalog;
use crate::source::Source;

/// An image with its tree and a registry that serves its blobs.
pub(crate) struct World {
    pub(crate) bootstrap: PathBuf,
    pub(crate) blobs: PathBuf,
    pub(crate) peers: PathBuf,
    pub(crate) catalog: Catalog,
    pub(crate) registry: Source,
}

impl World {
    /// The image that `nydus-image` makes of `source` with its defaults, made
    /// once and kept in `store`.
    pub(crate) fn nydus(source: &Path, store: &Path, peers: &Path) -> io::Result<Self> {
        let home = home(source, store)?.join("nydus");
        if !home.exists() {
            make(&home, |new| {
                fs::create_dir(new.join("blobs"))?;
                let mut line = Command::new(peers.join("nydus-image"));
                line.args(["create", "-t", "dir-rafs", "--fs-version", "6"])
                    .args(["--log-level", "error", "-B"])
                    .arg(new.join("image.boot"))
                    .arg("-D")
                    .arg(new.join("blobs"))
                    .arg(source);
                run(line)
            })?;
        }
        Self::open(source, &home, peers)
    }

    /// An image that this build's `tidegate build` makes; not kept.
    pub(crate) fn tidegate(
        source: &Path,
        home: &Path,
        peers: &Path,
        options: &[String],
    ) -> io::Result<Self> {
        let mut line = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        line.arg("build")
            .arg(source)
            .arg("--output")
            .arg(home)
            .args(options);
        run(line)?;
        Self::open(source, home, peers)
    }

    fn open(source: &Path, home: &Path, peers: &Path) -> io::Result<Self> {
        let (bootstrap, blobs) = (home.join("image.boot"), home.join("blobs"));
        Ok(Self {
            catalog: Catalog::new(source, &bootstrap)?,
            registry: Source::start(&blobs)?,
            peers: peers.to_owned(),
            bootstrap,
            blobs,
        })
    }

    /// The blob that holds the most, with its length.
    pub(crate) fn largest_blob(&self) -> io::Result<(String, u64)> {
        let mut found = (String::new(), 0);
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let len = entry.metadata()?.len();
            if len > found.1 {
                found = (entry.file_name().to_string_lossy().into_owned(), len);
            }
        }
        Ok(found)
    }
}

/// Where what was made of a tree is kept.
pub(crate) fn home(source: &Path, store: &Path) -> io::Result<PathBuf> {
    let name = source
        .file_name()
        .ok_or_else(|| io::Error::other(format!("{} has no name", source.display())))?;
    let home = store.join(name);
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// Makes a directory with `fill`, all or nothing.
fn make(home: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = home.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    fill(&new)?;
    fs::rename(&new, home)
}

/// Runs a program and says what it said when it fails.
pub(crate) fn run(mut line: Command) -> io::Result<()> {
    let output = line
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{line:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{line:?}: {}: {text}",
        output.status
    )))
}
