//! Reads a tar archive (plain, gzip or zstd) into a tree.
//!
//! Layout: POSIX.1-2017 `pax` and `ustar`, GNU tar's manual, "Tar Internals".
//! The archive is read by position and files stay in it until their chunks
//! are cut. The `tar` crate gives the header's layout; the walk is our own,
//! since that crate splits PAX records at line feeds (which values may hold)
//! and knows neither global headers nor negative times.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{SourceError, XattrProblem, shown, xattr};
use crate::build::tree::{Content, Data, FileContent, Node, Tree, Xattrs, device_number};

mod archive;
mod assembly;
mod header;
mod pax;
mod problem;
mod sparse;
mod spool;

use archive::Archive;
use assembly::Assembly;
use header::{BLOCK, Header, padded};
use pax::Pax;
use spool::Spool;

pub use problem::EntryProblem;

/// Largest extension header (PAX records, long name), in bytes.
const EXTENSION_LIMIT: u64 = 16 << 20;

/// Longest target of a symbolic link, in bytes.
const TARGET_LIMIT: usize = 4095;

/// Reads the archive at `path`. Later entries replace earlier ones of the same
/// name; directories that have no entry get mode 0755, owner 0:0, time 0. What
/// is compressed or sparse is unpacked to unnamed files in `spool_dir`.
///
/// # Errors
/// A damaged archive, an entry that an image cannot hold (each names the
/// entry), and what the system refuses.
pub fn scan(path: &Path, spool_dir: &Path) -> Result<Tree, SourceError> {
    let mut walk = Walk {
        archive: Archive::open(path, spool_dir)?,
        offset: 0,
        global: Pax::default(),
        pending: Pending::default(),
        assembly: Assembly::new(),
        spool: Spool::new(spool_dir),
    };
    while walk.step()? {}
    Ok(walk.assembly.finish())
}

/// What extension headers say about the next entry.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

struct Walk {
    archive: Archive,
    /// Where the next header is.
    offset: u64,
    global: Pax,
    pending: Pending,
    assembly: Assembly,
    spool: Spool,
}

impl Walk {
    /// Takes one header; false at the end of the archive.
    fn step(&mut self) -> Result<bool, SourceError> {
        let Some(header) = self.header()? else {
            return Ok(false);
        };
        match header.kind() {
            b'x' | b'X' | b'g' => {
                let global = header.kind() == b'g';
                let data = self.extension(&header)?;
                let mut pax = match self.pending.pax.take() {
                    Some(pax) if !global => pax,
                    _ => self.global.clone(),
                };
                pax.apply(&data)
                    .map_err(|problem| self.archive.refuse(&header.name(), problem))?;
                if global {
                    self.global = pax;
                } else {
                    self.pending.pax = Some(pax);
                }
            }
            b'L' => self.pending.long_name = Some(header::text(&self.extension(&header)?)),
            b'K' => self.pending.long_link = Some(header::text(&self.extension(&header)?)),
            // A volume label names the tape, not a file.
            b'V' => drop(self.extension(&header)?),
            _ => self.entry(&header)?,
        }
        Ok(true)
    }

    /// The header at the current offset, None at the end mark.
    fn header(&mut self) -> Result<Option<Header>, SourceError> {
        let at = self.offset;
        let Some(block) = self.archive.block(at)? else {
            let what = if self.archive.len == 0 {
                "it is empty"
            } else {
                "the end mark is missing"
            };
            return Err(self.archive.damaged(what, at));
        };
        self.offset += BLOCK;
        let Some(header) = Header::new(block) else {
            if self.pending.any() {
                return Err(self
                    .archive
                    .damaged("the entry of an extension header is missing", at));
            }
            return match self.archive.block(self.offset)?.map(Header::new) {
                None | Some(None) => Ok(None),
                Some(Some(_)) => Err(self.archive.damaged("a header of zeros", at)),
            };
        };
        if !header.checksum_holds() {
            let what = if at == 0 {
                "no header"
            } else {
                "a header's checksum is wrong"
            };
            return Err(self.archive.damaged(what, at));
        }
        Ok(Some(header))
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, SourceError> {
        let refuse = |problem| self.archive.refuse(&header.name(), problem);
        let size = header.size().map_err(refuse)?;
        if size > EXTENSION_LIMIT {
            return Err(refuse(EntryProblem::ExtensionTooLong(size)));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        self.archive.read(&mut data, self.offset)?;
        self.offset += padded(size);
        Ok(data)
    }

    fn entry(&mut self, header: &Header) -> Result<(), SourceError> {
        let Pending {
            pax,
            long_name,
            long_link,
        } = std::mem::take(&mut self.pending);
        let mut pax = pax.unwrap_or_else(|| self.global.clone());
        let name = pax.sparse.name.take().or(pax.path.take()).or(long_name);
        let name = name.unwrap_or_else(|| header.name());
        let link = pax
            .linkpath
            .take()
            .or(long_link)
            .unwrap_or_else(|| header.link());
        let problem = |walk: &Self, problem| walk.archive.refuse(&name, problem);

        let kind = match header.kind() {
            b'0' | 0 | b'7' if name.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        if kind == b'1' {
            return self
                .assembly
                .link(&name, &link)
                .map_err(|p| problem(self, p));
        }
        let meta = header::meta(header, &pax).map_err(|p| problem(self, p))?;
        let content = match kind {
            b'0' | b'S' => self.file(header, &name, &pax)?,
            b'2' => {
                if link.is_empty() || link.len() > TARGET_LIMIT || link.contains(&0) {
                    return Err(problem(self, EntryProblem::Target(link.len())));
                }
                Content::Symlink(link.into_boxed_slice())
            }
            b'3' => Content::CharDevice(device(header).map_err(|p| problem(self, p))?),
            b'4' => Content::BlockDevice(device(header).map_err(|p| problem(self, p))?),
            b'5' => Content::Directory(Vec::new()),
            b'6' => Content::Fifo,
            other => return Err(problem(self, EntryProblem::Type(char::from(other)))),
        };
        let xattrs = xattrs(&name, pax)?;
        let node = Node {
            meta,
            xattrs,
            content,
        };
        self.assembly
            .insert(&name, node)
            .map_err(|p| problem(self, p))
    }

    /// The content of a regular file; moves past its data.
    fn file(&mut self, header: &Header, name: &[u8], pax: &Pax) -> Result<Content, SourceError> {
        let refuse = |walk: &Self, problem| walk.archive.refuse(name, problem);
        let stored = match pax.size {
            Some(size) => size,
            None => header.size().map_err(|p| refuse(self, p))?,
        };
        let map = sparse::Map::read(header, pax, stored, &mut self.offset, &mut |buffer, at| {
            self.archive.file.read_exact_at(buffer, at)
        });
        let map = map.map_err(|p| refuse(self, p))?;
        // The map of some formats lies in the data and counts as stored.
        let stored = stored - map.as_ref().map_or(0, |map| map.inside);
        let end = self
            .offset
            .checked_add(stored)
            .filter(|end| *end <= self.archive.len);
        let Some(end) = end else {
            return Err(refuse(self, EntryProblem::Truncated));
        };
        let (data, size) = match map {
            None => {
                let name = name.to_vec().into_boxed_slice();
                (
                    Data::Range {
                        file: Arc::clone(&self.archive.file),
                        offset: self.offset,
                        name,
                    },
                    stored,
                )
            }
            Some(map) => {
                map.check(stored).map_err(|p| refuse(self, p))?;
                let (file, offset) = self
                    .spool
                    .expand(&self.archive.file, self.offset, &map)
                    .map_err(|source| self.archive.failed("unpack a sparse file of", source))?;
                (
                    Data::Range {
                        file,
                        offset,
                        name: name.to_vec().into_boxed_slice(),
                    },
                    map.size,
                )
            }
        };
        self.offset = padded(end);
        Ok(Content::File(FileContent {
            size,
            data,
            chunks: Vec::new(),
        }))
    }
}

impl Pending {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

fn device(header: &Header) -> Result<u32, EntryProblem> {
    let (major, minor) = header.device()?;
    device_number(major, minor).ok_or(EntryProblem::Device { major, minor })
}

fn xattrs(name: &[u8], pax: Pax) -> Result<Xattrs, SourceError> {
    let refuse = |key: &[u8], source: XattrProblem| SourceError::Xattr {
        path: shown(name),
        name: shown(key),
        source,
    };
    for (key, value) in &pax.xattrs {
        xattr::check(key, value.len()).map_err(|problem| refuse(key, problem))?;
    }
    Ok(pax.xattrs.into_iter().collect())
}

#[cfg(test)]
mod tests;
