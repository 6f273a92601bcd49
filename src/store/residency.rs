//! Which chunks of one blob this process knows to be in the cache: one bit per
//! chunk, in pages that are allocated when a bit in them is first set, so that
//! a blob table that claims billions of chunks costs next to nothing.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words per page (4 KiB).
const WORDS: u32 = 512;

/// Chunks per page.
const PAGE: u32 = WORDS * u64::BITS;

type Page = Box<[AtomicU64]>;

/// One bit per chunk.
pub(super) struct Residency {
    pages: Box<[OnceLock<Page>]>,
}

impl Residency {
    /// All bits of `chunks` chunks clear.
    pub(super) fn new(chunks: u32) -> Self {
        let pages = (0..chunks.div_ceil(PAGE))
            .map(|_| OnceLock::new())
            .collect();
        Self { pages }
    }

    /// Whether the bit of chunk `index` is set.
    pub(super) fn get(&self, index: u32) -> bool {
        let (page, word, bit) = place(index);
        let page = self.pages.get(page).and_then(OnceLock::get);
        // Acquire: who sees the bit also sees the page that holds it.
        page.and_then(|page| page.get(word))
            .is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    /// Sets or clears the bit of chunk `index`; others are untouched.
    pub(super) fn put(&self, index: u32, resident: bool) {
        let (page, word, bit) = place(index);
        let Some(page) = self.pages.get(page) else {
            return;
        };
        let page = page.get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        let Some(word) = page.get(word) else {
            return;
        };
        if resident {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Clears all bits; the runs of those that were set, in order.
    pub(super) fn take(&self) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = vec![];
        let mut add = |index: u32| match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index.saturating_add(1)),
        };
        for (page, start) in self.pages.iter().zip((0..).step_by(PAGE as usize)) {
            let words = page.get().into_iter().flatten();
            for (word, start) in words.zip((start..=u32::MAX).step_by(64)) {
                let mut bits = match word.load(Ordering::Relaxed) {
                    0 => 0,
                    _ => word.swap(0, Ordering::Relaxed),
                };
                while bits != 0 {
                    add(start + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }
        }
        runs
    }
}

/// Page, word in it and mask of a chunk's bit.
fn place(index: u32) -> (usize, usize, u64) {
    let wide = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let word = index % PAGE / u64::BITS;
    (wide(index / PAGE), wide(word), 1 << (index % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_and_cleared_one_by_one() {
        let it = Residency::new(PAGE * 2 + 1);
        let marks = [0, 63, 64, PAGE - 1, PAGE, PAGE * 2];
        for index in marks {
            assert!(!it.get(index));
            it.put(index, true);
        }
        it.put(63, false);
        for index in 0..PAGE * 2 + 1 {
            assert_eq!(
                it.get(index),
                index != 63 && marks.contains(&index),
                "{index}"
            );
        }
    }

    #[test]
    fn taken_bits_come_in_runs_and_are_clear() {
        let it = Residency::new(PAGE * 3);
        for index in [0, 62, 63, 64, 65, PAGE - 1, PAGE, PAGE * 3 - 1] {
            it.put(index, true);
        }
        let runs = [0..1, 62..66, PAGE - 1..PAGE + 1, PAGE * 3 - 1..PAGE * 3];
        assert_eq!(it.take(), runs);
        assert_eq!(it.take(), []);
        assert!(!it.get(63));
    }

    #[test]
    fn an_index_out_of_range_is_never_resident() {
        let it = Residency::new(1);
        it.put(u32::MAX, true);
        assert!(!it.get(u32::MAX));
        assert!(!Residency::new(u32::MAX).get(u32::MAX - 1));
    }
}
