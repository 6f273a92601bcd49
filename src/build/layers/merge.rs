//! Merges converted layers into one tree, without reading their data.

use std::collections::HashMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::changes::{Change, What, is_clean};
use super::error::LayerError;
use super::overlay::Overlay;
use super::record::LayerImage;
use crate::build::options::BuildOptions;
use crate::build::pack::{PackError, Packed, PackedBlob, Statistics};
use crate::build::source::{EntryProblem, shown, xattr};
use crate::build::tree::{Content, Data, FileContent, Node, Tree};
use crate::chunk::Chunk;

/// Most blobs of an image: the format counts them with eight bits.
const BLOBS_MAX: usize = 254;

/// Layers on top of each other.
#[derive(Debug)]
pub struct Merged {
    /// The tree that is left.
    pub tree: Tree,
    /// The blobs whose chunks it uses: those of the layers, lowest first, then
    /// those of chunk dicts; and all their chunks.
    pub packed: Packed,
}

/// Lays the layers, lowest first, on top of each other.
///
/// # Errors
/// When a layer was converted with another chunk size or digest, its record
/// makes no sense, or it changes what is not there.
pub fn merge(layers: &[LayerImage], options: &BuildOptions) -> Result<Merged, LayerError> {
    let mut pool = Pool::default();
    let mut overlay = Overlay::new();
    for layer in layers {
        layer
            .check(options)
            .map_err(|(found, wanted)| LayerError::Differs {
                layer: format!("sha256:{}", layer.layer()),
                found,
                wanted,
            })?;
        let places = pool.add(layer)?;
        let refused = |path: &[u8], source| LayerError::Change {
            layer: format!("sha256:{}", layer.layer()),
            entry: shown(path),
            source,
        };
        overlay
            .begin(&layer.whiteouts)
            .map_err(|problem| refused(b"", problem))?;
        layer.changes(|change| match change {
            Change::Link { path, target } => {
                if !is_clean(path) || !is_clean(target) {
                    return Err(layer.bad("a path has dots"));
                }
                let done = overlay.link(path, target);
                done.map_err(|problem| refused(path, problem))
            }
            Change::Node {
                path,
                attributes,
                xattrs,
                what,
            } => {
                if !is_clean(path) {
                    return Err(layer.bad("a path has dots"));
                }
                for (key, value) in &xattrs {
                    xattr::check(key, value.len())
                        .map_err(|problem| layer.bad(&problem.to_string()))?;
                }
                let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
                let node = Node {
                    meta: attributes.into(),
                    xattrs: xattrs.into_iter().map(owned).collect(),
                    content: content(layer, &places, &pool, what, options.chunk_size)?,
                };
                let done = overlay.insert(path, node);
                done.map_err(|problem: EntryProblem| refused(path, problem))
            }
        })?;
        overlay.end();
    }
    let mut tree = overlay.finish();
    let packed = pool.finish(&mut tree)?;
    Ok(Merged { tree, packed })
}

/// What a node is; files refer to positions in the pool.
fn content(
    layer: &LayerImage,
    places: &[u32],
    pool: &Pool,
    what: What<'_>,
    chunk_size: u32,
) -> Result<Content, LayerError> {
    Ok(match what {
        What::File { size, first } => {
            let count = size.div_ceil(u64::from(chunk_size));
            let range = first
                .checked_add(count)
                .and_then(|end| Some(usize::try_from(first).ok()?..usize::try_from(end).ok()?));
            let list = range.and_then(|range| layer.references.get(range));
            let list = list.ok_or_else(|| layer.bad("a file has an unknown chunk"))?;
            let mut left = size;
            let mut chunks = Vec::with_capacity(list.len());
            for &reference in list {
                let place = usize::try_from(reference)
                    .ok()
                    .and_then(|at| places.get(at));
                let place = *place.ok_or_else(|| layer.bad("a file has an unknown chunk"))?;
                let len = pool.chunk(place).map_or(0, |chunk| u64::from(chunk.len));
                if len != left.min(u64::from(chunk_size)) {
                    return Err(layer.bad("a chunk of a file has another length"));
                }
                left -= len;
                chunks.push(place);
            }
            Content::File(FileContent {
                size,
                data: Data::Blobs,
                chunks,
            })
        }
        What::Directory => Content::Directory(Vec::new()),
        What::Symlink(target) => Content::Symlink(target.into()),
        What::CharDevice(number) => Content::CharDevice(number),
        What::BlockDevice(number) => Content::BlockDevice(number),
        What::Fifo => Content::Fifo,
    })
}

/// All blobs and chunks of all layers.
#[derive(Default)]
struct Pool {
    blobs: Vec<PackedBlob>,
    /// Position in `chunks` of each blob's first.
    starts: Vec<usize>,
    by_id: HashMap<String, usize>,
    chunks: Vec<Chunk>,
    /// The first of equal chunks, for each.
    firsts: Vec<u32>,
    /// The first of equal chunks, by content.
    index: HashTable<u32>,
}

impl Pool {
    /// Takes the chunks of a layer. For each of them in order, gives the
    /// position of the first chunk with its content.
    fn add(&mut self, layer: &LayerImage) -> Result<Vec<u32>, LayerError> {
        let mut places = Vec::with_capacity(layer.chunks.len());
        let mut rest = layer.chunks.as_slice();
        for blob in &layer.blobs {
            let count = usize::try_from(blob.chunks).unwrap_or(usize::MAX);
            let (own, others) = rest
                .split_at_checked(count)
                .ok_or_else(|| layer.bad("its tables are incomplete"))?;
            rest = others;
            let at = match self.by_id.get(&blob.id) {
                Some(&at) => {
                    let same = self
                        .blobs
                        .get(at)
                        .is_some_and(|it| it.chunks == blob.chunks);
                    if !same {
                        return Err(layer.bad("two layers differ on what a blob holds"));
                    }
                    at
                }
                None => self.add_blob(blob, own)?,
            };
            let start = self.starts.get(at).copied().unwrap_or_default();
            let firsts = self.firsts.get(start..start + count).unwrap_or_default();
            places.extend_from_slice(firsts);
        }
        Ok(places)
    }

    fn add_blob(&mut self, blob: &PackedBlob, chunks: &[Chunk]) -> Result<usize, LayerError> {
        let at = self.blobs.len();
        let number = u16::try_from(at).map_err(|_| PackError::TooManyBlobs(BLOBS_MAX))?;
        self.starts.push(self.chunks.len());
        self.by_id.insert(blob.id.clone(), at);
        self.blobs.push(blob.clone());
        self.chunks.reserve_exact(chunks.len());
        for chunk in chunks {
            let position =
                u32::try_from(self.chunks.len()).map_err(|_| PackError::TooManyChunks)?;
            let chunk = Chunk {
                blob: number,
                ..*chunk
            };
            self.chunks.push(chunk);
            let algorithm = |chunk: &Chunk| {
                let blob = self.blobs.get(usize::from(chunk.blob));
                blob.map(|blob| blob.algorithm)
            };
            let content = |chunk: &Chunk| (chunk.digest, chunk.len, algorithm(chunk));
            let equal = |other: &u32| {
                let other = self.chunks.get(*other as usize);
                other.is_some_and(|other| content(other) == content(&chunk))
            };
            let hash = |at: &u32| self.chunks.get(*at as usize).map_or(0, hash_of);
            let first = match self.index.entry(hash_of(&chunk), equal, hash) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => *entry.insert(position).get(),
            };
            self.firsts.push(first);
        }
        Ok(at)
    }

    fn chunk(&self, place: u32) -> Option<&Chunk> {
        self.chunks.get(usize::try_from(place).ok()?)
    }

    /// Leaves out the blobs that no file uses, and puts those of chunk dicts
    /// behind the others.
    fn finish(self, tree: &mut Tree) -> Result<Packed, LayerError> {
        let mut used = vec![false; self.blobs.len()];
        let mut seen = vec![false; self.chunks.len()];
        let mut statistics = Statistics::default();
        for node in &tree.nodes {
            let Content::File(file) = &node.content else {
                continue;
            };
            statistics.bytes = statistics.bytes.saturating_add(file.size);
            for &place in &file.chunks {
                statistics.chunks += 1;
                let Some(chunk) = self.chunk(place) else {
                    continue;
                };
                let blob = usize::from(chunk.blob);
                used[blob] = true;
                if std::mem::replace(&mut seen[place as usize], true) {
                    statistics.duplicate_chunks += 1;
                } else if self.blobs[blob].dict {
                    statistics.dict_chunks += 1;
                } else {
                    statistics.unique_bytes += u64::from(chunk.len);
                }
            }
        }
        let own = (0..self.blobs.len()).filter(|&at| used[at] && !self.blobs[at].dict);
        let dict = (0..self.blobs.len()).filter(|&at| used[at] && self.blobs[at].dict);
        let order: Vec<usize> = own.chain(dict).collect();
        if order.len() > BLOBS_MAX {
            return Err(PackError::TooManyBlobs(BLOBS_MAX).into());
        }
        let mut packed = Packed {
            blobs: Vec::with_capacity(order.len()),
            chunks: Vec::new(),
            leading: Vec::new(),
            statistics,
        };
        let mut starts = vec![0; self.blobs.len()];
        for (number, &at) in (0u16..).zip(&order) {
            let blob = &self.blobs[at];
            let (start, count) = (self.starts[at], blob.chunks as usize);
            starts[at] = packed.chunks.len();
            let chunks = self.chunks[start..start + count].iter();
            packed.chunks.extend(chunks.map(|chunk| Chunk {
                blob: number,
                ..*chunk
            }));
            packed.blobs.push(blob.clone());
            if !blob.dict {
                packed.statistics.stored_bytes += blob.stored_size;
            }
        }
        for node in &mut tree.nodes {
            let Content::File(file) = &mut node.content else {
                continue;
            };
            for place in &mut file.chunks {
                let chunk = &self.chunks[*place as usize];
                let position = starts[usize::from(chunk.blob)] + chunk.index as usize;
                *place = u32::try_from(position).map_err(|_| PackError::TooManyChunks)?;
            }
        }
        Ok(packed)
    }
}

/// The digest is as good as random.
fn hash_of(chunk: &Chunk) -> u64 {
    let (start, _) = chunk.digest.0.split_at(8);
    start.try_into().map_or(0, u64::from_le_bytes)
}
