//! Chains that look hostile and are legal: they are answered with the right
//! bytes.

use crate::siege::{Siege, Then, content, expect, linked, scratch, send_chain};
use crate::support::frontend::ring::Descriptor;
use crate::support::frontend::{Config, Regions};
use crate::support::image;
use crate::support::session::wire::{Body, Fields, message, op};
use crate::support::session::{Answer, Session};

/// READs `length` bytes from the start of the file into these buffers (the
/// reply header comes first) and returns what came.
fn read_into(session: &mut Session, buffers: &[(u64, u32)], length: u32) -> Answer<(i32, Vec<u8>)> {
    let node = session.resolve(image::FILE)?;
    let handle = session.open(node)?;
    let request = session.frontend.ram.alloc(80, 8)?;
    let read = message(op::READ, 9, node, &Body::read(handle, 0, length).0);
    session.frontend.ram.write(request, &read)?;
    let chain: Vec<Descriptor> = linked(&[(request, 80)], buffers);
    let used = send_chain(session, &chain)?;
    let mut raw = Vec::new();
    for &(address, length) in buffers {
        let mut part = vec![0; usize::try_from(length).unwrap()];
        session.frontend.ram.read(address, &mut part)?;
        raw.extend(part);
    }
    raw.truncate(usize::try_from(used.length).unwrap());
    expect(raw.len() >= 16, "a reply header")?;
    let mut fields = Fields(&raw);
    let (said, error, unique) = (fields.u32(), fields.i32(), fields.u64());
    expect(
        said == used.length && unique == 9,
        "a reply header that fits",
    )?;
    Ok((error, raw.split_off(16)))
}

#[test]
fn request_and_reply_in_single_bytes() {
    let mut siege = Siege::begin();
    siege.case("GETATTR byte by byte", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let readable: Vec<_> = (0..56).map(|at| (room.request + at, 1)).collect();
        let writable: Vec<_> = (0..120).map(|at| (room.reply + at, 1)).collect();
        let used = send_chain(session, &linked(&readable, &writable))?;
        expect(used.length == 120, "a header and attributes")
    });
}

#[test]
fn read_into_800_uneven_buffers() {
    let mut siege = Siege::begin();
    siege.case("READ into 800 buffers", Then::SameQueue, |session| {
        let mut buffers = Vec::new();
        for number in 0..800 {
            let length = 1 + number % 160;
            let address = session.frontend.ram.alloc(u64::from(length), 1)?;
            buffers.push((address, length));
        }
        let room: u32 = buffers.iter().map(|buffer| buffer.1).sum();
        let (error, found) = read_into(session, &buffers, room - 16)?;
        expect(error == 0, "no error")?;
        expect(
            found == content(0, usize::try_from(room - 16).unwrap()),
            "the file's bytes",
        )
    });
}

#[test]
fn empty_buffers_between_others_are_skipped() {
    let mut siege = Siege::begin();
    let strict = siege.is_strict();
    siege.case("READ with empty buffers", Then::SameQueue, |session| {
        let at = session.frontend.ram.alloc(12_288, 4096)?;
        let buffers = [
            (at, 16),
            (at + 16, 0),
            (at + 4096, 4096),
            (at, 0),
            (at + 8192, 1000),
        ];
        let (error, found) = read_into(session, &buffers, 5096)?;
        // Others may refuse an empty descriptor, but not misread it.
        let refused = !strict && error != 0;
        expect(refused || found == content(0, 5096), "the file's bytes")
    });
}

#[test]
fn read_larger_than_its_buffer_stays_inside() {
    let mut siege = Siege::begin();
    let strict = siege.is_strict();
    for (room, length) in [(16, 1 << 20), (4096, u32::MAX), (1, 4096), (4095, 4096)] {
        siege.case(
            &format!("READ {length} into {room}"),
            Then::SameQueue,
            |session| {
                let at = session.frontend.ram.alloc(8192, 4096)?;
                session.frontend.ram.write(at, &[0xaa; 8192])?;
                let buffers = [(at, 16), (at + 16, room)];
                let (error, found) = read_into(session, &buffers, length)?;
                let right = content(0, found.len());
                expect(
                    error != 0 || found == right,
                    "an error or the file's first bytes",
                )?;
                let filled = usize::try_from(room).unwrap() == found.len();
                expect(!strict || (error == 0 && filled), "a full buffer")?;
                let mut behind = [0; 16];
                session
                    .frontend
                    .ram
                    .read(at + 16 + u64::from(room), &mut behind)?;
                expect(behind == [0xaa; 16], "nothing written behind the buffer")
            },
        );
    }
}

#[test]
fn buffer_across_two_regions_is_read_right() {
    let mut siege = Siege::with(Config {
        regions: Regions::Touching,
        ..Config::default()
    });
    let strict = siege.is_strict();
    siege.case("READ across a border", Then::SameQueue, |session| {
        let border = session.frontend.ram.last_region_start();
        let at = session.frontend.ram.alloc(16, 8)?;
        let buffers = [(at, 16), (border - 2048, 4096)];
        let (error, found) = read_into(session, &buffers, 4096)?;
        let refused = !strict && error != 0;
        expect(refused || found == content(0, 4096), "the file's bytes")
    });
}
