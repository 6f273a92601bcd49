//! What lies where in a tar archive that is read by position.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

use crate::chunk::Digest;

/// Links that are followed to a file of the archive.
const LINKS: usize = 8;

/// Bytes that are copied at once.
const COPY: usize = 256 << 10;

/// The files of an archive, by name.
#[derive(Default)]
pub(super) struct Entries {
    files: HashMap<PathBuf, (u64, u64)>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Entries {
    /// Walks the archive over what its entries hold.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut found = Self::default();
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let path = plain(Path::new(""), &entry.path()?);
            if let Some(target) = entry.link_name()? {
                let above = match entry.header().entry_type() {
                    tar::EntryType::Symlink => path.parent().unwrap_or(Path::new("")),
                    _ => Path::new(""),
                };
                let target = plain(above, &target);
                found.links.insert(path, target);
            } else if entry.header().entry_type().is_file() {
                let place = (entry.raw_file_position(), entry.size());
                found.files.insert(path, place);
            }
        }
        Ok(found)
    }

    /// Offset and length of a file; links are followed.
    pub(super) fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut path = plain(Path::new(""), Path::new(name));
        for _ in 0..LINKS {
            if let Some(place) = self.files.get(&path) {
                return Some(*place);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }
}

/// `path` as seen from `above`, without dots.
fn plain(above: &Path, path: &Path) -> PathBuf {
    let mut out = above.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir => out.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// A part of a file.
pub(super) struct Range {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Range {
    /// `left` bytes of `file` from `at` on.
    pub(super) fn new(file: &Arc<File>, at: u64, left: u64) -> Self {
        Self {
            file: Arc::clone(file),
            at,
            left,
        }
    }
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let got = self
            .file
            .read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// SHA-256 of all that `reader` gives.
pub(super) fn sha256(mut reader: impl Read) -> io::Result<Digest> {
    let mut state = sha2::Sha256::new();
    let mut buffer = vec![0; COPY];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest(state.finalize().into())),
            got => state.update(buffer.get(..got).unwrap_or_default()),
        }
    }
}

/// The file itself, or what it unpacks to.
pub(super) fn unpacked(mut file: File, spool_dir: &Path) -> io::Result<File> {
    let mut start = [0; 4];
    let got = file.read(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let mut decoded: Box<dyn Read> = match start.get(..got) {
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => return Ok(file),
    };
    let mut spool = tempfile::tempfile_in(spool_dir)?;
    io::copy(&mut decoded, &mut spool)?;
    spool.seek(SeekFrom::Start(0))?;
    Ok(spool)
}
