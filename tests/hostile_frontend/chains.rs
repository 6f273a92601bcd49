//! Descriptor chains that no driver makes. Each comes back, so that the guest
//! does not lose its descriptors for ever.

use crate::siege::{FREE, LEN, Siege, Then, expect, linked, scratch, send_chain};
use crate::support::frontend::ring::{Descriptor, NEXT, WRITE};
use crate::support::session::{Answer, Session};

/// An address, given the end of memory.
type Place = fn(u64) -> u64;

/// A GETATTR with a reply buffer at `address`, of which at most the part in
/// memory can be written.
fn reply_to(session: &mut Session, address: u64, length: u32) -> Answer<()> {
    let room = scratch(session)?;
    let chain = linked(&[(room.request, LEN)], &[(address, length)]);
    let used = send_chain(session, &chain)?;
    let there = session.frontend.ram.end().saturating_sub(address);
    expect(u64::from(used.length) <= there, "no more than there is")
}

fn request_from(session: &mut Session, address: u64, length: u32) -> Answer<()> {
    let room = scratch(session)?;
    let chain = linked(&[(address, length)], &[(room.reply, 4096)]);
    let used = send_chain(session, &chain)?;
    expect(used.length <= 16, "no more than an error")
}

#[test]
fn buffers_outside_memory_come_back() {
    let mut siege = Siege::begin();
    let places: [(&str, Place, u32); 6] = [
        ("behind the end", |end| end + 4096, 4096),
        ("across the end", |end| end - 10, 4096),
        ("at the end, empty", |end| end, 0),
        ("at the top of the address space", |_| u64::MAX - 5, 4096),
        ("of 4 GiB", |_| 0, u32::MAX),
        ("of 4 GiB near the end", |end| end - 1, u32::MAX),
    ];
    for (name, place, length) in places {
        siege.case(
            &format!("reply buffer {name}"),
            Then::SameQueue,
            |session| {
                let address = place(session.frontend.ram.end());
                reply_to(session, address, length)
            },
        );
        siege.case(&format!("request {name}"), Then::SameQueue, |session| {
            let address = place(session.frontend.ram.end());
            request_from(session, address, length)
        });
    }
}

#[test]
fn chains_without_a_part_come_back() {
    let mut siege = Siege::begin();
    siege.case("no writable part", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let used = send_chain(session, &linked(&[(room.request, LEN)], &[]))?;
        expect(used.length == 0, "nothing written")
    });
    siege.case("no readable part", Then::SameQueue, |session| {
        let room = scratch(session)?;
        send_chain(session, &linked(&[], &[(room.reply, 4096)])).map(drop)
    });
    siege.case(
        "one empty readable descriptor",
        Then::SameQueue,
        |session| {
            let room = scratch(session)?;
            send_chain(session, &linked(&[(room.request, 0)], &[])).map(drop)
        },
    );
    siege.case(
        "one empty writable descriptor",
        Then::SameQueue,
        |session| {
            let room = scratch(session)?;
            let chain = linked(&[(room.request, LEN)], &[(room.reply, 0)]);
            expect(send_chain(session, &chain)?.length == 0, "nothing written")
        },
    );
    for length in 1..16 {
        siege.case(
            &format!("{length} bytes for a reply"),
            Then::SameQueue,
            |session| {
                let room = scratch(session)?;
                session.frontend.ram.write(room.reply, &[0xaa; 64])?;
                let chain = linked(&[(room.request, LEN)], &[(room.reply, length)]);
                let used = send_chain(session, &chain)?;
                expect(used.length <= length, "no more than there is room for")?;
                let mut behind = [0; 16];
                session
                    .frontend
                    .ram
                    .read(room.reply + u64::from(length), &mut behind)?;
                expect(behind == [0xaa; 16], "nothing written behind the buffer")
            },
        );
    }
}

#[test]
fn chains_in_the_wrong_order_come_back() {
    let mut siege = Siege::begin();
    siege.case("writable before readable", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let chain = [
            Descriptor {
                address: room.reply,
                length: 4096,
                flags: WRITE | NEXT,
                next: FREE + 1,
            },
            Descriptor {
                address: room.request,
                length: LEN,
                flags: 0,
                next: 0,
            },
        ];
        send_chain(session, &chain).map(drop)
    });
    siege.case("readable, writable, readable", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let chain = [
            Descriptor {
                address: room.request,
                length: 40,
                flags: NEXT,
                next: FREE + 1,
            },
            Descriptor {
                address: room.reply,
                length: 4096,
                flags: WRITE | NEXT,
                next: FREE + 2,
            },
            Descriptor {
                address: room.request + 40,
                length: 16,
                flags: 0,
                next: 0,
            },
        ];
        send_chain(session, &chain).map(drop)
    });
    siege.case("all flags set", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let chain = [Descriptor {
            address: room.request,
            length: LEN,
            flags: u16::MAX,
            next: u16::MAX,
        }];
        send_chain(session, &chain).map(drop)
    });
}

#[test]
fn loops_and_dangling_links_come_back() {
    let mut siege = Siege::begin();
    let links = [
        ("to itself", FREE),
        ("out of the table", 1024),
        ("far out of the table", u16::MAX),
    ];
    for (name, next) in links {
        siege.case(
            &format!("readable linked {name}"),
            Then::SameQueue,
            |session| {
                let room = scratch(session)?;
                let head = Descriptor {
                    address: room.request,
                    length: LEN,
                    flags: NEXT,
                    next,
                };
                send_chain(session, &[head]).map(drop)
            },
        );
        siege.case(
            &format!("writable linked {name}"),
            Then::SameQueue,
            |session| {
                let room = scratch(session)?;
                let flags = NEXT | WRITE;
                let head = Descriptor {
                    address: room.reply,
                    length: 4096,
                    flags,
                    next,
                };
                send_chain(session, &[head]).map(drop)
            },
        );
    }
    siege.case(
        "request, then a loop of two reply buffers",
        Then::SameQueue,
        |session| {
            let room = scratch(session)?;
            let (address, length, flags) = (room.reply, 4096, NEXT | WRITE);
            let chain = [
                Descriptor {
                    address: room.request,
                    length: LEN,
                    flags: NEXT,
                    next: FREE + 1,
                },
                Descriptor {
                    address,
                    length,
                    flags,
                    next: FREE + 2,
                },
                Descriptor {
                    address,
                    length,
                    flags,
                    next: FREE + 1,
                },
            ];
            send_chain(session, &chain).map(drop)
        },
    );
}
