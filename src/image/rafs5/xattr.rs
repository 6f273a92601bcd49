//! The xattr block of an inode: the length of all pairs, then for each pair
//! its length, the name, a zero and the value.

use crate::image::field::BadField;
use crate::image::rafs::{u32_at, u64_at};

/// Bytes in front of the pairs.
pub const HEAD: usize = 8;

/// Longest block without its head in bytes: sixteen times what Linux takes as
/// one value.
const PAIRS_MAX: u64 = 1 << 20;

/// Longest name and longest value that Linux knows, in bytes.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65_536;

/// Full names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The length of the pairs, from the head of the block at offset `at` of the
/// bootstrap.
///
/// # Errors
/// When it is longer than any inode's can be.
pub fn pairs_len(head: &[u8], at: u64) -> Result<usize, BadField> {
    let len = u64_at(head, 0);
    let fits = usize::try_from(len).ok().filter(|_| len <= PAIRS_MAX);
    fits.ok_or_else(|| BadField::new("Length of xattrs", at, format!("{len} bytes")))
}

/// Parses the pairs, which start at offset `at` of the bootstrap.
///
/// # Errors
/// Names the pair that does not fit.
pub fn parse(pairs: &[u8], at: u64) -> Result<Xattrs, BadField> {
    let mut found = Xattrs::new();
    let mut start = 0;
    while start < pairs.len() {
        let bad = |why: &str| BadField::new("Xattr", at + start as u64, why);
        let rest = pairs.get(start..).unwrap_or_default();
        let len = u32_at(rest, 0) as usize;
        let pair = len.checked_add(4).and_then(|end| rest.get(4..end));
        let pair = pair.ok_or_else(|| bad("it runs past the end of its block"))?;
        let split = pair.iter().position(|&byte| byte == 0);
        let split = split.ok_or_else(|| bad("its name has no end"))?;
        let (name, value) = (&pair[..split], &pair[split + 1..]);
        if name.is_empty() || name.len() > NAME_MAX || value.len() > VALUE_MAX {
            return Err(bad(
                "its name or value has a length that Linux does not know",
            ));
        }
        found.push((name.to_vec(), value.to_vec()));
        start += 4 + len;
    }
    found.sort();
    if found.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(BadField::new("Xattrs", at, "two of one name"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
        let body = [name, &[0], value].concat();
        let len = u32::try_from(body.len()).unwrap();
        [&len.to_le_bytes()[..], &body].concat()
    }

    #[test]
    fn pairs_are_found_sorted_with_zeros_in_values() {
        let pairs = [pair(b"user.b", b"x\0y"), pair(b"user.a", b"")].concat();
        let wanted = vec![
            (b"user.a".to_vec(), Vec::new()),
            (b"user.b".to_vec(), b"x\0y".to_vec()),
        ];
        assert_eq!(parse(&pairs, 0).unwrap(), wanted);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cut = &pair(b"user.a", b"value")[..9];
        let cases = [
            cut.to_vec(),
            vec![0; 4],
            vec![0xff; 16],
            [3u32.to_le_bytes().as_slice(), b"abc"].concat(),
            pair(b"", b"value"),
            pair(&[b'n'; 256], b""),
            pair(b"user.a", &vec![1; VALUE_MAX + 1]),
            [pair(b"user.a", b"1"), pair(b"user.a", b"2")].concat(),
        ];
        for case in cases {
            let bad = parse(&case, 0x3000).unwrap_err();
            assert!(bad.at >= 0x3000 && bad.field.starts_with("Xattr"), "{bad}");
        }
        assert!(pairs_len(&[0xff; 8], 0).is_err());
    }
}
