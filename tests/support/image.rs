//! Images for tests, made by `tidegate build` of this very build.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::daemon::{Daemon, WORK};

/// Path of the file that [`small`] images hold for tests that only need one.
pub const FILE: &str = "data/noise";

/// Bytes of [`FILE`].
pub const FILE_LEN: usize = 300_000;

/// Byte `at` of [`FILE`].
pub fn file_byte(at: usize) -> u8 {
    let mixed = (at ^ (at >> 7)).wrapping_mul(0x9e37_79b9);
    u8::try_from((mixed >> 11) & 0xff).unwrap_or(0)
}

/// An image with the tree that it was made of.
#[derive(Debug)]
pub struct Image {
    home: TempDir,
}

impl Image {
    /// The source tree.
    pub fn source(&self) -> PathBuf {
        self.home.path().join("source")
    }

    /// Where bootstrap and blobs are.
    pub fn output(&self) -> PathBuf {
        self.home.path().join("image")
    }

    /// The bootstrap.
    pub fn bootstrap(&self) -> PathBuf {
        self.output().join("image.boot")
    }

    /// The directory of blobs.
    pub fn blobs(&self) -> PathBuf {
        self.output().join("blobs")
    }

    /// The root digest that the build printed, `sha256:<hex>`.
    ///
    /// # Errors
    /// When the build did not print one.
    pub fn root(&self) -> io::Result<String> {
        let text = fs::read_to_string(self.home.path().join("printed"))?;
        text.split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("the build printed no root: {text}")))
    }

    /// Serves the image with a cache of its own and further arguments.
    ///
    /// # Errors
    /// When the daemon cannot be started.
    pub fn serve(&self, arguments: &[&str]) -> io::Result<Daemon> {
        self.serve_with_cache(&format!("{WORK}/cache"), arguments)
    }

    /// Serves the image with the cache in directory `cache`.
    ///
    /// # Errors
    /// When the daemon cannot be started.
    pub fn serve_with_cache(&self, cache: &str, arguments: &[&str]) -> io::Result<Daemon> {
        let mut line = self.arguments();
        line.extend(["--cache".into(), cache.into()]);
        line.extend(arguments.iter().map(OsString::from));
        Daemon::tidegate(&line)
    }

    /// The options that name this image on a command line.
    pub fn arguments(&self) -> Vec<OsString> {
        vec![
            "--bootstrap".into(),
            self.bootstrap().into(),
            "--blobs".into(),
            self.blobs().into(),
        ]
    }
}

/// A few files and directories, one file of [`FILE_LEN`] bytes among them.
///
/// # Errors
/// When the tree cannot be written or the build fails.
pub fn small() -> io::Result<Image> {
    build(fill_small, &[])
}

/// Makes a tree with `fill`, and no image.
///
/// # Errors
/// When the tree cannot be made.
pub fn source_only(fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Image> {
    let image = Image {
        home: tempfile::Builder::new().prefix("image-").tempdir()?,
    };
    fs::create_dir(image.source())?;
    fill(&image.source())?;
    Ok(image)
}

/// Makes a tree with `fill` and an image of it.
///
/// # Errors
/// When either fails; the text holds what the build wrote to standard error.
pub fn build(fill: impl FnOnce(&Path) -> io::Result<()>, arguments: &[&str]) -> io::Result<Image> {
    let image = source_only(fill)?;
    let source = image.source();
    build_from(image, &source, arguments)
}

/// Makes an image of a tar archive, in GNU tar's PAX format, of the tree that
/// `fill` makes.
///
/// # Errors
/// When one of the three fails.
pub fn build_from_tar(
    fill: impl FnOnce(&Path) -> io::Result<()>,
    arguments: &[&str],
) -> io::Result<Image> {
    let image = source_only(fill)?;
    let archive = image.home.path().join("source.tar");
    let tar = Command::new("tar")
        .args(["--format=posix", "--xattrs", "--xattrs-include=*"])
        .args(["--numeric-owner", "--create", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(image.source())
        .arg(".")
        .output()?;
    if !tar.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&tar.stderr).into_owned(),
        ));
    }
    build_from(image, &archive, arguments)
}

fn build_from(image: Image, source: &Path, arguments: &[&str]) -> io::Result<Image> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("build")
        .arg(source)
        .arg("--output")
        .arg(image.output())
        .args(arguments)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    fs::write(image.home.path().join("printed"), output.stdout)?;
    Ok(image)
}

/// Bytes that do not compress; another `seed` gives others.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Writes the tree of [`small`].
///
/// # Errors
/// When it cannot be written.
pub fn fill_small(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("data/empty"))?;
    let content: Vec<u8> = (0..FILE_LEN).map(file_byte).collect();
    fs::write(root.join(FILE), content)?;
    fs::write(root.join("hello"), b"hello, guest\n")?;
    std::os::unix::fs::symlink("data/noise", root.join("link"))?;
    fs::create_dir(root.join("many"))?;
    for number in 0..200 {
        fs::write(root.join(format!("many/entry-{number:03}")), b"")?;
    }
    Ok(())
}
