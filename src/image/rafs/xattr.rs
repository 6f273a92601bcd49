//! Inline xattrs of an inode: a header of 12 bytes, then entries padded to 4.

use super::{put, u16_at};

/// Bytes of the header.
const HEADER: usize = 12;

/// Name prefixes by EROFS's number. The ACL names have no suffix.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// Full names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Bytes that an inode's xattr count field stands for.
pub fn area_len(count: u16) -> usize {
    match usize::from(count) {
        0 => 0,
        count => HEADER + 4 * (count - 1),
    }
}

/// Parses an xattr area of [`area_len`] bytes into full names and values,
/// sorted by name.
///
/// # Errors
/// Says which entry breaks the format.
pub fn parse(area: &[u8]) -> Result<Xattrs, String> {
    let mut found = Xattrs::new();
    if area.is_empty() {
        return Ok(found);
    }
    if area.get(4).is_none_or(|&shared| shared != 0) {
        return Err("shared xattrs".into());
    }
    let mut rest = area.get(HEADER..).unwrap_or_default();
    while rest.len() >= 4 {
        let (name_len, prefix) = (usize::from(rest[0]), rest[1]);
        let value_len = usize::from(u16_at(rest, 2));
        if name_len == 0 && prefix == 0 && value_len == 0 {
            break;
        }
        let end = 4 + name_len + value_len;
        let (Some(suffix), Some(value)) = (rest.get(4..4 + name_len), rest.get(4 + name_len..end))
        else {
            return Err("an xattr runs past its area".into());
        };
        let prefix = PREFIXES
            .iter()
            .find(|(number, _)| *number == prefix)
            .ok_or_else(|| format!("xattr prefix {prefix}"))?;
        found.push(([prefix.1, suffix].concat(), value.to_vec()));
        rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
    }
    found.sort();
    if found.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("two xattrs of one name".into());
    }
    Ok(found)
}

/// Encodes xattrs; empty for none. The area's length is a multiple of 4 and
/// fits an inode's count field.
///
/// # Errors
/// Names the xattr that cannot be held.
pub fn encode(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u8>, String> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut area = vec![0; HEADER];
    for (name, value) in xattrs {
        let refuse = || format!("xattr {:?} cannot be held", String::from_utf8_lossy(name));
        let (number, prefix) = PREFIXES
            .iter()
            .find(|(_, prefix)| name.starts_with(prefix))
            .ok_or_else(refuse)?;
        let suffix = &name[prefix.len()..];
        let name_len = u8::try_from(suffix.len()).map_err(|_| refuse())?;
        let value_len = u16::try_from(value.len()).map_err(|_| refuse())?;
        let start = area.len();
        area.resize(start + 4, 0);
        put(&mut area, start, &[name_len, *number]);
        put(&mut area, start + 2, &value_len.to_le_bytes());
        area.extend_from_slice(suffix);
        area.extend_from_slice(value);
        area.resize(area.len().next_multiple_of(4), 0);
    }
    if count(&area).is_none() {
        return Err(format!(
            "{} bytes of xattrs on one inode cannot be held",
            area.len()
        ));
    }
    Ok(area)
}

/// The inode's count field for an encoded area; none when it is too long.
pub fn count(area: &[u8]) -> Option<u16> {
    if area.is_empty() {
        return Some(0);
    }
    u16::try_from((area.len() - HEADER) / 4 + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed_sorted() {
        let given: Xattrs = vec![
            (b"user.b".to_vec(), b"xyz".to_vec()),
            (b"security.capability".to_vec(), vec![0; 20]),
            (b"system.posix_acl_access".to_vec(), vec![2, 0]),
            (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
        ];
        let area = encode(&given).unwrap();
        assert_eq!(area_len(count(&area).unwrap()), area.len());
        let mut sorted = given;
        sorted.sort();
        assert_eq!(parse(&area).unwrap(), sorted);
    }

    #[test]
    fn an_unknown_namespace_is_named() {
        let reason = encode(&[(b"system.other".to_vec(), Vec::new())]).unwrap_err();
        assert!(reason.contains("system.other"), "{reason}");
    }

    #[test]
    fn entries_past_the_area_are_refused() {
        let mut area = vec![0; 16];
        area[12] = 200;
        area[13] = 1;
        assert!(parse(&area).is_err());
    }
}
