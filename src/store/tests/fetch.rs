//! Which requests are made, and when readers are answered.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::*;
use crate::backend::Class;
use crate::store::StoreError;

fn setup(count: usize, len: usize, delay: Duration) -> Setup {
    let image = usual(count, len);
    let source = Source {
        delay,
        ..Source::new(&image)
    };
    Setup::with(image, source, |_| {}).with_records()
}

async fn bring_all(setup: &Setup, class: Class) {
    let all = setup.image.chunks.iter();
    for brought in join_all(all.map(|chunk| setup.store.bring_ahead(*chunk, class))).await {
        brought.unwrap();
    }
    settled(&setup.store).await;
}

#[tokio::test]
async fn neighbours_that_are_wanted_at_once_come_in_few_requests() {
    for class in [Class::Readahead, Class::Prefetch] {
        let setup = setup(64, 8000, Duration::from_millis(1));
        // None is asked for before all are wanted, however long a busy machine takes:
        // otherwise there are more requests, or such as bring again what lies between.
        setup.store.gather();
        let ask = async {
            let wanted = |chunk| setup.store.is_wanted(chunk);
            while !setup.image.chunks.iter().all(wanted) {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            setup.store.pump();
        };
        tokio::join!(bring_all(&setup, class), ask);
        let requests = setup.source.reads();
        // One for 32 of them or more, and one for what is left on each side.
        assert!(requests <= 3, "{requests}");
        assert_eq!(setup.count().fetched_chunks, 64);
        assert_eq!(setup.count().fetched_bytes, setup.image.stored.len() as u64);
        let again = setup.store.bring_ahead(setup.image.chunks[5], class).await;
        assert_eq!(again.unwrap(), 0, "it is there");
        for index in 0..64 {
            setup.expect(index).await;
        }
        assert_eq!(setup.source.reads(), requests);
    }
}

#[tokio::test]
async fn each_chunk_is_answered_when_it_is_complete() {
    let setup = setup(8, 20_000, Duration::from_millis(1));
    let two = setup.image.chunks[2].stored_offset;
    *setup.source.body.lock() = Shape::Hangs(usize::try_from(two).unwrap() + 5);
    let ahead: Vec<_> = (setup.image.chunks.iter().copied())
        .map(|chunk| {
            let store = Arc::clone(&setup.store);
            tokio::spawn(async move { store.bring_ahead(chunk, Class::Readahead).await })
        })
        .collect();
    for (index, task) in ahead.into_iter().enumerate() {
        if index < 2 {
            task.await.unwrap().unwrap();
        } else {
            task.abort();
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_costs_only_what_was_missing() {
    let setup = setup(8, 20_000, Duration::from_millis(1));
    let three = usize::try_from(setup.image.chunks[3].stored_offset).unwrap();
    *setup.source.body.lock() = Shape::Breaks(three + 5);
    let reads = setup.image.chunks[..4].iter();
    let reads = reads.map(|chunk| setup.store.bring_ahead(*chunk, Class::Readahead));
    let mend = async {
        while setup.count().fetch_errors == 0 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        *setup.source.body.lock() = Shape::Whole;
    };
    let (brought, ()) = futures_util::future::join(join_all(reads), mend).await;
    assert!(brought.iter().all(Result::is_ok));
    settled(&setup.store).await;
    for index in 0..4 {
        setup.expect(index).await;
    }
    assert!(setup.count().fetched_chunks >= 4);
}

#[tokio::test]
async fn a_source_that_always_breaks_off_is_an_error() {
    let setup = setup(1, 20_000, Duration::ZERO);
    *setup.source.body.lock() = Shape::Breaks(5);
    let error = setup.store.read(setup.image.chunks[0]).await.unwrap_err();
    assert!(matches!(&*error, StoreError::Fetch { .. }), "{error}");
    assert_eq!(setup.count().fetch_errors, 6);
    *setup.source.body.lock() = Shape::Whole;
    setup.expect(0).await;
}

#[tokio::test]
async fn what_the_link_carries_anyway_is_fetched_behind_a_miss() {
    let setup = setup(400, 8000, Duration::from_millis(20));
    *setup.source.body.lock() = Shape::Paced;
    // The first request measures the link: 20 ms and 10 MB/s are 200 kB.
    for index in [0, 100, 200, 300] {
        setup.expect(index).await;
    }
    let asked = setup.source.asked.lock().clone();
    let last = asked.iter().map(|(_, len)| *len).max().unwrap();
    assert!((20_000..600_000).contains(&last), "{asked:?}");
    let ahead = setup.count().fetched_ahead;
    assert!(ahead > 0);
    // What came along is there.
    let requests = setup.source.reads();
    setup.expect(301).await;
    assert_eq!(setup.source.reads(), requests);
}

#[tokio::test]
async fn a_reader_who_goes_forward_does_not_wait_for_each_chunk() {
    let setup = setup(200, 8000, Duration::from_millis(10));
    let start = std::time::Instant::now();
    for index in 0..200 {
        if !setup.hot(index) {
            let chunk = setup.image.chunks[index];
            let got = setup.store.read(chunk).await.unwrap();
            assert!(got == setup.image.plain[index]);
        }
    }
    let requests = setup.source.reads();
    assert!(
        requests < 40,
        "{requests} requests in {:?}",
        start.elapsed()
    );
    assert_eq!(setup.count().fetched_chunks, 200);
}

#[tokio::test]
async fn a_chunk_that_another_process_fetches_is_waited_for() {
    let setup = setup(4, 20_000, Duration::from_millis(30));
    let other = setup.again(Verify::Always);
    let all = setup.image.chunks.iter();
    let reads = all.flat_map(|chunk| [setup.store.read(*chunk), other.read(*chunk)]);
    for (number, got) in join_all(reads).await.into_iter().enumerate() {
        assert!(got.unwrap() == setup.image.plain[number / 2]);
    }
    let asked = setup.source.asked.lock().clone();
    let offsets: BTreeSet<u64> = asked.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets.len(), asked.len(), "each range once: {asked:?}");
    let bytes: usize = asked.iter().map(|(_, len)| len).sum();
    assert_eq!(bytes, setup.image.stored.len());
}

#[tokio::test]
async fn a_process_that_hangs_with_a_chunk_is_not_waited_for_for_ever() {
    let image = usual(1, 20_000);
    let stuck = Source::new(&image);
    stuck.hangs.store(true, SeqCst);
    let setup = Setup::with(image, stuck, |config| {
        config.deadline = Duration::from_secs(2)
    });
    let chunk = setup.image.chunks[0];
    let store = Arc::clone(&setup.store);
    let hanging = tokio::spawn(async move { store.read(chunk).await });
    while setup.source.reads() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let source = Arc::new(Source::new(&setup.image));
    let config = StoreConfig {
        cache: Some(setup.dir.path().into()),
        deadline: Duration::from_secs(2),
        ..StoreConfig::default()
    };
    let other = Store::open(config, source, vec![setup.image.blob.clone()]).unwrap();
    assert!(other.read(chunk).await.unwrap() == setup.image.plain[0]);
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_reader_overtakes_the_prefetch() {
    let setup = setup(400, 20_000, Duration::from_millis(5));
    *setup.source.body.lock() = Shape::Paced;
    let store = Arc::clone(&setup.store);
    let chunks = setup.image.chunks.clone();
    let background = tokio::spawn(async move {
        let all = chunks.into_iter();
        join_all(all.map(|chunk| store.bring_ahead(chunk, Class::Prefetch))).await
    });
    while setup.count().fetched_chunks < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = setup.count().fetched_chunks;
    let got = setup.store.read(setup.image.chunks[399]).await.unwrap();
    assert!(got == setup.image.plain[399]);
    let between = setup.count().fetched_chunks - before;
    assert!(between < 100, "{between} chunks came before the reader's");
    assert!(background.await.unwrap().iter().all(Result::is_ok));
}
