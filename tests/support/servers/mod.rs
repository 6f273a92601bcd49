//! Real servers for tests: each in a directory of its own, on a free port of
//! the loopback interface, gone when dropped.
//!
//! * [`registry`]: Debian's docker-registry, open, with passwords or with the
//!   tokens of [`token`], which signs them as that registry demands.
//! * [`nginx`]: static files over HTTP and HTTPS, with a CA of [`certificate`].
//! * [`s3`]: s3s-fs, which checks SigV4 signatures; other test servers, moto
//!   among them, let every signature pass.
//! * [`oss`]: ours, since there is no OSS server to install; it computes
//!   signatures by itself.
//!
//! A test begins with `if !available(&[…]) { return; }`. What is missing is said
//! and the test skipped; with `CI=true` it fails.

pub mod certificate;
pub mod loopback;
pub mod nginx;
pub mod oss;
pub mod process;
pub mod registry;
pub mod s3;
pub mod token;

use std::env;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

/// Where programs are that are not on every user's `PATH`.
const MORE_PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The file of a program.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path)
        .chain(MORE_PLACES.map(PathBuf::from))
        .chain(cargo.map(|home| home.join("bin")))
        .map(|place| place.join(program))
        .find(|file| file.is_file())
}

/// Whether all these programs are there.
///
/// # Panics
/// When one is missing and the environment says `CI=true`.
pub fn available(programs: &[&str]) -> bool {
    let missing = programs.iter().filter(|program| find(program).is_none());
    let missing: Vec<&str> = missing.copied().collect();
    if missing.is_empty() {
        return true;
    }
    let text = format!(
        "{} missing: run scripts/install-deps test",
        missing.join(", ")
    );
    assert!(env::var("CI").as_deref() != Ok("true"), "{text}");
    println!("SKIPPED: {text}");
    false
}

/// The id of a blob: its SHA-256.
pub fn blob_id(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
