//! Proving what a cache directory holds, by the digests in its records.

use std::fmt;
use std::os::unix::fs::FileExt as _;

use serde::Serialize;

use super::super::evict::each_blob;
use super::super::extents;
use super::super::files::BlobFiles;
use super::super::lock::{self, Kind};
use super::{CacheDirectory, CacheError};

/// What a proof of the whole directory found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Chunks that are what their records name.
    pub good: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Chunks that are not, and were taken out of use.
    pub bad: Vec<BadChunk>,
    /// Chunks without a good record, which nobody can prove without their image.
    pub unknown: u64,
    /// Chunks that somebody wrote or evicted at that moment.
    pub busy: u64,
}

/// A chunk that was not what its record names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BadChunk {
    /// Id of the blob and the beginning of its layout digest.
    pub blob: String,
    /// Index of the chunk in the blob.
    pub index: u32,
    /// The digest that it should have.
    pub digest: String,
}

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            blob,
            index,
            digest,
        } = self;
        write!(
            f,
            "chunk {index} of {blob} is not what digest {digest} names: taken out of use"
        )
    }
}

/// What came of looking at one chunk.
enum Verdict {
    Good(u32),
    Bad(BadChunk),
    Unknown,
    Busy,
    Gone,
}

impl CacheDirectory {
    /// Proves all chunks whose digest is known, and takes bad ones out of use.
    ///
    /// # Errors
    /// When the directory cannot be read, or a bad chunk not be taken out of use.
    pub fn verify(&self) -> Result<VerifyReport, CacheError> {
        let mut report = VerifyReport::default();
        let looked = each_blob(&self.dir, |files| {
            for run in files.runs() {
                let there = run.clone().zip(files.resident(run));
                for index in there.filter_map(|(index, there)| there.then_some(index)) {
                    match prove(files, index)? {
                        Verdict::Good(len) => {
                            report.good += 1;
                            report.bytes += u64::from(len);
                        }
                        Verdict::Bad(bad) => report.bad.push(bad),
                        Verdict::Unknown => report.unknown += 1,
                        Verdict::Busy => report.busy += 1,
                        Verdict::Gone => {}
                    }
                }
            }
            Ok(())
        });
        looked.map_err(self.failed("verify"))?;
        Ok(report)
    }
}

/// Locks that are given back when dropped.
struct Locks<'a>(&'a BlobFiles, std::ops::Range<u32>);

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        let Self(files, run) = self;
        lock::unlock(&files.map, lock::pins(run.clone()));
        lock::unlock(&files.map, lock::claims(run.clone()));
    }
}

fn prove(files: &BlobFiles, index: u32) -> std::io::Result<Verdict> {
    let run = index..index.saturating_add(1);
    let _locks = Locks(files, run.clone());
    if !lock::try_lock(&files.map, lock::claims(run.clone()), Kind::Exclusive)?
        || !lock::try_lock(&files.map, lock::pins(run.clone()), Kind::Shared)?
    {
        return Ok(Verdict::Busy);
    }
    if files.resident(run.clone()) != [true] {
        return Ok(Verdict::Gone);
    }
    let Some(record) = files.record(index) else {
        return Ok(Verdict::Unknown);
    };
    let mut bytes = vec![0; usize::try_from(record.len).unwrap_or(0)];
    let read = files.data.read_exact_at(&mut bytes, record.offset);
    if read.is_ok() && record.algorithm.digest(&bytes) == record.digest {
        return Ok(Verdict::Good(record.len));
    }
    files.mark(run.clone(), false)?;
    // Who has pinned it needs the space; the bytes are out of use all the same.
    if lock::try_lock(&files.map, lock::pins(run), Kind::Exclusive)? {
        let end = record.offset.saturating_add(record.space());
        extents::punch(&files.data, record.offset..end)?;
    }
    Ok(Verdict::Bad(BadChunk {
        blob: files.stem.clone(),
        index,
        digest: record.digest.to_string(),
    }))
}
