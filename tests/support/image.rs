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
        let mut line: Vec<OsString> = vec!["--bootstrap".into(), self.bootstrap().into()];
        line.extend(["--blobs".into(), self.blobs().into()]);
        line.extend(["--cache".into(), format!("{WORK}/cache").into()]);
        line.extend(arguments.iter().map(OsString::from));
        Daemon::tidegate(&line)
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
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("build")
        .arg(image.source())
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
