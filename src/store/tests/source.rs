//! The source is never believed, and an image is not either.

use super::*;
use crate::store::{Damage, StoreError};

#[tokio::test]
async fn an_altered_source_is_an_error_and_other_chunks_are_served() {
    for compressor in [Compressor::None, Compressor::Lz4, Compressor::Zstd] {
        let setup = Setup::new(image(&[20_000; 3], compressor, DigestAlgorithm::Sha256));
        let chunk = setup.image.chunks[1];
        let at = usize::try_from(chunk.stored_offset + u64::from(chunk.stored_len) / 2).unwrap();
        setup.source.blob.lock()[at] ^= 4;
        let error = setup.store.read(chunk).await.unwrap_err();
        assert!(matches!(&*error, StoreError::Damaged { .. }), "{error}");
        let text = error.to_string();
        for part in [&setup.image.blob.id, &chunk.digest.to_string(), "memory"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!setup.hot(1));
        setup.expect(0).await;
        setup.expect(2).await;
        assert_eq!(setup.count().proof_failures_source, 6);
        // Once the source is restored the chunk is there.
        setup.source.blob.lock()[at] ^= 4;
        setup.expect(1).await;
        assert!(setup.hot(1));
    }
}

#[tokio::test]
async fn one_bad_reply_is_asked_for_again() {
    let setup = Setup::new(usual(1, 20_000));
    setup.source.lies.store(1, SeqCst);
    setup.expect(0).await;
    assert_eq!(setup.count().proof_failures_source, 1);
    assert_eq!(setup.source.reads(), 2);
}

#[tokio::test]
async fn a_frame_that_claims_more_than_its_chunk_is_refused() {
    for compressor in [Compressor::Lz4, Compressor::Zstd] {
        let mut image = image(&[4096], compressor, DigestAlgorithm::Sha256);
        let bomb = vec![0; 64 << 20];
        image.stored = match compressor {
            Compressor::Lz4 => lz4_flex::block::compress(&bomb),
            _ => zstd::bulk::compress(&bomb, 3).unwrap(),
        };
        // The length that an image may claim for 4096 bytes.
        image.stored.truncate(8192);
        image.chunks[0].stored_len = u32::try_from(image.stored.len()).unwrap();
        let setup = Setup::new(image);
        let error = setup.store.read(setup.image.chunks[0]).await.unwrap_err();
        let refused = match &*error {
            StoreError::Damaged { reason, .. } => matches!(**reason, Damage::Decompress { .. }),
            _ => false,
        };
        assert!(refused, "{error}");
    }
}

#[tokio::test]
async fn a_chunk_that_makes_no_sense_is_refused_before_anything_is_read() {
    let setup = Setup::new(usual(2, 8192));
    let good = setup.image.chunks[0];
    let bad = [
        Chunk { blob: 1, ..good },
        Chunk { index: 2, ..good },
        Chunk { len: 0, ..good },
        Chunk {
            len: (16 << 20) + 1,
            ..good
        },
        Chunk { offset: 1, ..good },
        Chunk {
            offset: 12_288,
            ..good
        },
        Chunk {
            offset: u64::MAX - 4095,
            ..good
        },
        Chunk {
            stored_offset: u64::MAX,
            ..good
        },
        Chunk {
            stored_len: 0,
            ..good
        },
        Chunk {
            stored_len: u32::MAX,
            ..good
        },
        Chunk {
            compressed: false,
            ..good
        },
    ];
    for chunk in bad {
        let error = setup.store.read(chunk).await.unwrap_err();
        assert!(matches!(&*error, StoreError::BadChunk { .. }), "{error}");
        assert!(!hot(&setup.store, &chunk, 0, &mut [0; 1]));
    }
    assert_eq!(setup.source.reads(), 0);
}

#[tokio::test]
async fn a_chunk_described_in_two_ways_is_never_served_as_the_other() {
    let setup = Setup::new(usual(2, 8192));
    setup.expect(0).await;
    assert!(setup.hot(0));
    let digest = setup.image.chunks[1].digest;
    let liar = Chunk {
        digest,
        ..setup.image.chunks[0]
    };
    assert!(!hot(&setup.store, &liar, 0, &mut [0; 4096]));
    assert!(setup.store.read(liar).await.is_err());
    setup.expect(0).await;
}

#[test]
fn a_blob_name_that_is_a_path_opens_no_store() {
    let image = usual(1, 4096);
    let source = Arc::new(Source::new(&image));
    for id in ["", "../x", "a/b", ".hidden", &"g".repeat(65)] {
        let mut blob = image.blob.clone();
        blob.id = id.to_owned();
        let opened = Store::open(StoreConfig::default(), source.clone(), vec![blob]);
        assert!(matches!(opened.err(), Some(StoreError::BadBlob { .. })));
    }
}

#[tokio::test]
async fn verify_fetch_believes_the_cache_and_verify_off_the_source() {
    let setup = Setup::new(usual(1, 8192));
    setup.expect(0).await;
    alter(&setup, 3);
    let mut altered = setup.image.plain[0].clone();
    altered[3] ^= 0x10;
    for verify in [Verify::Fetch, Verify::Off] {
        let store = setup.again(verify);
        let got = store.read(setup.image.chunks[0]).await.unwrap();
        assert!(got == altered);
        let mut buffer = [0; 5];
        assert!(hot(&store, &setup.image.chunks[0], 0, &mut buffer));
        assert_eq!(buffer, altered[..5]);
    }
    let setup = Setup::new(image(&[8192], Compressor::None, DigestAlgorithm::Sha256));
    setup.source.lies.store(usize::MAX, SeqCst);
    let chunk = setup.image.chunks[0];
    assert!(setup.again(Verify::Fetch).read(chunk).await.is_err());
    assert_eq!(
        setup.again(Verify::Off).read(chunk).await.unwrap().len(),
        8192
    );
}
