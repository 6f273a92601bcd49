//! How much of its limit the cache directory uses, and the epoch that uses of
//! chunks are noted with: one small file (`figures`), changed under a lock.
//!
//! When there is no figure in it, the directory is measured anew. The figure counts
//! what was promised to writers, so it runs ahead of the disk; each measurement sets
//! it right. Who writes holds a shared lock meanwhile, and who measures waits for
//! that, so that nothing is overlooked that was promised and is not there yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::figures::{Figures, LEN, now};
use super::lock::{self, Kind};
use super::place;

/// Bytes whose locks protect the figures and the work of evicting, and tell of
/// writes under way.
const FIGURES: std::ops::Range<u64> = 0..1;
const EVICTING: std::ops::Range<u64> = 1..2;
const WRITING: std::ops::Range<u64> = 2..3;

/// How long to wait for another thread that is at the figures.
const SOON: Duration = Duration::from_millis(200);

/// How long to wait for writes under way: who does them may have been stopped.
const WRITES: Duration = Duration::from_millis(50);

/// An epoch does not last longer than this, so that uses can be told apart
/// where nothing is ever evicted.
const LONGEST_EPOCH: Duration = Duration::from_secs(600);

/// The right to evict: one at a time in the directory.
pub(in crate::store) struct Evicting<'a> {
    usage: &'a Usage,
    _gate: MutexGuard<'a, ()>,
}

impl Drop for Evicting<'_> {
    fn drop(&mut self) {
        lock::unlock(&self.usage.file, EVICTING);
    }
}

/// Leave to write what was promised, until dropped.
pub(in crate::store) struct Promise<'a> {
    usage: &'a Usage,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut writers = self.usage.writers.lock();
        *writers -= 1;
        if *writers == 0 {
            lock::unlock(&self.usage.file, WRITING);
            self.usage.written.notify_all();
        }
    }
}

/// The file of one directory.
#[derive(Debug)]
pub(in crate::store) struct Usage {
    dir: PathBuf,
    file: File,
    gate: Mutex<()>,
    evicting: Mutex<()>,
    /// Writes under way in this process; one lock stands for all of them.
    writers: Mutex<usize>,
    written: Condvar,
    epoch: Arc<AtomicU16>,
}

impl Usage {
    /// Opens or makes the file. `epoch` is kept up to date with it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(in crate::store) fn open(dir: &Path, epoch: Arc<AtomicU16>) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            file: place::open_shared(&dir.join(place::USAGE))?,
            gate: Mutex::new(()),
            evicting: Mutex::new(()),
            writers: Mutex::new(0),
            written: Condvar::new(),
            epoch,
        })
    }

    /// The figures now; none when there are no good ones.
    pub(in crate::store) fn get(&self) -> Option<Figures> {
        let mut bytes = [0; LEN];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        Figures::decode(&bytes)
    }

    /// Changes the figures, and gives what `change` gives.
    ///
    /// # Errors
    /// When the file cannot be locked soon or written, or the directory cannot
    /// be measured.
    pub(in crate::store) fn change<T>(
        &self,
        change: impl FnOnce(&mut Figures) -> T,
    ) -> io::Result<T> {
        self.with_lock(|| self.change_locked(change))
    }

    fn with_lock<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let busy = || {
            io::Error::new(
                io::ErrorKind::WouldBlock,
                "The cache's usage file is locked",
            )
        };
        let _gate = self.gate.try_lock_for(SOON).ok_or_else(busy)?;
        if !lock::lock_soon(&self.file, FIGURES, Kind::Exclusive)? {
            return Err(busy());
        }
        let done = work();
        lock::unlock(&self.file, FIGURES);
        done
    }

    fn change_locked<T>(&self, change: impl FnOnce(&mut Figures) -> T) -> io::Result<T> {
        let before = self.get();
        let mut figures = match before {
            Some(figures) => figures,
            None => Figures::new(place::measure(&self.dir)?),
        };
        let answer = change(&mut figures);
        if before != Some(figures) {
            self.file.write_all_at(&figures.encode(), 0)?;
        }
        self.epoch.store(figures.epoch, Relaxed);
        Ok(answer)
    }

    /// Promises `bytes` to a writer, if the limit allows.
    ///
    /// # Errors
    /// As [`Usage::change`].
    pub(in crate::store) fn charge(
        &self,
        bytes: u64,
        limit: u64,
    ) -> io::Result<Option<Promise<'_>>> {
        self.with_lock(|| {
            let granted = self.change_locked(|figures| {
                let after = figures.used.saturating_add(bytes);
                let fits = after <= limit;
                if fits {
                    figures.used = after;
                    figures.write(bytes, limit);
                }
                fits
            })?;
            if !granted {
                return Ok(None);
            }
            let mut writers = self.writers.lock();
            if *writers == 0 {
                // Who cannot lock is overlooked by who measures.
                let _ = lock::try_lock(&self.file, WRITING, Kind::Shared);
            }
            *writers += 1;
            drop(writers);
            Ok(Some(Promise { usage: self }))
        })
    }

    /// Notes that `bytes` are free again.
    pub(in crate::store) fn credit(&self, bytes: u64) {
        if bytes > 0 {
            // What is not noted is found at the next measurement.
            let _ = self.change(|figures| figures.used = figures.used.saturating_sub(bytes));
        }
    }

    /// Measures the directory and sets the figure right; returns it. Nothing is
    /// promised meanwhile. While somebody writes who does not come to an end, what
    /// was promised may not be there yet: the figure only grows then.
    ///
    /// # Errors
    /// As [`Usage::change`].
    pub(in crate::store) fn measure(&self) -> io::Result<u64> {
        self.with_lock(|| {
            let mut writers = self.writers.lock();
            let end = Instant::now() + WRITES;
            while *writers > 0 && !self.written.wait_until(&mut writers, end).timed_out() {}
            let alone =
                *writers == 0 && lock::lock_within(&self.file, WRITING, Kind::Exclusive, WRITES)?;
            let measured = place::measure(&self.dir);
            if alone {
                lock::unlock(&self.file, WRITING);
            }
            drop(writers);
            let measured = measured?;
            self.change_locked(|figures| {
                let least = if alone { 0 } else { figures.used };
                figures.used = measured.max(least);
                figures.used
            })
        })
    }

    /// The epoch of now, a new one if it has lasted long enough.
    pub(in crate::store) fn epoch(&self) -> u16 {
        let old = |began: u64| now().abs_diff(began) > LONGEST_EPOCH.as_secs();
        let figures = match self.get() {
            Some(figures) if !old(figures.began) => Some(figures),
            _ => {
                let changed = self.change(|figures| {
                    if old(figures.began) {
                        figures.advance();
                    }
                    *figures
                });
                changed.ok()
            }
        };
        if let Some(figures) = figures {
            self.epoch.store(figures.epoch, Relaxed);
        }
        self.epoch.load(Relaxed)
    }

    /// The right to evict, if nobody has it.
    pub(in crate::store) fn try_evicting(&self) -> Option<Evicting<'_>> {
        let gate = self.evicting.try_lock()?;
        let locked = lock::try_lock(&self.file, EVICTING, Kind::Exclusive);
        matches!(locked, Ok(true)).then_some(Evicting {
            usage: self,
            _gate: gate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Usage {
        Usage::open(dir, Arc::default()).unwrap()
    }

    #[test]
    fn what_two_charge_is_never_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(dir.path()), open(dir.path()));
        one.change(|figures| figures.used = 0).unwrap();
        let granted = |usage: &Usage| {
            let grants = (0..200).map(|_| usage.charge(10, 1000).unwrap());
            grants.filter(Option::is_some).count()
        };
        let sum = std::thread::scope(|scope| {
            let threads = [&one, &one, &two, &two].map(|usage| scope.spawn(move || granted(usage)));
            threads
                .map(|thread| thread.join().unwrap())
                .iter()
                .sum::<usize>()
        });
        assert_eq!(sum, 100);
        two.credit(15);
        assert!(one.charge(15, 1000).unwrap().is_some());
        assert!(two.charge(1, 1000).unwrap().is_none());
    }

    #[test]
    fn nonsense_in_the_file_is_measured_away() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.data"), [1; 100_000]).unwrap();
        let usage = open(dir.path());
        for nonsense in [&b""[..], &[0xff; 31], &[0xff; 64], &[0; 32]] {
            std::fs::write(dir.path().join(place::USAGE), nonsense).unwrap();
            let used = usage.change(|figures| figures.used).unwrap();
            assert!((100_000..200_000).contains(&used), "{used}");
            assert_eq!(usage.get().unwrap().used, used);
        }
    }

    #[test]
    fn a_measurement_sets_the_figure_right() {
        let dir = tempfile::tempdir().unwrap();
        let usage = open(dir.path());
        usage.change(|figures| figures.used = u64::MAX).unwrap();
        assert!(usage.measure().unwrap() < 100_000);
        assert!(usage.charge(1, 100_000).unwrap().is_some());
    }

    #[test]
    fn a_measurement_waits_for_writes_under_way_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(dir.path()), open(dir.path()));
        for writer in [&one, &two] {
            let promise = writer.charge(100_000, 1 << 20).unwrap().unwrap();
            std::thread::scope(|scope| {
                let measured = scope.spawn(|| one.measure().unwrap());
                std::thread::sleep(Duration::from_millis(5));
                std::fs::write(dir.path().join("x.data"), [1; 100_000]).unwrap();
                drop(promise);
                assert!(measured.join().unwrap() >= 100_000);
            });
            std::fs::remove_file(dir.path().join("x.data")).unwrap();
        }
        let before = one.measure().unwrap();
        assert!(before < 100_000);
        let stopped = two.charge(500_000, u64::MAX).unwrap().unwrap();
        assert_eq!(one.measure().unwrap(), before + 500_000, "it may come yet");
        drop(stopped);
        assert_eq!(one.measure().unwrap(), before);
    }

    #[test]
    fn one_at_a_time_evicts() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(dir.path()), open(dir.path()));
        let right = one.try_evicting().unwrap();
        assert!(one.try_evicting().is_none() && two.try_evicting().is_none());
        drop(right);
        assert!(two.try_evicting().is_some());
    }

    #[test]
    fn epochs_follow_each_other_and_skip_zero() {
        let mut figures = Figures::new(0);
        figures.epoch = u16::MAX;
        figures.advance();
        assert_eq!(figures.epoch, 1);
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(dir.path()), open(dir.path()));
        assert_eq!(one.epoch(), 1);
        two.change(|figures| figures.advance()).unwrap();
        assert_eq!(one.epoch(), 2);
        two.change(|figures| figures.began = 0).unwrap();
        assert_eq!(one.epoch(), 3, "an epoch ends in the end");
    }
}
