//! Reads a tar archive (plain, gzip or zstd) into a tree.
//!
//! Layout: POSIX.1-2017 `pax` and `ustar`, GNU tar's manual, "Tar Internals".
//! `entries` walks an archive from its first byte to its last; here it is
//! read by position, and files stay in it until their chunks are cut. The `tar`
//! crate gives the header's layout; the walk is our own, since that crate
//! splits PAX records at line feeds (which values may hold) and knows neither
//! global headers nor negative times.

use std::path::Path;
use std::sync::Arc;

use super::{SourceError, XattrProblem, shown, xattr};
use crate::build::tree::{Content, Data, FileContent, Node, Tree, Xattrs};

mod archive;
mod assembly;
pub(in crate::build) mod entries;
mod header;
pub(in crate::build) mod input;
mod pax;
mod problem;
mod sparse;
pub(in crate::build) mod spool;

use archive::Archive;
use assembly::Assembly;
use entries::{Attributes, Entries, FileData, Kind};
use input::Input;
use spool::Spool;

pub use problem::EntryProblem;

/// Reads the archive at `path`. Later entries replace earlier ones of the same
/// name; directories that have no entry get mode 0755, owner 0:0, time 0. What
/// is compressed or sparse is unpacked to unnamed files in `spool_dir`.
///
/// # Errors
/// A damaged archive, an entry that an image cannot hold (each names the
/// entry), and what the system refuses.
pub fn scan(path: &Path, spool_dir: &Path) -> Result<Tree, SourceError> {
    let mut entries = Entries::new(Archive::open(path, spool_dir)?);
    let mut assembly = Assembly::new();
    let mut spool = Spool::new(spool_dir);
    while let Some(entry) = entries.next()? {
        let name = &entry.name;
        let archive = &entries.input;
        let done = match entry.kind {
            Kind::Link(target) => assembly.link(name, &target),
            Kind::File(attributes, data) => {
                let content = file(archive, &mut spool, name, data)?;
                assembly.insert(name, node(name, attributes, content)?)
            }
            Kind::Other(attributes, content) => {
                assembly.insert(name, node(name, attributes, content)?)
            }
        };
        done.map_err(|problem| archive.label().refuse(name, problem))?;
    }
    Ok(assembly.finish())
}

fn node(name: &[u8], attributes: Attributes, content: Content) -> Result<Node, SourceError> {
    check_xattrs(name, &attributes.xattrs)?;
    Ok(Node {
        meta: attributes.meta,
        xattrs: attributes.xattrs,
        content,
    })
}

/// The content of a regular file whose data begin at the archive's offset.
fn file(
    archive: &Archive,
    spool: &mut Spool,
    name: &[u8],
    data: FileData,
) -> Result<Content, SourceError> {
    let begin = archive.offset();
    let end = begin.checked_add(data.stored);
    if end.is_none_or(|end| end > archive.len) {
        return Err(archive.label().refuse(name, EntryProblem::Truncated));
    }
    let (file, offset) = match data.pieces {
        None => (Arc::clone(&archive.file), begin),
        Some(pieces) => spool
            .expand(&archive.file, begin, &pieces, data.size)
            .map_err(|source| archive.label().failed("unpack a sparse file of", source))?,
    };
    Ok(Content::File(FileContent {
        size: data.size,
        data: Data::Range {
            file,
            offset,
            name: name.into(),
        },
        chunks: Vec::new(),
    }))
}

fn check_xattrs(name: &[u8], xattrs: &Xattrs) -> Result<(), SourceError> {
    let refuse = |key: &[u8], source: XattrProblem| SourceError::Xattr {
        path: shown(name),
        name: shown(key),
        source,
    };
    for (key, value) in xattrs {
        xattr::check(key, value.len()).map_err(|problem| refuse(key, problem))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
