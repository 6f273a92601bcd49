//! A guest that is moved to another daemon, or saved and gone back to.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use vhost::vhost_user::VhostUserFrontend as _;
use vhost::vhost_user::message::VhostTransferStateDirection as Direction;
use vhost::vhost_user::message::VhostUserProtocolFeatures;

use crate::carry::{
    World, begin, boot, go_on, hold, load, read_version, save, stale, stop, take_to, version,
};
use crate::guest::{create, created};
use crate::rig::Rig;
use crate::support::dice::Dice;
use crate::support::session::wire::ROOT;

/// Moves a guest, and kills the daemon that took it.
fn move_a_guest(more: &[&str]) {
    let world = World::new();
    let mut line = world.line.clone();
    line.extend(more.iter().map(OsString::from));
    let (mut here, mut there) = (Rig::new(&line), Rig::new(&line));
    let mut guest = boot(&here);
    let held = hold(&here, &mut guest, &world);
    stop(&mut guest);
    let state = save(&mut guest);
    guest.frontend.disconnect().unwrap();
    here.stop();
    assert_eq!(fs::read_dir(here.state()).unwrap().count(), 0);
    take_to(&mut guest, &there, &state);
    assert_eq!(there.info()["restored"], 1);
    assert_eq!(there.info()["lost"], serde_json::json!([]));
    go_on(&mut guest, &held, &world, "moved");
    for round in 0..2 {
        there.kill();
        there.start();
        guest.reconnect().unwrap();
        go_on(&mut guest, &held, &world, &format!("again {round}"));
    }
    // What the old one replaced goes when nobody holds it any more.
    there.mount("POST", "/rafs/2", &world.old);
    let node = guest.resolve("/rafs/2/dir/file").unwrap();
    assert_eq!(read_version(&mut guest, node).unwrap(), b'a');
    assert!(![held.kept, held.fresh].contains(&node));
    drop(guest);
    there.stop();
    assert_eq!(fs::read_dir(there.state()).unwrap().count(), 0);
}

#[test]
fn a_guest_goes_on_with_another_daemon() {
    move_a_guest(&[]);
}

#[test]
fn a_guest_goes_on_between_strict_daemons() {
    move_a_guest(&["--sandbox", "strict"]);
}

#[test]
fn a_guest_that_was_saved_goes_on_and_back() {
    let world = World::new();
    let mut here = Rig::new(&world.line);
    let mut guest = boot(&here);
    let held = hold(&here, &mut guest, &world);
    for round in 0..3 {
        stop(&mut guest);
        let state = save(&mut guest);
        guest.frontend.resume().unwrap();
        go_on(&mut guest, &held, &world, &format!("on {round}"));
        // What was there when it was saved is there again.
        guest.release(held.file, held.handle).unwrap();
        guest.forget(held.kept, 1).unwrap();
        here.ask("DELETE", "/api/v1/mount?mountpoint=/rafs/1/lowerdir", "");
        stale(guest.attributes(held.fresh));
        let later = version(b'c');
        here.mount("POST", "/later", &later);
        let gone = guest.resolve("/later/dir/file").unwrap();
        stop(&mut guest);
        assert!(load(&mut guest, &state));
        guest.frontend.resume().unwrap();
        assert_eq!(here.info()["lost"], serde_json::json!([]));
        go_on(&mut guest, &held, &world, &format!("back {round}"));
        stale(guest.attributes(gone));
        let missing = guest.resolve("/later").unwrap_err();
        assert_eq!(missing.errno(), Some(libc::ENOENT));
    }
    here.restart();
    guest.reconnect().unwrap();
    go_on(&mut guest, &held, &world, "restarted");
}

#[test]
fn what_another_guest_had_gives_way() {
    let world = World::new();
    let (here, there) = (Rig::new(&world.line), Rig::new(&world.line));
    let own = version(b'c');
    let mut other = boot(&there);
    there.mount("POST", "/own", &own);
    let mine = other.resolve("/own/dir/file").unwrap();
    assert_eq!(read_version(&mut other, mine).unwrap(), b'c');
    drop(other);
    let mut guest = boot(&here);
    let held = hold(&here, &mut guest, &world);
    stop(&mut guest);
    let state = save(&mut guest);
    take_to(&mut guest, &there, &state);
    go_on(&mut guest, &held, &world, "moved");
    let missing = guest.resolve("/own").unwrap_err();
    assert_eq!(missing.errno(), Some(libc::ENOENT));
    let (_, shown) = there.ask("GET", "/api/v1/tidegate/info", "");
    assert!(!shown.contains("/own") && shown.contains("/rafs/1/lowerdir"));
    there.mount("POST", "/own", &own);
    let node = guest.resolve("/own/dir/file").unwrap();
    assert_eq!(read_version(&mut guest, node).unwrap(), b'c');
    // Another guest begins with nothing.
    drop(guest);
    let mut next = boot(&there);
    stale(next.attributes(held.file));
    stale(next.attributes(held.kept));
    assert_eq!(
        next.resolve("/rafs/1/lowerdir/dir/file").unwrap(),
        held.fresh
    );
}

#[test]
fn what_changed_meanwhile_is_lost_and_the_rest_goes_on() {
    let world = World::new();
    let (here, there) = (
        Rig::new(&world.line),
        Rig::new(&world.image_alone(world.key_file())),
    );
    let mut guest = boot(&here);
    let held = hold(&here, &mut guest, &world);
    stop(&mut guest);
    let state = save(&mut guest);
    fs::copy(version(b'c').bootstrap(), world.new.bootstrap()).unwrap();
    guest.frontend.move_to(&there.socket()).unwrap();
    assert!(load(&mut guest, &state));
    guest.frontend.resume().unwrap();
    // This command line names no directory, and the image elsewhere.
    assert_eq!(
        there.info()["lost"],
        serde_json::json!(["/rafs/1/lowerdir", "/", "/image"])
    );
    for node in [held.file, held.fresh, held.in_image, ROOT] {
        stale(guest.attributes(node));
    }
    assert_eq!(read_version(&mut guest, held.kept).unwrap(), b'a');
}

#[test]
fn a_state_is_taken_from_who_has_the_same_key() {
    let world = World::new();
    let other = world.path("key");
    fs::write(&other, [1; 32]).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let (here, mut there) = (Rig::new(&world.line), Rig::new(&world.image_alone(&other)));
    let mut guest = boot(&here);
    stop(&mut guest);
    let state = save(&mut guest);
    guest.frontend.move_to(&there.socket()).unwrap();
    assert!(!load(&mut guest, &state));
    let said = there.daemon().complaints();
    assert!(said.contains("another --state-key"), "{said}");
    // Nobody who carries it reads what is in it.
    let text = String::from_utf8_lossy(&state);
    assert!(!text.contains("mount-") && !text.contains("blobs"));
}

#[test]
fn state_is_offered_where_it_is_kept_and_sealed() {
    let world = World::new();
    let without = world.image.serve(&[]).unwrap();
    let (unsealed, with) = (Rig::new(&[]), Rig::new(&world.line));
    for (socket, offered) in [
        (without.socket(), false),
        (&unsealed.socket(), false),
        (&with.socket(), true),
    ] {
        let config = crate::support::frontend::Config::default();
        let mut guest = crate::support::session::Session::mount(socket, &config).unwrap();
        let features = guest.frontend.messages().get_protocol_features().unwrap();
        let found = features.contains(VhostUserProtocolFeatures::DEVICE_STATE);
        assert_eq!(found, offered);
    }
}

#[test]
fn a_daemon_ends_in_the_middle_of_a_transfer() {
    let world = World::new();
    for direction in [Direction::SAVE, Direction::LOAD] {
        let mut rig = Rig::new(&world.line);
        let mut guest = boot(&rig);
        stop(&mut guest);
        let (from, to) = io::pipe().unwrap();
        // More than a pipe holds is not to be had here, so it is full already.
        let (ours, theirs): (OwnedFd, OwnedFd) = match direction {
            Direction::SAVE => {
                fill(&to);
                (from.into(), to.into())
            }
            Direction::LOAD => (to.into(), from.into()),
        };
        assert!(begin(&mut guest, direction, theirs));
        let asks = std::thread::spawn(move || {
            assert!(guest.frontend.messages().check_device_state().is_err());
        });
        let (status, time) = rig.daemon().terminate(Duration::from_secs(10)).unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(time < Duration::from_secs(5), "{time:?}");
        asks.join().unwrap();
        assert_eq!(fs::read_dir(rig.state()).unwrap().count(), 0);
        drop(ours);
    }
}

#[test]
fn a_daemon_that_is_killed_while_it_takes_a_state_has_one_of_the_two() {
    let world = World::new();
    let mut rig = Rig::new(&world.line);
    let mut guest = boot(&rig);
    let held = hold(&rig, &mut guest, &world);
    stop(&mut guest);
    let state = save(&mut guest);
    guest.frontend.resume().unwrap();
    let mut dice = Dice(3);
    for round in 0..24 {
        // Not in what was saved.
        let later = create(ROOT, &format!("later-{round}"), libc::O_RDWR);
        let (later, _) = created(&later.send(&mut guest).unwrap());
        stop(&mut guest);
        let (from, mut to) = io::pipe().unwrap();
        assert!(begin(&mut guest, Direction::LOAD, from.into()));
        to.write_all(&state).unwrap();
        drop(to);
        match round % 6 {
            5 => guest.frontend.messages().check_device_state().unwrap(),
            _ => std::thread::sleep(Duration::from_micros(dice.next() % 4_000)),
        }
        rig.kill();
        rig.start();
        guest.reconnect().unwrap();
        match guest.attributes(later) {
            Ok(_) => assert!(round % 6 < 5, "round {round} was not taken"),
            lost => stale(lost),
        }
        assert_eq!(rig.info()["lost"], serde_json::json!([]));
        assert!(!rig.state().join("incoming").exists() && !rig.state().join("entering").exists());
        go_on(&mut guest, &held, &world, &format!("round {round}"));
    }
}

/// Fills a pipe.
fn fill(pipe: &io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let flags = fcntl_getfl(pipe).unwrap();
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(pipe, &[0; 4096]).is_ok() {}
    fcntl_setfl(pipe, flags).unwrap();
}
