//! Which bytes of a dictionary a stream refers to.
//!
//! A dictionary of 32 KiB takes most of the room of an index. A stream copies
//! only parts of it, and can do so only in its first 32 KiB; the other bytes may
//! be anything.

use super::resume::{WINDOW, resume};

/// Marks the bytes of a dictionary of `len` bytes that a raw DEFLATE stream
/// copies. The stream begins with the top `bits` bits of `previous` and goes on
/// with `stored`, of which at least `needed` bytes of output must come (or the
/// first 32 KiB, if that is less). None if they do not, so that nothing is known.
///
/// The stream is decompressed with dictionaries whose bytes tell their own
/// positions.
pub fn references(
    stored: &[u8],
    bits: u8,
    previous: u8,
    len: usize,
    needed: usize,
) -> Option<Vec<bool>> {
    let position = |at: usize| u16::try_from(at).unwrap_or(u16::MAX).to_le_bytes();
    let outputs = [
        |[low, _]: [u8; 2]| low,
        |[low, _]: [u8; 2]| !low,
        |[_, high]: [u8; 2]| high,
    ]
    .map(|byte| {
        let dictionary: Vec<u8> = (0..len).map(|at| byte(position(at))).collect();
        let mut out = vec![0; needed.min(WINDOW)];
        let got = resume(stored, bits, previous, &dictionary, &mut out);
        got.is_ok_and(|got| got == out.len()).then_some(out)
    });
    let [Some(low), Some(inverse), Some(high)] = outputs else {
        return None;
    };
    let mut used = vec![false; len];
    for ((low, inverse), high) in low.into_iter().zip(inverse).zip(high) {
        // A byte that the stream brings itself is the same each time.
        if low == !inverse
            && let Some(used) = used.get_mut(usize::from(u16::from_le_bytes([low, high])))
        {
            *used = true;
        }
    }
    Some(used)
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    #[test]
    fn exactly_what_is_copied_is_marked() {
        let noise = |seed: u32, len: usize| {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_le_bytes()[3]
            };
            (0..len).map(|_| next()).collect::<Vec<u8>>()
        };
        let before = noise(1, WINDOW);
        let copied = [2_000..2_080, 20_000..20_300, 32_700..32_768];
        let mut after = noise(2, 500);
        for range in &copied {
            after.extend(&before[range.clone()]);
            after.extend(noise(3, 7));
            // Twice, so that one is a copy of a copy.
            after.extend(&before[range.clone()]);
            after.extend(noise(5, 9));
        }
        let mut compress = Compress::new(Compression::best(), false);
        let mut stored = Vec::with_capacity(100_000);
        compress
            .compress_vec(&before, &mut stored, FlushCompress::Sync)
            .unwrap();
        let at = stored.len();
        compress
            .compress_vec(&after, &mut stored, FlushCompress::Finish)
            .unwrap();
        let used = references(&stored[at..], 0, 0, WINDOW, after.len()).unwrap();
        let near = |at: usize| copied.iter().any(|range| range.contains(&at));
        let wrong = (0..WINDOW).filter(|&at| used[at] != near(at)).count();
        // A match may happen to be a little longer or shorter.
        assert!(wrong < 12, "{wrong}");
        // What is not marked may be anything.
        let kept: Vec<u8> = before
            .iter()
            .zip(&used)
            .map(|(byte, used)| if *used { *byte } else { 0 })
            .collect();
        let mut out = vec![0; after.len()];
        assert_eq!(
            resume(&stored[at..], 0, 0, &kept, &mut out),
            Ok(after.len())
        );
        assert_eq!(out, after);
        assert_eq!(
            references(&stored[at..at + 20], 0, 0, WINDOW, after.len()),
            None
        );
    }
}
