//! A CRC is no proof.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::images;
use crate::nydus::altered::{crc32c, forged, open, stored};
use crate::nydus::read;
use crate::rig::Fixture;
use tidegate::fs::walk;

#[test]
fn bytes_that_keep_the_checksum_but_not_the_digest_are_not_served() {
    let fixture = Fixture::copy("lz4");
    let image = fixture.open();
    let node = walk::find(&image, b"chunks").unwrap();
    let chunk = images::see(&image, &node).unwrap().chunks[0];
    let blob = open(&fixture.blob());
    let bytes = stored(&blob, &chunk);
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

    let forged = forged(&bytes);
    blob.write_all_at(&forged, chunk.stored_offset).unwrap();
    let store = fixture.store(&image);
    for path in [&b"chunks"[..], b"same"] {
        let error = read(&image, &store, path).unwrap_err();
        assert!(!error.is_empty());
    }
    blob.write_all_at(&bytes, chunk.stored_offset).unwrap();
    assert_eq!(read(&image, &store, b"chunks").unwrap()[..4096], bytes);
}
