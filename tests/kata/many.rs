//! Hundreds of mounts, and mounts that come and go.

use std::collections::HashSet;

use crate::clients::Client;
use crate::rig::{api, assert_done, descriptors, image_body, mount, start, until};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, file_byte};
use crate::support::session::Session;

/// Cycles of mount and unmount; TIDEGATE_CYCLES asks for more.
const CYCLES: usize = 100;

/// Check 14, and 25 for all that is found by name.
#[test]
fn three_hundred_images_are_mounted_at_once() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    for number in 0..300 {
        mount(&daemon, &format!("/rafs/c{number}/lowerdir"), &image);
    }
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let rafs = guest.resolve("/rafs").unwrap();
    for plus in [false, true] {
        let listed = guest.list(rafs, plus).unwrap();
        let names: HashSet<_> = listed.into_iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), 300);
    }
    let mut inodes = HashSet::new();
    for number in 0..300 {
        let node = guest.resolve(&format!("/rafs/c{number}/lowerdir/{FILE}"));
        let node = node.unwrap();
        let start = FILE_LEN - 100;
        let read = guest.read(node, 0, start as u64, 100).unwrap();
        assert!((start..).zip(read).all(|(at, byte)| byte == file_byte(at)));
        assert!(inodes.insert(guest.attributes(node).unwrap().inode));
    }
    println!(
        "300 mounts: {} KiB of anonymous memory, {} threads",
        daemon.anonymous().unwrap(),
        daemon.threads().unwrap()
    );
    let seen = Client::Go.daemon(&api(&daemon)).json();
    assert_eq!(seen["backend_collection"].as_object().unwrap().len(), 300);
}

fn numbers(guest: &mut Session, node: u64, found: &mut Vec<u64>) {
    found.push(guest.attributes(node).unwrap().inode);
    for entry in guest.list(node, false).unwrap() {
        if matches!(entry.name.as_slice(), b"." | b"..") {
            continue;
        }
        let child = guest.lookup(node, &entry.name).unwrap();
        assert_eq!(entry.inode, child.attributes.inode, "{entry:?}");
        if child.attributes.mode & libc::S_IFMT == libc::S_IFDIR {
            numbers(guest, child.node, found);
        } else {
            found.push(child.attributes.inode);
        }
    }
}

/// Check 25.
#[test]
fn inode_numbers_are_unique_over_the_device() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    mount(&daemon, "/", &image);
    for number in 0..10 {
        mount(&daemon, &format!("/rafs/{number}/lowerdir"), &image);
    }
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let mut found = Vec::new();
    numbers(&mut guest, 1, &mut found);
    assert!(found.len() > 11 * 200);
    let unique: HashSet<_> = found.iter().collect();
    assert_eq!(unique.len(), found.len());
}

/// Check 14.
#[test]
fn mounts_that_come_and_go_leave_nothing_open() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let socket = api(&daemon);
    let body = image_body(&daemon, &image);
    let cycles = std::env::var("TIDEGATE_CYCLES");
    let cycles: usize = cycles.map_or(CYCLES, |text| text.parse().unwrap());
    mount(&daemon, "/stays", &image);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let mut cycle = |number: usize| {
        let at = format!("/rafs/{number}/lowerdir");
        assert_done(&Client::Go.mount(&socket, &at, &body));
        let file = guest.resolve(&format!("{at}/{FILE}")).unwrap();
        guest.read(file, 0, 0, 4096).unwrap();
        if number.is_multiple_of(3) {
            assert_done(&Client::Go.remount(&socket, &at, &body));
        }
        assert_done(&Client::Rust.unmount(&socket, &at));
    };
    let tenth = cycles.div_ceil(10);
    (0..tenth).for_each(&mut cycle);
    // What is let go of aside, and connections that are closing.
    let settled = |most: usize| {
        until("descriptors are closed", || {
            descriptors(daemon.pid()).unwrap() <= most
        });
    };
    mount(&daemon, "/last", &image);
    assert_done(&Client::Go.unmount(&socket, "/last"));
    let mut before = usize::MAX;
    until("descriptors settle", || {
        let now = descriptors(daemon.pid()).unwrap();
        std::mem::replace(&mut before, now) == now
    });
    let memory = daemon.anonymous().unwrap();
    (tenth..cycles).for_each(&mut cycle);
    settled(before);
    println!(
        "{cycles} cycles: {before} descriptors, anonymous memory {memory} to {} KiB",
        daemon.anonymous().unwrap()
    );
}
