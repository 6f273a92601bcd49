//! FUSE messages that no kernel sends.

use crate::siege::{Siege, Then, any_answer, expect, refused};
use crate::support::image;
use crate::support::session::wire::{Body, ROOT, message, op};
use crate::support::session::{Answer, Failure, Session};

/// Node ids that no daemon has given out.
const STRANGERS: [u64; 5] = [0, 0xdead_beef_0bad, 1 << 47, 1 << 63, u64::MAX];

/// Opcodes that end or begin a session, which is their right.
const SESSION: [u32; 2] = [op::INIT, op::DESTROY];

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![]),
        ("one byte", vec![0xff]),
        ("8 zeros", vec![0; 8]),
        ("64 zeros", vec![0; 64]),
        ("64 ones", vec![0xff; 64]),
        ("4096 ones", vec![0xff; 4096]),
        ("16 bytes and a name", [&[0; 16][..], b"name\0"].concat()),
    ]
}

#[test]
fn every_opcode_with_every_body_is_answered() {
    let mut siege = Siege::begin();
    for opcode in (0..=80).filter(|opcode| !SESSION.contains(opcode)) {
        for (what, body) in bodies() {
            siege.case(
                &format!("opcode {opcode} with {what}"),
                Then::SameQueue,
                |session| {
                    for node in [ROOT, 0, u64::MAX] {
                        any_answer(session.raw(opcode, node, &body, 4096))?;
                    }
                    Ok(())
                },
            );
        }
    }
}

#[test]
fn unknown_opcodes_are_not_implemented() {
    let mut siege = Siege::begin();
    let holes = [
        0,
        7,
        19,
        54,
        55,
        64,
        100,
        4096,
        1 << 20,
        436_207_616,
        1 << 31,
        u32::MAX,
    ];
    for opcode in holes {
        siege.case(&format!("opcode {opcode}"), Then::SameQueue, |session| {
            refused(session.raw(opcode, ROOT, &[0; 64], 4096), &[libc::ENOSYS])
        });
    }
}

#[test]
fn session_opcodes_out_of_turn_leave_the_daemon_alive() {
    let mut siege = Siege::begin();
    for opcode in SESSION {
        for (what, body) in bodies() {
            siege.case(
                &format!("opcode {opcode} with {what}"),
                Then::NewConnection,
                |session| any_answer(session.raw(opcode, 0, &body, 4096)),
            );
        }
    }
    siege.case(
        "INIT of a major version to come",
        Then::NewConnection,
        |session| {
            let body = Body::default().u32(8).u32(0).u32(0).u32(0).0;
            any_answer(session.raw(op::INIT, 0, &body, 64))
        },
    );
}

/// Sends the first `length` bytes of a GETATTR; no answer to it can hold
/// attributes.
fn truncated(session: &mut Session, length: u32) -> Answer<()> {
    let room = crate::siege::scratch(session)?;
    let chain = crate::siege::linked(&[(room.request, length)], &[(room.reply, 4096)]);
    let used = crate::siege::send_chain(session, &chain)?;
    expect(used.length <= 16, "no more than an error")
}

#[test]
fn truncated_headers_come_back() {
    let mut siege = Siege::begin();
    for length in 0..56 {
        siege.case(
            &format!("{length} bytes of a request"),
            Then::SameQueue,
            |session| truncated(session, length),
        );
    }
}

#[test]
fn header_whose_length_lies_comes_back() {
    let mut siege = Siege::begin();
    let strict = siege.is_strict();
    for length in [0, 1, 39, 40, 55, 57, 4096, u32::MAX] {
        siege.case(
            &format!("header says {length}"),
            Then::SameQueue,
            |session| {
                let room = crate::siege::scratch(session)?;
                let mut raw = message(op::GETATTR, 7, ROOT, &[0; 16]);
                raw[..4].copy_from_slice(&length.to_le_bytes());
                session.frontend.ram.write(room.request, &raw)?;
                let chain = crate::siege::linked(&[(room.request, 56)], &[(room.reply, 4096)]);
                let used = crate::siege::send_chain(session, &chain)?;
                expect(!strict || used.length == 16, "an error")
            },
        );
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let mut siege = Siege::begin();
    let absent: &[i32] = if siege.is_strict() {
        &[libc::EINVAL, libc::ENAMETOOLONG]
    } else {
        &[libc::ENOENT, libc::EINVAL, libc::ENAMETOOLONG]
    };
    let long = vec![b'n'; 256];
    let longer = vec![b'n'; 60_000];
    let names: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("with a slash", b"data/noise"),
        ("a slash", b"/"),
        ("a path to elsewhere", b"../../../etc/passwd"),
        ("of 256 bytes", &long),
        ("of 60000 bytes", &longer),
    ];
    for (what, name) in names {
        siege.case(&format!("name {what}"), Then::SameQueue, |session| {
            let body = Body::default().name(name).0;
            refused(session.raw(op::LOOKUP, ROOT, &body, 4096), absent)
        });
    }
    siege.case("name without NUL", Then::SameQueue, |session| {
        refused(session.raw(op::LOOKUP, ROOT, b"hello", 4096), absent)
    });
    siege.case("two names", Then::SameQueue, |session| {
        any_answer(session.raw(op::LOOKUP, ROOT, b"hello\0hello\0", 4096))
    });
    let strict = siege.is_strict();
    for name in [&b"."[..], b".."] {
        siege.case("dots", Then::SameQueue, |session| {
            match session.lookup(ROOT, name) {
                Ok(entry) => expect(!strict && entry.node == ROOT, "no more than the root"),
                Err(Failure::Errno(_)) => Ok(()),
                Err(failure) => Err(failure),
            }
        });
    }
}

/// A name is bytes: one that no encoding knows can exist, and is absent here.
#[test]
fn names_that_are_not_there_are_said_to_be_absent() {
    let mut siege = Siege::begin();
    let longest = [b'n'; 255];
    let names: [&[u8]; 5] = [b"\xff\xfe", b"\x01", b"Hello", b"hello ", &longest];
    let strict = siege.is_strict();
    // In the root of a device an image may be mounted at any time.
    for (parent, lasts) in [("", false), ("data", true)] {
        for name in names {
            let what = format!("{parent}/{}", name.escape_ascii());
            siege.case(&what, Then::SameQueue, |session| {
                let node = match parent {
                    "" => ROOT,
                    path => session.resolve(path)?,
                };
                let body = Body::default().name(name).0;
                match session.raw(op::LOOKUP, node, &body, 4096) {
                    // A negative entry: node 0, and how long that may be kept.
                    Ok(entry) => {
                        let (node, rest) = entry.split_at(16);
                        expect(node == [0; 16], "no node")?;
                        expect(entry.len() == 128, "a whole entry")?;
                        let kept = rest[..8] != [0; 8];
                        expect(!strict || kept == lasts, "an answer to keep below the root")
                    }
                    other if strict => expect(false, &format!("a negative entry, not {other:?}")),
                    other => refused(other, &[libc::ENOENT]),
                }
            });
        }
    }
}

#[test]
fn requests_for_another_type_of_node_are_refused() {
    let mut siege = Siege::begin();
    let strict = siege.is_strict();
    let list = Body::read(0, 0, 4096).0;
    let cases: [(u32, &str, &[u8], i32); 8] = [
        (op::LOOKUP, image::FILE, b"name\0", libc::ENOTDIR),
        (op::READDIR, image::FILE, &list, libc::ENOTDIR),
        (op::READDIRPLUS, image::FILE, &list, libc::ENOTDIR),
        (op::READLINK, image::FILE, b"", libc::EINVAL),
        (op::READLINK, "data", b"", libc::EINVAL),
        (op::READ, "data", &list, libc::EISDIR),
        (op::READ, "link", &list, libc::EINVAL),
        (op::LOOKUP, "link", b"noise\0", libc::ENOTDIR),
    ];
    for (opcode, path, body, errno) in cases {
        siege.case(
            &format!("opcode {opcode} of {path}"),
            Then::SameQueue,
            |session| {
                let node = session.resolve(path)?;
                let answer = session.raw(opcode, node, body, 4096);
                if strict {
                    refused(answer, &[errno])
                } else {
                    any_answer(answer)
                }
            },
        );
    }
}

#[test]
fn nodes_that_never_were_are_refused() {
    let mut siege = Siege::begin();
    let requests: Vec<(u32, Vec<u8>)> = vec![
        (op::LOOKUP, b"hello\0".to_vec()),
        (op::GETATTR, vec![0; 16]),
        (op::READLINK, vec![]),
        (op::OPENDIR, vec![0; 8]),
        (op::READ, Body::read(77, 0, 4096).0),
        (op::READDIR, Body::read(77, 0, 4096).0),
        (op::READDIRPLUS, Body::read(77, 0, 4096).0),
        (
            op::GETXATTR,
            Body::default().u32(100).u32(0).name(b"user.x").0,
        ),
        (op::LISTXATTR, Body::default().u32(100).u32(0).0),
        (op::LSEEK, vec![0; 24]),
        (op::SETUPMAPPING, vec![0; 40]),
    ];
    let strict = siege.is_strict();
    for node in STRANGERS {
        for (opcode, body) in &requests {
            siege.case(
                &format!("opcode {opcode} of node {node:#x}"),
                Then::SameQueue,
                |session| match session.raw(*opcode, node, body, 4096) {
                    Ok(_) if strict => expect(false, "an error"),
                    other => any_answer(other),
                },
            );
        }
        siege.case(
            &format!("FORGET of node {node:#x}"),
            Then::SameQueue,
            |session| {
                session.forget(node, 1)?;
                session.forget(node, u64::MAX)
            },
        );
    }
}
