//! The daemons under the names of others, with `--state`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::directory::file;
use crate::guest::{rename, write};
use crate::rig::{API, PROGRAM, Rig, SOCKET, STATE, place};
use crate::support::image::{self, FILE, FILE_LEN, file_byte};
use crate::support::session::wire::ROOT;

/// A command line of words and paths.
fn line(words: &[&str], paths: &[(&str, &Path)]) -> Vec<OsString> {
    let words = words.iter().map(OsString::from);
    let paths = paths
        .iter()
        .flat_map(|&(option, path)| [option.into(), path.into()]);
    [OsString::from(PROGRAM)]
        .into_iter()
        .chain(words)
        .chain(paths)
        .collect()
}

fn virtiofsd(home: &Path, source: &Path) -> Vec<OsString> {
    let paths = [
        ("--socket-path", &*home.join(SOCKET)),
        ("--state", &*home.join(STATE)),
        ("--shared-dir", source),
    ];
    line(&["virtiofsd"], &paths)
}

pub(crate) fn nydusd(home: &Path, more: &[(&str, &Path)]) -> Vec<OsString> {
    let (socket, api, state) = (home.join(SOCKET), home.join(API), home.join(STATE));
    let paths = [
        ("--sock", &*socket),
        ("--apisock", &*api),
        ("--state", &*state),
    ];
    line(&["nydusd", "virtiofs"], &[&paths, more].concat())
}

/// What a guest has open in `source` is served by each daemon that comes.
fn goes_on(mut rig: Rig, source: &Path) {
    let guest = rig.guest();
    let (node, handle) = file(guest, ROOT, "file", b"before");
    let attributes = guest.attributes(node).unwrap();
    rename(ROOT, "file", ROOT, "moved", 0).send(guest).unwrap();
    for round in 0..3 {
        rig.restart();
        let guest = rig.guest();
        if round == 0 {
            assert_eq!(guest.attributes(node).unwrap().inode, attributes.inode);
        }
        let text = format!("round {round}");
        write(node, handle, 0, text.as_bytes()).send(guest).unwrap();
        assert_eq!(guest.read(node, handle, 0, 100).unwrap(), text.as_bytes());
        assert_eq!(fs::read_to_string(source.join("moved")).unwrap(), text);
        assert_eq!(guest.lookup(ROOT, b"moved").unwrap().node, node);
    }
    // Closed and forgotten, it is so for the next one.
    let guest = rig.guest();
    guest.release(node, handle).unwrap();
    guest.forget(node, 4).unwrap();
    rig.restart();
    let gone = rig.guest().attributes(node).unwrap_err();
    assert_eq!(gone.errno(), Some(libc::ESTALE));
    assert!(fs::read_dir(rig.state()).unwrap().count() > 0);
    rig.stop();
    assert_eq!(fs::read_dir(rig.state()).unwrap().count(), 0);
}

#[test]
fn virtiofsd_goes_on() {
    let source = place("recovered-");
    goes_on(
        Rig::with(|home| virtiofsd(home, source.path())),
        source.path(),
    );
}

#[test]
fn virtiofsd_keeps_nothing_of_a_machine_that_left() {
    let source = place("recovered-");
    let mut rig = Rig::with(|home| virtiofsd(home, source.path()));
    file(rig.guest(), ROOT, "file", b"x");
    assert!(fs::read_dir(rig.state()).unwrap().count() > 0);
    rig.leave();
    assert_eq!(fs::read_dir(rig.state()).unwrap().count(), 0);
}

#[test]
fn nydusd_goes_on_with_a_directory() {
    let source = place("recovered-");
    let shared = ("--shared-dir", source.path());
    goes_on(Rig::with(|home| nydusd(home, &[shared])), source.path());
}

#[test]
fn nydusd_goes_on_with_images() {
    let image = image::small().unwrap();
    let (bootstrap, blobs) = (image.bootstrap(), image.blobs());
    let first = [("--bootstrap", &*bootstrap), ("--localfs-dir", &*blobs)];
    let mut rig = Rig::with(|home| nydusd(home, &first));
    rig.mount("POST", "/second", &image);
    let nodes = [FILE.to_owned(), format!("/second/{FILE}")];
    let nodes = nodes.map(|path| rig.guest().resolve(&path).unwrap());
    let content: Vec<u8> = (0..FILE_LEN).map(file_byte).collect();
    for round in 1..=3 {
        rig.restart();
        assert_eq!(rig.info()["restored"], round);
        assert_eq!(rig.info()["lost"], serde_json::json!([]));
        for node in nodes {
            let read = rig.guest().read(node, 0, 0, FILE_LEN + 1).unwrap();
            assert!(read == content);
        }
    }
}
