//! Bytes that are others than they should be.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tidegate::chunk::Chunk;

/// Opens a file to alter it.
pub(crate) fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(path).unwrap()
}

/// Alters a byte, or alters it back.
pub(crate) fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

/// One step of CRC-32C over a register.
fn step(register: u32, byte: u8) -> u32 {
    (0..8).fold(register ^ u32::from(byte), |register, _| {
        (register >> 1) ^ if register & 1 == 1 { 0x82f6_3b78 } else { 0 }
    })
}

/// CRC-32C.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
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

/// The bytes of a chunk that is stored as it is.
pub(crate) fn stored(blob: &File, chunk: &Chunk) -> Vec<u8> {
    assert!(!chunk.compressed, "random bytes are stored as they are");
    let mut bytes = vec![0; chunk.len as usize];
    blob.read_exact_at(&mut bytes, chunk.stored_offset).unwrap();
    bytes
}

/// Other bytes with the same CRC.
pub(crate) fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    for (byte, change) in forged.iter_mut().zip(compensated(b"EVIL PAYLOAD")) {
        *byte ^= change;
    }
    assert_ne!(forged, bytes);
    assert_eq!(crc32c(&forged), crc32c(bytes), "the forgery is one");
    forged
}
