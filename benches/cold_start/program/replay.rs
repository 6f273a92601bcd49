//! Replays a recording one request after the other.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate::image::{Image, Pin};

use super::Step;
use crate::catalog::{self, Catalog};
use crate::guest::{Outcome, judge};
use crate::support::session::wire::{Body, ROOT, op};
use crate::support::session::{Answer, Failure, Session};

/// Paths that were looked up.
struct Known {
    nodes: HashMap<PathBuf, u64>,
    handles: HashMap<PathBuf, u64>,
}

impl Known {
    /// The node of a path; its parents are looked up where the recording did
    /// not.
    fn node(&mut self, guest: &mut Session, path: &Path) -> Answer<u64> {
        if path.as_os_str().is_empty() {
            return Ok(ROOT);
        }
        if let Some(node) = self.nodes.get(path) {
            return Ok(*node);
        }
        self.look(guest, path)
    }

    fn look(&mut self, guest: &mut Session, path: &Path) -> Answer<u64> {
        let parent = self.node(guest, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        let node = guest.lookup(parent, name.as_encoded_bytes())?.node;
        self.nodes.insert(path.to_owned(), node);
        Ok(node)
    }

    fn handle(&mut self, guest: &mut Session, path: &Path, node: u64) -> Answer<u64> {
        if let Some(handle) = self.handles.get(path) {
            return Ok(*handle);
        }
        let handle = guest.open(node)?;
        self.handles.insert(path.to_owned(), handle);
        Ok(handle)
    }
}

/// Sends all requests, each when the one before it is answered.
pub(crate) fn replay(
    guest: &mut Session,
    steps: &[Step],
    catalog: &Catalog,
) -> io::Result<Outcome> {
    let mut known = Known {
        nodes: HashMap::new(),
        handles: HashMap::new(),
    };
    let (mut answers, mut outcome) = (Vec::new(), Outcome::default());
    let start = Instant::now();
    for step in steps {
        let result = match step {
            Step::Look(path) => match known.look(guest, path) {
                // Programs look for much that is not there.
                Err(Failure::Errno(libc::ENOENT)) => Ok(()),
                other => other.map(drop),
            },
            Step::Read { path, offset, len } => {
                let asked = Instant::now();
                let answer = read(guest, &mut known, path, *offset, *len);
                outcome.latencies.push(asked.elapsed());
                if let Err(failure @ Failure::Lost(_)) = answer {
                    return Err(io::Error::other(format!("{step}: {failure}")));
                }
                answers.push((path, *offset, *len, answer));
                Ok(())
            }
            Step::List(path) => {
                let node = known.node(guest, path).map_err(io::Error::other)?;
                guest.list(node, true).map(drop)
            }
            Step::Link(path) => {
                let node = known.node(guest, path).map_err(io::Error::other)?;
                guest.readlink(node).map(drop)
            }
        };
        result.map_err(|failure| io::Error::other(format!("{step}: {failure}")))?;
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    for (path, offset, len, answer) in answers {
        judge(&mut outcome, path, offset, len, answer, catalog)?;
    }
    Ok(outcome)
}

fn read(
    guest: &mut Session,
    known: &mut Known,
    path: &Path,
    offset: u64,
    len: usize,
) -> Answer<Vec<u8>> {
    let node = known.node(guest, path)?;
    let handle = known.handle(guest, path, node)?;
    let body = Body::read(handle, offset, u32::try_from(len).unwrap_or(u32::MAX)).0;
    guest.raw(op::READ, node, &body, len)
}

/// Bytes that a program reads, and what its chunks take in the blob.
pub(crate) struct Volume {
    pub(crate) reads: u64,
    pub(crate) asked: u64,
    pub(crate) chunks: u64,
    pub(crate) stored: u64,
}

/// Adds up which chunks of an image a recording touches.
pub(crate) fn volume(steps: &[Step], bootstrap: &Path, catalog: &Catalog) -> io::Result<Volume> {
    let image = Image::open(bootstrap, Pin::default()).map_err(io::Error::other)?;
    let mut seen = HashSet::new();
    let mut volume = Volume {
        reads: 0,
        asked: 0,
        chunks: 0,
        stored: 0,
    };
    for step in steps {
        let Step::Read { path, offset, len } = step else {
            continue;
        };
        let got = catalog.truth(path, *offset, *len)?.len();
        volume.reads += 1;
        volume.asked += u64::try_from(got).unwrap_or(0);
        let end = offset + u64::try_from(got).unwrap_or(0);
        for piece in catalog::pieces(&image, path)? {
            let touched = piece.offset < end && piece.offset + piece.len > *offset;
            if touched && seen.insert(piece.id) {
                volume.chunks += 1;
                volume.stored += piece.stored;
            }
        }
    }
    Ok(volume)
}
