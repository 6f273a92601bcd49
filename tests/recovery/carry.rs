//! A guest whose state is saved and loaded by its machine monitor.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::attach::StateKey;
use vhost::vhost_user::VhostUserFrontend as _;
use vhost::vhost_user::message::VhostTransferStateDirection as Direction;
use vhost::vhost_user::message::VhostTransferStatePhase::STOPPED;

use crate::guest::{create, created, made, mkdir, open, setxattr, write};
use crate::rig::Rig;
use crate::support::frontend::{Config, Style};
use crate::support::image::{self, FILE, FILE_LEN, Image, file_byte, noise};
use crate::support::session::wire::{Fields, ROOT};
use crate::support::session::{Failure, Session};

/// Bytes of the file in an image of [`version`].
const LEN: usize = 200_000;

/// A guest that can be stopped and started again.
fn config() -> Config {
    Config {
        style: Style::Available,
        timeout: Duration::from_secs(60),
        ..Config::default()
    }
}

/// A guest that sends INIT to a daemon.
pub(crate) fn boot(rig: &Rig) -> Session {
    Session::mount(&rig.socket(), &config()).unwrap()
}

/// Stops the queues.
pub(crate) fn stop(guest: &mut Session) {
    for queue in 0..guest.frontend.queues.len() {
        guest.frontend.stop(queue).unwrap();
    }
}

/// Has a transfer begun; whether it was.
pub(crate) fn begin(guest: &mut Session, direction: Direction, file: OwnedFd) -> bool {
    let messages = guest.frontend.messages();
    let given = messages.set_device_state_fd(direction, STOPPED, file);
    given.is_ok_and(|other| other.is_none())
}

/// Asks for the state of a guest that is stopped.
pub(crate) fn save(guest: &mut Session) -> Vec<u8> {
    let (mut from, to) = io::pipe().unwrap();
    assert!(begin(guest, Direction::SAVE, to.into()));
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    guest.frontend.messages().check_device_state().unwrap();
    bytes
}

/// Hands a state to the daemon of a guest that is stopped; whether it was taken.
pub(crate) fn load(guest: &mut Session, bytes: &[u8]) -> bool {
    let (from, mut to) = io::pipe().unwrap();
    assert!(begin(guest, Direction::LOAD, from.into()));
    to.write_all(bytes).unwrap();
    drop(to);
    guest.frontend.messages().check_device_state().is_ok()
}

/// Takes a guest that is stopped to another daemon, with its state.
pub(crate) fn take_to(guest: &mut Session, rig: &Rig, state: &[u8]) {
    guest.frontend.move_to(&rig.socket()).unwrap();
    assert!(load(guest, state));
    guest.frontend.resume().unwrap();
}

/// An image whose file says, all over, which one it is.
pub(crate) fn version(byte: u8) -> Image {
    let fill = |root: &Path| {
        fs::create_dir(root.join("dir"))?;
        fs::write(root.join("dir/file"), vec![byte; LEN])
    };
    image::build(fill, &[]).unwrap()
}

/// Which image a file is of.
pub(crate) fn read_version(guest: &mut Session, node: u64) -> Result<u8, Failure> {
    let read = guest.read(node, 0, 0, LEN)?;
    assert_eq!(read.len(), LEN);
    assert!(read.iter().all(|byte| *byte == read[0]));
    Ok(read[0])
}

pub(crate) fn stale<T: std::fmt::Debug>(answer: Result<T, Failure>) {
    assert_eq!(answer.unwrap_err().errno(), Some(libc::ESTALE));
}

/// What daemons of one command line serve: a directory and an image.
pub(crate) struct World {
    pub(crate) line: Vec<OsString>,
    pub(crate) image: Image,
    pub(crate) old: Image,
    pub(crate) new: Image,
    shared: TempDir,
    /// What seals states.
    key: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let shared = tempfile::Builder::new()
            .prefix("carried-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let image = image::small().unwrap();
        let mut line = image.arguments();
        let directory = shared.path().join("shared");
        fs::create_dir(&directory).unwrap();
        line.extend(["--shared-dir".into(), directory.into(), "--xattr".into()]);
        let key = shared.path().join("key");
        fs::write(&key, noise(5, 32)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        line.extend(["--state-key".into(), key.clone().into()]);
        Self {
            line,
            image,
            old: version(b'a'),
            new: version(b'b'),
            shared,
            key,
        }
    }

    /// What seals states.
    pub(crate) fn key(&self) -> StateKey {
        StateKey::read(&self.key).unwrap()
    }

    /// The command line of a daemon that serves the image alone, with a key.
    pub(crate) fn image_alone(&self, key: &Path) -> Vec<OsString> {
        let mut line = self.image.arguments();
        line.extend(["--state-key".into(), key.into()]);
        line
    }

    /// The file of the key.
    pub(crate) fn key_file(&self) -> &Path {
        &self.key
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.shared.path().join("shared").join(name)
    }
}

/// What a guest holds.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// A directory, opened and listed up to some entry.
    pub(crate) dir: u64,
    listing: u64,
    offset: u64,
    left: usize,
    /// A file there, opened for reading and writing, and once more for appending.
    pub(crate) file: u64,
    pub(crate) handle: u64,
    log: u64,
    appending: u64,
    /// A file of the image of the command line.
    pub(crate) in_image: u64,
    /// The same of an image of the API and of the one that it replaced.
    pub(crate) fresh: u64,
    pub(crate) kept: u64,
    /// A directory of the tree itself.
    tree: u64,
}

/// Opens and looks up all kinds of things.
pub(crate) fn hold(rig: &Rig, guest: &mut Session, world: &World) -> Held {
    let dir = made(&mkdir(ROOT, "dir").send(guest).unwrap());
    let (file, handle) = created(&create(dir, "file", libc::O_RDWR).send(guest).unwrap());
    write(file, handle, 0, b"before").send(guest).unwrap();
    let (log, _) = created(&create(dir, "log", libc::O_RDWR).send(guest).unwrap());
    let opened = open(log, libc::O_WRONLY | libc::O_APPEND).send(guest);
    let appending = Fields(&opened.unwrap()).u64();
    let listing = guest.opendir(dir).unwrap();
    let begun = guest.list_once(dir, listing, 0, false).unwrap();
    let in_image = guest.resolve(&format!("/image/{FILE}")).unwrap();
    rig.mount("POST", "/rafs/1/lowerdir", &world.old);
    let kept = guest.resolve("/rafs/1/lowerdir/dir/file").unwrap();
    rig.mount("PUT", "/rafs/1/lowerdir", &world.new);
    let fresh = guest.resolve("/rafs/1/lowerdir/dir/file").unwrap();
    let tree = guest.resolve("/rafs/1").unwrap();
    Held {
        dir,
        listing,
        offset: begun[1].offset,
        left: begun.len() - 2,
        file,
        handle,
        log,
        appending,
        in_image,
        fresh,
        kept,
        tree,
    }
}

/// Looks whether all of it is there, and works with it. `text` is for this time.
pub(crate) fn go_on(guest: &mut Session, held: &Held, world: &World, text: &str) {
    let bytes = text.as_bytes();
    write(held.file, held.handle, 0, bytes).send(guest).unwrap();
    assert_eq!(
        guest.read(held.file, held.handle, 0, bytes.len()).unwrap(),
        bytes
    );
    assert!(fs::read(world.path("dir/file")).unwrap().starts_with(bytes));
    write(held.log, held.appending, 0, bytes)
        .send(guest)
        .unwrap();
    assert!(fs::read(world.path("dir/log")).unwrap().ends_with(bytes));
    let rest = guest.list_once(held.dir, held.listing, held.offset, false);
    assert_eq!(rest.unwrap().len(), held.left);
    assert_eq!(guest.lookup(held.dir, b"file").unwrap().node, held.file);
    guest.forget(held.file, 1).unwrap();
    // In the form that INIT agreed on.
    let set = setxattr(held.file, "user.name", bytes, 0).send(guest);
    set.unwrap();
    assert_eq!(guest.getxattr(held.file, b"user.name").unwrap(), bytes);
    let content: Vec<u8> = (0..FILE_LEN).map(file_byte).collect();
    let read = guest.read(held.in_image, 0, 0, FILE_LEN + 1).unwrap();
    assert!(read == content);
    assert_eq!(read_version(guest, held.kept).unwrap(), b'a');
    assert_eq!(read_version(guest, held.fresh).unwrap(), b'b');
    assert_eq!(guest.resolve("/rafs/1").unwrap(), held.tree);
    let fresh = guest.resolve("/rafs/1/lowerdir/dir/file").unwrap();
    assert_eq!(fresh, held.fresh);
    let in_image = guest.resolve(&format!("/image/{FILE}")).unwrap();
    assert_eq!(in_image, held.in_image);
    // Something new, with a number of its own.
    let name = format!("new-{text}");
    let (new, handle) = created(&create(ROOT, &name, libc::O_RDWR).send(guest).unwrap());
    assert!(new > held.file);
    guest.release(new, handle).unwrap();
}
