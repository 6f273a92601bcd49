//! The tables that lie in a blob: compared with the bootstrap, proved if it
//! names their digest, and never needed for what is in the cache.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use tidegate::extent::StoredTables;
use tidegate::records::ChunkRecords;

use crate::rig::Fixture;

/// The stored tables of an image's first blob.
fn stored(fixture: &Fixture) -> (Vec<u8>, Option<Vec<u8>>) {
    let image = fixture.open();
    let tables = image.blobs()[0].packing.tables.clone().unwrap();
    let file = std::fs::File::open(fixture.blobs.join(&tables.id)).unwrap();
    let read = |(at, len): (u64, u32)| {
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    (read(tables.info), tables.toc.map(read))
}

#[test]
fn tables_are_proved_by_the_table_of_contents_if_the_bootstrap_names_it() {
    for (name, proved) in [("batch", true), ("zran", false)] {
        let fixture = Fixture::named(name);
        let (info, toc) = stored(&fixture);
        assert_eq!(toc.is_some(), proved);
        let read = |info: &[u8], toc: Option<&[u8]>| {
            fixture.open().extents(0, &StoredTables { info, toc })
        };
        let extents = read(&info, toc.as_deref()).unwrap();
        assert_eq!(extents.is_proved(), proved);
        // Every byte of the stored table and its header.
        let (mut refused, mut unnoticed) = (0, 0);
        for at in 0..info.len() {
            let mut bad = info.clone();
            bad[at] ^= 4;
            match read(&bad, toc.as_deref()) {
                Err(_) => refused += 1,
                // Some bits of a zstd frame mean nothing: what it holds is proved.
                Ok(_) => unnoticed += 1,
            }
        }
        let header_fields = 64;
        assert!(refused > header_fields, "{name}: {refused}");
        assert!(!proved || unnoticed < 8, "{name}: {unnoticed} not noticed");
        let Some(toc) = toc else { continue };
        for at in 0..toc.len() {
            let mut bad = toc.clone();
            bad[at] ^= 4;
            let reason = read(&info, Some(&bad)).unwrap_err();
            assert!(reason.contains("table of contents"), "{reason}");
        }
    }
}

/// A bootstrap whose record says something else than the blob's table.
#[test]
fn tables_that_differ_from_the_bootstrap_are_an_error() {
    let fixture = Fixture::copy("zran");
    let (info, toc) = stored(&fixture);
    let bootstrap = std::fs::read(&fixture.bootstrap).unwrap();
    let table = u64::from_le_bytes(bootstrap[1176..1184].try_into().unwrap());
    let file = OpenOptions::new()
        .write(true)
        .open(&fixture.bootstrap)
        .unwrap();
    // The length of the first record, one less.
    let at = table + 44;
    let mut len = [0; 4];
    let place = usize::try_from(at).unwrap();
    len.copy_from_slice(&bootstrap[place..place + 4]);
    let less = u32::from_le_bytes(len) - 1;
    file.write_all_at(&less.to_le_bytes(), at).unwrap();
    let stored = StoredTables {
        info: &info,
        toc: toc.as_deref(),
    };
    let reason = fixture.open().extents(0, &stored).unwrap_err();
    assert!(reason.contains("the length differs"), "{reason}");
}
