//! Directory blocks: entries of 12 bytes, then their names back to back.

use super::{BLOCK_LEN, put, u16_at, u64_at};
use crate::image::model::{FileType, NAME_MAX};

/// Bytes of an entry.
pub const ENTRY: usize = 12;

/// An entry of a directory block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirent<'a> {
    /// Node number.
    pub nid: u64,
    /// Type of the node.
    pub file_type: FileType,
    /// Name: not empty, without NUL and `/`; may be `.` or `..`.
    pub name: &'a [u8],
}

/// Parses one directory block: at most [`BLOCK_LEN`] bytes, shorter for the
/// last one. Names are strictly ascending by bytes.
///
/// # Errors
/// Says what breaks the format.
pub fn parse(block: &[u8]) -> Result<Vec<Dirent<'_>>, String> {
    let names = usize::from(u16_at(block, 8));
    if names < ENTRY || names % ENTRY != 0 || names > block.len() {
        return Err(format!(
            "names at {names} of a directory block of {} bytes",
            block.len()
        ));
    }
    let count = names / ENTRY;
    let mut found: Vec<Dirent<'_>> = Vec::with_capacity(count);
    for entry in 0..count {
        let at = entry * ENTRY;
        let start = usize::from(u16_at(block, at + 8));
        let last = entry + 1 == count;
        let end = if last {
            block.len()
        } else {
            usize::from(u16_at(block, at + ENTRY + 8))
        };
        let Some(mut name) = block.get(start..end).filter(|_| start >= names) else {
            return Err(format!("name at {start} to {end} of a directory block"));
        };
        if last && let Some(nul) = name.iter().position(|&byte| byte == 0) {
            name = &name[..nul];
        }
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) || name.contains(&b'/') {
            return Err(format!(
                "a directory entry's name {:?}",
                String::from_utf8_lossy(name)
            ));
        }
        if found.last().is_some_and(|before| before.name >= name) {
            return Err("directory entries out of order".into());
        }
        let kind = block.get(at + 10).copied().unwrap_or(0);
        let file_type = FileType::from_dirent(kind)
            .ok_or_else(|| format!("a directory entry's type {kind}"))?;
        found.push(Dirent {
            nid: u64_at(block, at),
            file_type,
            name,
        });
    }
    Ok(found)
}

/// The first name in a directory block.
///
/// # Errors
/// As [`parse`].
pub fn first_name(block: &[u8]) -> Result<&[u8], String> {
    let start = usize::from(u16_at(block, 8));
    let end = if start == ENTRY {
        block.len()
    } else {
        usize::from(u16_at(block, ENTRY + 8))
    };
    let name = block
        .get(start..end)
        .ok_or("the first name of a directory block")?;
    Ok(name.split(|&byte| byte == 0).next().unwrap_or_default())
}

/// An entry to encode.
pub struct NewDirent<'a> {
    /// Name, at most 255 bytes.
    pub name: &'a [u8],
    /// Type of the node.
    pub file_type: FileType,
}

/// How entries are spread over blocks: for each block, how many it holds and
/// how many bytes it uses.
pub fn spread(names: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    for name in names {
        let need = ENTRY + name;
        match blocks.last_mut() {
            Some((count, used)) if *used + need <= BLOCK_LEN => {
                *count += 1;
                *used += need;
            }
            _ => blocks.push((1, need)),
        }
    }
    blocks
}

/// Encodes one block, without padding, from entries that fit it.
pub fn encode(entries: &[(NewDirent<'_>, u64)], block: &mut Vec<u8>) {
    let start = block.len();
    let mut name_at = entries.len() * ENTRY;
    block.resize(start + name_at, 0);
    for (position, (entry, nid)) in entries.iter().enumerate() {
        let at = start + position * ENTRY;
        put(block, at, &nid.to_le_bytes());
        put(
            block,
            at + 8,
            &u16::try_from(name_at).unwrap_or(0).to_le_bytes(),
        );
        put(block, at + 10, &[entry.file_type.dirent()]);
        block.extend_from_slice(entry.name);
        name_at += entry.name.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        let names: [&[u8]; 4] = [b".", b"..", b"a\xff", b"b"];
        let entries: Vec<_> = names
            .iter()
            .zip(5..)
            .map(|(name, nid)| {
                (
                    NewDirent {
                        name,
                        file_type: FileType::Directory,
                    },
                    nid,
                )
            })
            .collect();
        let mut block = Vec::new();
        encode(&entries, &mut block);
        let parsed = parse(&block).unwrap();
        assert_eq!(parsed.iter().map(|it| it.name).collect::<Vec<_>>(), names);
        assert_eq!(parsed[3].nid, 8);
        block.resize(BLOCK_LEN, 0);
        assert_eq!(parse(&block).unwrap().len(), 4);
        assert_eq!(first_name(&block).unwrap(), b".");
    }

    #[test]
    fn full_blocks_are_left_for_the_next() {
        let blocks = spread(std::iter::repeat_n(255, 20));
        assert_eq!(blocks, [(15, 15 * 267), (5, 5 * 267)]);
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        for fill in [0u8, 1, 12, 0xff] {
            for len in [0, 1, 11, 12, 13, 100, BLOCK_LEN] {
                let block = vec![fill; len];
                let _ = parse(&block);
                let _ = first_name(&block);
            }
        }
    }
}
