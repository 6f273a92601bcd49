//! A CRC is no proof.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use tidegate::fs::walk;
use tidegate::store::StoreConfig;

use crate::images;
use crate::rig::{Fixture, read};

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
    for name in ["plain", "toc", "batch"] {
        let fixture = Fixture::copy(name);
        let image = fixture.open();
        let node = walk::find(&image, b"chunks").unwrap();
        let chunk = images::see(&image, &node).unwrap().chunks[0];
        assert!(!chunk.compressed, "random bytes are stored as they are");
        let [blob] = &fixture.blob_files()[..] else {
            panic!("{name} has one blob");
        };
        let blob = OpenOptions::new()
            .read(true)
            .write(true)
            .open(blob)
            .unwrap();
        let mut bytes = vec![0; chunk.len as usize];
        blob.read_exact_at(&mut bytes, chunk.stored_offset).unwrap();
        let (image, store) = fixture.store(StoreConfig::default(), &[]);
        assert_eq!(read(&image, &store, b"chunks").unwrap()[..4096], bytes);

        let checksum = crc32c(&bytes);
        for (byte, change) in bytes.iter_mut().zip(compensated(b"EVIL PAYLOAD")) {
            *byte ^= change;
        }
        assert_eq!(crc32c(&bytes), checksum, "the forgery is one");
        blob.write_all_at(&bytes, chunk.stored_offset).unwrap();
        let (image, store) = fixture.store(StoreConfig::default(), &[]);
        for path in [&b"chunks"[..], b"same"] {
            assert!(read(&image, &store, path).is_err(), "{name}");
        }
    }
}
