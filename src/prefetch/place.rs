//! Where traces are kept.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::options::{Keep, PrefetchOptions};
use crate::chunk::Digest;
use crate::image::Image;
use crate::trace::Trace;

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
            .filter(|path| !Trace::read(path).is_ok_and(|trace| trace.complete))
            .map(Path::to_owned),
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
