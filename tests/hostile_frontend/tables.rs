//! Indirect tables that no driver makes.

use crate::siege::{LEN, Siege, Then, scratch, send_chain};
use crate::support::frontend::ring::{Descriptor, INDIRECT, NEXT, WRITE};

#[test]
fn bad_indirect_tables_come_back() {
    let mut siege = Siege::begin();
    let entry = |address, length, flags| {
        [Descriptor {
            address,
            length,
            flags,
            next: 0,
        }]
    };
    for length in [0, 1, 7, 15, 17, 31, 33] {
        siege.case(
            &format!("table of {length} bytes"),
            Then::SameQueue,
            |session| {
                let room = scratch(session)?;
                send_chain(session, &entry(room.request, length, INDIRECT)).map(drop)
            },
        );
    }
    siege.case("table of 4 GiB", Then::SameQueue, |session| {
        send_chain(session, &entry(0, 0xffff_fff0, INDIRECT)).map(drop)
    });
    siege.case("table of 65537 entries", Then::SameQueue, |session| {
        send_chain(session, &entry(0, 1_048_592, INDIRECT)).map(drop)
    });
    siege.case("table outside memory", Then::SameQueue, |session| {
        let end = session.frontend.ram.end();
        send_chain(session, &entry(end + 16, 64, INDIRECT)).map(drop)
    });
    siege.case(
        "table across the end of memory",
        Then::SameQueue,
        |session| {
            let end = session.frontend.ram.end();
            send_chain(session, &entry(end - 16, 64, INDIRECT)).map(drop)
        },
    );
    for (name, flags) in [
        ("linked on", INDIRECT | NEXT),
        ("writable", INDIRECT | WRITE),
    ] {
        siege.case(&format!("table {name}"), Then::SameQueue, |session| {
            let room = scratch(session)?;
            send_chain(session, &entry(room.request, 32, flags)).map(drop)
        });
    }
    siege.case("table in a table", Then::SameQueue, |session| {
        let room = scratch(session)?;
        let inner = Descriptor {
            address: room.reply,
            length: 16,
            flags: INDIRECT,
            next: 0,
        };
        session.frontend.ram.write(room.reply, &inner.bytes())?;
        send_chain(session, &entry(room.reply, 16, INDIRECT)).map(drop)
    });
    siege.case(
        "table whose entry links to itself",
        Then::SameQueue,
        |session| {
            let room = scratch(session)?;
            let inner = Descriptor {
                address: room.request,
                length: LEN,
                flags: NEXT,
                next: 0,
            };
            session.frontend.ram.write(room.reply, &inner.bytes())?;
            send_chain(session, &entry(room.reply, 16, INDIRECT)).map(drop)
        },
    );
}
