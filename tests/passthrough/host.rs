//! Real system calls, compared with what they leave on the host.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{
    FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom, XattrFlags,
};
use tidegate::fs::passthrough::{Cache, Options};

use crate::rig::{Rig, sh};

/// A rig whose guest keeps nothing, so that it sees the host at once.
fn fresh() -> Option<Rig> {
    Rig::new(Options {
        cache: Cache::Never,
        posix_acl: true,
        nameless: true,
        ..Options::default()
    })
}

#[test]
fn files_are_made_written_and_read() {
    let Some(rig) = Rig::new(Options::default()) else {
        return;
    };
    let bytes: Vec<u8> = (0u8..251).cycle().take(3_000_000).collect();
    fs::write(rig.on("file"), &bytes).unwrap();
    assert_eq!(fs::read(rig.source("file")).unwrap(), bytes);
    assert_eq!(fs::read(rig.on("file")).unwrap(), bytes);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(rig.on("file"))
        .unwrap();
    file.write_all_at(b"middle", 1_000_001).unwrap();
    file.set_len(2_000_000).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    let mut six = [0; 6];
    file.read_exact_at(&mut six, 1_000_001).unwrap();
    assert_eq!(&six, b"middle");
    assert_eq!(fs::metadata(rig.source("file")).unwrap().len(), 2_000_000);
    let mut more = OpenOptions::new()
        .append(true)
        .open(rig.on("file"))
        .unwrap();
    more.write_all(b"end").unwrap();
    assert_eq!(fs::read(rig.source("file")).unwrap()[2_000_000..], *b"end");
    let mut slow = OpenOptions::new()
        .write(true)
        .truncate(true)
        .custom_flags(libc::O_SYNC)
        .open(rig.on("file"))
        .unwrap();
    slow.write_all(&bytes).unwrap();
    assert_eq!(fs::read(rig.source("file")).unwrap(), bytes);
    let again = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(rig.on("file"));
    assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EEXIST));
}

#[test]
fn what_has_no_name_lives_as_long_as_it_is_open() {
    let Some(rig) = fresh() else { return };
    let mut file = File::create_new(rig.on("gone")).unwrap();
    fs::remove_file(rig.on("gone")).unwrap();
    file.write_all(b"still here").unwrap();
    file.set_len(5).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5);
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let nameless = rustix::fs::open(rig.on(""), flags, Mode::from_bits_truncate(0o640));
    let mut nameless = File::from(nameless.unwrap());
    nameless.write_all(b"named later").unwrap();
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&nameless)
    );
    let follow = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, path, CWD, rig.on("named"), follow).unwrap();
    assert_eq!(fs::read(rig.source("named")).unwrap(), b"named later");
    let mode = fs::metadata(rig.source("named")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o640);
    drop((file, nameless));
    rig.forget_all();
}

#[test]
fn directories_links_and_special_files_are_as_on_the_host() {
    let Some(rig) = fresh() else { return };
    fs::create_dir_all(rig.on("a/b/c")).unwrap();
    symlink("../nowhere", rig.on("a/link")).unwrap();
    assert_eq!(
        fs::read_link(rig.source("a/link")).unwrap().to_str(),
        Some("../nowhere")
    );
    fs::write(rig.on("a/file"), "x").unwrap();
    fs::hard_link(rig.on("a/file"), rig.on("a/b/other")).unwrap();
    let (one, two) = (
        fs::metadata(rig.on("a/file")).unwrap(),
        fs::metadata(rig.on("a/b/other")).unwrap(),
    );
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    // A whiteout, a pipe and a device.
    for (name, kind, dev) in [
        ("whiteout", FileType::CharacterDevice, 0),
        ("pipe", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
    ] {
        let mode = Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(CWD, rig.on(name), kind, mode, dev).unwrap();
        let there = fs::symlink_metadata(rig.source(name)).unwrap();
        assert_eq!(there.rdev(), dev, "{name}");
        assert_eq!(there.file_type().is_fifo(), name == "pipe");
    }
    assert!(fs::remove_dir(rig.on("a")).is_err());
    let mut names: Vec<String> = fs::read_dir(rig.on("a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["b", "file", "link"]);
    fs::remove_file(rig.on("a/file")).unwrap();
    fs::remove_file(rig.on("a/b/other")).unwrap();
    fs::remove_dir_all(rig.on("a")).unwrap();
    assert!(!rig.source("a").exists());
}

#[test]
fn renames_do_what_their_flags_say() {
    let Some(rig) = fresh() else { return };
    let write = |name: &str| fs::write(rig.on(name), name).unwrap();
    let rename = |old: &str, new: &str, flags| {
        rustix::fs::renameat_with(CWD, rig.on(old), CWD, rig.on(new), flags)
    };
    for name in ["one", "two", "three"] {
        write(name);
    }
    let taken = rename("one", "two", RenameFlags::NOREPLACE);
    assert_eq!(taken, Err(rustix::io::Errno::EXIST));
    rename("one", "two", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(rig.source("one")).unwrap(), b"two");
    rename("three", "four", RenameFlags::WHITEOUT).unwrap();
    let whiteout = fs::symlink_metadata(rig.source("three")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    fs::create_dir_all(rig.on("d/e")).unwrap();
    fs::write(rig.on("d/e/f"), "deep").unwrap();
    fs::rename(rig.on("d"), rig.on("moved")).unwrap();
    assert_eq!(fs::read(rig.on("moved/e/f")).unwrap(), b"deep");
    fs::rename(rig.on("four"), rig.on("one")).unwrap();
    assert_eq!(fs::read(rig.source("one")).unwrap(), b"three");
}

#[test]
fn attributes_are_set() {
    let Some(rig) = fresh() else { return };
    fs::write(rig.on("file"), "x").unwrap();
    symlink("file", rig.on("link")).unwrap();
    fs::set_permissions(rig.on("file"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::os::unix::fs::lchown(rig.on("link"), Some(1234), Some(99)).unwrap();
    sh(
        &rig.on(""),
        "touch -d '1999-12-31 23:59:59.5 UTC' file; touch -hd @-5 link",
    );
    let there = fs::metadata(rig.source("file")).unwrap();
    assert_eq!(there.mode() & 0o7777, 0o4751);
    assert_eq!(
        (there.mtime(), there.mtime_nsec()),
        (946_684_799, 500_000_000)
    );
    let link = fs::symlink_metadata(rig.source("link")).unwrap();
    assert_eq!((link.uid(), link.gid(), link.mtime()), (1234, 99, -5));
    let seen = fs::metadata(rig.on("file")).unwrap();
    assert_eq!((seen.mtime(), seen.ctime()), (there.mtime(), there.ctime()));
    assert_eq!((seen.ino(), seen.blocks()), (there.ino(), there.blocks()));
    // Who writes without the right to keep it loses the set-user-id bit.
    fs::set_permissions(rig.on("file"), PermissionsExt::from_mode(0o4777)).unwrap();
    let wrote = Command::new("sh")
        .args(["-c", "echo more >> file"])
        .current_dir(rig.on(""))
        .uid(1000)
        .gid(1000)
        .status()
        .unwrap();
    assert!(wrote.success());
    let mode = fs::metadata(rig.source("file")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o777);
}

#[test]
fn new_files_belong_to_the_user_who_made_them() {
    let Some(rig) = fresh() else { return };
    fs::set_permissions(rig.on(""), PermissionsExt::from_mode(0o777)).unwrap();
    // Reaching the mount takes passing the directories above it.
    let script = "umask 027; cd \"$0\"; echo x > file; mkdir dir; mkfifo pipe; ln -s a link";
    let home = rig.on("");
    let made = Command::new("python3")
        .args(["-c", "import os,sys; os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(4321); os.setuid(1234); os.execvp('sh', ['sh', '-euc', sys.argv[2], '.'])"])
        .arg(&home)
        .arg(script)
        .status()
        .unwrap();
    assert!(made.success());
    for (name, mode) in [
        ("file", 0o640),
        ("dir", 0o750),
        ("pipe", 0o640),
        ("link", 0o777),
    ] {
        let there = fs::symlink_metadata(rig.source(name)).unwrap();
        assert_eq!((there.uid(), there.gid()), (1234, 4321), "{name}");
        assert_eq!(there.mode() & 0o777, mode, "{name}");
    }
    // The thread is root's again.
    fs::write(rig.on("roots"), "x").unwrap();
    assert_eq!(fs::metadata(rig.source("roots")).unwrap().uid(), 0);
    sh(&rig.on(""), "umask 077; mkdir tight");
    assert_eq!(
        fs::metadata(rig.source("tight")).unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_group_of_the_user_keeps_the_set_group_id_bit() {
    let Some(rig) = fresh() else { return };
    let shared = rig.source("shared");
    fs::create_dir(&shared).unwrap();
    std::os::unix::fs::chown(&shared, None, Some(777)).unwrap();
    fs::set_permissions(&shared, PermissionsExt::from_mode(0o2777)).unwrap();
    let script = "import os,sys\nos.chdir(sys.argv[1]); os.setgroups([777] if sys.argv[2] == 'in' else []); os.setgid(4321); os.setuid(1234); os.umask(0)\nos.open(sys.argv[2], os.O_CREAT | os.O_WRONLY, 0o2755); os.mkdir(sys.argv[2] + '-dir')";
    for (name, mode) in [("in", 0o2755), ("out", 0o755)] {
        let made = Command::new("python3")
            .args(["-c", script])
            .arg(rig.on("shared"))
            .arg(name)
            .status()
            .unwrap();
        assert!(made.success());
        let there = fs::metadata(shared.join(name)).unwrap();
        assert_eq!((there.uid(), there.gid()), (1234, 777), "{name}");
        assert_eq!(there.mode() & 0o7777, mode, "{name}");
        let directory = fs::metadata(shared.join(format!("{name}-dir"))).unwrap();
        assert_eq!((directory.gid(), directory.mode() & 0o7000), (777, 0o2000));
    }
    // The thread has its own groups again.
    fs::write(rig.on("shared/roots"), "x").unwrap();
}

#[test]
fn whoever_changes_a_file_of_another_takes_its_set_user_id_bit() {
    let Some(rig) = fresh() else { return };
    let script = "import os,sys\nos.chdir(sys.argv[1]); os.setgroups([]); os.setgid(4321); os.setuid(1234)\nfile = os.open('file', os.O_RDWR)\nexec(sys.argv[2])";
    fs::write(rig.source("file"), "content").unwrap();
    fs::set_permissions(rig.source(""), PermissionsExt::from_mode(0o777)).unwrap();
    for change in [
        "os.write(file, b'x')",
        "os.ftruncate(file, 3)",
        "os.posix_fallocate(file, 0, 9000)",
        "os.copy_file_range(file, file, 1, 0, 100)",
    ] {
        let mode = PermissionsExt::from_mode(0o6777);
        fs::set_permissions(rig.source("file"), mode).unwrap();
        let done = Command::new("python3")
            .args(["-c", script])
            .arg(rig.on(""))
            .arg(change)
            .status()
            .unwrap();
        assert!(done.success(), "{change}");
        let mode = fs::metadata(rig.source("file")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o777, "{change}");
    }
}

#[test]
fn extended_attributes_of_all_kinds_are_kept() {
    let Some(rig) = fresh() else { return };
    fs::create_dir(rig.on("dir")).unwrap();
    symlink("nowhere", rig.on("link")).unwrap();
    let dir = rig.on("dir");
    let get = |name: &str| {
        let mut value = vec![0; 70_000];
        let len = rustix::fs::lgetxattr(rig.source("dir"), name, value.as_mut_slice());
        len.map(|len| value[..len].to_vec())
    };
    let cap = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    fs::write(rig.on("dir/tool"), "x").unwrap();
    let none = XattrFlags::empty();
    rustix::fs::setxattr(rig.on("dir/tool"), "security.capability", &cap, none).unwrap();
    let long = vec![b'v'; 2000];
    for (name, value) in [
        ("trusted.overlay.opaque", b"y".as_slice()),
        ("trusted.overlay.origin", b"\0\xfb\x21"),
        ("user.text", long.as_slice()),
        ("user.empty", b""),
    ] {
        rustix::fs::setxattr(&dir, name, value, XattrFlags::CREATE).unwrap();
        assert_eq!(get(name).unwrap(), value, "{name}");
    }
    let twice = rustix::fs::setxattr(&dir, "user.text", b"x", XattrFlags::CREATE);
    assert_eq!(twice, Err(rustix::io::Errno::EXIST));
    rustix::fs::removexattr(&dir, "user.text").unwrap();
    assert_eq!(get("user.text"), Err(rustix::io::Errno::NODATA));
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(&dir, names.as_mut_slice()).unwrap();
    let names = String::from_utf8(names[..len].to_vec()).unwrap();
    let mut names: Vec<_> = names.split_terminator('\0').collect();
    names.retain(|name| !name.starts_with("security."));
    names.sort_unstable();
    let wanted = [
        "trusted.overlay.opaque",
        "trusted.overlay.origin",
        "user.empty",
    ];
    assert_eq!(names, wanted);
    rustix::fs::lsetxattr(rig.on("link"), "trusted.overlay.redirect", b"/a", none).unwrap();
    let mut two = [0; 2];
    rustix::fs::lgetxattr(rig.source("link"), "trusted.overlay.redirect", &mut two).unwrap();
    assert_eq!(&two, b"/a");
}

#[test]
fn space_is_allocated_punched_found_and_copied() {
    let Some(rig) = fresh() else { return };
    let file = File::create_new(rig.on("file")).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    file.write_all_at(&[7; 8192], 512 << 10).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, 256 << 10).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    file.set_len(8 << 20).unwrap();
    drop(file);
    let file = File::open(rig.on("file")).unwrap();
    let host = File::open(rig.source("file")).unwrap();
    for at in [0, 300 << 10, 512 << 10, 2 << 20] {
        for whence in [SeekFrom::Data(at), SeekFrom::Hole(at)] {
            let seen = rustix::fs::seek(&file, whence);
            assert_eq!(seen, rustix::fs::seek(&host, whence), "{whence:?}");
        }
    }
    let copy = File::create_new(rig.on("copy")).unwrap();
    let (mut from, mut to) = (512 << 10, 100);
    let copied = rustix::fs::copy_file_range(&file, Some(&mut from), &copy, Some(&mut to), 8192);
    assert_eq!(copied, Ok(8192));
    assert_eq!(fs::read(rig.source("copy")).unwrap()[100..], [7; 8192]);
    rustix::fs::syncfs(&copy).unwrap();
    let figures = rustix::fs::statvfs(rig.on("")).unwrap();
    let hosts = rustix::fs::statvfs(rig.source("")).unwrap();
    assert_eq!(figures.f_blocks, hosts.f_blocks);
    assert_eq!(figures.f_frsize, hosts.f_frsize);
    assert!(figures.f_bavail > 0);
}

#[test]
fn large_listings_are_whole_while_names_go() {
    let Some(rig) = Rig::new(Options::default()) else {
        return;
    };
    fs::create_dir(rig.source("many")).unwrap();
    for number in 0..5000 {
        File::create_new(rig.source(&format!("many/{number:04}"))).unwrap();
    }
    let mut seen = 0;
    for (number, entry) in fs::read_dir(rig.on("many")).unwrap().enumerate() {
        let entry = entry.unwrap();
        // Half of what was listed goes, as `rm -r` does.
        if number % 2 == 0 {
            fs::remove_file(entry.path()).unwrap();
        }
        assert!(entry.file_type().unwrap().is_file());
        seen += 1;
    }
    assert_eq!(seen, 5000);
    assert_eq!(fs::read_dir(rig.on("many")).unwrap().count(), 2500);
    fs::remove_dir_all(rig.on("many")).unwrap();
    assert!(!rig.source("many").exists());
}

#[test]
fn programs_that_rely_on_much_work() {
    let Some(rig) = Rig::new(Options::default()) else {
        return;
    };
    let script = r"
import sqlite3, os
db = sqlite3.connect('data.db')
assert db.execute('pragma journal_mode=wal').fetchone()[0] == 'wal'
db.execute('create table t (k integer primary key, v text)')
for n in range(300):
    with db:
        db.execute('insert into t values (?, ?)', (n, 'x' * (n % 97)))
other = sqlite3.connect('data.db')
assert other.execute('select count(*), sum(length(v)) from t').fetchone()[0] == 300
db.execute('pragma wal_checkpoint(truncate)')
assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
";
    let done = Command::new("python3")
        .args(["-c", script])
        .current_dir(rig.on(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}");
    sh(
        &rig.on(""),
        "mkdir tree; cp -a /etc/. tree/ 2>/dev/null || true; cp -a --reflink=auto tree twin
         diff -r --no-dereference tree twin; tar cf - tree | tar xf - --transform s/tree/third/
         diff -r --no-dereference tree third; mv tree moved; rm -r moved twin third",
    );
    rig.unmount();
}

#[test]
fn a_reader_sees_what_the_host_does() {
    let Some(rig) = fresh() else { return };
    let mut file = File::create_new(rig.source("log")).unwrap();
    file.write_all(b"one").unwrap();
    let mut reader = File::open(rig.on("log")).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    file.write_all(b" two").unwrap();
    reader.rewind().unwrap();
    text.clear();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one two");
    fs::remove_file(rig.source("log")).unwrap();
    assert!(!rig.on("log").exists());
}

#[test]
fn nothing_is_changed_where_that_is_ruled_out() {
    let Some(rig) = Rig::new(Options {
        read_only: true,
        ..Options::default()
    }) else {
        return;
    };
    fs::write(rig.source("file"), "x").unwrap();
    assert_eq!(fs::read(rig.on("file")).unwrap(), b"x");
    let refused = [
        fs::write(rig.on("file"), "y"),
        fs::write(rig.on("new"), "y"),
        fs::create_dir(rig.on("dir")),
        fs::remove_file(rig.on("file")),
        fs::rename(rig.on("file"), rig.on("other")),
        fs::set_permissions(rig.on("file"), PermissionsExt::from_mode(0o600)),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    assert_eq!(fs::read(rig.source("file")).unwrap(), b"x");
}
