//! Image layouts that are written to. Files get their names when they are
//! complete; one writer at a time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Layout, OciError};
use crate::chunk::Digest;
use crate::oci::manifest::{Descriptor, Index, REF_NAME};

/// What the file `oci-layout` holds.
const MARKER: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// An image layout that is written to.
#[derive(Debug)]
pub struct LayoutWriter {
    dir: PathBuf,
}

impl LayoutWriter {
    /// Opens the layout in `dir`, which is made if there is none.
    ///
    /// # Errors
    /// When the directory holds something else, or cannot be written.
    pub fn open(dir: &Path) -> Result<Self, OciError> {
        let layout = Self {
            dir: dir.to_owned(),
        };
        let blobs = layout.dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(failed("create directory", &blobs))?;
        if !dir.join("index.json").exists() {
            layout.write("oci-layout", MARKER)?;
            layout.write("index.json", &Index::default().to_bytes())?;
        }
        Layout::open(dir)?;
        Ok(layout)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a blob of that name and length.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        let found = fs::metadata(self.path(digest));
        found.is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    /// Keeps a blob; whoever calls has made sure of its digest.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), OciError> {
        self.write(&format!("blobs/sha256/{digest}"), bytes)
    }

    /// Keeps a blob that is in a file: as a further name of that, or a copy where
    /// that is not possible. The file must not be written to any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_file(&self, digest: &Digest, file: &Path) -> Result<(), OciError> {
        let path = self.path(digest);
        // One that is too short was left by somebody else.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace blob", &path)(error));
            }
            _ => {}
        }
        if fs::hard_link(file, &path).is_ok() {
            return Ok(());
        }
        let mut from = File::open(file).map_err(failed("open blob", file))?;
        self.keep(&path, |to| io::copy(&mut from, to).map(drop))
    }

    /// Enters a manifest or index into `index.json`, under a tag if there is one
    /// (which then leads nowhere else).
    ///
    /// # Errors
    /// What the system says, or when `index.json` is damaged.
    pub fn enter(&self, descriptor: &Descriptor, tag: Option<&str>) -> Result<(), OciError> {
        let mut index = Layout::open(&self.dir)?.index;
        let mut entry = descriptor.clone();
        if let Some(tag) = tag {
            entry.annotations.insert(REF_NAME.into(), tag.into());
        }
        index.manifests.retain(|known| {
            let named = known.annotations.get(REF_NAME);
            let same = known.digest == entry.digest && named.map(String::as_str) == tag;
            !(same || tag.is_some() && named.map(String::as_str) == tag)
        });
        index.manifests.push(entry);
        self.write("index.json", &index.to_bytes())
    }

    /// Keeps a small file beside the blobs.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OciError> {
        let path = self.dir.join(name);
        self.keep(&path, |to| to.write_all(bytes))
    }

    fn keep(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), OciError> {
        use std::os::unix::fs::PermissionsExt as _;
        let made = || -> io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".tidegate-")
                .permissions(fs::Permissions::from_mode(0o644))
                .tempfile_in(&self.dir)?;
            fill(file.as_file_mut())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        made().map_err(failed("write", path))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.to_string())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OciError {
    let path = path.to_owned();
    move |source| OciError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::DigestAlgorithm;
    use crate::oci::BlobSource as _;
    use crate::oci::manifest::media_type;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/layout");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"in a file").unwrap();
        for bytes in [&b"in memory"[..], b"in a file"] {
            let layout = LayoutWriter::open(&dir).unwrap();
            let digest = DigestAlgorithm::Sha256.digest(bytes);
            let size = bytes.len() as u64;
            assert!(!layout.has(&digest, size));
            match bytes {
                b"in a file" => layout.put_file(&digest, file.path()).unwrap(),
                _ => layout.put_bytes(&digest, bytes).unwrap(),
            }
            assert!(layout.has(&digest, size) && !layout.has(&digest, size + 1));
            let blob = Descriptor::of("x", bytes);
            assert_eq!(Layout::open(&dir).unwrap().read(&blob).unwrap(), bytes);
        }
        assert!(!dir.join("blobs/sha256/.tidegate-").exists());
    }

    #[test]
    fn a_tag_leads_to_what_was_entered_last() {
        let dir = tempfile::tempdir().unwrap();
        let layout = LayoutWriter::open(dir.path()).unwrap();
        let one = Descriptor::of(media_type::MANIFEST, b"1");
        let two = Descriptor::of(media_type::MANIFEST, b"2");
        layout.enter(&one, Some("a")).unwrap();
        layout.enter(&one, Some("b")).unwrap();
        layout.enter(&two, None).unwrap();
        layout.enter(&two, None).unwrap();
        layout.enter(&two, Some("a")).unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        assert_eq!(layout.find(Some("a")).unwrap().digest, two.digest);
        assert_eq!(layout.find(Some("b")).unwrap().digest, one.digest);
        assert_eq!(layout.index().manifests.len(), 3);
    }
}
