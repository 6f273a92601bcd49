//! Unnamed files that hold what an archive has only in another form:
//! decompressed archives and sparse files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::SourceError;

/// Bytes that are copied at once.
const COPY: usize = 256 << 10;

/// Unit in which sparse files are laid out, so that holes stay holes.
const PAGE: u64 = 4096;

/// Opens an archive for reading by position; its second value is its length.
/// What is compressed (by its first bytes) or no regular file goes through an
/// unnamed file in `spool_dir`.
pub(super) fn open(path: &Path, spool_dir: &Path) -> Result<(File, u64), SourceError> {
    let failed = |action, path: &Path, source| SourceError::Io {
        action,
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(|error| failed("open archive", path, error))?;
    let meta = file
        .metadata()
        .map_err(|error| failed("stat archive", path, error))?;
    let mut input = BufReader::with_capacity(COPY, file);
    let start = input
        .fill_buf()
        .map_err(|error| failed("read archive", path, error))?;
    if Packing::of(start) == Packing::None && meta.is_file() {
        return Ok((input.into_inner(), meta.len()));
    }
    let mut decoded = decoded(input).map_err(|error| failed("decompress archive", path, error))?;
    let mut spool = tempfile::tempfile_in(spool_dir)
        .map_err(|error| failed("make a temporary file in", spool_dir, error))?;
    let mut buffer = vec![0; COPY];
    let mut len = 0;
    loop {
        let got = match decoded.read(&mut buffer) {
            Ok(0) => return Ok((spool, len)),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("decompress archive", path, error)),
        };
        spool
            .write_all(buffer.get(..got).unwrap_or_default())
            .map_err(|error| failed("write a temporary file in", spool_dir, error))?;
        len += u64::try_from(got).unwrap_or_default();
    }
}

/// How an archive is compressed, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // Zstd's frames, and the skippable ones that may come before.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What `input` unpacks to, read to its last byte: plain, gzip or zstd.
///
/// # Errors
/// What the system says, and zstd's lack of memory.
pub(in crate::build) fn decoded<'a>(
    mut input: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    // A stream may bring its first bytes one by one.
    let mut start = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut start)?;
    let packing = Packing::of(&start);
    let input = io::Cursor::new(start).chain(input);
    Ok(match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Packing::None => Box::new(input),
    })
}

/// One file for all sparse files of an archive.
pub(super) struct Spool {
    dir: PathBuf,
    file: Option<Arc<File>>,
    len: u64,
}

impl Spool {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: None,
            len: 0,
        }
    }

    /// Lays out a sparse file of `size` bytes whose pieces are stored in `archive` from
    /// `offset` on; gives the file that it is in and where it begins.
    pub(super) fn expand(
        &mut self,
        archive: &File,
        mut offset: u64,
        pieces: &[(u64, u64)],
        size: u64,
    ) -> io::Result<(Arc<File>, u64)> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(tempfile::tempfile_in(&self.dir)?),
        };
        let start = self.len;
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let end = start.checked_add(size).ok_or_else(too_large)?;
        file.set_len(end)?;
        let mut buffer = vec![0; COPY];
        for (at, len) in pieces {
            let mut done = 0;
            while done < *len {
                let step = usize::try_from(len - done).unwrap_or(COPY).min(COPY);
                let part = buffer.get_mut(..step).unwrap_or_default();
                archive.read_exact_at(part, offset)?;
                file.write_all_at(part, start + at + done)?;
                let step = u64::try_from(step).unwrap_or_default();
                done += step;
                offset += step;
            }
        }
        self.len = end.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
        self.file = Some(Arc::clone(&file));
        Ok((file, start))
    }
}
