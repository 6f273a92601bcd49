//! A file that is named by the SHA-256 of its bytes. The digest is made on a
//! thread of its own, while the next bytes are written.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::Digest as _;
use tempfile::NamedTempFile;

use crate::chunk::Digest;

/// Bytes that are written at once.
const BLOCK: usize = 1 << 20;

/// Blocks that may wait for the hasher.
const BLOCKS: usize = 4;

/// A file being written; dropped unfinished, it is removed.
pub(in crate::build) struct Sink {
    file: NamedTempFile,
    block: Vec<u8>,
    len: u64,
    full: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    hasher: JoinHandle<Digest>,
}

impl Sink {
    /// Starts a file in `dir`.
    pub(in crate::build) fn new(dir: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new().prefix(".blob-").tempfile_in(dir)?;
        let (full, blocks) = bounded::<Vec<u8>>(BLOCKS);
        let (hashed, spare) = bounded(BLOCKS + 1);
        let hasher = std::thread::Builder::new()
            .name("tidegate-hash".into())
            .spawn(move || {
                let mut state = sha2::Sha256::new();
                for mut block in blocks {
                    state.update(&block);
                    block.clear();
                    // The other end leaves first when the file is done.
                    let _ = hashed.try_send(block);
                }
                Digest(state.finalize().into())
            })?;
        Ok(Self {
            file,
            block: Vec::with_capacity(BLOCK),
            len: 0,
            full,
            spare,
            hasher,
        })
    }

    /// Bytes so far.
    pub(in crate::build) fn len(&self) -> u64 {
        self.len
    }

    pub(in crate::build) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.len += u64::try_from(bytes.len()).unwrap_or_default();
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.block.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() >= BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes zeros up to a multiple of `unit`, a power of two up to 4096.
    pub(in crate::build) fn pad(&mut self, unit: u64) -> io::Result<()> {
        let gap = self.len.next_multiple_of(unit) - self.len;
        let zeros = [0; 4096];
        self.write(
            zeros
                .get(..usize::try_from(gap).unwrap_or_default())
                .unwrap_or_default(),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().write_all(&self.block)?;
        let next = self
            .spare
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        let full = std::mem::replace(&mut self.block, next);
        self.full
            .send(full)
            .map_err(|_| io::Error::other("the hashing thread ended"))
    }

    /// Makes the file durable and gives it its name, which is returned.
    pub(in crate::build) fn finish(mut self, dir: &Path) -> io::Result<String> {
        self.flush()?;
        drop(self.full);
        self.file
            .as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        self.file.as_file().sync_all()?;
        let digest = self.hasher.join();
        let digest = digest.map_err(|_| io::Error::other("the hashing thread panicked"))?;
        let name = digest.to_string();
        self.file
            .persist(dir.join(&name))
            .map_err(|error| error.error)?;
        Ok(name)
    }
}
