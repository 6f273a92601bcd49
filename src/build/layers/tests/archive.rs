//! Archives that are made by hand.

use std::fmt::Write as _;

/// A header made by hand, with its data.
pub(super) fn entry(name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000640\0");
    block[108..116].copy_from_slice(b"0000007\0");
    block[116..124].copy_from_slice(b"0000010\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block[136..148].copy_from_slice(b"00000000144\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    let mut out = block.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An entry with other permissions.
pub(super) fn mode(mut entry: Vec<u8>, mode: u32) -> Vec<u8> {
    entry[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    seal(&mut entry);
    entry
}

/// A file.
pub(super) fn file(name: &str, data: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"", data.as_bytes())
}

/// A directory.
pub(super) fn dir(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'5', b"", b"")
}

/// A hard link.
pub(super) fn link(name: &str, target: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'1', target.as_bytes(), b"")
}

/// A symbolic link.
pub(super) fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'2', target.as_bytes(), b"")
}

/// Records for the next entry, or for all.
pub(super) fn pax(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let len = (1..6).map(|digits| body + digits);
        let len = len
            .into_iter()
            .find(|len| len.to_string().len() + body == *len);
        writeln!(data, "{} {key}={value}", len.unwrap()).unwrap();
    }
    entry(b"pax", kind, b"", data.as_bytes())
}

/// An archive of these entries.
pub(super) fn layer(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

/// Text that differs from line to line.
pub(super) fn text(from: usize, to: usize) -> String {
    (from..to).fold(String::new(), |mut text, line| {
        writeln!(text, "{line} {}", line * 7919).unwrap();
        text
    })
}
