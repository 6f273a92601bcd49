//! A CRC is no proof.

use std::os::unix::fs::FileExt;

use tidegate::fs::walk;
use tidegate::store::StoreConfig;

use crate::images;
use crate::nydus::altered::{forged, open, stored};
use crate::nydus::read;
use crate::rig::Fixture;

#[test]
fn bytes_that_keep_the_checksum_but_not_the_digest_are_not_served() {
    for name in ["plain", "toc", "batch"] {
        let fixture = Fixture::copy(name);
        let image = fixture.open();
        let node = walk::find(&image, b"chunks").unwrap();
        let chunk = images::see(&image, &node).unwrap().chunks[0];
        let [blob] = &fixture.blob_files()[..] else {
            panic!("{name} has one blob");
        };
        let blob = open(blob);
        let bytes = stored(&blob, &chunk);
        let (image, store) = fixture.store(StoreConfig::default(), &[]);
        assert_eq!(read(&image, &store, b"chunks").unwrap()[..4096], bytes);

        let forged = forged(&bytes);
        blob.write_all_at(&forged, chunk.stored_offset).unwrap();
        let (image, store) = fixture.store(StoreConfig::default(), &[]);
        for path in [&b"chunks"[..], b"same"] {
            assert!(read(&image, &store, path).is_err(), "{name}");
        }
    }
}
