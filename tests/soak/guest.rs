//! A guest that reads images, writes files, and forgets what it looked up.

use std::path::Path;
use std::time::Duration;

use crate::support::dice::Dice;
use crate::support::frontend::Config;
use crate::support::session::wire::{Body, Fields, ROOT, op};
use crate::support::session::{Answer, Session};
use crate::world::{CONTAINERS, FILE_LEN, FILES, OLD, STAYS, byte};

const UNLINK: u32 = 10;
const RENAME: u32 = 12;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const CREATE: u32 = 35;

/// Longest read and write.
const READ_MAX: usize = 128 << 10;
const WRITE_MAX: usize = 48 << 10;

/// A connected guest.
pub(crate) struct Guest {
    session: Session,
    queues: usize,
}

/// Errors that a guest meets where mounts come and go.
fn gone(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::ESTALE | libc::EBADF))
}

impl Guest {
    /// Connects, with as many queues as the dice say.
    pub(crate) fn connect(socket: &Path, dice: &mut Dice) -> Self {
        let queues = 1 + dice.below(3);
        let config = Config {
            queues,
            queue_size: [128, 256, 1024][dice.below(3)],
            reply_max: 256 << 10,
            timeout: Duration::from_secs(120),
            ..Config::default()
        };
        let session = Session::mount(socket, &config).unwrap();
        Self { session, queues }
    }

    /// One thing, at random.
    pub(crate) fn act(&mut self, dice: &mut Dice) {
        let done = match dice.below(8) {
            0..=2 => self.read(&format!("{STAYS}/f{}", dice.below(FILES)), dice),
            3 => {
                let path = format!("/rafs/{}/lowerdir/f{}", dice.below(20), dice.below(FILES));
                match self.read(&path, dice) {
                    Err(error) if gone(error.errno()) => Ok(()),
                    other => other,
                }
            }
            4 => self.list(OLD),
            _ => self.write(dice),
        };
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Reads something of a file of the image, which must be right.
    pub(crate) fn read(&mut self, path: &str, dice: &mut Dice) -> Answer<()> {
        let (_, number) = path.rsplit_once("/f").unwrap();
        let file: usize = number.parse().unwrap();
        self.with(path, |guest, node| {
            let handle = guest.session.open(node)?;
            let read = guest.burst(node, handle, file, dice);
            guest.session.release(node, handle).and(read)
        })
    }

    /// Reads on all queues at once.
    fn burst(&mut self, node: u64, handle: u64, file: usize, dice: &mut Dice) -> Answer<()> {
        let mut asked = Vec::new();
        for queue in 1..=self.queues {
            let at = dice.below(FILE_LEN);
            let len = 1 + dice.below(READ_MAX);
            let body = Body::read(handle, at as u64, u32::try_from(len).unwrap()).0;
            self.session
                .submit(queue, op::READ, node, &body, Some(len))?;
            asked.push((queue, at, len.min(FILE_LEN - at)));
        }
        for &(queue, ..) in &asked {
            self.session.flush(queue)?;
        }
        let mut all = Ok(());
        for (queue, at, len) in asked {
            let reply = self.session.complete(queue)?;
            match self.session.body(reply) {
                Ok(bytes) => {
                    assert_eq!(bytes.len(), len, "file {file} at {at}");
                    let wrong = (at..)
                        .zip(&bytes)
                        .find(|&(at, &found)| found != byte(file, at));
                    assert_eq!(wrong, None, "file {file} has a wrong byte");
                }
                Err(error) => all = Err(error),
            }
        }
        all
    }

    /// Looks a path up, does something, and forgets.
    fn with(&mut self, path: &str, work: impl FnOnce(&mut Self, u64) -> Answer<()>) -> Answer<()> {
        let mut held = Vec::new();
        let mut node = ROOT;
        let mut done = Ok(());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match self.session.lookup(node, name.as_bytes()) {
                Ok(entry) => {
                    node = entry.node;
                    held.push((node, 1));
                }
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        if done.is_ok() {
            done = work(self, node);
        }
        self.session.batch_forget(&held).and(done)
    }

    fn list(&mut self, path: &str) -> Answer<()> {
        self.with(path, |guest, node| {
            let listed = guest.session.list(node, true)?;
            assert!(!listed.is_empty());
            let nodes = listed.iter().filter_map(|entry| Some(entry.entry?.node));
            let nodes: Vec<_> = nodes
                .filter(|&node| node != 0)
                .map(|node| (node, 1))
                .collect();
            guest.session.batch_forget(&nodes)
        })
    }

    /// Makes or changes a file, reads it, and perhaps renames or removes it.
    fn write(&mut self, dice: &mut Dice) -> Answer<()> {
        let name = format!("w{}", dice.below(40));
        self.with(CONTAINERS, |guest, parent| {
            let flags = (libc::O_RDWR | libc::O_CREAT).cast_unsigned();
            let body = Body::default().u32(flags).u32(0o644).u32(0).u32(0);
            let body = body.name(name.as_bytes()).0;
            let raw = guest.session.raw(CREATE, parent, &body, 144)?;
            let (node, handle) = (Fields(&raw).u64(), Fields(&raw[128..]).u64());
            let changed = guest.change(node, handle, dice);
            let body = Body::default().u64(handle).u32(0).u32(0).u64(0).0;
            guest.session.raw(RELEASE, node, &body, 0)?;
            match dice.below(4) {
                0 => {
                    let body = Body::default().name(name.as_bytes()).0;
                    guest.session.raw(UNLINK, parent, &body, 0)?;
                }
                1 => {
                    let to = format!("w{}", dice.below(40));
                    let body = Body::default().u64(parent).name(name.as_bytes());
                    let body = body.name(to.as_bytes()).0;
                    guest.session.raw(RENAME, parent, &body, 0)?;
                }
                _ => {}
            }
            guest.session.forget(node, 1)?;
            changed
        })
    }

    fn change(&mut self, node: u64, handle: u64, dice: &mut Dice) -> Answer<()> {
        let offset = dice.below(1 << 20) as u64;
        let fill = dice.next().to_le_bytes();
        let data: Vec<u8> = fill
            .into_iter()
            .cycle()
            .take(1 + dice.below(WRITE_MAX))
            .collect();
        let len = u32::try_from(data.len()).unwrap();
        let head = Body::default().u64(handle).u64(offset).u32(len).u32(0);
        let mut body = head.u64(0).u32(0).u32(0).0;
        body.extend(&data);
        let raw = self.session.raw(WRITE, node, &body, 8)?;
        assert_eq!(Fields(&raw).u32(), len);
        if dice.below(16) == 0 {
            let body = Body::default().u64(handle).u32(0).u32(0).0;
            self.session.raw(FSYNC, node, &body, 0)?;
        }
        let read = self.session.read(node, handle, offset, data.len())?;
        assert!(read == data, "a file lost what was written to it");
        Ok(())
    }
}
