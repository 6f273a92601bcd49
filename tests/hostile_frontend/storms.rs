//! Counts and sizes that are too large, and too many requests.

use crate::siege::{Siege, Then, any_answer, content, expect};
use crate::support::frontend::Config;
use crate::support::image;
use crate::support::session::Session;
use crate::support::session::wire::{Body, ROOT, op};

#[test]
fn sizes_beyond_reason_are_bounded() {
    let mut siege = Siege::begin();
    for opcode in [op::READDIR, op::READDIRPLUS] {
        for (offset, size) in [
            (0, u32::MAX),
            (u64::MAX, 4096),
            (1 << 63, u32::MAX),
            (0, 0),
            (0, 1),
        ] {
            let name = format!("opcode {opcode}, {size} bytes at {offset}");
            siege.case(&name, Then::SameQueue, |session| {
                let handle = session.opendir(ROOT)?;
                let body = Body::read(handle, offset, size).0;
                any_answer(session.raw(opcode, ROOT, &body, 4096))?;
                session.releasedir(ROOT, handle)
            });
        }
    }
    let strict = siege.is_strict();
    for (offset, size) in [
        (0, u32::MAX),
        (u64::MAX, 4096),
        (u64::MAX - 4095, 4096),
        (1 << 63, 0),
    ] {
        siege.case(
            &format!("READ {size} at {offset}"),
            Then::SameQueue,
            |session| {
                let node = session.resolve(image::FILE)?;
                let handle = session.open(node)?;
                let body = Body::read(handle, offset, size).0;
                let answer = session.raw(op::READ, node, &body, 8192);
                match (&answer, offset) {
                    (Ok(found), 0) => expect(*found == content(0, 8192), "a full buffer")?,
                    (Ok(found), _) => expect(found.is_empty(), "nothing behind the end")?,
                    _ => expect(!strict || offset > 0, "the file's bytes")?,
                }
                any_answer(answer)?;
                session.release(node, handle)
            },
        );
    }
    for size in [0, 1, 4096, u32::MAX] {
        siege.case(&format!("xattrs into {size}"), Then::SameQueue, |session| {
            let head = Body::default().u32(size).u32(0);
            any_answer(session.raw(op::LISTXATTR, ROOT, &head.0, 4096))?;
            any_answer(session.raw(op::GETXATTR, ROOT, &head.clone().name(b"user.x").0, 4096))?;
            any_answer(session.raw(op::GETXATTR, ROOT, &head.clone().name(b"").0, 4096))?;
            any_answer(session.raw(op::GETXATTR, ROOT, &head.name(&[b'x'; 300]).0, 4096))
        });
    }
}

#[test]
fn forgets_beyond_count_are_ignored() {
    let mut siege = Siege::begin();
    for (count, present) in [
        (0, 0),
        (1, 0),
        (0, 3),
        (3, 1),
        (u32::MAX, 2),
        (1 << 28, 100),
    ] {
        let name = format!("BATCH_FORGET of {count} with {present}");
        siege.case(&name, Then::SameQueue, |session| {
            let head = Body::default().u32(count).u32(0);
            let body = (0..present).fold(head, |body, n| body.u64(n).u64(u64::MAX));
            session.send(op::BATCH_FORGET, 0, &body.0)
        });
    }
    siege.case("FORGET of nothing", Then::SameQueue, |session| {
        session.send(op::FORGET, ROOT, &[])
    });
    siege.case("the root forgotten for ever", Then::SameQueue, |session| {
        for _ in 0..100 {
            session.forget(ROOT, u64::MAX)?;
        }
        Ok(())
    });
}

/// Sends FORGETs with all slots in flight.
fn storm(session: &mut Session, queue: usize, count: u64) -> crate::support::session::Answer<()> {
    let node = session.resolve("many/entry-007")?;
    let mut sent = 0;
    while sent < count || session.frontend.queues[queue].in_flight() > 0 {
        while sent < count && session.frontend.queues[queue].room() > 0 {
            let target = if sent % 2 == 0 { node } else { sent << 7 };
            session.submit(queue, op::FORGET, target, &1_u64.to_le_bytes(), None)?;
            sent += 1;
        }
        session.flush(queue)?;
        let reply = session.complete(queue)?;
        session.finish(reply)?;
    }
    Ok(())
}

#[test]
fn forget_storm_is_weathered_on_either_queue() {
    let config = Config {
        depth: 64,
        reply_max: 8192,
        ..Config::default()
    };
    let mut siege = Siege::with(config);
    for queue in [0, 1] {
        let name = format!("100000 FORGETs on queue {queue}");
        siege.case(&name, Then::SameQueue, |session| {
            storm(session, queue, 100_000)
        });
    }
}

#[test]
fn requests_on_the_high_priority_queue_are_answered() {
    let mut siege = Siege::begin();
    let strict = siege.is_strict();
    siege.case("GETATTR on queue 0", Then::SameQueue, |session| {
        session.queue = 0;
        let answer = session.raw(op::GETATTR, ROOT, &[0; 16], 4096);
        session.queue = 1;
        let attributes = answer.as_ref().is_ok_and(|body| body.len() == 104);
        expect(!strict || attributes, "attributes")?;
        any_answer(answer)
    });
}
