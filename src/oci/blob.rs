//! Bytes that are checked against their digest as they are read.

use std::io::{self, Read};

use sha2::Digest as _;

use super::error::OciError;
use super::manifest::Descriptor;
use crate::chunk::Digest;

/// Most bytes of a document (index, manifest, configuration).
pub const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Where blobs are kept: an image layout, an archive, a registry.
pub trait BlobSource: Send + Sync {
    /// A name of the place for messages.
    fn place(&self) -> String;

    /// Opens a blob. What is read is not checked.
    ///
    /// # Errors
    /// When there is no such blob or it cannot be read.
    fn open_unchecked(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError>;

    /// Opens a blob whose bytes are checked: at its end, reading fails unless
    /// length and digest were right.
    ///
    /// # Errors
    /// As [`BlobSource::open_unchecked`]; also when the descriptor's digest is
    /// not SHA-256.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError> {
        let Some(digest) = blob.sha256() else {
            return Err(OciError::Invalid {
                what: format!("Descriptor {}", blob.digest),
                place: self.place(),
                reason: "only digests of the form sha256:HEX are supported".into(),
            });
        };
        let inner = self.open_unchecked(blob)?;
        Ok(Box::new(CheckedReader::new(inner, digest, blob.size)))
    }

    /// Reads a document whole.
    ///
    /// # Errors
    /// As [`BlobSource::open`]; also when it is longer than
    /// [`DOCUMENT_LIMIT`], or is not what its digest says.
    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, OciError> {
        if blob.size > DOCUMENT_LIMIT {
            return Err(OciError::Invalid {
                what: format!("Document {}", blob.digest),
                place: self.place(),
                reason: format!(
                    "it has {} bytes, more than {DOCUMENT_LIMIT} are not read",
                    blob.size
                ),
            });
        }
        let mut bytes = Vec::new();
        let mut reader = self.open(blob)?;
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(source) => Err(OciError::Blob {
                digest: blob.digest.clone(),
                place: self.place(),
                source,
            }),
        }
    }
}

/// Passes bytes on and checks them at their end.
#[derive(Debug)]
pub struct CheckedReader<R> {
    inner: R,
    digest: Digest,
    size: u64,
    seen: u64,
    /// None once the end was right.
    state: Option<sha2::Sha256>,
}

impl<R: Read> CheckedReader<R> {
    /// A reader of `size` bytes whose SHA-256 must be `digest`.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self {
            inner,
            digest,
            size,
            seen: 0,
            state: Some(sha2::Sha256::new()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(state) = self.state.take() else {
            return Ok(());
        };
        let found = Digest(state.clone().finalize().into());
        if self.seen == self.size && found == self.digest {
            return Ok(());
        }
        // Whoever reads on is told again.
        self.state = Some(state);
        let (seen, size, digest) = (self.seen, self.size, self.digest);
        Err(wrong(if seen == size {
            format!("its SHA-256 is {found}, not {digest}; fetch it again")
        } else {
            format!("it ends after {seen} of {size} bytes; fetch it again")
        }))
    }
}

impl<R: Read> Read for CheckedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let got = self.inner.read(buffer)?;
        if got == 0 {
            return self.end().map(|()| 0);
        }
        self.seen = self.seen.saturating_add(got as u64);
        if self.seen > self.size {
            let size = self.size;
            return Err(wrong(format!("it is longer than {size} bytes")));
        }
        if let Some(state) = &mut self.state {
            state.update(buffer.get(..got).unwrap_or_default());
        }
        Ok(got)
    }
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], told: &[u8], size: u64) -> io::Result<Vec<u8>> {
        let digest = Digest(sha2::Sha256::digest(told).into());
        let mut out = Vec::new();
        let mut reader = CheckedReader::new(bytes, digest, size);
        reader.read_to_end(&mut out)?;
        // The end stays the end.
        assert_eq!(reader.read(&mut [0; 4])?, 0);
        Ok(out)
    }

    #[test]
    fn only_the_bytes_of_the_digest_are_read_to_the_end() {
        assert_eq!(read(b"abc", b"abc", 3).unwrap(), b"abc");
        assert_eq!(read(b"", b"", 0).unwrap(), b"");
        for (bytes, told, size) in [
            (&b"abd"[..], &b"abc"[..], 3),
            (b"ab", b"abc", 3),
            (b"abcd", b"abc", 3),
            (b"abc", b"abc", 2),
            (b"abc", b"abc", 4),
        ] {
            assert!(read(bytes, told, size).is_err());
        }
    }

    #[test]
    fn a_wrong_end_is_told_each_time() {
        let mut reader = CheckedReader::new(&b"abd"[..], Digest::default(), 3);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 3);
        assert!(reader.read(&mut [0; 8]).is_err());
        assert!(reader.read(&mut [0; 8]).is_err());
    }
}
