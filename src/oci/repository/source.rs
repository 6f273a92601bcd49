//! A repository as a source of blobs for code that waits.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use super::{Repository, RepositoryError};
use crate::oci::manifest::{Descriptor, media_type};
use crate::oci::reference::Which;
use crate::oci::{BlobSource, OciError};

/// Parts of a blob that may wait for its reader.
const AHEAD: usize = 64;

impl BlobSource for Arc<Repository> {
    fn place(&self) -> String {
        format!("repository {}", self.place)
    }

    /// What is read is checked all the same.
    fn open_unchecked(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError> {
        let failed = |source| OciError::Blob {
            digest: blob.digest.clone(),
            place: self.place(),
            source,
        };
        let runtime = crate::runtime::handle().map_err(failed)?;
        if is_document(&blob.media_type) {
            return self.document(blob, runtime).map_err(failed);
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (repository, blob) = (Arc::clone(self), blob.clone());
        let fetching = runtime.spawn(async move {
            let fetched = repository.fetch("a blob", &blob, &sender);
            fetched.await
        });
        Ok(Box::new(Incoming {
            receiver,
            current: Bytes::new(),
            fetching: Some(fetching),
            good: false,
            runtime,
        }))
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError> {
        self.open_unchecked(blob)
    }
}

/// Whether registries keep it among the manifests.
fn is_document(kind: &str) -> bool {
    media_type::is_index(kind) || media_type::is_manifest(kind)
}

impl Repository {
    fn document(
        &self,
        descriptor: &Descriptor,
        runtime: &tokio::runtime::Handle,
    ) -> io::Result<Box<dyn Read + Send>> {
        let digest = descriptor.sha256().ok_or(io::ErrorKind::Unsupported)?;
        let found = runtime.block_on(self.manifest(&Which::Digest(digest)));
        match found.map_err(io::Error::other)? {
            Some(found) => Ok(Box::new(io::Cursor::new(found.bytes))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A blob as it comes.
struct Incoming {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    /// Until its result is known.
    fetching: Option<tokio::task::JoinHandle<Result<(), RepositoryError>>>,
    /// Whether it came to its end and was right.
    good: bool,
    runtime: &'static tokio::runtime::Handle,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let Some(part) = self.receiver.blocking_recv() else {
                return self.end().map(|()| 0);
            };
            self.current = part;
        }
        let len = buffer.len().min(self.current.len());
        if let Some(buffer) = buffer.get_mut(..len) {
            self.current.copy_to_slice(buffer);
        }
        Ok(len)
    }
}

impl Incoming {
    fn end(&mut self) -> io::Result<()> {
        if let Some(fetching) = self.fetching.take() {
            let error = match self.runtime.block_on(fetching) {
                Ok(Ok(())) => {
                    self.good = true;
                    return Ok(());
                }
                Ok(Err(error)) => io::Error::other(error),
                Err(lost) => io::Error::other(lost),
            };
            return Err(error);
        }
        match self.good {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
