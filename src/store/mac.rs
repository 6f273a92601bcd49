//! The keyed 128-bit checksum that [tags](super::tags) are made with: AEGIS-128X2 or
//! AEGIS-128X4 as a MAC (draft-irtf-cfrg-aegis-aead, "AEGISMAC"), whichever is faster on
//! this processor. They differ in how many AES blocks are worked on at once; where
//! four of them fill a register, X4 takes half the time.

use aegis::aegis128x2::Aegis128X2Mac;
use aegis::aegis128x4::Aegis128X4Mac;

/// The checksum of one block.
pub(super) type Tag = [u8; 16];

/// The running checksum of one block.
#[derive(Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process uses one of them, on the stacks of its readers"
)]
pub(super) enum Mac {
    Two(Aegis128X2Mac<16>),
    Four(Aegis128X4Mac<16>),
}

impl Mac {
    /// A checksum under a key, of nothing so far.
    pub(super) fn new(key: &[u8; 16]) -> Self {
        match has_wide_aes() {
            true => Self::Four(Aegis128X4Mac::new(key)),
            false => Self::Two(Aegis128X2Mac::new(key)),
        }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Two(mac) => mac.update(bytes),
            Self::Four(mac) => mac.update(bytes),
        }
    }

    /// The checksum of what was added; the next one begins.
    pub(super) fn finalize_and_reset(&mut self) -> Tag {
        match self {
            Self::Two(mac) => mac.finalize_and_reset(),
            Self::Four(mac) => mac.finalize_and_reset(),
        }
    }
}

/// Whether the processor works on four AES blocks with one instruction.
fn has_wide_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [7; 16];

    fn both() -> [Mac; 2] {
        [
            Mac::Two(Aegis128X2Mac::new(&KEY)),
            Mac::Four(Aegis128X4Mac::new(&KEY)),
        ]
    }

    #[test]
    fn every_bit_counts_and_the_parts_do_not() {
        for mut mac in both() {
            let mut bytes: Vec<u8> = (0..700u32).map(|at| (at % 251) as u8).collect();
            mac.update(&bytes);
            let tag = mac.finalize_and_reset();
            for cut in [1, 127, 128, 300, 699] {
                mac.update(&bytes[..cut]);
                mac.update(&bytes[cut..]);
                assert_eq!(mac.finalize_and_reset(), tag, "cut at {cut}");
            }
            for bit in 0..8 * bytes.len() {
                bytes[bit / 8] ^= 1 << (bit % 8);
                mac.update(&bytes);
                assert_ne!(mac.finalize_and_reset(), tag, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            mac.update(&bytes[..699]);
            assert_ne!(mac.finalize_and_reset(), tag);
        }
    }

    #[test]
    fn the_key_counts() {
        let tag = |key| {
            let mut mac = Mac::new(&key);
            mac.update(b"the same");
            mac.finalize_and_reset()
        };
        assert_eq!(tag([1; 16]), tag([1; 16]));
        assert_ne!(tag([1; 16]), tag([2; 16]));
    }
}
