//! Giving back what a cache directory need not hold.

use std::fs;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;
use serde::Serialize;

use super::super::evict::{self, each_blob};
use super::super::files::BlobFiles;
use super::super::index::{self, Fingerprint, Hint, Index};
use super::super::record::{self, Record};
use super::super::{free, place};
use super::{CacheDirectory, CacheError};

/// Files that were begun and not finished are left alone this long.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// How long another process' eviction is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GcOptions {
    /// Evict until the directory takes no more bytes than this.
    pub limit: Option<u64>,
    /// Remove blobs that no process has open and that were not used for so long.
    pub unused_for: Option<Duration>,
}

/// What went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct GcReport {
    /// Bytes that the directory took before.
    pub before: u64,
    /// Bytes that it takes now.
    pub after: u64,
    /// Bytes of chunks that were evicted for the limit.
    pub evicted: u64,
    /// Blobs whose files were removed.
    pub removed_blobs: u64,
    /// Entries of the index.
    pub index_entries: u64,
}

impl CacheDirectory {
    /// Frees what no chunk takes, removes blobs without chunks or use, evicts
    /// down to the limit, and brings the index up to date.
    ///
    /// # Errors
    /// When another process evicts all the time, or the system refuses.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, CacheError> {
        let usage = self.usage()?;
        let failed = self.failed("clean up");
        let start = Instant::now();
        let right = loop {
            if let Some(right) = usage.try_evicting() {
                break right;
            }
            if start.elapsed() > PATIENCE {
                let path = self.dir.clone();
                return Err(CacheError::Busy { path });
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut report = GcReport {
            before: place::measure(&self.dir).map_err(&failed)?,
            ..GcReport::default()
        };
        self.remove_unfinished().map_err(&failed)?;
        self.tidy(options, &mut report).map_err(&failed)?;
        if let Some(limit) = options.limit {
            let used = usage.measure().map_err(&failed)?;
            let epoch = usage.change(|figures| {
                figures.advance();
                figures.epoch
            });
            let epoch = epoch.map_err(&failed)?;
            let wanted = used.saturating_sub(limit);
            let credit = |bytes| usage.credit(bytes);
            report.evicted = evict::evict(&self.dir, epoch, wanted, credit).map_err(&failed)?;
        }
        report.index_entries = self.renew_index().map_err(self.failed("index"))?;
        report.after = usage.measure().map_err(&failed)?;
        drop(right);
        Ok(report)
    }

    fn tidy(&self, options: GcOptions, report: &mut GcReport) -> io::Result<()> {
        each_blob(&self.dir, |files| {
            free::free_garbage(files)?;
            let unused = options
                .unused_for
                .is_some_and(|long| is_older(&files.map, long));
            if (unused || !has_chunks(files)) && files.remove(&self.dir)? {
                report.removed_blobs += 1;
            }
            Ok(())
        })
    }

    /// Removes files that somebody began to make and was killed.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let temporary = name.starts_with("index.");
            let stem = [".data", ".table"]
                .iter()
                .find_map(|it| name.strip_suffix(it));
            let lonely = stem.is_some_and(|stem| {
                place::is_stem(stem) && !place::blob_path(&self.dir, stem, place::MAP).exists()
            });
            let old = entry.metadata().and_then(|meta| meta.modified());
            let old = old.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED));
            if (temporary || lonely) && old {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Drops hints to what is gone and adds those that are missing; returns how
    /// many there are.
    fn renew_index(&self) -> io::Result<u64> {
        let index = Index::open(&self.dir)?;
        let mut there: HashMap<u32, Vec<bool>> = HashMap::new();
        each_blob(&self.dir, |files| {
            let tag = index::tag(&files.stem);
            for run in files.runs() {
                let chunks = there.entry(tag).or_default();
                let from = usize::try_from(run.start).unwrap_or(usize::MAX);
                chunks.resize(from.max(chunks.len()), false);
                chunks.extend(files.resident(run));
            }
            Ok(())
        })?;
        index.compact(|hint| {
            let chunks = there.get(&hint.tag);
            let at = usize::try_from(hint.index).unwrap_or(usize::MAX);
            chunks.and_then(|chunks| chunks.get(at)) == Some(&true)
        })?;
        each_blob(&self.dir, |files| {
            let tag = index::tag(&files.stem);
            for run in files.runs() {
                let raw = files.raw_records(run.clone());
                let there = run.clone().zip(files.resident(run));
                for ((at, there), raw) in there.zip(raw.chunks(record::LEN)) {
                    let record = Record::decode(&files.stem, at, raw).filter(|_| there);
                    if let Some(it) = record {
                        let print = Fingerprint::of(it.algorithm, it.len, &it.digest);
                        index.add(print, Hint { tag, index: at })?;
                    }
                }
            }
            Ok(())
        })?;
        index.size().map(|(_, entries)| entries)
    }
}

fn has_chunks(files: &BlobFiles) -> bool {
    let mut runs = files.runs().into_iter();
    runs.any(|run| files.resident(run).contains(&true))
}

/// Whether a file was not written to for so long.
fn is_older(file: &fs::File, long: Duration) -> bool {
    let modified = file.metadata().and_then(|meta| meta.modified());
    let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    age.is_ok_and(|age| age >= long)
}
