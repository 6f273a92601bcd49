//! Walks the entries of an archive: headers, what extension headers say, and
//! where data begin.

use super::super::SourceError;
use super::header::{self, Header, padded};
use super::input::Input;
use super::pax::Pax;
use super::problem::EntryProblem;
use super::sparse;
use crate::build::tree::{Content, Meta, Xattrs, device_number};

/// Largest extension header (PAX records, long name), in bytes.
const EXTENSION_LIMIT: u64 = 16 << 20;

/// Longest target of a symbolic link, in bytes.
const TARGET_LIMIT: usize = 4095;

/// One entry.
#[derive(Debug)]
pub(in crate::build) struct Entry {
    /// Its name, as it is in the archive.
    pub(in crate::build) name: Vec<u8>,
    /// What it is.
    pub(in crate::build) kind: Kind,
}

/// What an entry is.
#[derive(Debug)]
pub(in crate::build) enum Kind {
    /// A further name of what has that name.
    Link(Vec<u8>),
    /// A regular file, whose data come next in the archive.
    File(Attributes, FileData),
    /// Anything else.
    Other(Attributes, Content),
}

/// Attributes of an entry that is no link.
#[derive(Debug)]
pub(in crate::build) struct Attributes {
    /// The usual ones.
    pub(in crate::build) meta: Meta,
    /// Extended ones, sorted by name, as they are in the archive.
    pub(in crate::build) xattrs: Xattrs,
}

/// How a file's data lie in the archive.
#[derive(Debug)]
pub(in crate::build) struct FileData {
    /// Bytes in the archive.
    pub(in crate::build) stored: u64,
    /// Length of the file.
    pub(in crate::build) size: u64,
    /// Which parts of a sparse file they are: offset and length, in order,
    /// without overlaps and inside the file.
    pub(in crate::build) pieces: Option<Vec<(u64, u64)>>,
}

/// What extension headers say about the next entry.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// The entries of an archive.
pub(in crate::build) struct Entries<I> {
    /// The archive. Of a file's data as much may be read as is stored.
    pub(in crate::build) input: I,
    /// Where the next header is.
    next: u64,
    /// Whether an archive may end without its mark.
    open_end: bool,
    global: Pax,
    pending: Pending,
}

impl<I: Input> Entries<I> {
    /// The entries of an archive that ends with its mark.
    pub(in crate::build) fn new(input: I) -> Self {
        Self {
            next: input.offset(),
            input,
            open_end: false,
            global: Pax::default(),
            pending: Pending::default(),
        }
    }

    /// As [`Entries::new`], of an archive that may end without its mark, since
    /// somebody else knows its end.
    pub(in crate::build) fn with_open_end(input: I) -> Self {
        Self {
            open_end: true,
            ..Self::new(input)
        }
    }

    /// The next entry; None at the end of the archive.
    ///
    /// # Errors
    /// A damaged archive, and headers that make no sense.
    pub(in crate::build) fn next(&mut self) -> Result<Option<Entry>, SourceError> {
        loop {
            let here = self.input.offset();
            self.input.skip(self.next.saturating_sub(here))?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.next = self.input.offset();
            match header.kind() {
                b'x' | b'X' | b'g' => self.pax(&header)?,
                b'L' => self.pending.long_name = Some(header::text(&self.extension(&header)?)),
                b'K' => self.pending.long_link = Some(header::text(&self.extension(&header)?)),
                // A volume label names the tape, not a file.
                b'V' => drop(self.extension(&header)?),
                _ => return self.entry(&header).map(Some),
            }
        }
    }

    /// The header at the current offset, None at the end mark.
    fn header(&mut self) -> Result<Option<Header>, SourceError> {
        let at = self.input.offset();
        let damaged = |input: &I, what| Err(input.label().damaged(what, at));
        let Some(block) = self.input.block()? else {
            return match (at, self.open_end) {
                (0, _) => damaged(&self.input, "it is empty"),
                (_, true) if !self.pending.any() => Ok(None),
                _ => damaged(&self.input, "the end mark is missing"),
            };
        };
        let Some(header) = Header::new(block) else {
            if self.pending.any() {
                return damaged(&self.input, "the entry of an extension header is missing");
            }
            return match self.input.block()?.map(Header::new) {
                None | Some(None) => Ok(None),
                Some(Some(_)) => damaged(&self.input, "a header of zeros"),
            };
        };
        if !header.checksum_holds() {
            let what = if at == 0 {
                "no header"
            } else {
                "a header's checksum is wrong"
            };
            return damaged(&self.input, what);
        }
        Ok(Some(header))
    }

    fn refuse(&self, name: &[u8], problem: EntryProblem) -> SourceError {
        self.input.label().refuse(name, problem)
    }

    fn pax(&mut self, header: &Header) -> Result<(), SourceError> {
        let global = header.kind() == b'g';
        let data = self.extension(header)?;
        let mut pax = match self.pending.pax.take() {
            Some(pax) if !global => pax,
            _ => self.global.clone(),
        };
        pax.apply(&data)
            .map_err(|problem| self.refuse(&header.name(), problem))?;
        if global {
            self.global = pax;
        } else {
            self.pending.pax = Some(pax);
        }
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, SourceError> {
        let size = header
            .size()
            .map_err(|problem| self.refuse(&header.name(), problem))?;
        if size > EXTENSION_LIMIT {
            let problem = EntryProblem::ExtensionTooLong(size);
            return Err(self.refuse(&header.name(), problem));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        self.input.read(&mut data)?;
        self.next = self.next.saturating_add(padded(size));
        Ok(data)
    }

    fn entry(&mut self, header: &Header) -> Result<Entry, SourceError> {
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
        match self.kind(header, &name, link, pax) {
            Ok(kind) => Ok(Entry { name, kind }),
            Err(problem) => Err(self.refuse(&name, problem)),
        }
    }

    fn kind(
        &mut self,
        header: &Header,
        name: &[u8],
        link: Vec<u8>,
        pax: Pax,
    ) -> Result<Kind, EntryProblem> {
        let kind = match header.kind() {
            b'0' | 0 | b'7' if name.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        if kind == b'1' {
            return Ok(Kind::Link(link));
        }
        let meta = header::meta(header, &pax)?;
        let content = match kind {
            b'0' | b'S' => {
                let data = self.file(header, &pax)?;
                let xattrs = pax.xattrs.into_iter().collect();
                return Ok(Kind::File(Attributes { meta, xattrs }, data));
            }
            b'2' => {
                if link.is_empty() || link.len() > TARGET_LIMIT || link.contains(&0) {
                    return Err(EntryProblem::Target(link.len()));
                }
                Content::Symlink(link.into_boxed_slice())
            }
            b'3' => Content::CharDevice(device(header)?),
            b'4' => Content::BlockDevice(device(header)?),
            b'5' => Content::Directory(Vec::new()),
            b'6' => Content::Fifo,
            other => return Err(EntryProblem::Type(char::from(other))),
        };
        let xattrs = pax.xattrs.into_iter().collect();
        Ok(Kind::Other(Attributes { meta, xattrs }, content))
    }

    /// How the data of a regular file lie; the next header is behind them.
    fn file(&mut self, header: &Header, pax: &Pax) -> Result<FileData, EntryProblem> {
        let whole = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let mut begin = self.input.offset();
        let input = &mut self.input;
        let map = sparse::Map::read(header, pax, whole, &mut begin, &mut |buffer, _| {
            // The map is read forward, block by block.
            input.read(buffer).map_err(std::io::Error::other)
        })?;
        // The map of some formats lies in the data and counts as stored.
        let stored = whole - map.as_ref().map_or(0, |map| map.inside);
        let end = begin.checked_add(stored).ok_or(EntryProblem::Truncated)?;
        self.next = padded(end);
        let (size, pieces) = match map {
            None => (stored, None),
            Some(map) => {
                map.check(stored)?;
                (map.size, Some(map.pieces))
            }
        };
        Ok(FileData {
            stored,
            size,
            pieces,
        })
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
