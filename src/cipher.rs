//! Decryption of blobs: AES-128-XTS, one unit per stored piece, all with the
//! blob's initial vector as tweak. It hides, and proves nothing.
//!
//! Source: images made by `nydus-image` with encryption. Pieces shorter than a
//! cipher block are filled up to 18 bytes before they are encrypted.

use aes::Aes128;
use aes::cipher::KeyInit as _;
use xts_mode::Xts128;

use crate::chunk::BlobKey;

/// The shortest piece that XTS can work on.
const BLOCK: usize = 16;

/// What ends a piece that was filled up, and the length of such a piece.
const MARK: [u8; 2] = [0x78, 0x90];
const FILLED: usize = BLOCK + MARK.len();

/// Decrypts a stored piece in place. None: it is shorter than a piece can be.
#[must_use]
pub fn decrypt(key: &BlobKey, piece: &mut [u8]) -> Option<()> {
    if piece.len() < BLOCK {
        return None;
    }
    let (data, tweak) = key.key().split_at(16);
    let cipher = |key: &[u8]| Aes128::new_from_slice(key).ok();
    let xts = Xts128::new(cipher(data)?, cipher(tweak)?);
    xts.decrypt_sector(piece, (*key.iv()).into());
    Some(())
}

/// The length of the stored form of `len` bytes.
pub fn stored_len(len: u32) -> u32 {
    const SHORTEST: u32 = 16;
    const SHORT: u32 = 18;
    if len < SHORTEST { SHORT } else { len }
}

/// The length that a decrypted piece had before it was filled up; none if it
/// does not look filled up.
pub fn unfilled(piece: &[u8]) -> Option<usize> {
    let (body, mark) = piece.split_at_checked(BLOCK)?;
    if piece.len() != FILLED || mark != MARK {
        return None;
    }
    let fill = usize::from(*body.last()?);
    let len = BLOCK.checked_sub(fill)?;
    let filling = body.get(len..)?;
    let even = filling.iter().all(|&byte| usize::from(byte) == fill);
    (even && fill > 0).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vector 1 of IEEE 1619-2007, annex B: all zeros.
    #[test]
    fn the_standards_vector_is_decrypted() {
        let key = BlobKey::new([0; 32], [0; 16]);
        let hex = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e";
        let mut piece = hex::decode(hex).unwrap();
        decrypt(&key, &mut piece).unwrap();
        assert_eq!(piece, [0; 32]);
        assert!(decrypt(&key, &mut [0; 15]).is_none());
    }

    #[test]
    fn filling_is_taken_off_if_it_is_one() {
        let mut piece = [11; FILLED];
        piece[..5].copy_from_slice(b"hello");
        piece[16..].copy_from_slice(&MARK);
        assert_eq!(unfilled(&piece), Some(5));
        piece[6] = 12;
        assert_eq!(unfilled(&piece), None);
        assert_eq!(unfilled(&[0; FILLED]), None);
        assert_eq!(unfilled(&[]), None);
    }
}
