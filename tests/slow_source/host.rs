//! As a process on the host sees it, through `/dev/fuse`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::{FILES, LEN, Slow, content, name};
use crate::source::DELAY;
use crate::support::mount::is_possible;

#[test]
fn lookups_beside_a_miss_on_the_host_are_answered_in_milliseconds() {
    if !is_possible() {
        return;
    }
    let slow = Slow::new(Duration::from_secs(30));
    let (mounted, dir) = slow.mount();
    let path = dir.path().join(name(0));
    let reader = thread::spawn(move || fs::read(path).unwrap());
    slow.source.await_in_flight(1);
    let start = Instant::now();
    // The first access to each: the kernel has to ask.
    let size = fs::metadata(dir.path().join(name(1))).unwrap().size();
    let names = fs::read_dir(dir.path()).unwrap().count();
    let took = start.elapsed();
    let still_under_way = slow.source.in_flight();
    println!("LOOKUP and READDIR beside a miss on the host: {took:?}");
    assert_eq!((size, names), (LEN as u64, FILES + 1));
    assert_eq!(still_under_way, 1, "the miss came first");
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(reader.join().unwrap() == content(0));
    mounted.unmount().unwrap();
}

#[test]
fn sixteen_misses_on_the_host_are_in_flight_at_once() {
    if !is_possible() {
        return;
    }
    let slow = Slow::new(Duration::from_secs(30));
    let (mounted, dir) = slow.mount();
    let start = Instant::now();
    let readers: Vec<_> = (0..FILES)
        .map(|number| {
            let path = dir.path().join(name(number));
            thread::spawn(move || fs::read(path).unwrap())
        })
        .collect();
    for (number, reader) in readers.into_iter().enumerate() {
        assert!(reader.join().unwrap() == content(number));
    }
    let took = start.elapsed();
    println!("{FILES} misses on the host: {took:?}");
    assert_eq!(slow.source.most_in_flight(), FILES);
    assert!(took < 3 * DELAY, "{took:?}");
    mounted.unmount().unwrap();
}

#[test]
fn source_that_hangs_gives_eio_on_the_host_at_the_deadline() {
    if !is_possible() {
        return;
    }
    let deadline = Duration::from_secs(1);
    let slow = Slow::new(deadline);
    slow.source.hang(true);
    let (mounted, dir) = slow.mount();
    let path = dir.path().join(name(2));
    let start = Instant::now();
    let error = fs::read(&path).unwrap_err();
    let took = start.elapsed();
    println!("EIO on the host after {took:?}");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    // The kernel may ask for a page that its readahead did not get once more.
    assert!(took >= deadline && took < 10 * deadline, "{took:?}");
    slow.source.hang(false);
    slow.source.await_idle();
    assert!(fs::read(&path).unwrap() == content(2));
    mounted.unmount().unwrap();
}
