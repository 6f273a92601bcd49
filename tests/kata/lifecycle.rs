//! Beginnings and ends.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;

use crate::clients::{Client, ask};
use crate::rig::{PROGRAM, api, assert_done, line, mount, start, until};
use crate::support::daemon::Daemon;
use crate::support::frontend::{Config, connect_patiently};
use crate::support::image::{self, FILE};
use crate::support::session::Session;

/// Longest that any end may take on a machine that is busy elsewhere.
const LIMIT: Duration = Duration::from_secs(20);

fn gone(daemon: &mut Daemon, how: &str) {
    let status = daemon
        .await_end(LIMIT)
        .unwrap_or_else(|error| panic!("{how}: {error}"));
    assert_eq!(status.code(), Some(0), "{how}: {}", daemon.complaints());
    assert!(!daemon.socket().exists(), "{how}");
    assert!(!api(daemon).exists(), "{how}");
}

/// Check 17. That an end takes less than a second is measured, not demanded
/// here.
#[test]
fn daemons_end_in_every_state_and_leave_no_sockets() {
    let image = image::small().unwrap();
    for how in ["SIGTERM", "SIGINT", "API"] {
        for state in ["never connected", "connected", "disconnected"] {
            let mut daemon = start(&[]);
            mount(&daemon, "/a", &image);
            let mut guest = None;
            if state != "never connected" {
                let mut session = daemon.mount(&Config::default()).unwrap();
                session.resolve(&format!("/a/{FILE}")).unwrap();
                guest = Some(session);
            }
            if state == "disconnected" {
                guest = None;
                until("the daemon notices", || {
                    daemon.complaints().contains("disconnected")
                });
            }
            match how {
                "SIGTERM" => daemon.signal(Signal::SIGTERM).unwrap(),
                "SIGINT" => daemon.signal(Signal::SIGINT).unwrap(),
                _ => assert_done(&ask(&api(&daemon), "PUT", "/api/v1/daemon/exit", "")),
            }
            gone(&mut daemon, &format!("{how}, {state}"));
            drop(guest);
        }
    }
}

/// Check 17, after SIGKILL.
#[test]
fn stale_sockets_are_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (api, sock) = (path("api.sock"), path("fs.sock"));
    for _ in 0..2 {
        let mut words = line(&api, &[]);
        let at = words.iter().position(|word| *word == "--sock").unwrap() + 1;
        words[at] = &sock;
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("it runs", || {
            let stream = std::os::unix::net::UnixStream::connect(&api);
            stream.is_ok() && Client::Go.daemon(api.as_ref()).json()["state"] == "RUNNING"
        });
        Session::mount(sock.as_ref(), &Config::default()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(home.path().join("api.sock").exists());
    }
}

/// Check 18.
#[test]
fn one_machine_after_another_is_served() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    mount(&daemon, "/a", &image);
    for _ in 0..3 {
        let mut guest = daemon.mount(&Config::default()).unwrap();
        guest.resolve(&format!("/a/{FILE}")).unwrap();
        drop(guest);
        assert_eq!(Client::Go.daemon(&api(&daemon)).json()["state"], "RUNNING");
    }
    let mut ending = start(&["--exit-on-disconnect"]);
    drop(ending.mount(&Config::default()).unwrap());
    gone(&mut ending, "--exit-on-disconnect");
}

#[test]
fn a_socket_that_listens_already_is_served_and_left_alone() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let (sock, api) = (home.path().join("fs.sock"), home.path().join("api.sock"));
    let listener = UnixListener::bind(&sock).unwrap();
    for personality in ["nydusd", "serve"] {
        let options = match personality {
            "nydusd" => "nydusd virtiofs --fd 3 --apisock",
            _ => "serve --fd 3 --api-socket",
        };
        let script = format!("exec \"$0\" {options} \"$1\" 3<&0 0</dev/null");
        let mut child = Command::new("sh")
            .args(["-c", &script, PROGRAM])
            .arg(&api)
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        connect_patiently(&api, LIMIT).unwrap();
        let config = crate::rig::config(&image, &home.path().join("cache"));
        let body = crate::rig::body(&image.bootstrap(), &config);
        assert_done(&Client::Go.mount(&api, "/a", &body));
        let mut guest = Session::mount(&sock, &Config::default()).unwrap();
        guest.resolve(&format!("/a/{FILE}")).unwrap();
        drop(guest);
        assert_done(&ask(&api, "PUT", "/api/v1/daemon/exit", ""));
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(sock.exists() && !api.exists());
    }
}

#[test]
fn pid_and_log_files_are_written_and_the_pid_file_removed() {
    let home = tempfile::tempdir().unwrap();
    let (pid, log) = (home.path().join("d.pid"), home.path().join("d"));
    let mut daemon = start(&[
        "--pid-file",
        pid.to_str().unwrap(),
        "--log-file",
        log.to_str().unwrap(),
    ]);
    let text = std::fs::read_to_string(&pid).unwrap();
    assert_eq!(text.trim(), daemon.pid().to_string());
    daemon.signal(Signal::SIGTERM).unwrap();
    gone(&mut daemon, "SIGTERM");
    assert!(!pid.exists());
    let text = std::fs::read_to_string(log.with_extension("log")).unwrap();
    assert!(text.contains("Listening on"), "{text}");
    assert_eq!(daemon.complaints(), "");
}

/// Check 28.
#[test]
fn nothing_is_offered_that_is_not_done() {
    let daemon = start(&[]);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let messages = guest.frontend.messages();
    let features = messages.get_features().unwrap();
    for (bit, name) in [
        (34, "RING_PACKED"),
        (35, "IN_ORDER"),
        (38, "NOTIFICATION_DATA"),
    ] {
        assert_eq!(features & (1 << bit), 0, "{name}");
    }
    let protocol = messages.get_protocol_features().unwrap();
    assert!(!protocol.contains(VhostUserProtocolFeatures::CONFIG));
    assert!(guest.frontend.queues_offered.unwrap() >= 2);
}

#[test]
fn serve_begins_without_an_image_if_there_is_an_api() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("api.sock");
    let daemon = Daemon::tidegate(&["--api-socket", path.to_str().unwrap()]).unwrap();
    let body = crate::rig::image_body(&daemon, &image);
    assert_done(&Client::Go.mount(&path, "/", &body));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(FILE).unwrap();
    let refused = Daemon::tidegate::<&str>(&[]).unwrap_err();
    assert!(refused.to_string().contains("--bootstrap"), "{refused}");
}
