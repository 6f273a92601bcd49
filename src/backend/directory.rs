//! Blobs as files of one directory, `<dir>/<blob id>`, or one file that is any
//! blob.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Backend, BackendError, BlobRange, Opening, whole};

/// Open files that are kept; past it all are closed and opened again as needed.
const OPEN_FILES: usize = 256;

/// A directory that holds each blob as a file named by its id.
#[derive(Debug)]
pub struct DirectoryBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Place {
    /// Holds a file per blob, named by its id.
    Dir(PathBuf),
    /// Is whichever blob is asked for.
    File(PathBuf),
}

#[derive(Debug)]
struct Shared {
    place: Place,
    open: Mutex<HashMap<String, Arc<File>>>,
}

impl DirectoryBackend {
    /// A backend over `dir`, which is looked at when a blob is read.
    pub fn new(dir: PathBuf) -> Self {
        Self::at(Place::Dir(dir))
    }

    /// A backend over one file, for images with one blob. Were it another blob,
    /// its chunks would fail their proof.
    pub fn file(file: PathBuf) -> Self {
        Self::at(Place::File(file))
    }

    fn at(place: Place) -> Self {
        let open = Mutex::default();
        Self {
            shared: Arc::new(Shared { place, open }),
        }
    }
}

impl Backend for DirectoryBackend {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        let (shared, id) = (Arc::clone(&self.shared), range.id.to_owned());
        let (offset, len) = (range.offset, range.len);
        Box::pin(async move {
            range.checked_id()?;
            let failed = (id.clone(), shared.describe());
            let bytes = crate::runtime::blocking(move || shared.read(&id, offset, len))
                .await
                .unwrap_or_else(|lost| {
                    let (id, source_name) = failed;
                    let source = io::Error::other(lost);
                    Err(BackendError::Io {
                        id,
                        source_name,
                        offset,
                        len,
                        source,
                    })
                })?;
            Ok(whole(bytes))
        })
    }

    fn describe(&self) -> String {
        self.shared.describe()
    }
}

impl Shared {
    fn describe(&self) -> String {
        match &self.place {
            Place::Dir(dir) => format!("directory {}", dir.display()),
            Place::File(file) => format!("file {}", file.display()),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        match &self.place {
            Place::Dir(dir) => dir.join(id),
            Place::File(file) => file.clone(),
        }
    }

    fn read(&self, id: &str, offset: u64, len: usize) -> Result<Bytes, BackendError> {
        let file = self.file(id)?;
        let mut bytes = vec![0; len];
        let got = read_full(&file, &mut bytes, offset).map_err(|source| BackendError::Io {
            id: id.to_owned(),
            source_name: self.describe(),
            offset,
            len,
            source,
        })?;
        if got < len {
            return Err(BackendError::Short {
                path: self.path(id),
                offset,
                wanted: len,
                got,
            });
        }
        Ok(bytes.into())
    }

    /// The open file of a blob. A file that was deleted or replaced since is
    /// opened anew, so that restoring a damaged blob needs no restart.
    fn file(&self, id: &str) -> Result<Arc<File>, BackendError> {
        let known = self.open.lock().get(id).cloned();
        if let Some(file) = known
            && file.metadata().is_ok_and(|meta| meta.nlink() > 0)
        {
            return Ok(file);
        }
        let path = self.path(id);
        let file = match open_regular(&path) {
            Ok(file) => Arc::new(file),
            Err(source) => return Err(BackendError::Open { path, source }),
        };
        let mut open = self.open.lock();
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert(id.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

/// Opens a regular file without ever waiting for the other end of a pipe.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Fills `buffer` from `offset` on; fewer bytes than fit mean end of file.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let (mut done, mut at) = (0, offset);
    while let Some(rest) = buffer.get_mut(done..)
        && !rest.is_empty()
    {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(got) => {
                done += got;
                at = at.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::backend::Class;

    fn id(digit: char) -> String {
        String::from(digit).repeat(64)
    }

    async fn read(
        backend: &DirectoryBackend,
        id: &str,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, BackendError> {
        let class = Class::Demand;
        let range = BlobRange {
            id,
            offset,
            len,
            class,
        };
        let parts: Vec<Bytes> = backend.open(range).await?.try_collect().await?;
        Ok(parts.concat().into())
    }

    #[tokio::test]
    async fn a_range_of_a_blob_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(id('a')), b"0123456789").unwrap();
        let backend = DirectoryBackend::new(dir.path().into());
        assert_eq!(&read(&backend, &id('a'), 3, 4).await.unwrap()[..], b"3456");
        assert!(read(&backend, &id('a'), 10, 0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_file_is_any_blob() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let backend = DirectoryBackend::file(file.path().into());
        assert_eq!(&read(&backend, &id('a'), 3, 4).await.unwrap()[..], b"3456");
        assert!(backend.describe().contains("file"));
    }

    #[tokio::test]
    async fn names_that_no_blob_has_never_reach_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let backend = DirectoryBackend::new(dir.path().into());
        let up = format!("../{}", "a".repeat(61));
        for bad in ["", "..", "/etc/passwd", up.as_str(), &"g".repeat(65)] {
            let error = read(&backend, bad, 0, 1).await.unwrap_err();
            assert!(matches!(error, BackendError::BadId { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_short_blob_is_an_error_that_names_file_offset_and_lengths() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(id('b'));
        std::fs::write(&path, b"0123456789").unwrap();
        let backend = DirectoryBackend::new(dir.path().into());
        let text = read(&backend, &id('b'), 8, 5)
            .await
            .unwrap_err()
            .to_string();
        for part in [path.to_str().unwrap(), "2 of 5", "offset 8"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[tokio::test]
    async fn a_blob_that_is_missing_or_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(id('d'))).unwrap();
        let backend = DirectoryBackend::new(dir.path().into());
        for bad in [id('c'), id('d')] {
            let error = read(&backend, &bad, 0, 1).await.unwrap_err();
            assert!(matches!(error, BackendError::Open { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_replaced_blob_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(id('e'));
        std::fs::write(&path, b"old").unwrap();
        let backend = DirectoryBackend::new(dir.path().into());
        read(&backend, &id('e'), 0, 3).await.unwrap();
        let staged = dir.path().join("staged");
        std::fs::write(&staged, b"new").unwrap();
        std::fs::rename(&staged, &path).unwrap();
        assert_eq!(&read(&backend, &id('e'), 0, 3).await.unwrap()[..], b"new");
    }
}
