//! The layer that holds the bootstrap: a gzipped tar archive with the directory
//! `image` and the file `image/image.boot`, as nydus-snapshotter unpacks it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use sha2::Digest as _;
use tar::{Archive, Builder, EntryType, Header};

use super::ConvertError;
use super::place::Source;
use crate::chunk::Digest;
use crate::oci::manifest::{Descriptor, Manifest, media_type};
use crate::oci::media;

/// The file in the layer.
const FILE: &str = "image/image.boot";

/// Longest bootstrap that is taken: what the format can have.
const LONGEST: u64 = 2 << 30;

/// The version of the format that is written.
const FS_VERSION: &str = "6";

/// A layer that was written.
pub(super) struct Packed {
    /// Its descriptor, with the annotations that a snapshotter looks for.
    pub(super) descriptor: Descriptor,
    /// SHA-256 of the archive without compression.
    pub(super) diff_id: Digest,
}

/// Writes the layer for the bootstrap at `bootstrap` to `layer`. The same
/// bootstrap gives the same bytes.
///
/// # Errors
/// What the system says.
pub(super) fn pack(bootstrap: &Path, layer: &Path, root: &str) -> Result<Packed, ConvertError> {
    let made = || -> io::Result<(Digest, u64, Digest)> {
        let file = Hashed::new(File::create(layer)?);
        let gzip = GzBuilder::new().mtime(0).operating_system(255);
        let archive = Hashed::new(gzip.write(file, Compression::default()));
        let mut builder = Builder::new(archive);
        let mut directory = header(EntryType::Directory, 0o755, 0);
        builder.append_data(&mut directory, "image/", io::empty())?;
        let source = File::open(bootstrap)?;
        let mut file = header(EntryType::Regular, 0o444, source.metadata()?.len());
        builder.append_data(&mut file, FILE, BufReader::new(source))?;
        let archive = builder.into_inner()?;
        let (gzip, diff_id, _) = archive.finish();
        let (file, digest, size) = gzip.finish()?.finish();
        file.sync_all()?;
        Ok((digest, size, diff_id))
    };
    let (digest, size, diff_id) = made().map_err(ConvertError::io("write", layer))?;
    let mut descriptor = Descriptor::new(media_type::LAYER_GZIP, &digest, size);
    for (key, value) in [
        (media::IS_NYDUS_BOOTSTRAP, "true"),
        (media::NYDUS_FS_VERSION, FS_VERSION),
        (media::ROOT, root),
    ] {
        descriptor.annotations.insert(key.into(), value.into());
    }
    Ok(Packed {
        descriptor,
        diff_id,
    })
}

/// Takes the bootstrap out of an image of chunks.
///
/// # Errors
/// When the image has none, or its layer is damaged.
pub(super) fn extract(
    source: &Source,
    manifest: &Manifest,
    path: &Path,
) -> Result<(), ConvertError> {
    let marked = |layer: &&Descriptor| layer.annotations.contains_key(media::IS_NYDUS_BOOTSTRAP);
    let unfit = |reason: &str| ConvertError::unfit(&source.name, reason);
    let layer = manifest.layers.iter().find(marked).ok_or_else(|| {
        unfit("it is no image of chunks: none of its layers holds a bootstrap; convert it first")
    })?;
    let mut reader = BufReader::new(source.blobs.open(layer)?);
    let found = copy_out(&mut reader, path).map_err(|error| {
        let digest = &layer.digest;
        ConvertError::unfit(&source.name, format!("bootstrap layer {digest}: {error}"))
    })?;
    if !found {
        return Err(unfit(
            "its bootstrap layer has no image/image.boot; convert it again",
        ));
    }
    // What is read to the end is known to be what its digest says.
    io::copy(&mut reader, &mut io::sink())
        .map_err(|error| unfit(&format!("its bootstrap layer: {error}")))?;
    Ok(())
}

/// Whether the archive holds the bootstrap, which goes to `path`.
fn copy_out(reader: &mut impl io::BufRead, path: &Path) -> io::Result<bool> {
    let gzipped = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = match gzipped {
        true => Box::new(MultiGzDecoder::new(reader)),
        false => Box::new(reader),
    };
    let mut archive = Archive::new(plain);
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if name.strip_prefix(b"/").unwrap_or(name) != FILE.as_bytes() {
            continue;
        }
        let mut file = File::create(path)?;
        let copied = io::copy(&mut entry.take(LONGEST + 1), &mut file)?;
        if copied > LONGEST {
            return Err(io::Error::other("its bootstrap is over 2 GiB long"));
        }
        return Ok(true);
    }
    Ok(false)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Writes on, and knows the digest and number of what went by.
pub(super) struct Hashed<W> {
    inner: W,
    state: sha2::Sha256,
    len: u64,
}

impl<W: Write> Hashed<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            state: sha2::Sha256::new(),
            len: 0,
        }
    }

    pub(super) fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest(self.state.finalize().into()), self.len)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(bytes.get(..written).unwrap_or_default());
        self.len += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bootstrap_makes_the_same_layer() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("boot"), vec![7; 100_000]).unwrap();
        let one = pack(&at("boot"), &at("1"), "sha256:x").unwrap();
        let two = pack(&at("boot"), &at("2"), "sha256:x").unwrap();
        assert_eq!(one.descriptor, two.descriptor);
        let bytes = std::fs::read(at("1")).unwrap();
        assert_eq!(bytes, std::fs::read(at("2")).unwrap());
        let mut told = Descriptor::of(media_type::LAYER_GZIP, &bytes);
        told.annotations = one.descriptor.annotations.clone();
        assert_eq!(one.descriptor, told);

        let mut tar = Vec::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(Digest(sha2::Sha256::digest(&tar).into()), one.diff_id);
        let mut archive = Archive::new(&tar[..]);
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                (name, entry.header().mode().unwrap(), entry.size())
            })
            .collect();
        let wanted = [
            ("image/".to_owned(), 0o755, 0),
            ("image/image.boot".to_owned(), 0o444, 100_000),
        ];
        assert_eq!(entries, wanted);
        assert!(copy_out(&mut &bytes[..], &at("out")).unwrap());
        assert_eq!(std::fs::read(at("out")).unwrap(), vec![7; 100_000]);
    }
}
