//! A stream that only who has a key can read or make: a machine monitor, which carries
//! it, cannot, nor who finds it where it was saved.
//!
//! ```text
//! 0    "tidegate-state 1\n", 23 random bytes
//! 40   blocks of 64 KiB, the last one of any length, each sealed with AEGIS-256
//!      (draft-irtf-cfrg-aegis-aead) and followed by its tag of 32 bytes
//! ```
//!
//! A block's nonce is the random bytes, its number (u64, big-endian) and 1 for the last
//! one, else 0, so that none can be left out, moved or cut off (the construction STREAM
//! of Hoang, Reyhanitabar, Rogaway and Vizár). The first 17 bytes are covered by each tag.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aegis::aegis256::Aegis256;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::stream::TransferError;

/// What a stream begins with; the part before the number is that of all forms.
const HEAD: &[u8; 17] = b"tidegate-state 1\n";
const NAME: &[u8] = b"tidegate-state ";

/// Random bytes of a stream.
const PREFIX: usize = 23;

/// Bytes of a block, and of its tag.
const BLOCK: usize = 64 << 10;
const TAG: usize = 32;

/// Fewest and most bytes of a file that is a key.
const KEY_MIN: usize = 32;
const KEY_MAX: usize = 4096;

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It cannot be read.
    #[error("Cannot read the key {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("The key {path} may be read by others (mode {mode:o}); make it 0600")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It can be guessed, or is something else.
    #[error(
        "The key {path} has {len} bytes; {KEY_MIN} to {KEY_MAX} random ones are needed (head -c 32 /dev/urandom)"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its bytes, as far as they were read.
        len: usize,
    },
}

/// What seals the states of daemons that take them from one another.
pub struct StateKey(Zeroizing<[u8; 32]>);

impl StateKey {
    /// The key that a file's bytes make.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or it is far too short or long.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path, mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_MAX + 1));
        let read = file.take(KEY_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(failed)?;
        if !(KEY_MIN..=KEY_MAX).contains(&bytes.len()) {
            let (path, len) = (path.to_owned(), bytes.len());
            return Err(KeyError::Length { path, len });
        }
        let mut digest = Sha256::new();
        digest.update(HEAD);
        digest.update(&*bytes);
        Ok(Self(Zeroizing::new(digest.finalize().into())))
    }

    /// Seals all that `from` has; how many bytes that makes.
    ///
    /// # Errors
    /// When one of the two fails.
    pub fn seal(&self, from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, TransferError> {
        let mut prefix = [0; PREFIX];
        let filled = getrandom::fill(&mut prefix);
        filled.map_err(|error| io::Error::other(error.to_string()))?;
        to.write_all(HEAD)?;
        to.write_all(&prefix)?;
        let mut len = (HEAD.len() + PREFIX) as u64;
        let mut next = block(from, BLOCK)?;
        for number in 0.. {
            let mut bytes = std::mem::replace(&mut next, block(from, BLOCK)?);
            let tag = self
                .cipher(&prefix, number, next.is_empty())
                .encrypt_in_place(&mut bytes, HEAD);
            to.write_all(&bytes)?;
            to.write_all(&tag)?;
            len += (bytes.len() + TAG) as u64;
            if next.is_empty() {
                break;
            }
        }
        to.flush()?;
        Ok(len)
    }

    /// Opens a whole stream; `to` is of use only if it succeeds.
    ///
    /// # Errors
    /// When it is none, was sealed with another key, was cut short or altered, or one of
    /// the two fails.
    pub fn open(&self, from: &mut dyn Read, to: &mut dyn Write) -> Result<(), TransferError> {
        let head = block(from, HEAD.len())?;
        if head != HEAD {
            let version = head.strip_prefix(NAME).ok_or(TransferError::Foreign)?;
            let version = String::from_utf8_lossy(version).trim_end().to_owned();
            return Err(TransferError::Version(version));
        }
        let prefix = block(from, PREFIX)?;
        let prefix = prefix.try_into().map_err(|_| TransferError::Torn)?;
        let mut next = block(from, BLOCK + TAG)?;
        for number in 0.. {
            let mut bytes = std::mem::replace(&mut next, block(from, BLOCK + TAG)?);
            let len = bytes.len().checked_sub(TAG).ok_or(TransferError::Torn)?;
            let (content, tag) = bytes.split_at_mut(len);
            let tag = <&[u8; TAG]>::try_from(&*tag).map_err(|_| TransferError::Torn)?;
            self.cipher(&prefix, number, next.is_empty())
                .decrypt_in_place(content, tag, HEAD)
                .map_err(|_| TransferError::Torn)?;
            to.write_all(content)?;
            if next.is_empty() {
                break;
            }
        }
        Ok(to.flush()?)
    }

    fn cipher(&self, prefix: &[u8; PREFIX], number: u64, last: bool) -> Aegis256<TAG> {
        let mut nonce = [0; 32];
        nonce[..PREFIX].copy_from_slice(prefix);
        nonce[PREFIX..PREFIX + 8].copy_from_slice(&number.to_be_bytes());
        nonce[PREFIX + 8] = u8::from(last);
        Aegis256::new(&self.0, &nonce)
    }
}

/// So many bytes, or fewer at the end.
fn block(from: &mut dyn Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    from.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(byte: u8) -> StateKey {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        std::fs::write(&path, [byte; KEY_MIN]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        StateKey::read(&path).unwrap()
    }

    fn sealed(key: &StateKey, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let len = key.seal(&mut &*bytes, &mut out).unwrap();
        assert_eq!(len, out.len() as u64);
        out
    }

    fn opened(key: &StateKey, mut bytes: &[u8]) -> Result<Vec<u8>, TransferError> {
        let mut out = Vec::new();
        key.open(&mut bytes, &mut out).map(|()| out)
    }

    #[test]
    fn streams_of_any_length_are_opened_by_who_has_the_key() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let stream = sealed(&key(1), &bytes);
            assert_eq!(opened(&key(1), &stream).unwrap(), bytes);
            assert_ne!(sealed(&key(1), &bytes), stream, "twice the same");
            let other = opened(&key(2), &stream);
            assert!(matches!(other, Err(TransferError::Torn)));
        }
    }

    #[test]
    fn no_block_can_be_left_out_moved_or_altered() {
        let bytes: Vec<u8> = (0..=3).flat_map(|byte| [byte; BLOCK]).collect();
        let bytes = &bytes[..3 * BLOCK + 10];
        let stream = sealed(&key(1), bytes);
        let start = HEAD.len() + PREFIX;
        let at = |number: usize| start + number * (BLOCK + TAG);
        for cut in [
            0,
            1,
            16,
            17,
            30,
            start,
            start + 1,
            at(1),
            at(2),
            at(3),
            stream.len() - 1,
        ] {
            assert!(opened(&key(1), &stream[..cut]).is_err(), "the first {cut}");
        }
        let parts = |order: &[usize]| {
            let part = |&number: &usize| &stream[at(number)..at(number + 1).min(stream.len())];
            let blocks = order.iter().map(part);
            std::iter::once(&stream[..start])
                .chain(blocks)
                .collect::<Vec<_>>()
                .concat()
        };
        assert_eq!(parts(&[0, 1, 2, 3]), stream);
        for order in [
            &[1, 0, 2, 3][..],
            &[0, 2, 3],
            &[0, 1, 3],
            &[0, 1, 2, 3, 3],
            &[3],
        ] {
            assert!(opened(&key(1), &parts(order)).is_err(), "{order:?}");
        }
        for place in (0..stream.len()).step_by(997).chain(0..start + 5) {
            let mut altered = stream.clone();
            altered[place] ^= 4;
            assert!(opened(&key(1), &altered).is_err(), "byte {place}");
        }
        let mut later = stream.clone();
        later[15] = b'2';
        let refused = opened(&key(1), &later);
        assert!(matches!(refused, Err(TransferError::Version(version)) if version == "2"));
    }

    #[test]
    fn keys_are_long_and_nobody_elses() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        assert!(matches!(
            StateKey::read(&path),
            Err(KeyError::Unreadable { .. })
        ));
        std::fs::write(&path, [7; KEY_MIN]).unwrap();
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o640);
        assert!(matches!(StateKey::read(&path), Err(KeyError::Open { .. })));
        set(0o400);
        StateKey::read(&path).unwrap();
        for len in [0, KEY_MIN - 1, KEY_MAX + 1] {
            set(0o600);
            std::fs::write(&path, vec![7; len]).unwrap();
            assert!(matches!(
                StateKey::read(&path),
                Err(KeyError::Length { .. })
            ));
        }
    }
}
