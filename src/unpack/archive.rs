//! Unpacks an image into a tar archive: ustar headers, with PAX records for
//! what they cannot hold (long names, large numbers, fractions of seconds,
//! xattrs).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use tar::{Builder, EntryType, Header};

use crate::fs::walk::{self, Step, WalkError};
use crate::image::{Content, FileType, Image, Node};
use crate::store::Store;
use crate::unpack::UnpackError;

/// Largest number that an octal field of 8 or 12 bytes holds.
const OCTAL_8: u64 = 0o777_7777;
const OCTAL_12: u64 = 0o777_7777_7777;

/// Longest name and link target in a ustar header.
const NAME_MAX: usize = 100;

/// Writes the whole tree to `out`. Sockets, which tar cannot hold, are left
/// out with a warning.
///
/// # Errors
/// At the first entry that cannot be proved or written.
pub fn unpack(image: &Image, store: &Arc<Store>, out: impl Write) -> Result<(), UnpackError> {
    let mut builder = Builder::new(out);
    let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut failed = None;
    walk::walk(image, &mut |step| {
        let done = match step {
            Step::Fault(path, source) => Err(UnpackError::Image {
                path: walk::show(path),
                source,
            }),
            Step::Node(path, node) => {
                let first = links.get(&node.nid).cloned();
                if first.is_none() && node.attr.nlink > 1 && !is_directory(node) {
                    links.insert(node.nid, path.to_vec());
                }
                append(&mut builder, image, store, path, node, first.as_deref())
            }
        };
        failed = done.err();
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let finished = builder.into_inner().and_then(|mut out| out.flush());
    finished.map_err(|source| UnpackError::Archive {
        path: "the end".into(),
        source,
    })
}

fn is_directory(node: &Node) -> bool {
    node.attr.file_type == FileType::Directory
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    image: &Image,
    store: &Arc<Store>,
    path: &[u8],
    node: &Node,
    first: Option<&[u8]>,
) -> Result<(), UnpackError> {
    let failed = |source| UnpackError::Archive {
        path: walk::show(path),
        source,
    };
    if node.attr.file_type == FileType::Socket {
        log::warn!(
            "{}: a socket, which tar cannot hold, is left out",
            walk::show(path)
        );
        return Ok(());
    }
    let (header, records) = describe(path, node, first);
    if !records.is_empty() {
        let records = records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(records).map_err(failed)?;
    }
    let (Content::File(_), None) = (&node.content, first) else {
        return builder.append(&header, io::empty()).map_err(failed);
    };
    stream(builder, &header, image, store, node).map_err(|trouble| match trouble {
        WalkError::Write(source) => failed(source),
        source => UnpackError::Image {
            path: walk::show(path),
            source,
        },
    })
}

/// The header of an entry and the PAX records that go before it.
fn describe(path: &[u8], node: &Node, first: Option<&[u8]>) -> (Header, Vec<(String, Vec<u8>)>) {
    let attr = &node.attr;
    let mut header = Header::new_ustar();
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let mut name = [b"./", path].concat();
    if is_directory(node) && !path.is_empty() {
        name.push(b'/');
    }
    let target = match (&node.content, first) {
        (_, Some(first)) => Some([b"./", first].concat()),
        (Content::Symlink(target), None) => Some(target.to_vec()),
        _ => None,
    };
    let raw = header.as_old_mut();
    for (field, key, bytes) in [
        (&mut raw.name, "path", Some(&name)),
        (&mut raw.linkname, "linkpath", target.as_ref()),
    ] {
        let Some(bytes) = bytes else { continue };
        let cut = bytes.len().min(NAME_MAX);
        field[..cut].copy_from_slice(&bytes[..cut]);
        if bytes.len() > NAME_MAX {
            records.push((key.into(), bytes.clone()));
        }
    }
    header.set_entry_type(match (attr.file_type, first) {
        (_, Some(_)) => EntryType::Link,
        (FileType::Directory, _) => EntryType::Directory,
        (FileType::Symlink, _) => EntryType::Symlink,
        (FileType::CharDevice, _) => EntryType::Char,
        (FileType::BlockDevice, _) => EntryType::Block,
        (FileType::Fifo, _) => EntryType::Fifo,
        _ => EntryType::Regular,
    });
    header.set_mode(u32::from(attr.mode));
    let mut number = |key: &str, value: u64, most: u64| {
        if value > most {
            records.push((key.into(), value.to_string().into_bytes()));
        }
        value.min(most)
    };
    let size = match attr.file_type {
        FileType::Regular if first.is_none() => attr.size,
        _ => 0,
    };
    // Sizes past the octal field are written in base 256 as well, because
    // readers that stream skip by the header's size.
    number("size", size, OCTAL_12);
    header.set_size(size);
    header.set_uid(number("uid", attr.uid.into(), OCTAL_8));
    header.set_gid(number("gid", attr.gid.into(), OCTAL_8));
    let seconds = u64::try_from(attr.mtime).unwrap_or(0);
    header.set_mtime(seconds.min(OCTAL_12));
    if attr.mtime_ns != 0 || attr.mtime < 0 || seconds > OCTAL_12 {
        records.push((
            "mtime".into(),
            pax_time(attr.mtime, attr.mtime_ns).into_bytes(),
        ));
    }
    if matches!(attr.file_type, FileType::CharDevice | FileType::BlockDevice) {
        let rdev = attr.rdev;
        // Both fields exist in the ustar headers that this makes.
        let _ = header.set_device_major((rdev >> 8) & 0xfff);
        let _ = header.set_device_minor((rdev & 0xff) | ((rdev >> 12) & 0xf_ff00));
    }
    if first.is_none() {
        for (name, value) in &node.xattrs {
            // PAX keys are text; names of xattrs that are none cannot be told.
            match std::str::from_utf8(name) {
                Ok(name) => records.push((format!("SCHILY.xattr.{name}"), value.clone())),
                Err(_) => log::warn!(
                    "{}: an xattr whose name is no UTF-8 is left out",
                    walk::show(path)
                ),
            }
        }
    }
    header.set_cksum();
    (header, records)
}

/// Seconds and nanoseconds as a decimal number; times before the epoch count
/// down from it.
fn pax_time(seconds: i64, nanos: u32) -> String {
    if seconds >= 0 || nanos == 0 {
        return format!("{seconds}.{nanos:09}");
    }
    format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
}

/// Writes a file's entry. The builder pulls bytes and the image's reader
/// pushes them, so a bounded channel and a thread stand between the two.
fn stream<W: Write>(
    builder: &mut Builder<W>,
    header: &Header,
    image: &Image,
    store: &Arc<Store>,
    node: &Node,
) -> Result<(), WalkError> {
    let (sender, receiver) = crossbeam_channel::bounded::<bytes::Bytes>(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            walk::read_file(image, store, node, &mut |bytes| {
                let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
                sender.send(bytes.clone()).map_err(gone)
            })
        });
        let mut source = Received {
            receiver,
            current: bytes::Bytes::new(),
            total: 0,
        };
        let written = builder.append(header, &mut source);
        let (total, wanted) = (source.total, node.attr.size);
        drop(source);
        match reader.join() {
            Ok(Ok(())) => {}
            // The writer gave up first; its error says more.
            Ok(Err(WalkError::Write(_))) if written.is_err() => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(WalkError::Write(io::Error::other("the reader ended"))),
        }
        written.map_err(WalkError::Write)?;
        if total != wanted {
            let short = format!("{total} of {wanted} bytes");
            return Err(WalkError::Write(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                short,
            )));
        }
        Ok(())
    })
}

struct Received {
    receiver: crossbeam_channel::Receiver<bytes::Bytes>,
    current: bytes::Bytes,
    total: u64,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.recv() {
                Ok(bytes) => self.current = bytes,
                Err(_) => return Ok(0),
            }
        }
        let len = buffer.len().min(self.current.len());
        buffer[..len].copy_from_slice(&self.current.split_to(len));
        self.total += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_are_decimal() {
        assert_eq!(pax_time(12, 5), "12.000000005");
        assert_eq!(pax_time(-5, 0), "-5.000000000");
        assert_eq!(pax_time(-5, 250_000_000), "-4.750000000");
    }
}
