//! Stored forms that become much more than the chunk they are said to be.

use std::fs;
use std::io::{Read, Write};

use crate::siege::{assert_modest, endure};
use crate::v5::{Bytes, home};

#[test]
fn stored_form_that_becomes_a_gibibyte_is_an_error_in_little_memory() {
    let temp = tempfile::tempdir().unwrap();
    let mut blobs = fs::read_dir(home().join("../zstd/blobs")).unwrap();
    let blob = blobs.next().unwrap().unwrap();
    let mut data = fs::read(blob.path()).unwrap();
    let offset = data.len() as u64;
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(1 << 30), &mut bomb).unwrap();
    let bomb = bomb.finish().unwrap();
    data.write_all(&bomb).unwrap();
    fs::write(temp.path().join(blob.file_name()), &data).unwrap();

    let mut bytes = Bytes(fs::read(home().join("../zstd/bootstrap")).unwrap());
    let at = bytes.chunks("long");
    // No longer than what a chunk may take, so that it is not refused before.
    let stored = u32::try_from(bomb.len()).unwrap().min(8000);
    bytes.put(at + 40, &stored.to_le_bytes());
    bytes.put(at + 48, &offset.to_le_bytes());
    let extended = bytes.u32(72) as usize;
    bytes.put(extended + 16, &(data.len() as u64).to_le_bytes());
    let outcome = endure(&bytes.0, temp.path());
    assert!(!outcome.refused && outcome.faults.is_empty(), "{outcome:?}");
    assert!(!outcome.errors.is_empty(), "the bomb was served");
    assert_modest();
}
