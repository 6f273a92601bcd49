//! PAX extended header records: `length key=value\n`, where the length counts
//! the whole record and the value may hold any bytes.

use std::collections::BTreeMap;

use super::problem::EntryProblem;

/// What PAX records say of an entry.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Seconds and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    /// By full name.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseKeys,
}

/// What GNU tar says of a sparse file.
#[derive(Debug, Default, Clone)]
pub(super) struct SparseKeys {
    pub(super) name: Option<Vec<u8>>,
    /// Length of the file with its holes (`realsize` or, older, `size`).
    pub(super) size: Option<u64>,
    /// Offsets and lengths in turn (formats 0.0 and 0.1).
    pub(super) map: Vec<u64>,
    /// Whether the format is 1.0, which has the map in the data.
    pub(super) map_in_data: bool,
    major: Option<u64>,
}

impl Pax {
    /// Takes all `records`; later ones replace earlier ones, an empty value
    /// takes a key back.
    pub(super) fn apply(&mut self, mut records: &[u8]) -> Result<(), EntryProblem> {
        // Some writers fill the block with zeros and count them.
        while !matches!(records, [] | [0, ..]) {
            let (key, value, rest) =
                record(records).ok_or(EntryProblem::Pax("a record has a wrong length"))?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), EntryProblem> {
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.linkpath = bytes(),
            b"size" => self.size = number(value, "size")?,
            b"uid" => self.uid = number(value, "uid")?,
            b"gid" => self.gid = number(value, "gid")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or(EntryProblem::Pax("mtime"))?),
            b"GNU.sparse.name" => self.sparse.name = bytes(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.size = number(value, "GNU.sparse.size")?;
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let value = number(value, "GNU.sparse.offset")?;
                self.sparse
                    .map
                    .push(value.ok_or(EntryProblem::Pax("GNU.sparse.offset"))?);
            }
            b"GNU.sparse.map" => self.sparse.map = list(value)?,
            b"GNU.sparse.major" => self.sparse.major = number(value, "GNU.sparse.major")?,
            b"GNU.sparse.minor" => {
                let minor: Option<u64> = number(value, "GNU.sparse.minor")?;
                self.sparse.map_in_data = match (self.sparse.major, minor) {
                    (Some(1), Some(0)) => true,
                    (Some(0), _) => false,
                    _ => return Err(EntryProblem::Sparse("its format is not known")),
                };
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let bad = EntryProblem::Pax("LIBARCHIVE.xattr");
                    let (Some(name), Some(value)) = (unescape(name), base64(value)) else {
                        return Err(bad);
                    };
                    // Where both are there, the other form is the exact one.
                    self.xattrs.entry(name).or_insert(value);
                }
            }
        }
        Ok(())
    }
}

/// The first record's key and value, and what follows it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(records.get(..blank)?)?).ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = body.split_at(equals);
    Some((key, value.get(1..)?, rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

fn number<T: TryFrom<u64>>(value: &[u8], key: &'static str) -> Result<Option<T>, EntryProblem> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = decimal(value).and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or(EntryProblem::Pax(key))
}

fn list(value: &[u8]) -> Result<Vec<u64>, EntryProblem> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    value
        .split(|byte| *byte == b',')
        .map(|item| decimal(item).ok_or(EntryProblem::Pax("GNU.sparse.map")))
        .collect()
}

/// Seconds with an optional sign and fraction; what is finer than a nanosecond
/// is dropped.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0_u32, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => ((-seconds).checked_sub(1)?, 1_000_000_000 - nanos),
    })
}

/// Decodes `%41` to `A`.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            out.extend(hex::decode(digits).ok()?);
            rest = tail;
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

/// Decodes base64, with or without padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.iter().filter(|byte| !matches!(byte, b'=' | b'\n')) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).unwrap_or_default());
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pax(records: &[u8]) -> Result<Pax, EntryProblem> {
        let mut pax = Pax::default();
        pax.apply(records).map(|()| pax)
    }

    #[test]
    fn times_keep_sign_and_nanoseconds() {
        assert_eq!(time(b"1500000000.25"), Some((1_500_000_000, 250_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-5"), Some((-5, 0)));
        assert_eq!(time(b"0.0000000019"), Some((0, 1)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn values_may_hold_line_feeds_and_zeros() {
        let found = pax(b"28 SCHILY.xattr.user.a=x\n\0y\n11 path=ab\n").unwrap();
        assert_eq!(found.xattrs.get(b"user.a".as_slice()).unwrap(), b"x\n\0y");
        assert_eq!(found.path.unwrap(), b"ab");
    }

    #[test]
    fn libarchive_attributes_are_decoded() {
        let found = pax(b"38 LIBARCHIVE.xattr.user.%41=aGVsbG8=\n").unwrap();
        assert_eq!(found.xattrs.get(b"user.A".as_slice()).unwrap(), b"hello");
    }

    #[test]
    fn malformed_records_are_refused_without_panic() {
        for bad in [
            &b"5 a"[..],
            b"99 path=a\n",
            b"x path=a\n",
            b"0 path=a\n",
            b"9 path=a?",
            b"3 \n",
        ] {
            assert!(
                matches!(pax(bad), Err(EntryProblem::Pax(_))),
                "{}",
                bad.escape_ascii()
            );
        }
        assert!(pax(b"14 mtime=1e99\n").is_err());
        assert!(pax(b"18 uid=4294967296\n").is_err());
    }
}
