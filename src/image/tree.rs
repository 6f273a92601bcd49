//! What an image is read from: one door for all formats.

use std::sync::Arc;

use crate::chunk::{Chunk, Compressor, DigestAlgorithm};
use crate::image::bootstrap::Bootstrap;
use crate::image::content::{ChunkGroup, Directory, File};
use crate::image::error::ImageError;
use crate::image::group::{Entry, Group};
use crate::image::metadata::Metadata;
use crate::image::model::NodeRef;
use crate::image::node::Node;
use crate::image::rafs::BLOCK;
use crate::image::v5::V5;

/// The format of a bootstrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// RAFS v5.
    RafsV5,
    /// RAFS v6, which is an EROFS image.
    RafsV6,
}

/// What the superblocks say of an image. Of this only the chunk size and the
/// digest algorithm of an image with an integrity section are proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The format.
    pub format: Format,
    /// Inodes that the image says it has.
    pub inodes: u64,
    /// Blocks of 4096 bytes of all blobs' uncompressed layouts.
    pub blocks: u64,
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Compressor of the image.
    pub compressor: Compressor,
    /// Algorithm of chunk digests.
    pub algorithm: DigestAlgorithm,
    /// Offset of the prefetch table in the bootstrap and number of its entries.
    pub prefetch_table: (u64, u64),
}

/// The metadata of an open image.
#[derive(Debug)]
pub(crate) enum Tree {
    Erofs(Metadata),
    V5(V5),
}

impl Tree {
    pub(crate) fn bootstrap(&self) -> &Bootstrap {
        match self {
            Self::Erofs(metadata) => &metadata.bootstrap,
            Self::V5(v5) => &v5.bootstrap,
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        match self {
            Self::Erofs(Metadata { superblock, .. }) => Summary {
                format: Format::RafsV6,
                inodes: superblock.inodes,
                blocks: u64::from(superblock.blocks) * superblock.block() / BLOCK,
                chunk_size: superblock.chunk_size,
                compressor: superblock.compressor,
                algorithm: superblock.algorithm,
                prefetch_table: (
                    superblock.prefetch_table.0,
                    u64::from(superblock.prefetch_table.1) / 4,
                ),
            },
            Self::V5(V5 {
                superblock, slots, ..
            }) => Summary {
                format: Format::RafsV5,
                inodes: superblock.inodes,
                blocks: slots.bytes() / BLOCK,
                chunk_size: superblock.chunk_size,
                compressor: superblock.compressor,
                algorithm: superblock.algorithm,
                prefetch_table: (superblock.prefetch_table.0, superblock.prefetch_table.1 / 4),
            },
        }
    }

    pub(crate) fn load(&self, node: &NodeRef) -> Result<Node, ImageError> {
        match self {
            Self::Erofs(metadata) => metadata.load(node),
            Self::V5(v5) => v5.load(node),
        }
    }

    pub(crate) fn find(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> Result<Option<Entry>, ImageError> {
        match (self, directory) {
            (Self::Erofs(metadata), Directory::Erofs(own)) => metadata.find(own, name),
            (Self::V5(v5), Directory::V5(own)) => v5.find(own, name),
            (Self::Erofs(_), Directory::V5(_)) | (Self::V5(_), Directory::Erofs(_)) => {
                Err(self.not_own())
            }
        }
    }

    pub(crate) fn group(
        &self,
        directory: &Directory,
        group: u64,
    ) -> Result<Arc<Group>, ImageError> {
        match (self, directory) {
            (Self::Erofs(metadata), Directory::Erofs(own)) => metadata.group(own, group),
            (Self::V5(v5), Directory::V5(own)) => v5.group(own, group),
            (Self::Erofs(_), Directory::V5(_)) | (Self::V5(_), Directory::Erofs(_)) => {
                Err(self.not_own())
            }
        }
    }

    pub(crate) fn chunk_group(
        &self,
        file: &File,
        size: u64,
        position: u64,
    ) -> Result<ChunkGroup, ImageError> {
        match (self, file) {
            (Self::Erofs(metadata), File::Erofs(own)) => metadata.chunk_group(own, size, position),
            (Self::V5(v5), File::V5(own)) => v5.chunk_group(own, size, position),
            (Self::Erofs(_), File::V5(_)) | (Self::V5(_), File::Erofs(_)) => Err(self.not_own()),
        }
    }

    /// The record of a chunk.
    pub(crate) fn chunk(&self, blob: u16, index: u32) -> Result<Chunk, ImageError> {
        match self {
            Self::Erofs(metadata) => metadata.layout.chunk(&metadata.bootstrap, blob, index),
            Self::V5(v5) => v5.slots.get(blob, index).ok_or_else(|| {
                let reason = format!("chunk {index} of blob number {blob}");
                v5.bootstrap.damaged(reason)
            }),
        }
    }

    /// The record of a chunk; none for one that the image does not list.
    pub(crate) fn listed(&self, blob: u16, index: u32) -> Result<Option<Chunk>, ImageError> {
        match self {
            Self::Erofs(metadata) => metadata.layout.listed(&metadata.bootstrap, blob, index),
            Self::V5(v5) => Ok(v5.slots.get(blob, index)),
        }
    }

    /// The metadata of an image that may have an integrity section.
    pub(crate) fn erofs(&self) -> Result<&Metadata, ImageError> {
        match self {
            Self::Erofs(metadata) => Ok(metadata),
            Self::V5(v5) => Err(v5.bootstrap.damaged("RAFS v5 has no integrity section")),
        }
    }

    /// A directory or file of one image was asked of another.
    fn not_own(&self) -> ImageError {
        self.bootstrap()
            .damaged("a node of an image of another format")
    }
}
