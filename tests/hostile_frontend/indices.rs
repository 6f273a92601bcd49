//! Heads and indices that no driver publishes, and connections that end at a
//! bad moment.

use std::time::Duration;

use crate::siege::{FREE, Siege, Then, expect, linked, ordinary, scratch};
use crate::support::frontend::Config;
use crate::support::image;
use crate::support::session::wire::{Body, op};
use crate::support::session::{Answer, Session};

/// How long a ring is watched for something that should not come.
const WATCH: Duration = Duration::from_millis(50);

#[test]
fn heads_out_of_range_are_passed_over() {
    let mut siege = Siege::begin();
    for head in [1024, 1025, 60_000, u16::MAX] {
        siege.case(&format!("head {head}"), Then::SameQueue, |session| {
            let ring = &mut session.frontend.queues[1].ring;
            ring.offer(head)?;
            ring.kick.write(1)?;
            let used = ring.take(WATCH)?;
            expect(used.is_none_or(|used| used.length == 0), "nothing written")
        });
    }
}

#[test]
fn head_offered_twice_is_answered_twice() {
    let mut siege = Siege::begin();
    siege.case("one head, two entries", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let ring = &mut session.frontend.queues[1].ring;
        for (index, descriptor) in
            (FREE..).zip(linked(&[(room.request, 56)], &[(room.reply, 4096)]))
        {
            ring.describe(index, descriptor)?;
        }
        ring.offer(FREE)?;
        ring.offer(FREE)?;
        ring.kick.write(1)?;
        for _ in 0..2 {
            let used = ring.take(Duration::from_secs(5))?;
            expect(
                used.is_some_and(|used| used.head == u32::from(FREE)),
                "the head again",
            )?;
        }
        Ok(())
    });
}

#[test]
fn avail_index_jumps_do_not_end_the_daemon() {
    let mut siege = Siege::begin();
    for jump in [10, 1024, 1025, 2000, 32_768, u16::MAX] {
        siege.case(&format!("jump by {jump}"), Then::NewConnection, |session| {
            let ring = &mut session.frontend.queues[1].ring;
            ring.publish(ring.avail_index.wrapping_add(jump))?;
            ring.kick.write(1)?;
            ring.take(WATCH).map(drop)?;
            Ok(())
        });
    }
}

#[test]
fn kicks_without_requests_cost_nothing_else() {
    let mut siege = Siege::begin();
    siege.case("10000 kicks on both queues", Then::SameQueue, |session| {
        for _ in 0..5000 {
            for queue in [0, 1] {
                session.frontend.queues[queue].ring.kick.write(1)?;
            }
        }
        Ok(())
    });
}

fn flood(session: &mut Session) -> Answer<()> {
    let node = session.resolve(image::FILE)?;
    let handle = session.open(node)?;
    let body = Body::read(handle, 0, 128 << 10).0;
    for _ in 0..session.frontend.queues[1].room() {
        session.submit(1, op::READ, node, &body, Some(128 << 10))?;
    }
    session.flush(1)
}

#[test]
fn guest_that_goes_away_in_the_middle_can_come_back() {
    let config = Config {
        depth: 32,
        reply_max: 128 << 10,
        ..Config::default()
    };
    let mut siege = Siege::with(config);
    for round in 0..10 {
        siege.case(
            &format!("gone in round {round}"),
            Then::NewConnection,
            flood,
        );
    }
}

#[test]
fn stopped_queue_has_answered_what_it_took() {
    let config = Config {
        depth: 32,
        reply_max: 128 << 10,
        ..Config::default()
    };
    let mut siege = Siege::with(config);
    for round in 0..10 {
        siege.case(
            &format!("stopped in round {round}"),
            Then::SameQueue,
            |session| {
                flood(session)?;
                let before = session.frontend.queues[1].ring.avail_index;
                let base = session.frontend.stop(1)?;
                let left = before.wrapping_sub(base);
                let taken = session.frontend.queues[1].in_flight() - usize::from(left);
                let mut answered = 0;
                while let Some(reply) = session.try_complete(1)? {
                    session.body(reply)?;
                    answered += 1;
                }
                expect(answered == taken, "an answer to each request taken")?;
                // The rest is still in the ring: it is answered after the start.
                session.frontend.start(1, base)?;
                session.frontend.queues[1].ring.kick.write(1)?;
                for _ in 0..left {
                    let reply = session.complete(1)?;
                    session.body(reply)?;
                }
                ordinary(session)
            },
        );
    }
}
