//! What a cache directory holds.

use std::fs;

use serde::Serialize;

use super::super::evict::each_blob;
use super::super::files::BlobFiles;
use super::super::index::Index;
use super::super::lock::{self, Kind};
use super::super::place;
use super::{CacheDirectory, CacheError};

/// What a cache directory holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct StatReport {
    /// Directory of this version's files.
    pub directory: String,
    /// Bytes that all its files take on the disk.
    pub bytes: u64,
    /// Bytes that the limit is measured against; ahead of `bytes` while daemons
    /// write. None until a daemon with a limit or `gc` has run.
    pub counted_bytes: Option<u64>,
    /// Chunks that are there.
    pub chunks: u64,
    /// Bytes that the index takes, and its entries.
    pub index_bytes: u64,
    /// See `index_bytes`.
    pub index_entries: u64,
    /// One entry per blob.
    pub blobs: Vec<BlobReport>,
    /// Names beside ours in the directory, which nobody touches.
    pub foreign: Vec<String>,
}

/// One blob's cache.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlobReport {
    /// Id of the blob and the beginning of its layout digest.
    pub key: String,
    /// Chunks of the blob.
    pub chunks: u32,
    /// Chunks that are there.
    pub resident: u64,
    /// Bytes that the data file takes on the disk.
    pub bytes: u64,
    /// Whether a process has it open.
    pub in_use: bool,
}

impl CacheDirectory {
    /// What the directory holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stat(&self) -> Result<StatReport, CacheError> {
        let mut report = StatReport {
            directory: self.dir.display().to_string(),
            bytes: place::measure(&self.dir).map_err(self.failed("measure"))?,
            foreign: self.foreign().map_err(self.failed("list"))?,
            ..StatReport::default()
        };
        if self.dir.join(place::USAGE).exists() {
            report.counted_bytes = self.usage()?.get().map(|figures| figures.used);
        }
        if self.dir.join(place::INDEX).exists() {
            let size = Index::open(&self.dir).and_then(|index| index.size());
            (report.index_bytes, report.index_entries) = size.unwrap_or_default();
        }
        let looked = each_blob(&self.dir, |files| {
            let blob = look(files);
            report.chunks += blob.resident;
            report.blobs.push(blob);
            Ok(())
        });
        looked.map_err(self.failed("list"))?;
        Ok(report)
    }

    /// What lies in the directory that names it, and in the one of all versions,
    /// and is none of ours.
    fn foreign(&self) -> std::io::Result<Vec<String>> {
        let mut foreign = vec![];
        let parents = self.dir.ancestors().skip(1).take(2);
        let ours: [&[&str]; 2] = [&["v1", "traces"], &["tidegate"]];
        for (dir, ours) in parents.zip(ours) {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if !ours.iter().any(|name| entry.file_name() == *name) {
                    foreign.push(entry.path().display().to_string());
                }
            }
        }
        foreign.sort_unstable();
        Ok(foreign)
    }
}

fn look(files: &BlobFiles) -> BlobReport {
    let mut resident = 0_u64;
    for run in files.runs() {
        let there = files.resident(run).into_iter().filter(|&there| there);
        resident += there.map(|_| 1).sum::<u64>();
    }
    let free = lock::try_lock(&files.map, lock::in_use(), Kind::Exclusive);
    if matches!(free, Ok(true)) {
        lock::unlock(&files.map, lock::in_use());
    }
    BlobReport {
        key: files.stem.clone(),
        chunks: files.chunks(),
        resident,
        bytes: files.allocated().unwrap_or(0),
        in_use: matches!(free, Ok(false)),
    }
}
