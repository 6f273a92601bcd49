//! The figures of the cache directory, as they are in its file `usage`.
//!
//! It holds 32 bytes, little-endian: bytes used (8), epoch (2), zeros (2), units of 4096
//! bytes written in this epoch (4), when the epoch began in seconds since 1970 (8), and
//! the first 8 bytes of BLAKE3 over them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of the figures.
pub(super) const LEN: usize = 32;
const BODY: usize = 24;

/// What is in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Figures {
    /// Bytes on the disk, and bytes promised to writers.
    pub(in crate::store) used: u64,
    /// The epoch of now; never 0.
    pub(in crate::store) epoch: u16,
    pub(super) began: u64,
    written: u32,
}

impl Figures {
    /// The figures of a directory that was just measured.
    pub(super) fn new(used: u64) -> Self {
        Self {
            used,
            epoch: 1,
            began: now(),
            written: 0,
        }
    }

    /// As they are in the file.
    pub(super) fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.used.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.written.to_le_bytes());
        bytes[16..BODY].copy_from_slice(&self.began.to_le_bytes());
        let check = check(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&check);
        bytes
    }

    /// The same backwards; none for what is no figure.
    pub(super) fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let (body, end) = bytes.split_at(BODY);
        if check(body) != *end {
            return None;
        }
        Some(Self {
            used: u64::from_le_bytes(*body.first_chunk()?),
            epoch: u16::from_le_bytes(*body.get(8..)?.first_chunk()?).max(1),
            began: u64::from_le_bytes(*body.get(16..)?.first_chunk()?),
            written: u32::from_le_bytes(*body.get(12..)?.first_chunk()?),
        })
    }

    /// Begins the next epoch.
    pub(in crate::store) fn advance(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.began = now();
        self.written = 0;
    }

    /// Notes that `bytes` are written. A thirty-second of the limit makes an
    /// epoch.
    pub(super) fn write(&mut self, bytes: u64, limit: u64) {
        let units = u32::try_from(bytes / 4096).unwrap_or(u32::MAX);
        self.written = self.written.saturating_add(units);
        if u64::from(self.written) * 4096 >= limit / 32 {
            self.advance();
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn check(body: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"usage").update(body);
    hasher.finalize_xof().fill(&mut check);
    check
}
