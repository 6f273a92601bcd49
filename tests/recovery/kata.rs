//! A guest of Kata whose state goes from one daemon to another: a daemon without mounts,
//! and mounts by way of its API.

use std::fs;

use serde_json::json;

use crate::carry::{World, boot, read_version, save, stale, stop, take_to};
use crate::directory::file;
use crate::guest::{create, created, write};
use crate::personalities::nydusd;
use crate::rig::{Rig, place};
use crate::support::session::wire::ROOT;

/// A daemon as Kata starts it, with a state that goes elsewhere.
fn daemon(world: &World) -> Rig {
    Rig::with(|home| {
        let mut line = nydusd(home, &[("--state-key", world.key_file())]);
        line.push("--hybrid-mode".into());
        line
    })
}

#[test]
fn a_guest_of_nydusd_goes_on_with_another_daemon() {
    let world = World::new();
    let shared = place("containers-");
    let (mut here, mut there) = (daemon(&world), daemon(&world));
    // The directory for all containers first, before there is a guest.
    let directory = json!({"fs_type": "passthrough_fs", "source": shared.path(), "config": ""});
    let at = "/api/v1/mount?mountpoint=/containers";
    assert_eq!(here.ask("POST", at, &directory.to_string()).0, 204);
    let mut guest = boot(&here);
    here.mount("POST", "/rafs/1/lowerdir", &world.old);
    let containers = guest.lookup(ROOT, b"containers").unwrap().node;
    let (log, handle) = file(&mut guest, containers, "log", b"before");
    let lower = guest.resolve("/rafs/1/lowerdir/dir/file").unwrap();
    stop(&mut guest);
    let state = save(&mut guest);
    guest.frontend.disconnect().unwrap();
    here.stop();
    take_to(&mut guest, &there, &state);
    assert_eq!(there.info()["restored"], 1);
    assert_eq!(there.info()["lost"], json!([]));
    for round in 0..2 {
        let text = format!("round {round}");
        write(log, handle, 0, text.as_bytes())
            .send(&mut guest)
            .unwrap();
        let written = fs::read_to_string(shared.path().join("log"));
        assert_eq!(written.unwrap(), text);
        assert_eq!(guest.lookup(ROOT, b"containers").unwrap().node, containers);
        assert_eq!(read_version(&mut guest, lower).unwrap(), b'a');
        assert_eq!(guest.resolve("/rafs/1/lowerdir/dir/file").unwrap(), lower);
        // The next container, with numbers of its own.
        let next = format!("/rafs/next-{round}/lowerdir");
        there.mount("POST", &next, &world.new);
        let node = guest.resolve(&format!("{next}/dir/file")).unwrap();
        assert_ne!(node, lower);
        assert_eq!(read_version(&mut guest, node).unwrap(), b'b');
        let name = format!("new-{round}");
        let made = create(containers, &name, libc::O_RDWR).send(&mut guest);
        assert!(created(&made.unwrap()).0 > log);
        // And the daemon that took the state may be killed.
        there.kill();
        there.start();
        guest.reconnect().unwrap();
        assert_eq!(read_version(&mut guest, node).unwrap(), b'b');
    }
    // The end of a container.
    let gone = there.ask("DELETE", "/api/v1/mount?mountpoint=/rafs/1/lowerdir", "");
    assert_eq!(gone.0, 204);
    stale(guest.attributes(lower));
    let (_, shown) = there.ask("GET", "/api/v1/tidegate/info", "");
    assert!(shown.contains("/containers") && shown.contains("/rafs/next-1/lowerdir"));
    assert!(!shown.contains("/rafs/1/lowerdir"));
    drop(guest);
    there.stop();
    assert_eq!(fs::read_dir(there.state()).unwrap().count(), 0);
}
