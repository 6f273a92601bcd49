//! Larger images by releases 2.2 and 2.4, which lie beside the repository and
//! not in it.

use std::fs;

use crate::nydus::archives::{archives, listed, serves_as_listed, unpack};
use crate::rig::Fixture;

/// Image, its manifest, and the blob of another archive that it needs.
const IMAGES: [(&str, &str); 7] = [
    ("v6-zstd-blake3", "tree"),
    ("v6-lz4-sha256-toc", "tree"),
    ("v6-none-64k", "tree"),
    ("v6-old220", "tree"),
    ("v6-zstd-batch", "tree"),
    ("v6-merged", "merged"),
    ("v6-zran", "zran"),
];

#[test]
fn images_of_both_releases_are_served_as_listed() {
    let Some(archives) = archives() else { return };
    for (name, tree) in IMAGES {
        let expected = listed(&archives, tree, 40);
        let temp = unpack(&archives, name);
        let home = temp.path().join(name);
        if tree == "zran" {
            let layer = archives.join("zran-layer.tar.gz");
            let id = "82983f630dad4c9d4d3504c35b88ba93c210cfe92874f29d0ed12a6cb2810114";
            fs::copy(layer, home.join("blobs").join(id)).unwrap();
        }
        let fixture = Fixture::at(&home, Some(temp));
        serves_as_listed(&expected, &fixture.arguments(), name);
    }
}
