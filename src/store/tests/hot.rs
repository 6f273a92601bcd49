//! The hit path serves the truth at every offset and in every shape of
//! memory, and leaves nothing behind when it cannot.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// A store with one proved chunk of a few blocks and a short one.
fn proved() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(|| {
        let setup = Setup::new(usual(1, 3 * 4096 + 777));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(setup.expect(0));
        setup
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn reads_of_any_shape_agree_with_the_truth(
        (from, len) in (0..13_065_usize).prop_flat_map(|from| (Just(from), 0..=13_065 - from)),
        snap in 0..4_u8,
        at in 0..3_usize,
        sizes in prop::collection::vec(1..6000_usize, 1..6),
    ) {
        let setup = proved();
        // Aligned ends are what guests ask for; give them their share.
        let from = if snap & 1 == 0 { from } else { from - from % 4096 };
        let len = if snap & 2 == 0 { len } else { len - len % 4096 };
        let mut sizes = sizes;
        sizes.push((at + len).saturating_sub(sizes.iter().sum()));
        let mut memory: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![0xee; size]).collect();
        let mut dest = Destination::from_slices(memory.iter_mut().map(Vec::as_mut_slice));
        let start = u32::try_from(from).unwrap();
        let chunk = &setup.image.chunks[0];
        prop_assert!(setup.store.read_hot(chunk, start, &mut dest, at, len));
        let seen = memory.concat();
        prop_assert!(seen[at..at + len] == setup.image.plain[0][from..from + len]);
        prop_assert!(seen[..at].iter().chain(&seen[at + len..]).all(|&byte| byte == 0xee));
    }
}

#[test]
fn every_offset_of_a_short_chunk_agrees_with_the_truth() {
    let setup = proved();
    let truth = &setup.image.plain[0];
    for from in 0..truth.len() {
        for len in [1, 2, 511, 4096] {
            let len = len.min(truth.len() - from);
            let mut buffer = vec![0; len];
            let start = u32::try_from(from).unwrap();
            assert!(hot(
                &setup.store,
                &setup.image.chunks[0],
                start,
                &mut buffer
            ));
            assert!(buffer == truth[from..from + len], "{from} {len}");
        }
    }
}

#[test]
fn what_does_not_fit_is_not_served() {
    let setup = proved();
    let chunk = &setup.image.chunks[0];
    let mut buffer = [0xee; 100];
    let mut dest = Destination::from_slice(&mut buffer);
    for (from, at, len) in [
        (0, 1, 100),
        (chunk.len, 0, 1),
        (u32::MAX, 0, 1),
        (0, usize::MAX, 1),
    ] {
        assert!(!setup.store.read_hot(chunk, from, &mut dest, at, len));
    }
    assert!(!setup.store.read_hot(chunk, 0, &mut dest, 0, usize::MAX));
    assert_eq!(buffer, [0xee; 100]);
}

#[tokio::test]
async fn a_failed_check_scrubs_what_it_copied() {
    let setup = Setup::new(usual(1, 20_000));
    setup.expect(0).await;
    alter(&setup, 4099);
    let mut buffer = [0xee; 8194];
    let mut dest = Destination::from_slice(&mut buffer);
    assert!(
        !setup
            .store
            .read_hot(&setup.image.chunks[0], 0, &mut dest, 1, 8192)
    );
    assert_eq!((buffer[0], buffer[8193]), (0xee, 0xee));
    assert_eq!(buffer[1..8193], [0; 8192]);
    // The first block is whole and is served alone, a part of the second is not.
    assert!(hot(&setup.store, &setup.image.chunks[0], 0, &mut [0; 4096]));
    assert!(!hot(
        &setup.store,
        &setup.image.chunks[0],
        8000,
        &mut [0; 10]
    ));
}

#[tokio::test]
async fn a_guest_that_changes_its_own_buffer_is_counted_as_interference() {
    let setup = Setup::new(usual(1, 20_000));
    setup.expect(0).await;
    // What the check saw was wrong and what lies in the cache is right, as when
    // a guest writes to its buffer between the copy and the check.
    alter(&setup, 5000);
    assert!(!setup.hot(0));
    alter(&setup, 5000);
    setup.expect(0).await;
    let count = setup.count();
    assert_eq!(count.interference, 1);
    assert_eq!((count.proof_failures_cache, count.repairs), (0, 0));
    assert_eq!(setup.source.reads(), 1);
    assert!(setup.hot(0));
    setup.expect(0).await;
    assert_eq!(setup.count().interference, 1);
}

/// Spans of 64 KiB have tags of their own; a chunk of two and a half of them.
#[tokio::test]
async fn any_altered_block_fails_a_large_read_and_no_other() {
    const LEN: usize = (128 + 32) << 10;
    let setup = Setup::new(usual(1, LEN - 5));
    setup.expect(0).await;
    let chunk = &setup.image.chunks[0];
    let whole = |buffer: &mut [u8]| hot(&setup.store, chunk, 0, buffer);
    let mut buffer = vec![0; LEN - 5];
    assert!(whole(&mut buffer) && buffer == setup.image.plain[0]);
    for block in 0..LEN / 4096 {
        let at = block * 4096 + 4090;
        alter(&setup, u64::try_from(at).unwrap());
        assert!(!whole(&mut buffer), "block {block}");
        assert!(buffer.iter().all(|&byte| byte == 0));
        // A large read beside it is right: from the next span on, or before.
        let spans = [(0, 65_536), (65_536, 131_072), (131_072, LEN - 5)];
        for (from, end) in spans {
            let served = hot(
                &setup.store,
                chunk,
                u32::try_from(from).unwrap(),
                &mut buffer[from..end],
            );
            assert_eq!(
                served,
                !(from..end).contains(&at),
                "block {block} from {from}"
            );
        }
        alter(&setup, u64::try_from(at).unwrap());
        assert!(whole(&mut buffer) && buffer == setup.image.plain[0]);
    }
}
