//! What a process that was killed left in a record, seen by the next.

use super::own::{OwnRecord, RingPlace, RingState};
use super::shared::SharedRecord;
use super::{Resume, Tracker};

const PLACE: RingPlace = RingPlace {
    descriptors: 0x1000,
    available: 0x2000,
    used: 0x3000,
    size: 16,
};

/// Heads 3, 5 and 4 are taken in this order, 5 is given back.
fn take_and_give_back(tracker: &Tracker) {
    for head in [3, 5, 4] {
        tracker.take(head);
        tracker.identify(head, &request(head));
    }
    tracker.give_back(5);
    tracker.given_back(5, 1);
}

/// The first bytes of a request that is recognised by its head.
fn request(head: u16) -> Vec<u8> {
    let mut request = vec![7; 24];
    request[8..10].copy_from_slice(&head.to_le_bytes());
    request
}

/// A ring whose used ring is at an index, with plenty in it.
fn at(used: u16) -> RingState {
    RingState {
        used,
        available: used.wrapping_add(10),
    }
}

fn shared() -> (SharedRecord, SharedRecord) {
    let (told, file) = SharedRecord::make(3, 16).unwrap();
    let again = file.try_clone().unwrap();
    let take_over = |file| SharedRecord::take_over(&told, file).unwrap();
    (take_over(file), take_over(again))
}

#[test]
fn heads_in_flight_are_found_in_the_order_in_which_they_were_taken() {
    let (before, after) = shared();
    let tracker = before.tracker(2, 16).unwrap();
    let nothing = Resume {
        heads: Vec::new(),
        next_avail: 0,
    };
    assert_eq!(tracker.resume_shared(at(0)), nothing);
    take_and_give_back(&tracker);
    let resume = after.tracker(2, 16).unwrap().resume_shared(at(1));
    assert_eq!(
        resume,
        Resume {
            heads: vec![3, 4],
            next_avail: 3
        }
    );
    // Another queue has a record of its own.
    let other = after.tracker(1, 16).unwrap().resume_shared(at(9));
    assert!(other.heads.is_empty());
    assert_eq!(other.next_avail, 9);
}

#[test]
fn numbers_go_on_behind_what_was_left() {
    let (before, after) = shared();
    let tracker = before.tracker(0, 16).unwrap();
    tracker.resume_shared(at(0));
    take_and_give_back(&tracker);
    let tracker = after.tracker(0, 16).unwrap();
    assert_eq!(tracker.resume_shared(at(1)).heads, [3, 4]);
    tracker.take(1);
    let third = before.tracker(0, 16).unwrap().resume_shared(at(1));
    assert_eq!(third.heads, [3, 4, 1]);
    assert_eq!(third.next_avail, 4);
}

#[test]
fn what_reached_the_used_ring_is_not_served_again() {
    for died_after_the_ring in [false, true] {
        let (before, after) = shared();
        let tracker = before.tracker(0, 16).unwrap();
        tracker.resume_shared(at(0));
        take_and_give_back(&tracker);
        tracker.give_back(3);
        // Between the two the used ring is written; its index tells.
        let used = 1 + u16::from(died_after_the_ring);
        let resume = after.tracker(0, 16).unwrap().resume_shared(at(used));
        match died_after_the_ring {
            true => assert_eq!(resume.heads, [4]),
            false => assert_eq!(resume.heads, [3, 4]),
        }
        assert_eq!(resume.next_avail, 3);
    }
}

#[test]
fn indices_wrap() {
    let (before, after) = shared();
    let tracker = before.tracker(0, 16).unwrap();
    tracker.resume_shared(at(u16::MAX));
    tracker.take(3);
    let resume = after.tracker(0, 16).unwrap().resume_shared(at(u16::MAX));
    assert_eq!(resume.next_avail, 0);
}

#[test]
fn regions_that_are_not_what_they_are_said_to_be_are_refused() {
    use std::io::{Seek as _, Write as _};
    let (told, file) = SharedRecord::make(3, 16).unwrap();
    let mut small = told;
    small.mmap_size = 100;
    assert!(SharedRecord::take_over(&small, file.try_clone().unwrap()).is_err());
    let mut beyond = told;
    beyond.mmap_offset = 4096;
    assert!(SharedRecord::take_over(&beyond, file.try_clone().unwrap()).is_err());
    let mut many = told;
    many.num_queues = 300;
    assert!(SharedRecord::take_over(&many, file.try_clone().unwrap()).is_err());
    let mut overflow = told;
    (overflow.mmap_offset, overflow.mmap_size) = (u64::MAX, u64::MAX);
    assert!(SharedRecord::take_over(&overflow, file.try_clone().unwrap()).is_err());
    // A file that can be cut short under us.
    let mut plain = tempfile::tempfile().unwrap();
    plain.write_all(&vec![0; 8192]).unwrap();
    plain.rewind().unwrap();
    assert!(SharedRecord::take_over(&told, plain).is_err());
    let record = SharedRecord::take_over(&told, file).unwrap();
    assert!(record.tracker(3, 16).is_none());
    assert!(record.tracker(0, 32).is_none());
}

#[test]
fn bytes_of_a_hostile_region_lead_nowhere() {
    use std::os::unix::fs::FileExt as _;
    let (told, file) = SharedRecord::make(1, 16).unwrap();
    let len = usize::try_from(told.mmap_size).unwrap();
    for byte in [1, 0xff] {
        file.write_all_at(&vec![byte; len], 0).unwrap();
        // The header is sound, all else is not.
        file.write_all_at(&1u16.to_le_bytes(), 8).unwrap();
        file.write_all_at(&16u16.to_le_bytes(), 10).unwrap();
        let record = SharedRecord::take_over(&told, file.try_clone().unwrap()).unwrap();
        let resume = record.tracker(0, 16).unwrap().resume_shared(at(77));
        assert!(resume.heads.len() <= 16);
        assert!(resume.heads.iter().all(|&head| head < 16));
    }
}

/// What a record in `dir` says of a ring.
fn own(
    dir: &std::path::Path,
    place: RingPlace,
    state: RingState,
    request: impl Fn(u16) -> Option<Vec<u8>>,
) -> (Tracker, Option<Resume>) {
    let record = OwnRecord::open(dir, 2, 64).unwrap();
    record.tracker(1, place, state, request).unwrap()
}

const NEW: RingState = RingState {
    used: 0,
    available: 0,
};

const LATER: RingState = RingState {
    used: 1,
    available: 7,
};

#[test]
fn own_record_goes_on_behind_what_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, resume) = own(dir.path(), PLACE, NEW, |_| None);
    assert_eq!(resume, None);
    take_and_give_back(&tracker);
    // Not looked at yet, so that nothing is known of it.
    tracker.take(9);
    let (_, resume) = own(dir.path(), PLACE, LATER, |head| Some(request(head)));
    assert_eq!(
        resume,
        Some(Resume {
            heads: vec![3, 4, 9],
            next_avail: 4
        })
    );
}

#[test]
fn own_record_of_another_ring_counts_for_nothing() {
    let other = RingPlace {
        available: 0x2100,
        ..PLACE
    };
    let smaller = RingPlace { size: 8, ..PLACE };
    let started_anew = NEW;
    let too_far = RingState {
        used: 3,
        available: 9,
    };
    let too_few = RingState {
        used: 1,
        available: 2,
    };
    for (place, state) in [
        (other, LATER),
        (smaller, LATER),
        (PLACE, started_anew),
        (PLACE, too_far),
        (PLACE, too_few),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (tracker, _) = own(dir.path(), PLACE, NEW, |_| None);
        take_and_give_back(&tracker);
        let (_, resume) = own(dir.path(), place, state, |head| Some(request(head)));
        assert_eq!(resume, None, "{place:?} {state:?}");
        // And it is about the new ring now.
        let (_, resume) = own(dir.path(), place, state, |head| Some(request(head)));
        assert!(resume.unwrap().heads.is_empty());
    }
    for strange in [None, Some(request(1))] {
        let dir = tempfile::tempdir().unwrap();
        let (tracker, _) = own(dir.path(), PLACE, NEW, |_| None);
        take_and_give_back(&tracker);
        let (_, resume) = own(dir.path(), PLACE, LATER, |_| strange.clone());
        assert_eq!(resume, None);
    }
}

#[test]
fn own_record_of_a_ring_that_was_stopped_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, _) = own(dir.path(), PLACE, NEW, |_| None);
    take_and_give_back(&tracker);
    tracker.end();
    let (_, resume) = own(dir.path(), PLACE, LATER, |head| Some(request(head)));
    assert_eq!(resume, None);
}

#[test]
fn record_of_a_ring_that_began_anew_counts_for_nothing() {
    let (before, after) = shared();
    let tracker = before.tracker(0, 16).unwrap();
    tracker.resume_shared(at(0));
    take_and_give_back(&tracker);
    let resume = after.tracker(0, 16).unwrap().resume_shared(NEW);
    assert!(resume.heads.is_empty());
    assert_eq!(resume.next_avail, 0);
}
