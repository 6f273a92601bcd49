//! Ranges of a bootstrap file, read into private memory.
//!
//! Others may write or truncate the file at any time, so it is never mapped,
//! and what is parsed is always a private copy.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::chunk::Digest;
use crate::image::error::ImageError;
use crate::image::rafs::toc::{self, Footer, Packed};
use crate::image::rafs5::superblock;

/// Most bytes that one read may ask for: bounds the memory that a hostile
/// length can claim.
const READ_MAX: usize = 64 << 20;

/// Bytes that are copied at a time.
const COPY_STEP: usize = 1 << 20;

/// Longest bootstrap that is unpacked out of a blob, in bytes.
const UNPACKED_MAX: u64 = 1 << 30;

/// A bootstrap in a blob.
enum Inlined {
    /// As it is: offset and length.
    Raw(u64, u64),
    /// It was compressed; this is a copy.
    Unpacked(fs::File),
}

/// An open bootstrap.
#[derive(Debug)]
pub struct Bootstrap {
    file: fs::File,
    path: PathBuf,
    /// Where it begins in the file.
    start: u64,
    len: u64,
}

impl Bootstrap {
    /// Opens the file at `path`: a bootstrap, or a blob that has one before the
    /// footer at its end, or names it in its table of contents.
    ///
    /// # Errors
    /// When it cannot be opened or is no regular file.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let fail = |source| ImageError::Open {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(fail(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )));
        }
        let mut bootstrap = Self {
            file,
            path: path.to_owned(),
            start: 0,
            len: meta.len(),
        };
        match bootstrap.inlined()? {
            None => {}
            Some(Inlined::Raw(start, len)) => (bootstrap.start, bootstrap.len) = (start, len),
            Some(Inlined::Unpacked(copy)) => {
                bootstrap.len = copy.metadata().map_err(fail)?.len();
                bootstrap.file = copy;
            }
        }
        Ok(bootstrap)
    }

    /// Where a bootstrap is in a blob; none if the file is none that has one.
    fn inlined(&self) -> Result<Option<Inlined>, ImageError> {
        let mut head = [0; superblock::MAGIC_END];
        let got = self.read_some(0, &mut head)?;
        let footer_at = self.len.checked_sub(toc::FOOTER as u64);
        let (Some(footer_at), false) = (footer_at, superblock::is_rafs(&head[..got])) else {
            return Ok(None);
        };
        let mut footer = [0; toc::FOOTER];
        self.read_into(footer_at, &mut footer)?;
        let Some(footer) = Footer::parse(&footer) else {
            return Ok(None);
        };
        let Some(at) = footer_at.checked_sub(footer.len) else {
            return Ok(None);
        };
        if footer.name == toc::BOOTSTRAP {
            return Ok(Some(Inlined::Raw(at, footer.len)));
        }
        if footer.name != toc::TOC {
            return Ok(None);
        }
        let len = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let entries = toc::parse(&self.read(at, len)?).map_err(|reason| self.damaged(reason))?;
        let Some(entry) = entries.iter().find(|it| it.name == toc::BOOTSTRAP) else {
            return Ok(None);
        };
        if entry
            .offset
            .checked_add(entry.len)
            .is_none_or(|end| end > at)
        {
            let (offset, len) = (entry.offset, entry.len);
            return Err(self.damaged(format!(
                "a bootstrap of {len} bytes at {offset} of the blob"
            )));
        }
        match entry.packed {
            Packed::None => Ok(Some(Inlined::Raw(entry.offset, entry.len))),
            Packed::Zstd => self.unpack(entry).map(|copy| Some(Inlined::Unpacked(copy))),
            Packed::Lz4 => {
                Err(self.damaged("a bootstrap that is compressed with lz4 (not supported)"))
            }
        }
    }

    /// A private copy of the bootstrap that lies compressed in this blob. Its
    /// digest in the table of contents is not compared: who trusts the table
    /// pins the bootstrap.
    fn unpack(&self, entry: &toc::Entry) -> Result<fs::File, ImageError> {
        let fail = |source| ImageError::Copy {
            path: self.path.clone(),
            source,
        };
        if entry.raw > UNPACKED_MAX {
            let raw = entry.raw;
            return Err(self.damaged(format!(
                "a bootstrap of {raw} bytes in the blob, at most {UNPACKED_MAX} are read"
            )));
        }
        let mut file = self.file.try_clone().map_err(fail)?;
        file.seek(io::SeekFrom::Start(entry.offset)).map_err(fail)?;
        let mut frame = zstd::Decoder::new(file.take(entry.len)).map_err(fail)?;
        let mut copy = tempfile::tempfile().map_err(fail)?;
        let len = io::copy(&mut frame.by_ref().take(entry.raw + 1), &mut copy).map_err(fail)?;
        if len != entry.raw {
            let raw = entry.raw;
            return Err(self.damaged(format!(
                "the bootstrap in the blob has another length than {raw} bytes"
            )));
        }
        Ok(copy)
    }

    /// Copies the file at `path` to a private unnamed file in the system's
    /// temporary directory, which is served in its place, and returns the
    /// SHA-256 of what was copied: nobody can change what was hashed. Of a blob
    /// with a bootstrap only the bootstrap is.
    ///
    /// # Errors
    /// As [`Bootstrap::open`]; also when the copy cannot be written.
    pub fn open_copy(path: &Path) -> Result<(Self, Digest), ImageError> {
        let original = Self::open(path)?;
        let fail = |source| ImageError::Copy {
            path: path.to_owned(),
            source,
        };
        let mut copy = tempfile::tempfile().map_err(fail)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; COPY_STEP];
        let mut at = 0;
        while at < original.len {
            let got = original.read_some(at, &mut buffer)?;
            let part = &buffer[..got];
            if part.is_empty() {
                break;
            }
            digest.update(part);
            copy.write_all(part).map_err(fail)?;
            at += part.len() as u64;
        }
        let copy = Self {
            file: copy,
            path: original.path,
            start: 0,
            len: at,
        };
        Ok((copy, Digest(digest.finalize().into())))
    }

    /// SHA-256 of the file as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self) -> Result<Digest, ImageError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; COPY_STEP];
        let mut at = 0;
        while at < self.len {
            let got = self.read_some(at, &mut buffer)?;
            if got == 0 {
                break;
            }
            digest.update(&buffer[..got]);
            at += got as u64;
        }
        Ok(Digest(digest.finalize().into()))
    }

    /// Length in bytes when the file was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it was empty when the file was opened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Path of the file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When the range is not inside the file or cannot be read.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        self.file
            .read_exact_at(buffer, self.start.saturating_add(offset))
            .map_err(|source| ImageError::Read {
                path: self.path.clone(),
                offset,
                len: buffer.len(),
                source,
            })
    }

    /// Reads `len` bytes at `offset`.
    ///
    /// # Errors
    /// As [`Bootstrap::read_into`]; also when `len` is more than 64 MiB or more
    /// than the file holds behind `offset`.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        if len > READ_MAX || offset.saturating_add(len as u64) > self.len {
            return Err(ImageError::Read {
                path: self.path.clone(),
                offset,
                len,
                source: io::ErrorKind::UnexpectedEof.into(),
            });
        }
        let mut buffer = vec![0; len];
        self.read_into(offset, &mut buffer)?;
        Ok(buffer)
    }

    /// Reads what there is at `offset`, at most `buffer.len()` bytes; returns
    /// how many.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        let buffer = &mut buffer[..len];
        let start = self.start.saturating_add(offset);
        let mut done = 0;
        while done < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[done..], start.saturating_add(done as u64))
            {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ImageError::Read {
                        path: self.path.clone(),
                        offset,
                        len: buffer.len(),
                        source,
                    });
                }
            }
        }
        Ok(done)
    }

    /// An error that says what is damaged.
    pub fn damaged(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Damaged {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    /// An error that says what could not be proved.
    pub fn unproved(&self, what: impl Into<String>) -> ImageError {
        ImageError::Unproved {
            path: self.path.clone(),
            what: what.into(),
        }
    }
}
