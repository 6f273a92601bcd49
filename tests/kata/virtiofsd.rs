//! The personality of virtiofsd, as Kata's runtimes and libvirt start it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::rig::{PROGRAM, until};
use crate::support::frontend::Config;
use crate::support::session::Session;
use crate::support::session::wire::{Body, Fields, ROOT};

const MKDIR: u32 = 9;
const OPEN: u32 = 14;
const INIT: u32 = 26;

const WAITING: &str = "Waiting for vhost-user socket connection";

/// A directory with something in it, and the program under virtiofsd's name.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(home.path().join("shared")).unwrap();
        fs::write(home.path().join("shared/file"), "content").unwrap();
        symlink(PROGRAM, home.path().join("virtiofsd")).unwrap();
        Self(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// virtiofsd in this directory, its standard error in `stderr`.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.path("virtiofsd"));
        command
            .args(line.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path("stderr")).unwrap());
        command
    }

    /// The same, once it listens.
    fn start(&self, line: &str) -> Killed {
        let child = Killed(self.command(line).spawn().unwrap());
        until(line, || self.said().contains(WAITING));
        child
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_file(socket: &Path) -> Session {
    let mut guest = Session::mount(socket, &Config::default()).unwrap();
    let node = guest.lookup(ROOT, b"file").unwrap().node;
    let handle = guest.open(node).unwrap();
    assert_eq!(guest.read(node, handle, 0, 100).unwrap(), b"content");
    guest.release(node, handle).unwrap();
    guest
}

/// Check 1.
#[test]
fn the_go_runtime_hands_over_a_listening_socket() {
    let place = Place::new();
    let socket = place.path("fs.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o711)).unwrap();
    let shared = place.path("shared");
    for (named, more) in [
        ("virtiofsd", "--thread-pool-size=1 --announce-submounts"),
        (
            "virtiofsd",
            "--thread-pool-size=1 --announce-submounts --xattr",
        ),
        ("tidegate", "--cache=always --cache=never --xattr --xattr"),
    ] {
        let line = format!(
            "--syslog --cache=auto --shared-dir={} --fd=3 {more}",
            shared.display()
        );
        let program = match named {
            "virtiofsd" => format!("exec \"$0\" {line}"),
            _ => format!("exec \"$0\" virtiofsd {line}"),
        };
        let binary = match named {
            "virtiofsd" => place.path("virtiofsd"),
            _ => PROGRAM.into(),
        };
        let mut child = Command::new("sh")
            .args(["-c", &format!("{program} 3<&0 0</dev/null")])
            .arg(binary)
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Nobody waits: the machine connects at once.
        drop(read_file(&socket));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{more}");
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o711);
        assert!(!place.path("fs.sock.pid").exists());
    }
}

/// Check 2.
#[test]
fn the_rust_runtime_reads_once_that_the_socket_accepts() {
    let place = Place::new();
    let shared = place.path("shared");
    let line = format!(
        "--socket-path fs.sock --shared-dir {} --cache never --thread-pool-size=1 -o announce_submounts --xattr",
        shared.display()
    );
    let mut child = place.command(&line).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut seen = 0;
    while seen == 0 {
        let mut text = String::new();
        assert!(lines.read_line(&mut text).unwrap() > 0, "it ended");
        seen += usize::from(text.contains(WAITING));
    }
    let socket = place.path("fs.sock");
    let guest = read_file(&socket);
    let pid = fs::read_to_string(place.path("fs.sock.pid")).unwrap();
    assert_eq!(pid.trim(), child.id().to_string());
    drop(guest);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains(WAITING), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists() && !place.path("fs.sock.pid").exists());
}

/// Check 2: the runtime's reader may be gone.
#[test]
fn a_closed_standard_error_does_not_end_it() {
    let place = Place::new();
    let mut child = place
        .command("--socket-path fs.sock --shared-dir shared --log-level debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    until("it listens", || {
        UnixStream::connect(place.path("fs.sock")).is_ok()
    });
    // That was its first and last machine.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn options_reach_the_guest() {
    let place = Place::new();
    let open = |guest: &mut Session| {
        let node = guest.lookup(ROOT, b"file").unwrap();
        let body = Body::default().u32(0).u32(0).0;
        let raw = guest.raw(OPEN, node.node, &body, 16).unwrap();
        let mut fields = Fields(&raw);
        fields.u64();
        (node.entry_valid, fields.u32())
    };
    // FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE.
    for (option, valid, flags) in [
        ("--cache never", 0, 1),
        ("-o cache=none", 0, 1),
        ("--cache=auto", 1, 0),
        ("--cache metadata", 86_400, 1),
        ("-o xattr,cache=always", 86_400, 2),
    ] {
        let _child = place.start(&format!("--socket-path s --shared-dir shared {option}"));
        let mut guest = read_file(&place.path("s"));
        assert_eq!(open(&mut guest), (valid, flags), "{option}");
    }
    let _child = place.start("--socket-path s --shared-dir shared --readonly -d -f");
    let mut guest = read_file(&place.path("s"));
    let body = Body::default().u32(0o755).u32(0).name(b"new").0;
    let refused = guest.raw(MKDIR, ROOT, &body, 128).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EROFS));
    assert!(!place.path("shared/new").exists());
    assert!(!place.said().contains("do nothing"), "{}", place.said());
}

/// What INIT agrees on, when everything is offered.
fn agreed(place: &Place, options: &str) -> u64 {
    let _child = place.start(&format!("--socket-path s --shared-dir shared {options}"));
    let mut guest = Session::connect(&place.path("s"), &Config::default()).unwrap();
    let mut body = Body::default().u32(7).u32(40).u32(1 << 20).u32(u32::MAX);
    body = body.u32(u32::MAX);
    body.0.resize(64, 0);
    let raw = guest.raw(INIT, 0, &body.0, 64).unwrap();
    let word = |at: usize| u64::from(u32::from_le_bytes(raw[at..at + 4].try_into().unwrap()));
    word(12) | (word(32) << 32)
}

#[test]
fn options_are_agreed_on_with_the_guest() {
    const PLUS: u64 = 1 << 13 | 1 << 14;
    const WRITEBACK: u64 = 1 << 16;
    const ACL: u64 = 1 << 20;
    const MAPS: u64 = 1 << 36;
    let place = Place::new();
    for (options, wanted) in [
        ("", PLUS),
        ("--no-readdirplus", 0),
        ("--writeback --allow-mmap", PLUS | WRITEBACK | MAPS),
        ("-o writeback,no_readdirplus", WRITEBACK),
        ("-o writeback,no_writeback", PLUS),
        ("--posix-acl", PLUS | ACL),
        ("--posix-acl=never", PLUS),
        ("--posix-acl=auto", PLUS | ACL),
    ] {
        let options = if options.is_empty() { "-f" } else { options };
        let bits = agreed(&place, options) & (PLUS | WRITEBACK | ACL | MAPS);
        assert_eq!(bits, wanted, "{options}");
    }
}

#[test]
fn a_guest_that_gathers_its_writes_reads_what_it_writes() {
    let place = Place::new();
    let _child = place.start("--socket-path s --shared-dir shared --writeback");
    let mut guest = Session::mount(&place.path("s"), &Config::default()).unwrap();
    let node = guest.lookup(ROOT, b"file").unwrap().node;
    let flags = (libc::O_WRONLY | libc::O_APPEND).cast_unsigned();
    let raw = guest.raw(OPEN, node, &Body::default().u32(flags).u32(0).0, 16);
    let handle = Fields(&raw.unwrap()).u64();
    assert_eq!(guest.read(node, handle, 0, 100).unwrap(), b"content");
    let head = Body::default().u64(handle).u64(0).u32(3).u32(0);
    let mut body = head.u64(0).u32(0).u32(0).0;
    body.extend(b"CON");
    guest.raw(16, node, &body, 8).unwrap();
    let text = fs::read_to_string(place.path("shared/file")).unwrap();
    assert_eq!(text, "CONtent");
}

#[test]
fn what_cannot_be_honoured_is_refused_or_remarked() {
    let place = Place::new();
    let rest = "--socket-path s --shared-dir shared";
    for (line, said) in [
        ("--translate-uid host:0:100:10", "ids are not translated"),
        ("--translate-gid=map:0:100:10", "ids are not translated"),
        ("--uid-map :0:100000:65536:", "ids are not translated"),
        ("--xattrmap=:map::user.virtiofs.:", "--xattrmap"),
        ("--inode-file-handles=mandatory", "--inode-file-handles"),
        ("--security-label", "--security-label"),
        ("--modcaps=-fly", "fly"),
        ("--socket-group nobody-has-this", "nobody-has-this"),
        ("--tag=", "tag"),
        ("-o flock", "locks"),
        ("-o bogus", "bogus"),
        ("--bogus", "--bogus"),
        ("--cache=sometimes", "sometimes"),
        ("--fd=3", "--fd"),
    ] {
        let status = place.command(&format!("{rest} {line}")).status().unwrap();
        assert!(matches!(status.code(), Some(1 | 2)), "{line}: {status}");
        let text = place.said();
        assert!(
            text.contains(said) && !text.contains(WAITING),
            "{line}: {text}"
        );
        assert!(!place.path("s").exists() && !place.path("s.pid").exists());
    }
    let status = place.command("--shared-dir shared").status().unwrap();
    assert_eq!(status.code(), Some(2));
    let status = place.command("--socket-path s --shared-dir none").status();
    assert_eq!(status.unwrap().code(), Some(1));
    let _child = place.start(&format!(
        "{rest} --allow-direct-io --migration-mode=file-handles --inode-file-handles=prefer \
         --modcaps=-sys_time:+chown --killpriv-v2 --no-killpriv-v2 --preserve-noatime \
         --security-label=auto --rlimit-nofile=0 --socket-group root"
    ));
    let text = place.said();
    assert_eq!(text.matches("do nothing").count(), 1, "{text}");
    let mode = fs::metadata(place.path("s")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn libvirt_is_told_what_it_can_do() {
    let place = Place::new();
    let output = Command::new(place.path("virtiofsd"))
        .arg("--print-capabilities")
        .output()
        .unwrap();
    assert!(output.status.success());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["type"], "fs");
    let features = said["features"].as_array().unwrap();
    assert!(features.iter().any(|name| name == "separate-options"));
    let output = Command::new(place.path("virtiofsd"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"virtiofsd "));
}

/// A log on the system's socket, in a mount namespace of its own.
#[test]
fn the_log_goes_to_the_system() {
    let place = Place::new();
    let listening = std::os::unix::net::UnixDatagram::bind(place.path("log")).unwrap();
    listening
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let script = "set -e; mount --make-rprivate /; mkdir dev; mount -t tmpfs none dev; \
        for node in null zero urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done; \
        ln -s \"$PWD/log\" dev/log; mount --move dev /dev; exec \"$0\" \"$@\"";
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(place.path("virtiofsd"))
        .args(["--syslog", "--socket-path", "s", "--shared-dir", "shared"])
        .current_dir(place.0.path())
        .stdin(Stdio::null())
        .stderr(File::create(place.path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    let mut buffer = [0; 4096];
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains(WAITING))
    {
        let Ok(len) = listening.recv(&mut buffer) else {
            let _ = child.kill();
            panic!("no line comes: {}, {lines:?}", place.said());
        };
        lines.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
    }
    let line = lines.last().unwrap();
    // Facility daemon (3), severity info (6).
    assert!(
        line.starts_with("<30>") && line.contains(" virtiofsd["),
        "{line}"
    );
    until("standard error says so too", || {
        place.said() == format!("{WAITING}...\n")
    });
    drop(read_file(&place.path("s")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
