//! Gives names to what was touched, and keeps the trace.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::place;
use crate::fs::touches::{Touched, Touches};
use crate::image::{Content, Image, ImageError, NodeRef};
use crate::trace::{Line, Trace};

/// Node id of the root, fixed by FUSE.
const ROOT: u64 = 1;

/// Parts of the time after which the trace so far is saved.
const PARTS: [u32; 2] = [12, 3];

/// Longest path that is written down, in names.
const DEPTH: usize = 4096;

/// Writes down what was touched.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) image: Arc<Image>,
    pub(super) touches: Arc<Touches>,
    pub(super) path: PathBuf,
    /// Whether the trace is one of many in a cache directory.
    pub(super) among_others: bool,
    pub(super) writing: Mutex<()>,
}

impl Recorder {
    /// Saves the trace when `after` has passed since the first read, or there
    /// are enough of them.
    pub(super) fn run(&self, after: Duration) {
        // A daemon that is killed should leave something.
        for part in PARTS {
            if !self.touches.wait(after / part) {
                return;
            }
            if !self.touches.is_full() {
                self.keep(&self.touches.so_far(), false);
            }
        }
        if self.touches.wait(after) {
            self.save(true);
        }
    }

    /// Saves the trace unless it was saved; `complete` says that recording
    /// was not cut short.
    pub(super) fn save(&self, complete: bool) {
        if let Some(touched) = self.touches.close() {
            self.keep(&touched, complete);
        }
    }

    /// Makes a trace of what was touched and writes it, if it is better than
    /// the one that is there.
    fn keep(&self, touched: &Touched, complete: bool) {
        if touched.order.is_empty() {
            return;
        }
        // Of the recorder's thread and the one that ends the daemon, none must
        // replace what the other is writing.
        let _one_by_one = self.writing.lock();
        let trace = Trace {
            chunk_size: Some(self.image.summary().chunk_size),
            complete,
            lines: lines(&self.image, touched),
            ignored: 0,
        };
        let path = self.path.display();
        match Trace::read(&self.path) {
            Ok(old) if !trace.replaces(&old) => {
                log::debug!("Trace {path} is kept, the new one says no more");
                return;
            }
            _ => {}
        }
        match trace.write(&self.path) {
            Ok(()) => {
                let kind = if complete { "Trace" } else { "Partial trace" };
                log::info!("{kind} of {} chunks saved to {path}", trace.lines.len());
                if self.among_others {
                    place::tidy(&self.path);
                }
            }
            Err(error) => log::warn!("Cannot save the trace to {path}: {error}"),
        }
    }
}

/// What was touched, by names. What cannot be named is left out.
fn lines(image: &Image, touched: &Touched) -> Vec<Line> {
    let names = names(image, touched);
    let mut paths = HashMap::new();
    let mut lines = Vec::with_capacity(touched.order.len());
    for touch in &touched.order {
        let path = paths
            .entry(touch.node)
            .or_insert_with(|| path(touched, &names, touch.node));
        if let Some(path) = path {
            let position = touch.position;
            let path = path.clone();
            lines.push(Line { position, path });
        }
    }
    lines
}

/// The path of a node without the slash before it.
fn path(touched: &Touched, names: &HashMap<u64, Vec<u8>>, node: u64) -> Option<Vec<u8>> {
    let (mut parts, mut id) = (Vec::new(), node);
    while id != ROOT {
        parts.push(names.get(&id)?.as_slice());
        id = touched.origins.get(&id)?.parent;
        if parts.len() > DEPTH {
            return None;
        }
    }
    parts.reverse();
    Some(parts.join(&b'/'))
}

/// The names of all nodes, each in the directory that it was found in.
fn names(image: &Image, touched: &Touched) -> HashMap<u64, Vec<u8>> {
    let mut wanted: HashMap<u64, Vec<u64>> = HashMap::new();
    for (id, origin) in &touched.origins {
        wanted.entry(origin.parent).or_default().push(*id);
    }
    let mut names = HashMap::new();
    for (directory, children) in wanted {
        let node = if directory == ROOT {
            image.root()
        } else if let Some(origin) = touched.origins.get(&directory) {
            origin.node
        } else {
            continue;
        };
        if let Err(error) = names_in(image, node, &children, &mut names) {
            log::warn!("The trace leaves out what cannot be named: {error}");
        }
    }
    names
}

/// Finds the names of `children` in a directory.
fn names_in(
    image: &Image,
    directory: NodeRef,
    children: &[u64],
    names: &mut HashMap<u64, Vec<u8>>,
) -> Result<(), ImageError> {
    let node = image.node(&directory)?;
    let Content::Directory(directory) = &node.content else {
        return Ok(());
    };
    // A child's id is its number in the image.
    let mut missing: hashbrown::HashSet<u64> = children.iter().copied().collect();
    for number in 0..directory.groups() {
        let group = image.group(directory, number)?;
        let mut position = 0;
        while let Some((name, entry)) = group.get(position) {
            position += 1;
            let nid = entry.target.nid();
            if missing.remove(&nid) {
                names.insert(nid, name.to_vec());
            }
        }
        if missing.is_empty() {
            break;
        }
    }
    Ok(())
}
