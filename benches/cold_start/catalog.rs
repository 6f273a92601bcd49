//! What an image holds: its regular files with their chunks, and the truth
//! about each byte, which is the tree that the image was made of.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tidegate::fs::walk;
use tidegate::image::{Content, Image, Pin};

/// A chunk as a file sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Position of the blob and index in it: equal for equal chunks.
    pub(crate) id: (u16, u32),
    /// Where it begins in the file.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Bytes in the blob.
    pub(crate) stored: u64,
    /// Offset in the blob.
    pub(crate) stored_offset: u64,
}

/// A regular file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Path below the root, without a slash before it.
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) pieces: Vec<Piece>,
}

/// All regular files that have content, each inode once, in the order of
/// their paths.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) source: PathBuf,
    pub(crate) files: Vec<Entry>,
}

impl Catalog {
    /// Looks at the tree and at the image that was made of it.
    pub(crate) fn new(source: &Path, bootstrap: &Path) -> io::Result<Self> {
        let image = Image::open(bootstrap, Pin::default()).map_err(io::Error::other)?;
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        visit(source, &mut |path| {
            let about = fs::symlink_metadata(path)?;
            if !about.is_file() || about.len() == 0 || !seen.insert(about.ino()) {
                return Ok(());
            }
            let path = path.strip_prefix(source).map_err(io::Error::other)?;
            let pieces = pieces(&image, path)?;
            files.push(Entry {
                path: path.to_owned(),
                size: about.len(),
                pieces,
            });
            Ok(())
        })?;
        Ok(Self {
            source: source.to_owned(),
            files,
        })
    }

    /// The bytes that a read must return.
    pub(crate) fn truth(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.source.join(path))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Calls `found` for everything below `directory`, in order of names, as tar
/// would.
fn visit(directory: &Path, found: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            visit(&entry.path(), found)?;
        } else {
            found(&entry.path())?;
        }
    }
    Ok(())
}

/// The chunks of a file.
pub(crate) fn pieces(image: &Image, path: &Path) -> io::Result<Vec<Piece>> {
    let mut absolute = b"/".to_vec();
    absolute.extend(path.as_os_str().as_bytes());
    let node = walk::find(image, &absolute).map_err(io::Error::other)?;
    let Content::File(file) = &node.content else {
        return Ok(Vec::new());
    };
    let (mut found, mut offset) = (Vec::new(), 0);
    let count = usize::try_from(file.chunks()).map_err(io::Error::other)?;
    while found.len() < count {
        let position = u64::try_from(found.len()).map_err(io::Error::other)?;
        let group = image
            .chunk_group(file, node.attr.size, position)
            .map_err(io::Error::other)?;
        for chunk in group.chunks.iter() {
            let len = u64::from(chunk.len);
            found.push(Piece {
                id: (chunk.blob, chunk.index),
                offset,
                len,
                stored: u64::from(chunk.stored_len),
                stored_offset: chunk.stored_offset,
            });
            offset += len;
        }
    }
    Ok(found)
}
