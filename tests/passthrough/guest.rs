//! A guest without a kernel: what `tidegate serve --shared-dir` answers, also to
//! requests that no kernel would send. Numbers are those of the checks that Kata's
//! contract lists.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::rig::sh;
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::session::Session;
use crate::support::session::wire::{Body, Fields, ROOT};

const LOOKUP: u32 = 1;
const SYMLINK: u32 = 6;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const OPENDIR: u32 = 27;
const CREATE: u32 = 35;
const TMPFILE: u32 = 51;

/// `FUSE_ATTR_SUBMOUNT`.
const SUBMOUNT: u32 = 1;

fn serve(dir: &Path, more: &[&str]) -> (Daemon, Session) {
    let mut line = vec!["--shared-dir", dir.to_str().unwrap()];
    line.extend(more);
    let daemon = Daemon::tidegate(&line).unwrap();
    let config = Config {
        request_max: 256 << 10,
        ..Config::default()
    };
    let session = daemon.mount(&config).unwrap();
    (daemon, session)
}

fn directory() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    dir
}

/// Descriptors of a process that point below a directory.
fn descriptors(pid: u32, below: &Path) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(below)).count()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open_body(flags: i32) -> Vec<u8> {
    Body::default().u32(flags.cast_unsigned()).u32(0).0
}

fn opened(session: &mut Session, opcode: u32, node: u64, flags: i32) -> (u64, u32) {
    let raw = session.raw(opcode, node, &open_body(flags), 16).unwrap();
    let mut fields = Fields(&raw);
    (fields.u64(), fields.u32())
}

fn write_body(handle: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap();
    let head = Body::default().u64(handle).u64(offset).u32(size).u32(0);
    let mut body = head.u64(0).u32(0).u32(0).0;
    body.extend(data);
    body
}

#[test]
fn files_are_made_written_and_forgotten() {
    let dir = directory();
    let (daemon, mut session) = serve(dir.path(), &["--xattr"]);
    let create = Body::default().u32(libc::O_RDWR.cast_unsigned()).u32(0o640);
    let body = create.u32(0).u32(0).name(b"new").0;
    let raw = session.raw(CREATE, ROOT, &body, 144).unwrap();
    let node = Fields(&raw).u64();
    let handle = Fields(&raw[128..]).u64();
    let data: Vec<u8> = (0u8..251).cycle().take(100_000).collect();
    let raw = session.raw(WRITE, node, &write_body(handle, 7, &data), 8);
    assert_eq!(Fields(&raw.unwrap()).u32(), 100_000);
    let sync = Body::default().u64(handle).u32(0).u32(0).0;
    session.raw(FSYNC, node, &sync, 0).unwrap();
    let seen = session.read(node, handle, 7, 200_000).unwrap();
    let differs = seen.iter().zip(&data).position(|(one, other)| one != other);
    assert_eq!((seen.len(), differs), (data.len(), None));
    assert!(fs::read(dir.path().join("new")).unwrap()[7..] == data);
    // Everything is looked up twice; each reference is taken back.
    let listed = session.list(ROOT, true).unwrap();
    assert_eq!(listed.len(), 3);
    let mut nodes: Vec<(u64, u64)> = listed
        .iter()
        .map(|entry| (entry.entry.unwrap().node, 1))
        .collect();
    nodes.push((node, 1));
    assert!(descriptors(daemon.pid(), dir.path()) >= 4);
    session.batch_forget(&nodes).unwrap();
    let release = Body::default().u64(handle).u32(0).u32(0).u64(0).0;
    session.raw(RELEASE, node, &release, 0).unwrap();
    // The directory itself is held.
    until("descriptors are left", || {
        descriptors(daemon.pid(), dir.path()) == 1
    });
}

/// Check 33.
#[test]
fn hostile_requests_get_errors_and_reach_nothing_else() {
    let dir = directory();
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(secret.path(), dir.path().join("out")).unwrap();
    sh(dir.path(), "mkfifo pipe; mknod null c 1 3");
    let (_daemon, mut session) = serve(dir.path(), &[]);
    let mut errno = |opcode, node, body: &[u8]| {
        let failure = session.raw(opcode, node, body, 4096).unwrap_err();
        failure.errno().unwrap()
    };
    for name in [&b".."[..], b".", b"a/b", b"../x", b""] {
        let body = Body::default().name(name).0;
        assert_eq!(errno(LOOKUP, ROOT, &body), libc::EINVAL, "{name:?}");
    }
    assert_eq!(errno(LOOKUP, 99, b"x\0"), libc::ESTALE);
    let out = session.lookup(ROOT, b"out").unwrap().node;
    let file = session.lookup(ROOT, b"file").unwrap().node;
    let sub = session.lookup(ROOT, b"sub").unwrap().node;
    let pipe = session.lookup(ROOT, b"pipe").unwrap().node;
    let null = session.lookup(ROOT, b"null").unwrap().node;
    let (handle, _) = opened(&mut session, OPEN, file, libc::O_RDWR);
    let (listing, _) = opened(&mut session, OPENDIR, sub, 0);
    let mut errno = |opcode, node, body: &[u8]| {
        let failure = session.raw(opcode, node, body, 4096).unwrap_err();
        failure.errno().unwrap()
    };
    // A link is not followed; pipes and devices are not opened.
    assert_eq!(errno(LOOKUP, out, b"secret\0"), libc::ENOTDIR);
    for flags in [libc::O_RDONLY, libc::O_RDWR | libc::O_TRUNC] {
        assert_eq!(errno(OPEN, out, &open_body(flags)), libc::ELOOP);
        assert_eq!(errno(OPEN, pipe, &open_body(flags)), libc::ENXIO);
        assert_eq!(errno(OPEN, null, &open_body(flags)), libc::ENXIO);
        assert_eq!(errno(OPEN, sub, &open_body(flags)), libc::EISDIR);
    }
    assert_eq!(errno(OPENDIR, file, &open_body(0)), libc::ENOTDIR);
    // A handle is good for its own node.
    for wrong in [listing, handle + 100, u64::MAX] {
        let body = Body::read(wrong, 0, 10).0;
        assert_eq!(errno(READ, file, &body), libc::EBADF, "{wrong}");
        let body = write_body(wrong, 0, b"x");
        assert_eq!(errno(WRITE, file, &body), libc::EBADF, "{wrong}");
    }
    let body = Body::read(handle, 0, 10).0;
    assert_eq!(errno(READ, sub, &body), libc::EBADF);
    assert_eq!(errno(WRITE, file, &[0; 39]), libc::EINVAL);
    let mut lie = write_body(handle, 0, b"four");
    lie[16] = 5;
    assert_eq!(errno(WRITE, file, &lie), libc::EINVAL);
    assert_eq!(errno(SYMLINK, ROOT, b"name-without-target\0"), libc::EINVAL);
    let far = write_body(handle, u64::MAX, b"x");
    assert_eq!(errno(WRITE, file, &far), libc::EFBIG);
    assert_eq!(session.read(file, handle, 0, 10).unwrap(), b"content");
    assert_eq!(fs::read_dir(secret.path()).unwrap().count(), 1);
}

/// Check 26.
#[test]
fn modes_of_caching_are_those_of_virtiofsd() {
    // Seconds, flags of files and flags of directories: FOPEN_DIRECT_IO is 1,
    // FOPEN_KEEP_CACHE 2, FOPEN_CACHE_DIR 8.
    for (mode, seconds, file_flags, directory_flags) in [
        ("never", 0, 1, 0),
        ("auto", 1, 0, 0),
        ("metadata", 86_400, 1, 10),
        ("always", 86_400, 2, 10),
    ] {
        let dir = directory();
        let (_daemon, mut session) = serve(dir.path(), &["--cache-mode", mode]);
        let file = session.lookup(ROOT, b"file").unwrap();
        assert_eq!(
            (file.entry_valid, file.attr_valid),
            (seconds, seconds),
            "{mode}"
        );
        let (_, flags) = opened(&mut session, OPEN, file.node, 0);
        assert_eq!(flags, file_flags, "{mode}");
        let sub = session.lookup(ROOT, b"sub").unwrap().node;
        let (_, flags) = opened(&mut session, OPENDIR, sub, 0);
        assert_eq!(flags, directory_flags, "{mode}");
        assert!(session.getxattr(file.node, b"user.any").is_err());
    }
}

/// Checks 22 and 25.
/// A directory that is a shared mount, until this is dropped.
struct Shared<'a>(&'a Path);

impl<'a> Shared<'a> {
    fn new(dir: &'a Path) -> Self {
        sh(
            Path::new("/"),
            &format!(
                "mount --bind {0} {0}; mount --make-shared {0}",
                dir.display()
            ),
        );
        Self(dir)
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        sh(
            Path::new("/"),
            &format!("umount -R --lazy {}", self.0.display()),
        );
    }
}

#[test]
fn mounts_that_come_later_are_seen_announced_and_let_go() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("Skipped: mounting needs root");
        return;
    }
    let dir = directory();
    // The daemon has a mount namespace of its own, to which shared mounts spread.
    let _shared = Shared::new(dir.path());
    let mounted = dir.path().join("sub");
    let (daemon, mut session) = serve(dir.path(), &["--xattr"]);
    let before = session.lookup(ROOT, b"sub").unwrap();
    assert_eq!(before.attributes.flags & SUBMOUNT, 0);
    sh(&mounted, "mount -t tmpfs tmpfs .");
    fs::write(mounted.join("inside"), "on tmpfs").unwrap();
    let after = session.lookup(ROOT, b"sub").unwrap();
    assert_eq!(after.attributes.flags & SUBMOUNT, SUBMOUNT);
    assert_ne!(after.node, before.node);
    let inside = session.lookup(after.node, b"inside").unwrap();
    let (handle, _) = opened(&mut session, OPEN, inside.node, 0);
    assert_eq!(
        session.read(inside.node, handle, 0, 99).unwrap(),
        b"on tmpfs"
    );
    let file = session.lookup(ROOT, b"file").unwrap();
    let inodes = [before, after, inside, file].map(|entry| entry.attributes.inode);
    assert_eq!(HashSet::from(inodes).len(), 4);
    sh(dir.path(), "umount --lazy sub");
    let release = Body::default().u64(handle).u32(0).u32(0).u64(0).0;
    session.raw(RELEASE, inside.node, &release, 0).unwrap();
    session
        .batch_forget(&[(after.node, 1), (inside.node, 1)])
        .unwrap();
    // Detached, a file system shows its paths from its own root.
    until("the mount is held", || {
        let all = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        let mut targets = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        !targets.any(|target| target == Path::new("/") || target == Path::new("/inside"))
    });
    let gone = session.lookup(ROOT, b"sub").unwrap();
    assert_eq!(gone.node, before.node);
}

/// Files without names would break overlayfs in guests.
#[test]
fn files_without_names_are_refused() {
    let dir = directory();
    let (_daemon, mut session) = serve(dir.path(), &[]);
    let create = Body::default().u32(libc::O_RDWR.cast_unsigned()).u32(0o640);
    let body = create.u32(0).u32(0).name(b"/").0;
    let refused = session.raw(TMPFILE, ROOT, &body, 144).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EOPNOTSUPP));
}
