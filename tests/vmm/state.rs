//! The device's state goes through a pipe (check 31 of Kata's contract).

use std::io::{self, Read, Seek as _, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use tidegate::virtio::{DeviceState, ServeOptions, Shutdown, serve};
use vhost::vhost_user::VhostUserFrontend as _;
use vhost::vhost_user::message::VhostTransferStateDirection as Direction;
use vhost::vhost_user::message::VhostTransferStatePhase::STOPPED;

use crate::memory_fs::MemoryFs;
use crate::rig::config;
use crate::support::frontend::Style;
use crate::support::image::noise;
use crate::support::session::Session;

/// More than a pipe holds.
const LONG: usize = 4 << 20;

/// A state that is some bytes. Those that begin with 0xff cannot be had.
#[derive(Default)]
struct Fake(Mutex<Vec<u8>>);

impl DeviceState for Fake {
    fn save(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = self.0.lock().unwrap().clone();
        out.write_all(&bytes)?;
        match bytes.first() {
            Some(0xff) => Err(io::Error::other("a part of it cannot go")),
            _ => Ok(()),
        }
    }

    fn load(&self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        if bytes.first() == Some(&0xff) {
            return Err(io::Error::other("what it names is not there"));
        }
        *self.0.lock().unwrap() = bytes;
        Ok(())
    }
}

/// A device that has it.
struct Device {
    state: Arc<Fake>,
    dir: TempDir,
    shutdown: Shutdown,
    server: Option<JoinHandle<()>>,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::<Fake>::default();
        let mut options = ServeOptions::new(dir.path().join("fs.sock"));
        options.state = Some(state.clone());
        let shutdown = Shutdown::new().unwrap();
        let (ready, is_ready) = channel();
        let hook = shutdown.clone();
        let server = thread::spawn(move || {
            let fs = Arc::new(MemoryFs::new());
            serve(&options, fs, &hook, || ready.send(()).unwrap()).unwrap();
        });
        is_ready.recv().unwrap();
        Self {
            state,
            dir,
            shutdown,
            server: Some(server),
        }
    }

    fn running(&self) -> Session {
        let socket = self.dir.path().join("fs.sock");
        Session::mount(&socket, &config(Style::Available)).unwrap()
    }

    /// A guest whose queues are stopped.
    fn guest(&self) -> Session {
        let mut guest = self.running();
        for queue in 0..guest.frontend.queues.len() {
            guest.frontend.stop(queue).unwrap();
        }
        guest
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shutdown.stop();
        self.server.take().unwrap().join().unwrap();
    }
}

/// Has a transfer begun; whether it was.
fn begin(guest: &mut Session, direction: Direction, file: OwnedFd) -> bool {
    let messages = guest.frontend.messages();
    let given = messages.set_device_state_fd(direction, STOPPED, file);
    given.is_ok_and(|other| other.is_none())
}

/// Asks for the state; what came, and whether it is all.
fn save(guest: &mut Session) -> (Vec<u8>, bool) {
    let (mut from, to) = io::pipe().unwrap();
    let messages = guest.frontend.messages();
    let given = messages.set_device_state_fd(Direction::SAVE, STOPPED, to.into());
    assert!(given.unwrap().is_none());
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    (bytes, messages.check_device_state().is_ok())
}

/// Hands a state over; whether it was taken.
fn load(guest: &mut Session, bytes: &[u8]) -> bool {
    let (from, mut to) = io::pipe().unwrap();
    let messages = guest.frontend.messages();
    let given = messages.set_device_state_fd(Direction::LOAD, STOPPED, from.into());
    assert!(given.unwrap().is_none());
    to.write_all(bytes).unwrap();
    drop(to);
    messages.check_device_state().is_ok()
}

#[test]
fn state_goes_from_one_device_to_another() {
    let bytes = noise(1, LONG);
    let (here, there) = (Device::new(), Device::new());
    *here.state.0.lock().unwrap() = bytes.clone();
    let (saved, whole) = save(&mut here.guest());
    assert!(whole && saved == bytes);
    assert!(load(&mut there.guest(), &saved));
    assert!(*there.state.0.lock().unwrap() == bytes);
}

#[test]
fn what_goes_wrong_comes_out_when_the_vmm_asks() {
    let device = Device::new();
    let mut guest = device.guest();
    // Nothing was transferred at all.
    assert!(guest.frontend.messages().check_device_state().is_err());
    assert!(!load(&mut guest, &[0xff, 1, 2]));
    assert!(device.state.0.lock().unwrap().is_empty());
    *device.state.0.lock().unwrap() = vec![0xff, 3];
    assert!(!save(&mut guest).1);
    // A VMM that goes away in the middle.
    *device.state.0.lock().unwrap() = vec![1; LONG];
    let (from, to) = io::pipe().unwrap();
    let messages = guest.frontend.messages();
    let given = messages.set_device_state_fd(Direction::SAVE, STOPPED, to.into());
    assert!(given.is_ok());
    drop(from);
    assert!(messages.check_device_state().is_err());
    // It is told once, and all goes on.
    assert!(messages.check_device_state().is_err());
    assert!(load(&mut guest, &[5; 10]));
    assert_eq!(save(&mut guest), (vec![5; 10], true));
}

#[test]
fn one_state_at_a_time_is_transferred() {
    let device = Device::new();
    *device.state.0.lock().unwrap() = vec![9; LONG];
    let mut guest = device.guest();
    let (mut from, to) = io::pipe().unwrap();
    let messages = guest.frontend.messages();
    let first = messages.set_device_state_fd(Direction::SAVE, STOPPED, to.into());
    assert!(first.is_ok());
    // The pipe is full, so that the first one is under way.
    let (_, to) = io::pipe().unwrap();
    let second = messages.set_device_state_fd(Direction::SAVE, STOPPED, to.into());
    assert!(second.is_err());
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), LONG);
    messages.check_device_state().unwrap();
}

#[test]
fn queues_must_be_stopped() {
    let device = Device::new();
    let mut guest = device.running();
    let (from, to) = io::pipe().unwrap();
    assert!(!begin(&mut guest, Direction::SAVE, to.into()));
    assert!(!begin(&mut guest, Direction::LOAD, from.into()));
    for queue in 0..guest.frontend.queues.len() {
        guest.frontend.stop(queue).unwrap();
    }
    assert!(load(&mut guest, &[5; 10]));
}

/// A transfer that the VMM does not go on with, and its end of the pipe.
fn stuck(device: &Device, direction: Direction) -> (Session, OwnedFd) {
    *device.state.0.lock().unwrap() = vec![9; LONG];
    let mut guest = device.guest();
    let (from, to) = io::pipe().unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = match direction {
        Direction::SAVE => (from.into(), to.into()),
        Direction::LOAD => (to.into(), from.into()),
    };
    assert!(begin(&mut guest, direction, theirs));
    (guest, ours)
}

#[test]
fn a_pipe_that_is_left_open_does_not_hold_up_the_end() {
    for direction in [Direction::SAVE, Direction::LOAD] {
        let device = Device::new();
        let (mut guest, pipe) = stuck(&device, direction);
        // The connection's thread waits, too; or ends before it is asked.
        let asks = thread::spawn(move || {
            let asked = guest.frontend.messages().check_device_state();
            assert!(asked.is_err());
        });
        drop(device);
        asks.join().unwrap();
        drop(pipe);
    }
}

#[test]
fn a_pipe_that_is_left_open_does_not_hold_up_the_next_vmm() {
    for direction in [Direction::SAVE, Direction::LOAD] {
        let device = Device::new();
        let (guest, pipe) = stuck(&device, direction);
        drop(guest);
        let before = device.state.0.lock().unwrap().clone();
        assert_eq!(save(&mut device.guest()), (before, true));
        drop(pipe);
    }
}

#[test]
fn a_file_is_as_good_as_a_pipe() {
    let device = Device::new();
    *device.state.0.lock().unwrap() = vec![7; LONG];
    let mut guest = device.guest();
    let mut file = tempfile::tempfile().unwrap();
    assert!(begin(
        &mut guest,
        Direction::SAVE,
        file.try_clone().unwrap().into()
    ));
    guest.frontend.messages().check_device_state().unwrap();
    device.state.0.lock().unwrap().clear();
    file.rewind().unwrap();
    assert!(begin(&mut guest, Direction::LOAD, file.into()));
    guest.frontend.messages().check_device_state().unwrap();
    assert!(*device.state.0.lock().unwrap() == vec![7; LONG]);
}
