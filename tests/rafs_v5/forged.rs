//! A CRC is no proof.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::images;
use crate::rig::{Fixture, read};
use tidegate::fs::walk;

/// One step of CRC-32C over a register.
fn step(register: u32, byte: u8) -> u32 {
    (0..8).fold(register ^ u32::from(byte), |register, _| {
        (register >> 1) ^ if register & 1 == 1 { 0x82f6_3b78 } else { 0 }
    })
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |register, &byte| step(register, byte))
}

/// What has to be XORed to bytes so that their CRC stays when `change` is.
fn compensated(change: &[u8]) -> Vec<u8> {
    let register = change
        .iter()
        .fold(0, |register, &byte| step(register, byte));
    [change, &register.to_le_bytes()[..]].concat()
}

#[test]
fn bytes_that_keep_the_checksum_but_not_the_digest_are_not_served() {
    let fixture = Fixture::copy("lz4");
    let image = fixture.open();
    let node = walk::find(&image, b"chunks").unwrap();
    let chunk = images::see(&image, &node).unwrap().chunks[0];
    assert!(!chunk.compressed, "random bytes are stored as they are");
    let blob = OpenOptions::new()
        .read(true)
        .write(true)
        .open(fixture.blob())
        .unwrap();
    let mut bytes = vec![0; chunk.len as usize];
    blob.read_exact_at(&mut bytes, chunk.stored_offset).unwrap();
    let checksum = crc32c(&bytes);

    // The records of the chunk get a CRC, as later releases write it.
    let mut bootstrap = fs::read(&fixture.bootstrap).unwrap();
    let records: Vec<usize> = (0..bootstrap.len() - 80)
        .step_by(8)
        .filter(|&at| bootstrap[at..at + 32] == chunk.digest.0 && at % 8 == 0)
        .collect();
    let mut marked = 0;
    for at in records {
        // The digest of a file of one chunk is another hash.
        bootstrap[at + 36] |= 0x10;
        bootstrap[at + 76..at + 80].copy_from_slice(&checksum.to_le_bytes());
        marked += 1;
    }
    assert_eq!(marked, 2, "two files share the chunk");
    fs::write(&fixture.bootstrap, &bootstrap).unwrap();
    let image = fixture.open();
    let store = fixture.store(&image);
    assert_eq!(read(&image, &store, b"chunks").unwrap()[..4096], bytes);

    let original = bytes.clone();
    for (byte, change) in bytes.iter_mut().zip(compensated(b"EVIL PAYLOAD")) {
        *byte ^= change;
    }
    assert_ne!(bytes, original);
    assert_eq!(crc32c(&bytes), checksum, "the forgery is one");
    blob.write_all_at(&bytes, chunk.stored_offset).unwrap();
    let store = fixture.store(&image);
    for path in [&b"chunks"[..], b"same"] {
        let error = read(&image, &store, path).unwrap_err();
        assert!(!error.is_empty());
    }
    blob.write_all_at(&original, chunk.stored_offset).unwrap();
    assert_eq!(read(&image, &store, b"chunks").unwrap()[..4096], original);
}
