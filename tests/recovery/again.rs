//! Requests that were carried out before the daemon was killed, and that are carried
//! out again because the guest had no answer.

use std::fs;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags};
use tempfile::TempDir;
use tidegate::fs::operation::{Caller, Making, Operation, Reply};
use tidegate::fs::passthrough::{KeptFiles, Options, PassthroughFs};
use tidegate::fs::{Errno, FileSystem};
use tidegate::payload::Payload;

const ROOT: u64 = 1;

const FIRST: Caller = Caller {
    uid: 0,
    gid: 0,
    again: false,
    group: None,
};

const AGAIN: Caller = Caller {
    again: true,
    ..FIRST
};

const MAKING: Making = Making {
    mode: 0o644,
    umask: 0,
};

struct Rig {
    opened: Option<PassthroughFs>,
    home: TempDir,
}

impl Rig {
    fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("again-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        fs::create_dir(home.path().join("source")).unwrap();
        let opened = Some(Self::open(&home));
        Self { opened, home }
    }

    fn open(home: &TempDir) -> PassthroughFs {
        let file = |name| home.path().join(name);
        let kept = KeptFiles {
            nodes: file("nodes"),
            handles: file("handles"),
            numbers: file("numbers"),
        };
        let fs = PassthroughFs::new(&file("source"), Options::default()).unwrap();
        fs.keeping(&kept).unwrap()
    }

    /// What another process finds.
    fn restart(&mut self) {
        // The first must be gone, with what it held.
        self.opened = None;
        self.opened = Some(Self::open(&self.home));
    }

    fn fs(&self) -> &PassthroughFs {
        self.opened.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("source").join(name)
    }

    fn perform(&self, caller: Caller, operation: Operation<'_>) -> Result<Reply, Errno> {
        self.fs().perform(caller, ROOT, operation)
    }

    /// Carries something out, and again after a crash; it must have been right to
    /// do so, and wrong without a crash.
    fn twice(&mut self, errno: Errno, operation: impl Fn() -> Operation<'static>) {
        self.perform(FIRST, operation()).unwrap();
        self.restart();
        let refused = self.perform(FIRST, operation()).err();
        assert_eq!(refused, Some(errno));
        self.perform(AGAIN, operation()).unwrap();
    }

    fn node(&self, name: &str) -> u64 {
        self.fs().lookup(ROOT, name.as_bytes()).unwrap().node
    }
}

fn mkdir(name: &'static [u8]) -> Operation<'static> {
    Operation::Mkdir {
        name,
        making: MAKING,
    }
}

fn rename(name: &'static [u8], to_name: &'static [u8], flags: RenameFlags) -> Operation<'static> {
    Operation::Rename {
        name,
        to: ROOT,
        to_name,
        flags: flags.bits(),
    }
}

#[test]
fn what_was_made_is_found() {
    let mut rig = Rig::new();
    rig.twice(Errno::EEXIST, || mkdir(b"dir"));
    rig.twice(Errno::EEXIST, || Operation::Mknod {
        name: b"pipe",
        making: Making {
            mode: libc::S_IFIFO | 0o600,
            umask: 0,
        },
        rdev: 0,
    });
    rig.twice(Errno::EEXIST, || Operation::Symlink {
        name: b"link",
        target: b"target",
    });
    rig.twice(Errno::EEXIST, || Operation::Create {
        name: b"file",
        flags: (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).cast_unsigned(),
        making: MAKING,
        kill_privileges: false,
    });
    let node = rig.node("file");
    rig.twice(Errno::EEXIST, || Operation::Link {
        node,
        name: b"other",
    });
    // The node has both names, and the lookups of all of them.
    assert_eq!(rig.node("other"), node);
}

#[test]
fn what_others_made_is_no_result() {
    let rig = Rig::new();
    fs::write(rig.path("a"), b"somebody's").unwrap();
    std::os::unix::fs::symlink("there", rig.path("link")).unwrap();
    let exists = |operation| {
        let answer = rig.perform(AGAIN, operation);
        assert_eq!(answer.err(), Some(Errno::EEXIST));
    };
    exists(mkdir(b"a"));
    exists(mkdir(b"link"));
    exists(Operation::Symlink {
        name: b"link",
        target: b"elsewhere",
    });
    exists(Operation::Create {
        name: b"a",
        flags: (libc::O_RDWR | libc::O_EXCL).cast_unsigned(),
        making: MAKING,
        kill_privileges: false,
    });
    fs::write(rig.path("b"), b"").unwrap();
    let node = rig.node("b");
    exists(Operation::Link { node, name: b"a" });
    assert_eq!(fs::read(rig.path("a")).unwrap(), b"somebody's");
}

#[test]
fn what_was_removed_is_gone() {
    let mut rig = Rig::new();
    fs::write(rig.path("file"), b"x").unwrap();
    rig.twice(Errno::ENOENT, || Operation::Unlink(b"file"));
    fs::create_dir(rig.path("dir")).unwrap();
    rig.twice(Errno::ENOENT, || Operation::Rmdir(b"dir"));
    fs::create_dir(rig.path("full")).unwrap();
    fs::write(rig.path("full/file"), b"x").unwrap();
    let refused = rig.perform(AGAIN, Operation::Rmdir(b"full")).err();
    assert_eq!(refused, Some(Errno(libc::ENOTEMPTY)));
}

#[test]
fn what_was_renamed_is_where_it_went() {
    let mut rig = Rig::new();
    for flags in [RenameFlags::empty(), RenameFlags::NOREPLACE] {
        fs::write(rig.path("old"), b"x").unwrap();
        rig.twice(Errno::ENOENT, || rename(b"old", b"new", flags));
        fs::remove_file(rig.path("new")).unwrap();
    }
    let missing = rig.perform(AGAIN, rename(b"no", b"where", RenameFlags::empty()));
    assert_eq!(missing.err(), Some(Errno::ENOENT));
    // What was not done is done.
    fs::write(rig.path("old"), b"x").unwrap();
    rig.perform(AGAIN, rename(b"old", b"new", RenameFlags::empty()))
        .unwrap();
    assert_eq!(fs::read(rig.path("new")).unwrap(), b"x");
}

#[test]
fn a_whiteout_is_not_taken_for_the_file() {
    let mut rig = Rig::new();
    fs::write(rig.path("old"), b"precious").unwrap();
    rig.perform(FIRST, rename(b"old", b"new", RenameFlags::WHITEOUT))
        .unwrap();
    rig.restart();
    rig.perform(AGAIN, rename(b"old", b"new", RenameFlags::WHITEOUT))
        .unwrap();
    assert_eq!(fs::read(rig.path("new")).unwrap(), b"precious");
    assert!(!fs::metadata(rig.path("old")).unwrap().is_file());
}

#[test]
fn names_that_changed_places_do_not_change_back() {
    let mut rig = Rig::new();
    fs::write(rig.path("a"), b"1").unwrap();
    fs::write(rig.path("b"), b"2").unwrap();
    let nodes = [rig.node("a"), rig.node("b")];
    let content = |rig: &Rig| ["a", "b"].map(|name| fs::read(rig.path(name)).unwrap()[0]);
    let exchange = || rename(b"a", b"b", RenameFlags::EXCHANGE);
    rig.perform(FIRST, exchange()).unwrap();
    rig.restart();
    rig.perform(AGAIN, exchange()).unwrap();
    assert_eq!(content(&rig), [b'2', b'1']);
    assert_eq!([rig.node("b"), rig.node("a")], nodes);
    // Back again, of which the first process came to nothing.
    rig.perform(AGAIN, rename(b"b", b"a", RenameFlags::EXCHANGE))
        .unwrap();
    assert_eq!(content(&rig), [b'1', b'2']);
    // And once more, as a request that is carried out once.
    rig.perform(FIRST, exchange()).unwrap();
    rig.perform(FIRST, exchange()).unwrap();
    assert_eq!(content(&rig), [b'1', b'2']);
    rig.restart();
    rig.perform(AGAIN, exchange()).unwrap();
    assert_eq!(content(&rig), [b'1', b'2']);
}

#[test]
fn attributes_are_set_once_and_gone_once() {
    let mut rig = Rig::new();
    fs::write(rig.path("file"), b"x").unwrap();
    let node = rig.node("file");
    let set = |value| Operation::SetXattr {
        name: b"user.once",
        value,
        flags: 1,
        kill_sgid: false,
    };
    let perform = |rig: &Rig, caller, operation| rig.fs().perform(caller, node, operation).err();
    assert_eq!(perform(&rig, FIRST, set(b"1")), None);
    rig.restart();
    assert_eq!(perform(&rig, FIRST, set(b"1")), Some(Errno::EEXIST));
    assert_eq!(perform(&rig, AGAIN, set(b"1")), None);
    assert_eq!(perform(&rig, AGAIN, set(b"2")), Some(Errno::EEXIST));
    let remove = || Operation::RemoveXattr(b"user.once");
    assert_eq!(perform(&rig, FIRST, remove()), None);
    rig.restart();
    assert_eq!(perform(&rig, FIRST, remove()), Some(Errno::ENODATA));
    assert_eq!(perform(&rig, AGAIN, remove()), None);
}

#[test]
fn what_was_appended_is_not_appended_twice() {
    let mut rig = Rig::new();
    fs::write(rig.path("log"), b"").unwrap();
    let node = rig.node("log");
    let flags = (libc::O_WRONLY | libc::O_APPEND).cast_unsigned();
    let opened = rig.fs().perform(
        FIRST,
        node,
        Operation::Open {
            flags,
            kill_privileges: false,
        },
    );
    let Ok(Reply::Opened(opened)) = opened else {
        panic!("a handle");
    };
    let append = |rig: &Rig, caller, offset, data: &[u8]| {
        let write = Operation::Write {
            handle: opened.handle,
            offset,
            data: Payload::from_slice(data),
            kill_privileges: false,
        };
        match rig.fs().perform(caller, node, write) {
            Ok(Reply::Count(count)) => assert_eq!(count, data.len() as u64),
            _ => panic!("a count"),
        }
    };
    let content = |rig: &Rig| String::from_utf8(fs::read(rig.path("log")).unwrap()).unwrap();
    append(&rig, FIRST, 0, b"one,");
    rig.restart();
    append(&rig, AGAIN, 0, b"one,");
    assert_eq!(content(&rig), "one,");
    // Not done at all, and done in part.
    append(&rig, AGAIN, 4, b"two,");
    fs::write(rig.path("log"), b"one,two,thr").unwrap();
    append(&rig, AGAIN, 8, b"three,");
    assert_eq!(content(&rig), "one,two,three,");
    // Somebody else appended in between: before it, and so that it is not there.
    fs::write(rig.path("log"), b"one,two,three,other,four,").unwrap();
    append(&rig, AGAIN, 14, b"four,");
    assert_eq!(content(&rig), "one,two,three,other,four,");
    append(&rig, AGAIN, 14, b"five,");
    assert_eq!(content(&rig), "one,two,three,other,four,five,");
}

#[test]
fn ids_are_not_used_again_after_many_crashes() {
    let mut rig = Rig::new();
    let mut last = ROOT;
    for round in 0..20 {
        let name = format!("file-{round}");
        rustix::fs::mknodat(CWD, rig.path(&name), FileType::RegularFile, Mode::RWXU, 0).unwrap();
        let node = rig.node(&name);
        assert!(node > last, "{node} after {last}");
        last = node;
        if round % 2 == 0 {
            rig.fs().forget(node, 1);
        }
        rustix::fs::unlinkat(CWD, rig.path(&name), AtFlags::empty()).unwrap();
        rig.restart();
    }
    assert_eq!(rig.fs().held_nodes(), 0);
}
