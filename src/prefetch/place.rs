//! Where traces are kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::options::{Keep, PrefetchOptions};
use crate::chunk::Digest;
use crate::image::Image;
use crate::trace::Trace;

/// Most traces in a cache directory.
const TRACES_MAX: usize = 512;

/// Longest bootstrap without a root digest that is hashed for its name.
const HASHED_MAX: u64 = 64 << 20;

/// The trace of an image in the cache directory: by root digest, or else by
/// the digest of the bootstrap.
pub(super) fn auto(options: &PrefetchOptions, image: &Image) -> Option<PathBuf> {
    if options.replay != Keep::Auto && options.record != Keep::Auto {
        return None;
    }
    let cache = options.cache.as_deref()?;
    let key = match image.root_digest() {
        Some(root) => root,
        None => hash(image.path()).ok().flatten()?,
    };
    let name = format!("{key}.trace");
    Some(cache.join("tidegate").join("traces").join(name))
}

/// Where to record; none if nothing is to be recorded or a whole trace is
/// there already.
pub(super) fn record(options: &PrefetchOptions, auto: Option<&Path>) -> Option<PathBuf> {
    match &options.record {
        Keep::Off => None,
        Keep::File(path) => Some(path.clone()),
        Keep::Auto => auto
            .filter(|path| !Trace::is_complete(path))
            .map(Path::to_owned),
    }
}

/// Notes that a trace was of use.
pub(super) fn used(path: &Path) {
    let file = File::options().write(true).open(path);
    // A trace that cannot be marked counts as older than it is.
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes the traces beside `path` that were not used for longest, so that
/// at most [`TRACES_MAX`] are left.
pub(super) fn tidy(path: &Path) {
    let Some(entries) = path.parent().and_then(|dir| fs::read_dir(dir).ok()) else {
        return;
    };
    let mut traces: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_trace = Path::new(&entry.file_name()).extension()? == "trace";
            let used = entry.metadata().ok()?.modified().ok()?;
            is_trace.then(|| (used, entry.path()))
        })
        .collect();
    traces.sort();
    let many = traces.len().saturating_sub(TRACES_MAX);
    for (_, path) in traces.into_iter().take(many) {
        // Another daemon may have been first.
        let _ = fs::remove_file(path);
    }
}

fn hash(path: &Path) -> io::Result<Option<Digest>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > HASHED_MAX {
        return Ok(None);
    }
    let mut state = Sha256::new();
    io::copy(&mut file, &mut state)?;
    Ok(Some(Digest(state.finalize().into())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_many_traces_those_that_were_used_last_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = |number: usize| dir.path().join(format!("{number}.trace"));
        let start = SystemTime::now() - Duration::from_secs(86_400);
        for number in 0..TRACES_MAX + 3 {
            let file = File::create(path(number)).unwrap();
            let age = Duration::from_secs(number as u64);
            file.set_modified(start + age).unwrap();
        }
        File::create(dir.path().join("other")).unwrap();
        used(&path(1));
        tidy(&path(9));
        let there = |number| path(number).exists();
        assert!(!there(0) && there(1) && !there(2) && !there(3) && there(4));
        assert!(there(TRACES_MAX + 2) && dir.path().join("other").exists());
    }
}
