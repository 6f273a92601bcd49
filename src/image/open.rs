//! Opens an image: superblocks, blob table, integrity section, pin.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::bounded_cache::bounded;
use crate::chunk::{BlobInfo, Digest, Form};
use crate::image::blob_table::read_blob_table;
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::hints::HintPlaces;
use crate::image::layout::{self, Layout, ProvedLayout};
use crate::image::list::List;
use crate::image::metadata::{Metadata, Section};
use crate::image::model::{NodeProof, NodeRef};
use crate::image::node::Node;
use crate::image::pin::{Pin, Refused};
use crate::image::proof::{self, ListHead, ListKind};
use crate::image::rafs::blob::BlobEntry;
use crate::image::rafs::superblock::{self, SuperBlock};
use crate::image::rafs::{BLOCK, BLOCK_LEN};
use crate::image::section::{self, BlobRecord, Trailer};
use crate::image::tree::{Summary, Tree};
use crate::image::{rafs5, tables, v5};

/// Bytes of nodes that stay in memory.
const NODE_BUDGET: u64 = 48 << 20;

#[derive(Clone, Debug)]
pub(crate) struct NodeWeight;

impl Weighter<(u64, Digest), Arc<Node>> for NodeWeight {
    fn weight(&self, _: &(u64, Digest), node: &Arc<Node>) -> u64 {
        let xattrs: usize = node
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let content = node.content.memory();
        (256 + xattrs + content) as u64
    }
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    pub(crate) tree: Tree,
    pub(crate) nodes: Cache<(u64, Digest), Arc<Node>, NodeWeight>,
    pub(crate) hints: HintPlaces,
    /// Blob and index of the chunks behind the runs of the trace, sorted.
    pub(crate) trace_ends: OnceLock<Box<[(u32, u32)]>>,
    pub(crate) entries: Vec<BlobEntry>,
    summary: Summary,
    blobs: Vec<BlobInfo>,
    root: NodeRef,
    root_digest: Option<Digest>,
    must_understand: u64,
    pinned: bool,
}

impl Image {
    /// Opens the bootstrap at `path`. Reads superblocks and tables; for images
    /// with a section the work does not depend on the number of inodes.
    ///
    /// # Errors
    /// When the file cannot be read, is no RAFS bootstrap, uses features
    /// that this version does not know, or is not what `pin` demands.
    pub fn open(path: &Path, pin: Pin) -> Result<Self, ImageError> {
        let (bootstrap, file_digest) = if pin.wants_bootstrap() {
            let (copy, digest) = Bootstrap::open_copy(path)?;
            (copy, Some(digest))
        } else {
            (Bootstrap::open(path)?, None)
        };
        let foreign = |reason| ImageError::NotABootstrap {
            path: path.to_owned(),
            reason,
        };
        if bootstrap.len() < BLOCK {
            return Err(foreign(format!("it has {} bytes", bootstrap.len())));
        }
        if rafs5::superblock::is_v5(&bootstrap.read(0, 8)?) {
            return Self::open_v5(bootstrap, &pin, file_digest);
        }
        let area = bootstrap.read(0, superblock::AREA)?;
        let superblock = SuperBlock::parse(&area).map_err(foreign)?;
        superblock
            .check_tables(bootstrap.len())
            .map_err(|bad| bootstrap.damaged(bad.to_string()))?;
        let entries = read_blob_table(&bootstrap, &superblock)?;
        let trailer_at = bootstrap.len() - section::TRAILER as u64;
        let trailer = Trailer::parse(&bootstrap.read(trailer_at, section::TRAILER)?);
        let root_nid = superblock.root_nid;

        let Some(trailer) = trailer else {
            let pinned = pin.judge(None, file_digest);
            let pinned = pinned.map_err(|reason| refused(path, reason, None, file_digest))?;
            let (chunks, layouts) = if superblock.is_tarfs() {
                (Vec::new(), vec![Digest::default(); entries.len()])
            } else {
                layout::load_all(&bootstrap, superblock.chunk_table, &entries)?
            };
            let blobs = entries.iter().zip(layouts).map(blob_info).collect();
            let root = NodeRef {
                nid: root_nid,
                proof: None,
            };
            let metadata = Metadata::new(bootstrap, superblock, None, Layout::Loaded(chunks));
            let tree = Tree::Erofs(metadata);
            return Ok(Self::assemble(tree, (entries, blobs), root, (None, pinned)));
        };

        let unknown = trailer.must_understand & !section::KNOWN_BITS;
        if trailer.version != proof::VERSION || unknown != 0 {
            return Err(ImageError::UnknownFeatures {
                path: path.to_owned(),
                version: trailer.version,
                bits: unknown,
            });
        }
        let digest = proof::root_digest(
            trailer.version,
            trailer.must_understand,
            superblock.chunk_size,
            superblock.algorithm,
            &trailer.root_node,
        );
        let pinned = pin.judge(Some(digest), file_digest);
        let pinned = pinned.map_err(|reason| refused(path, reason, Some(digest), file_digest))?;
        let section = Section {
            offset: trailer.offset,
            len: trailer.len,
        };
        if section
            .offset
            .checked_add(section.len)
            .is_none_or(|end| end > bootstrap.len())
        {
            return Err(bootstrap.damaged("the integrity section runs past the end"));
        }
        let records = read_blob_records(&bootstrap, &section, &trailer, entries.len())?;
        let mut lists = Vec::with_capacity(records.len());
        for (record, entry) in records.iter().zip(&entries) {
            let head = ListHead {
                count: u64::from(entry.chunks),
                ..ListHead::default()
            };
            let levels = section.offset.saturating_add(record.levels);
            let list = List {
                kind: ListKind::Layout,
                head,
                digest: record.layout,
                levels,
            };
            lists.push((list, record.first));
        }
        let layout = Layout::Proved(ProvedLayout::new(superblock.chunk_table.0, lists));
        let layouts = records.iter().map(|record| record.layout);
        let blobs = entries.iter().zip(layouts).map(blob_info).collect();
        let proof = NodeProof {
            digest: trailer.root_node,
            record: trailer.root_record,
        };
        let root = NodeRef {
            nid: root_nid,
            proof: Some(proof),
        };
        let metadata = Metadata::new(bootstrap, superblock, Some(section), layout);
        let tree = Tree::Erofs(metadata);
        let image = Self::assemble(tree, (entries, blobs), root, (Some(digest), pinned));
        Ok(Self {
            hints: trailer.hints,
            must_understand: trailer.must_understand,
            ..image
        })
    }

    /// Opens a RAFS v5 image. The digest of its root is no root digest: it
    /// covers no names and attributes.
    fn open_v5(
        bootstrap: Bootstrap,
        pin: &Pin,
        file_digest: Option<Digest>,
    ) -> Result<Self, ImageError> {
        let pinned = pin.judge(None, file_digest).map_err(|reason| {
            let path = bootstrap.path();
            match reason {
                Refused::NoRoot | Refused::Unpinned => ImageError::OnlyBootstrapDigest {
                    path: path.to_owned(),
                },
                other => refused(path, other, None, file_digest),
            }
        })?;
        let (metadata, blobs) = v5::open::open(bootstrap)?;
        let proof = NodeProof {
            digest: metadata.root_digest,
            record: 0,
        };
        let root = NodeRef {
            nid: v5::ROOT,
            proof: Some(proof),
        };
        let tree = Tree::V5(metadata);
        Ok(Self::assemble(
            tree,
            (Vec::new(), blobs),
            root,
            (None, pinned),
        ))
    }

    fn assemble(
        tree: Tree,
        (entries, blobs): (Vec<BlobEntry>, Vec<BlobInfo>),
        root: NodeRef,
        (root_digest, pinned): (Option<Digest>, bool),
    ) -> Self {
        Self {
            summary: tree.summary(),
            tree,
            nodes: bounded(1024, NODE_BUDGET, NodeWeight),
            hints: HintPlaces::default(),
            trace_ends: OnceLock::new(),
            entries,
            blobs,
            root,
            root_digest,
            must_understand: 0,
            pinned,
        }
    }

    /// The image's blobs, in the order that chunks refer to.
    pub fn blobs(&self) -> &[BlobInfo] {
        &self.blobs
    }

    /// The root directory.
    pub fn root(&self) -> NodeRef {
        self.root
    }

    /// The image's root digest; none without an integrity section.
    pub fn root_digest(&self) -> Option<Digest> {
        self.root_digest
    }

    /// SHA-256 of the bootstrap as it is now, all of which is read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bootstrap_digest(&self) -> Result<Digest, ImageError> {
        self.tree.bootstrap().digest()
    }

    /// The must-understand bits of the integrity section.
    pub fn must_understand(&self) -> u64 {
        self.must_understand
    }

    /// Whether a digest from outside vouches for the image: a pinned root, a
    /// pinned bootstrap file, or a list that has either.
    pub fn pinned(&self) -> bool {
        self.pinned
    }

    /// The digest of a RAFS v5 image's root, for information: it covers the
    /// content of files and links, but no names and attributes, and nothing
    /// outside the image vouches for it.
    pub fn root_inode_digest(&self) -> Option<Digest> {
        match &self.tree {
            Tree::V5(metadata) => Some(metadata.root_digest),
            Tree::Erofs(_) => None,
        }
    }

    /// What the superblocks say.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The bootstrap's path, for messages.
    pub fn path(&self) -> &Path {
        self.tree.bootstrap().path()
    }
}

/// The error that says why an image is not served.
fn refused(
    path: &Path,
    reason: Refused,
    root: Option<Digest>,
    bootstrap: Option<Digest>,
) -> ImageError {
    let path = path.to_owned();
    match (reason, root) {
        (Refused::Root(found, wanted), _) => ImageError::WrongRoot {
            path,
            found,
            wanted,
        },
        (Refused::Bootstrap(found, wanted), _) => ImageError::WrongBootstrap {
            path,
            found,
            wanted,
        },
        (Refused::Unpinned, Some(own)) => ImageError::RootRequired { path, own },
        (Refused::NoRoot | Refused::Unpinned, _) => ImageError::NoSection { path },
        (Refused::NotAllowed, _) => ImageError::NotAllowed {
            path,
            root,
            bootstrap,
        },
    }
}

fn blob_info((entry, layout): (&BlobEntry, Digest)) -> BlobInfo {
    // The blob table was read only if it makes sense.
    let packing = tables::packing(entry).unwrap_or_default();
    // Chunks of an archive are numbered by its blocks, and lie apart in the
    // cache.
    let (chunks, uncompressed_size) = match packing.form {
        Form::Tar => (
            u32::try_from(entry.stored_size.div_ceil(512)).unwrap_or(u32::MAX),
            entry.stored_size.next_multiple_of(512).saturating_mul(8),
        ),
        _ => (entry.chunks, entry.uncompressed_size),
    };
    BlobInfo {
        id: entry.id.clone(),
        algorithm: entry.algorithm,
        compressor: entry.compressor,
        chunks,
        uncompressed_size,
        stored_size: entry.stored_size,
        layout,
        packing,
    }
}

fn read_blob_records(
    bootstrap: &Bootstrap,
    section: &Section,
    trailer: &Trailer,
    blobs: usize,
) -> Result<Vec<BlobRecord>, ImageError> {
    if blobs == 0 {
        return Ok(Vec::new());
    }
    let at = section
        .at(trailer.blob_records)
        .ok_or_else(|| bootstrap.damaged("blob records outside the integrity section"))?;
    let bytes = bootstrap.read(at, blobs * BlobRecord::LEN)?;
    Ok(bytes
        .chunks_exact(BlobRecord::LEN)
        .map(BlobRecord::parse)
        .collect())
}

/// Compile-time reminder that a trailer fits the smallest bootstrap.
const _: () = assert!(section::TRAILER < BLOCK_LEN);
