//! States that are cut short, altered, or made up.

use std::fs;
use std::io::Read as _;

use serde_json::{Value, json};
use tar::{Archive, Builder, EntryType, Header};

use crate::carry::{Held, World, boot, go_on, hold, load, save, stop, take_to};
use crate::rig::Rig;
use crate::support::dice::Dice;
use crate::support::session::Session;

/// A guest that is stopped, its daemon and its state.
struct Stopped {
    // In the order in which they are dropped.
    guest: Session,
    rig: Rig,
    held: Held,
    state: Vec<u8>,
    world: World,
}

impl Stopped {
    fn new() -> Self {
        let world = World::new();
        let rig = Rig::new(&world.line);
        let mut guest = boot(&rig);
        let held = hold(&rig, &mut guest, &world);
        stop(&mut guest);
        let state = save(&mut guest);
        Self {
            guest,
            rig,
            held,
            state,
            world,
        }
    }

    fn load(&mut self, state: &[u8]) -> bool {
        load(&mut self.guest, state)
    }

    /// Hands over a state of this content, sealed with the right key.
    fn load_sealed(&mut self, mut content: &[u8]) -> bool {
        let mut state = Vec::new();
        let key = self.world.key();
        key.seal(&mut content, &mut state).unwrap();
        self.load(&state)
    }

    /// The content of the state: a tar archive.
    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        let key = self.world.key();
        key.open(&mut &*self.state, &mut content).unwrap();
        content
    }

    /// The names in the state directory, but for the device's own.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.rig.state()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "requests").collect();
        names.sort();
        names
    }

    /// What the guest had goes on, also after a crash.
    fn goes_on(&mut self) {
        self.guest.frontend.resume().unwrap();
        go_on(&mut self.guest, &self.held, &self.world, "kept");
        self.rig.kill();
        self.rig.start();
        self.guest.reconnect().unwrap();
        go_on(&mut self.guest, &self.held, &self.world, "restarted");
    }
}

type Entry = (String, EntryType, Vec<u8>);

/// The entries of a state.
fn entries(content: &[u8]) -> Vec<Entry> {
    let mut archive = Archive::new(content);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, EntryType::Regular, bytes)
    });
    entries.collect()
}

fn header(name: &str, kind: EntryType, len: usize) -> Header {
    let mut header = Header::new_ustar();
    // Whatever it is: `set_path` refuses what leads elsewhere.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(len as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(kind);
    if kind == EntryType::Symlink {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    header
}

/// A state with these.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let header = header(name, *kind, bytes.len());
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_state_that_is_cut_short_or_altered_is_refused() {
    let mut it = Stopped::new();
    let before = it.names();
    let state = it.state.clone();
    let mut dice = Dice(31);
    let blocks = (0..state.len()).step_by(512);
    let mut cuts: Vec<usize> = blocks.flat_map(|at| [at, at + 1, at + 511]).collect();
    cuts.retain(|&cut| cut < state.len());
    dice.shuffle(&mut cuts);
    cuts.truncate(300);
    cuts.extend([0, 1, 16, 17, 40, 41, state.len() - 32, state.len() - 1]);
    for cut in cuts {
        assert!(!it.load(&state[..cut]), "the first {cut} bytes");
    }
    for _ in 0..300 {
        let mut altered = state.clone();
        let at = dice.below(altered.len());
        altered[at] ^= 1 << dice.below(8);
        assert!(!it.load(&altered), "byte {at}");
    }
    assert!(
        !it.load(&[state.clone(), vec![0]].concat()),
        "one byte more"
    );
    assert!(!it.load(&[state.clone(), state.clone()].concat()), "twice");
    assert_eq!(it.names(), before);
    it.goes_on();
    let said = it.rig.daemon().complaints();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn what_no_daemon_writes_is_refused() {
    let mut it = Stopped::new();
    let before = it.names();
    let good = entries(&it.content());
    assert_eq!(archive(&good), it.content());
    let mut refused: Vec<(String, Vec<u8>)> = Vec::new();
    for name in [
        "../escaped",
        "/tmp/escaped",
        "mount-2.json/../../escaped",
        "escaped",
        "requests",
        "scratch",
        "incoming",
        "mount-2.json.new",
        "mount-02.json",
        "mount-+2.json",
        "mount-4294967296.json",
        "mount-2.socket",
        "mount-.json",
        "",
        // Nobody's.
        "mount-77.nodes",
        // There already.
        "session",
        "./session",
    ] {
        let more = (name.to_owned(), EntryType::Regular, b"{}".to_vec());
        refused.push((
            format!("{name:?}"),
            archive(&[good.clone(), vec![more]].concat()),
        ));
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::GNUSparse,
        EntryType::Fifo,
    ] {
        let more = ("mount-78.json".to_owned(), kind, Vec::new());
        refused.push((
            format!("{kind:?}"),
            archive(&[good.clone(), vec![more]].concat()),
        ));
    }
    let change = |name: &str, how: &dyn Fn(&mut Value)| {
        let mut all = good.clone();
        let entry = all.iter_mut().find(|(found, ..)| found == name).unwrap();
        let mut value = serde_json::from_slice(&entry.2).unwrap();
        how(&mut value);
        entry.2 = value.to_string().into_bytes();
        archive(&all)
    };
    let mount = &good
        .iter()
        .find(|it| it.0.ends_with(".json") && it.0 != "daemon.json");
    let mount = mount.unwrap().0.as_str();
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 6] = [
        ("daemon", |it| it["version"] = json!(2)),
        ("daemon", |it| it["begun"] = json!(false)),
        ("daemon", |it| it["places"]["last"] = json!(u64::MAX)),
        ("daemon", |it| {
            it["places"]["serials"]["/x"] = json!(u64::MAX)
        }),
        ("mount", |it| it["number"] = json!(1234)),
        ("mount", |it| it["path"] = json!("/a/../b")),
    ];
    for (at, (what, how)) in changes.into_iter().enumerate() {
        let name = if what == "daemon" {
            "daemon.json"
        } else {
            mount
        };
        refused.push((format!("change {at}"), change(name, &how)));
    }
    let mut torn = good.clone();
    torn.iter_mut().find(|it| it.0 == "session").unwrap().2 = vec![1; 8192];
    refused.push(("session".to_owned(), archive(&torn)));
    torn.retain(|it| it.0 != "daemon.json");
    refused.push(("no table".to_owned(), archive(&torn)));
    refused.push(("nothing".to_owned(), archive(&[])));
    for (what, state) in refused {
        assert!(!it.load_sealed(&state), "{what}");
        assert_eq!(it.names(), before, "{what}");
    }
    let home = fs::read_dir(it.rig.home()).unwrap();
    let escaped = home.flatten().any(|entry| entry.file_name() == "escaped");
    assert!(!escaped && !std::path::Path::new("/tmp/escaped").exists());
    // Another form is named.
    assert!(!it.load(b"tidegate-state 7\nand what it has then"));
    let said = it.rig.daemon().complaints();
    assert!(said.contains("has the form \"7\""), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    it.goes_on();
}

#[test]
fn bytes_of_a_sealed_state_do_no_harm() {
    let mut it = Stopped::new();
    let content = it.content();
    let mut dice = Dice(7);
    let mut taken = 0;
    for round in 0..150 {
        let mut altered = content.clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(altered.len());
            altered[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff, b'9']);
        }
        taken += u32::from(it.load_sealed(&altered));
        assert!(it.rig.daemon().ended().unwrap().is_none(), "round {round}");
        if round % 30 == 29 {
            // Whatever it serves now, a guest can begin anew.
            it.guest.frontend.resume().unwrap();
            it.guest.init().unwrap();
            stop(&mut it.guest);
        }
    }
    assert!(taken > 0, "nothing was taken");
    let state = it.state.clone();
    take_to(&mut it.guest, &it.rig, &state);
    stop(&mut it.guest);
    it.goes_on();
}
