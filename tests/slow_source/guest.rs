//! As a guest sees it.

use std::time::{Duration, Instant};

use crate::rig::{Device, FILES, LEN, Slow, content, name};
use crate::source::DELAY;
use crate::support::session::wire::{Body, ROOT, op};
use crate::support::session::{Answer, Session, Ticket};

/// Longer than any test.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a request may take that waits for nobody.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Node of file `number`.
fn node(guest: &mut Session, number: usize) -> u64 {
    guest.resolve(&name(number)).unwrap()
}

/// Puts a READ of a whole file on the queue.
fn read(guest: &mut Session, node: u64) -> Ticket {
    let body = Body::read(0, 0, u32::try_from(LEN).unwrap()).0;
    guest.submit(1, op::READ, node, &body, Some(LEN)).unwrap()
}

/// Waits for one answer.
fn answer(guest: &mut Session) -> (Ticket, Answer<Vec<u8>>) {
    let reply = guest.complete(1).unwrap();
    (reply.ticket, guest.body(reply))
}

/// READs all files at once and waits for all of them.
fn read_all(guest: &mut Session, nodes: &[u64]) -> Vec<Vec<u8>> {
    let tickets: Vec<_> = nodes.iter().map(|&node| read(guest, node)).collect();
    guest.flush(1).unwrap();
    let mut found = vec![Vec::new(); nodes.len()];
    for _ in nodes {
        let (ticket, data) = answer(guest);
        let place = tickets.iter().position(|it| *it == ticket).unwrap();
        found[place] = data.unwrap();
    }
    found
}

#[test]
fn requests_beside_a_miss_are_answered_in_milliseconds() {
    let slow = Slow::new(PATIENCE);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let (hot, cold) = (node(&mut guest, 0), node(&mut guest, 1));
    assert_eq!(read_all(&mut guest, &[hot]), [content(0)]);
    let others = [
        ("LOOKUP", op::LOOKUP, ROOT, b"directory\0".to_vec(), 128),
        ("GETATTR", op::GETATTR, cold, vec![0; 16], 104),
        ("READDIR", op::READDIR, ROOT, Body::read(0, 0, 4096).0, 4096),
        (
            "READ of a hit",
            op::READ,
            hot,
            Body::read(0, 0, 4096).0,
            4096,
        ),
    ];
    let start = Instant::now();
    let miss = read(&mut guest, cold);
    for (what, opcode, node, body, room) in others {
        let asked = Instant::now();
        let other = guest.submit(1, opcode, node, &body, Some(room)).unwrap();
        guest.flush(1).unwrap();
        let (ticket, reply) = answer(&mut guest);
        let took = asked.elapsed();
        println!("{what} beside a miss: {took:?}");
        assert_ne!(ticket, miss, "the miss came before {what}");
        assert_eq!(ticket, other);
        assert!(!reply.unwrap().is_empty());
        assert!(took < AT_ONCE, "{what} took {took:?}");
    }
    let (ticket, reply) = answer(&mut guest);
    assert_eq!((ticket, reply.unwrap()), (miss, content(1)));
    assert!(start.elapsed() >= DELAY, "that was no miss");
}

#[test]
fn sixteen_misses_of_one_queue_are_in_flight_at_once() {
    let slow = Slow::new(PATIENCE);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let nodes: Vec<_> = (0..FILES).map(|n| node(&mut guest, n)).collect();
    let start = Instant::now();
    let found = read_all(&mut guest, &nodes);
    let took = start.elapsed();
    println!("{FILES} misses: {took:?}");
    assert!(found == (0..FILES).map(content).collect::<Vec<_>>());
    assert_eq!(slow.source.most_in_flight(), FILES);
    assert_eq!(slow.source.requests(), FILES);
    assert!(took >= DELAY && took < 3 * DELAY, "{took:?}");
}

#[test]
fn sixteen_readers_of_one_chunk_make_one_fetch() {
    let slow = Slow::new(PATIENCE);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let node = node(&mut guest, 3);
    let start = Instant::now();
    let found = read_all(&mut guest, &[node; 16]);
    assert!(start.elapsed() < 3 * DELAY);
    assert!(found.iter().all(|data| *data == content(3)));
    assert_eq!(slow.source.requests(), 1);
}

#[test]
fn stopped_queue_answers_misses_that_come_in_time() {
    let slow = Slow::new(PATIENCE);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let nodes: Vec<_> = (0..FILES).map(|n| node(&mut guest, n)).collect();
    let tickets: Vec<_> = nodes.iter().map(|&node| read(&mut guest, node)).collect();
    guest.flush(1).unwrap();
    slow.source.await_in_flight(FILES);
    let start = Instant::now();
    let base = guest.frontend.stop(1).unwrap();
    let took = start.elapsed();
    println!("stop with {FILES} misses under way: {took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(base, guest.frontend.queues[1].ring.avail_index);
    for _ in 0..FILES {
        let reply = guest.try_complete(1).unwrap().expect("all are answered");
        let number = tickets.iter().position(|it| *it == reply.ticket).unwrap();
        assert!(guest.body(reply).unwrap() == content(number));
    }
}

#[test]
fn stopped_queue_cancels_misses_that_never_come() {
    let slow = Slow::new(PATIENCE);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let nodes: Vec<_> = (0..FILES).map(|n| node(&mut guest, n)).collect();
    slow.source.hang(true);
    for &node in &nodes {
        read(&mut guest, node);
    }
    guest.flush(1).unwrap();
    slow.source.await_in_flight(FILES);
    let start = Instant::now();
    let base = guest.frontend.stop(1).unwrap();
    let took = start.elapsed();
    println!("stop with {FILES} misses that hang: {took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for _ in 0..FILES {
        let reply = guest.try_complete(1).unwrap().expect("all are answered");
        let errno = guest.body(reply).unwrap_err().errno();
        assert_eq!(errno, Some(libc::EINTR));
    }
    // The queue goes on, and nothing of before comes back in it.
    guest.frontend.start(1, base).unwrap();
    guest.lookup(ROOT, b"directory").unwrap();
    assert!(guest.try_complete(1).unwrap().is_none());
}

#[test]
fn source_that_hangs_gives_eio_at_the_deadline_and_is_asked_again() {
    let deadline = Duration::from_secs(1);
    let slow = Slow::new(deadline);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let node = node(&mut guest, 5);
    slow.source.hang(true);
    let start = Instant::now();
    read(&mut guest, node);
    guest.flush(1).unwrap();
    let (_, reply) = answer(&mut guest);
    let took = start.elapsed();
    println!("EIO after {took:?}");
    assert_eq!(reply.unwrap_err().errno(), Some(libc::EIO));
    assert!(took >= deadline && took < 2 * deadline, "{took:?}");
    slow.source.await_idle();
    slow.source.hang(false);
    assert_eq!(read_all(&mut guest, &[node]), [content(5)]);
    assert_eq!(slow.source.requests(), 2);
}

#[test]
fn a_reader_that_comes_late_to_a_failing_fetch_asks_anew() {
    let deadline = Duration::from_secs(3);
    let slow = Slow::new(deadline);
    let device = Device::new(&slow);
    let mut guest = device.guest();
    let node = node(&mut guest, 6);
    slow.source.hang(true);
    let first = read(&mut guest, node);
    guest.flush(1).unwrap();
    slow.source.await_in_flight(1);
    std::thread::sleep(deadline * 2 / 3);
    slow.source.hang(false);
    let second = read(&mut guest, node);
    guest.flush(1).unwrap();
    let (failed, reply) = answer(&mut guest);
    assert_eq!(failed, first);
    assert_eq!(reply.unwrap_err().errno(), Some(libc::EIO));
    let (served, reply) = answer(&mut guest);
    assert_eq!(served, second);
    assert!(reply.unwrap() == content(6));
    assert_eq!(slow.source.requests(), 2);
}
