//! What may stand at the end of a request that makes something: extensions, each
//! with a header of its own (version 7.38).

use fuse_backend_rs::abi::fuse_abi::InHeader;

use super::opcode as op;
use super::wire::decode;
use crate::fs::Errno;

/// Requests name a group of the thread, beside its own, that decides what is made
/// (`FUSE_CREATE_SUPP_GROUP`).
pub(super) const CREATE_SUPP_GROUP: u64 = 1 << 34;

/// Extension with groups (`FUSE_EXT_GROUPS`).
const GROUPS: u32 = 32;

/// The lengths of extensions, and all of them together, are multiples of this.
const UNIT: usize = 8;

/// Bytes of an extension's header: its length and its kind.
const HEADER: usize = 8;

/// The group that a request names: kernels name at most the one of the directory,
/// if the thread is in it.
///
/// # Errors
/// `EINVAL` for extensions that are cut off, or name several groups.
pub(super) fn group(header: &InHeader, body: &[u8]) -> Result<Option<u32>, Errno> {
    if !matches!(
        header.opcode,
        op::CREATE | op::TMPFILE | op::MKNOD | op::MKDIR | op::SYMLINK
    ) {
        return Ok(None);
    }
    // The lower half of the word that older versions call padding.
    let units = usize::try_from(header.padding & 0xffff).map_err(|_| Errno::EINVAL)?;
    let start = body.len().checked_sub(units * UNIT).ok_or(Errno::EINVAL)?;
    let mut rest = body.get(start..).unwrap_or_default();
    let mut found = None;
    while !rest.is_empty() {
        let [len, kind] = words(rest)?;
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        let (extension, next) = rest.split_at_checked(len).ok_or(Errno::EINVAL)?;
        let content = extension.get(HEADER..).ok_or(Errno::EINVAL)?;
        rest = next;
        if kind != GROUPS {
            continue;
        }
        let [count, group] = words(content)?;
        if count != 1 || found.replace(group).is_some() {
            return Err(Errno::EINVAL);
        }
    }
    Ok(found)
}

/// The two words that `bytes` begin with.
fn words(bytes: &[u8]) -> Result<[u32; 2], Errno> {
    let (first, rest) = (decode(bytes), bytes.get(4..).unwrap_or_default());
    let second = decode(rest);
    first.zip(second).map(|(a, b)| [a, b]).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a MKDIR whose body ends with `extensions`.
    fn told(extensions: &[u32], units: u32) -> Result<Option<u32>, Errno> {
        let header = InHeader {
            opcode: op::MKDIR,
            // The upper half means nothing.
            padding: units | 7 << 16,
            ..InHeader::default()
        };
        let mut body = b"\x00\x00\x00\x00\x00\x00\x00\x00name\0".to_vec();
        body.extend(extensions.iter().flat_map(|word| word.to_le_bytes()));
        group(&header, &body)
    }

    #[test]
    fn the_group_is_found_among_others() {
        assert_eq!(told(&[], 0), Ok(None));
        assert_eq!(told(&[16, GROUPS, 1, 100], 2), Ok(Some(100)));
        assert_eq!(told(&[8, 1, 16, GROUPS, 1, 100], 3), Ok(Some(100)));
        assert_eq!(told(&[16, 1, 1, 100], 2), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_says_too_much_is_refused() {
        for (extensions, units) in [
            (&[16, GROUPS, 1, 100][..], 3),
            (&[16, GROUPS, 1, 100], u16::MAX.into()),
            (&[24, GROUPS, 1, 100], 2),
            (&[0, GROUPS, 1, 100], 2),
            (&[8, GROUPS, 16, 1], 2),
            (&[16, GROUPS, 0, 100], 2),
            (&[24, GROUPS, 2, 100, 101, 0], 3),
            (&[16, GROUPS, 1, 100, 16, GROUPS, 1, 100], 4),
        ] {
            assert_eq!(
                told(extensions, units),
                Err(Errno::EINVAL),
                "{extensions:?}"
            );
        }
    }
}
