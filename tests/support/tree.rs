//! Directory trees to make images of; `tree.py` does the work.

use std::io;
use std::path::Path;
use std::process::Command;

/// Everything that is hard to carry, in a directory of 20 MiB and some 3200
/// entries. Needs root.
///
/// # Errors
/// When the script fails; the text holds its complaint.
pub fn odd(directory: &Path) -> io::Result<()> {
    make(directory, &[])
}

/// The same without large files and directories.
///
/// # Errors
/// When the script fails; the text holds its complaint.
pub fn odd_small(directory: &Path) -> io::Result<()> {
    make(directory, &["--small"])
}

/// [`odd_small`] without what GNU tar cannot carry: a socket, and names of one
/// FIFO, which it takes for two.
///
/// # Errors
/// When the script fails; the text holds its complaint.
pub fn odd_for_tar(directory: &Path) -> io::Result<()> {
    odd_small(directory)?;
    std::fs::remove_file(directory.join("specials/socket"))?;
    std::fs::remove_file(directory.join("links/b/fifo"))
}

/// Any combination of the script's options.
///
/// # Errors
/// When the script fails; the text holds its complaint.
pub fn make(directory: &Path, options: &[&str]) -> io::Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tree.py");
    let output = Command::new("python3")
        .arg(script)
        .args(options)
        .arg(directory)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}
