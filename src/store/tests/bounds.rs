//! What happens at once: shared work, work side by side, deadlines.

use futures_util::future::join_all;

use super::*;
use crate::backend::Class;
use crate::store::StoreError;

#[tokio::test]
async fn sixteen_readers_of_one_chunk_make_one_fetch() {
    let setup = Setup::new(usual(1, 20_000));
    let chunk = setup.image.chunks[0];
    for got in join_all((0..16).map(|_| setup.store.read(chunk))).await {
        assert!(got.unwrap() == setup.image.plain[0]);
    }
    assert_eq!(setup.source.reads(), 1);
    assert_eq!(setup.count().misses, 16);
}

/// Time is tokio's own here: it advances when nothing else can be done.
#[tokio::test(start_paused = true)]
async fn sixteen_misses_on_a_slow_source_take_one_delay() {
    let image = usual(16, 20_000);
    let source = Source {
        delay: Duration::from_millis(300),
        ..Source::new(&image)
    };
    let setup = Setup::with(image, source, |_| {});
    let start = tokio::time::Instant::now();
    let all = setup
        .image
        .chunks
        .iter()
        .map(|chunk| setup.store.read(*chunk));
    for (got, truth) in join_all(all).await.into_iter().zip(&setup.image.plain) {
        assert!(got.unwrap() == *truth);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert_eq!(setup.source.reads(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_an_error_at_the_deadline_and_asked_anew_later() {
    let image = usual(2, 20_000);
    let source = Source::new(&image);
    let setup = Setup::with(image, source, |config| {
        config.deadline = Duration::from_secs(2)
    });
    setup.source.hangs.store(true, SeqCst);
    let start = tokio::time::Instant::now();
    let chunk = setup.image.chunks[0];
    for got in join_all((0..4).map(|_| setup.store.read(chunk))).await {
        let error = got.unwrap_err();
        assert!(matches!(&*error, StoreError::Deadline { .. }), "{error}");
    }
    assert_eq!(start.elapsed().as_secs(), 2);
    setup.source.hangs.store(false, SeqCst);
    setup.expect(0).await;
    assert_eq!(setup.source.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn more_hanging_reads_than_requests_allowed_do_not_block_later_ones() {
    let image = usual(200, 100);
    let source = Source::new(&image);
    let setup = Setup::with(image, source, |_| {});
    setup.source.hangs.store(true, SeqCst);
    let all = setup
        .image
        .chunks
        .iter()
        .map(|chunk| setup.store.read(*chunk));
    assert!(join_all(all).await.iter().all(Result::is_err));
    assert_eq!(setup.source.peak.load(SeqCst), 64);
    setup.source.hangs.store(false, SeqCst);
    setup.expect(0).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_work_to_the_others() {
    let setup = Setup::new(usual(1, 20_000));
    let chunk = setup.image.chunks[0];
    let store = Arc::clone(&setup.store);
    let first = tokio::spawn(async move { store.read(chunk).await });
    while setup.count().misses == 0 {
        tokio::task::yield_now().await;
    }
    let second = setup.store.read(chunk);
    first.abort();
    assert!(second.await.unwrap() == setup.image.plain[0]);
    assert_eq!(setup.source.reads(), 1);
}

#[tokio::test]
async fn a_hole_in_the_flight_is_an_error_and_not_a_hang() {
    use crate::store::flight::Flights;
    let flights = Arc::new(Flights::default());
    let chunk = usual(1, 100).chunks[0];
    let panics = || async { panic!("the work ends without an answer") };
    let joined = flights.join(chunk, Class::Demand, |_| panics());
    let error = joined.flight.await.unwrap_err();
    assert!(matches!(&*error, StoreError::Lost { .. }), "{error}");
    let again = flights.join(chunk, Class::Demand, |_| async {
        Ok(Bytes::from_static(b"x"))
    });
    assert_eq!(again.flight.await.unwrap(), Bytes::from_static(b"x"));
}
