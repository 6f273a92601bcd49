//! What is measured: one kind of request, so many in flight, on so many
//! queues.

use std::io;
use std::time::{Duration, Instant};

use crate::load::{self, Tree};
use crate::statistics::Dice;
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::session::wire::{Body, Entry, op};
use crate::support::session::{Answer, Failure, Session};

/// Room for one READDIRPLUS.
const LISTING: u32 = 32 << 10;

/// Kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A page at a random place of the working set.
    Random,
    /// The working set from its first to its last byte, in steps of so many
    /// bytes.
    Sequential(u32),
    Lookup,
    Getattr,
    Readdirplus,
    /// The whole tree, once.
    Walk,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) ask: Ask,
    pub(crate) depth: usize,
    pub(crate) queues: usize,
    /// Queues of the second daemon where it has fewer.
    pub(crate) queues_b: usize,
}

const fn row(ask: Ask, depth: usize, queues: usize) -> Row {
    Row {
        ask,
        depth,
        queues,
        queues_b: queues,
    }
}

/// All rows, in the table's order.
pub(crate) const ROWS: [Row; 11] = [
    row(Ask::Random, 1, 1),
    row(Ask::Random, 16, 1),
    row(Ask::Random, 16, 2),
    row(Ask::Sequential(128 << 10), 4, 1),
    row(Ask::Sequential(1 << 20), 1, 1),
    row(Ask::Sequential(1 << 20), 4, 1),
    row(Ask::Lookup, 1, 1),
    row(Ask::Lookup, 16, 1),
    row(Ask::Getattr, 1, 1),
    row(Ask::Readdirplus, 1, 1),
    row(Ask::Walk, 1, 1),
];

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Requests, MB or entries per second.
    pub(crate) rate: f64,
    /// Daemon's CPU time: µs per request, or s per GiB.
    pub(crate) cpu: f64,
}

/// A daemon with its guest.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    /// Request queues that the daemon can serve.
    pub(crate) queues: usize,
    session: Session,
    tree: Tree,
    dice: Dice,
    file: usize,
    offset: u64,
}

impl Side {
    /// Starts a daemon, mounts it and reads the working set of `limit` bytes.
    pub(crate) fn start(line: &[String], limit: u64) -> io::Result<Self> {
        let daemon = Daemon::command(line)?;
        let config = |queues| Config {
            believe_headers: true,
            queues,
            depth: 16,
            ..Config::default()
        };
        // Some serve one connection only, so two queues are tried on a daemon
        // of their own.
        let two = Daemon::command(line)?
            .mount(&config(2))
            .is_ok_and(|session| {
                session
                    .frontend
                    .queues_offered
                    .is_some_and(|offered| offered >= 3)
            });
        let queues = if two { 2 } else { 1 };
        let mut session = daemon.mount(&config(queues)).map_err(io::Error::other)?;
        let tree = load::survey(&mut session, limit).map_err(io::Error::other)?;
        if tree.files.is_empty() {
            return Err(io::Error::other("the tree has no file to read"));
        }
        Ok(Self {
            daemon,
            queues,
            session,
            tree,
            dice: Dice::new(42),
            file: 0,
            offset: 0,
        })
    }

    /// Opcode, node, body and room of the next request.
    fn next(&mut self, ask: Ask) -> (u32, u64, Vec<u8>, usize) {
        match ask {
            Ask::Random => {
                let file = self.tree.files[self.dice.index(self.tree.files.len())];
                let offset = self.dice.below(file.size / 4096) * 4096;
                (
                    op::READ,
                    file.node,
                    Body::read(file.handle, offset, 4096).0,
                    4096,
                )
            }
            Ask::Sequential(step) => self.next_in_sequence(step),
            Ask::Lookup => {
                let (parent, name, _) = &self.tree.names[self.dice.index(self.tree.names.len())];
                (
                    op::LOOKUP,
                    *parent,
                    Body::default().name(name).0,
                    Entry::LEN,
                )
            }
            Ask::Getattr | Ask::Walk => {
                let (_, _, node) = self.tree.names[self.dice.index(self.tree.names.len())];
                (op::GETATTR, node, vec![0; 16], 104)
            }
            Ask::Readdirplus => {
                let all = &self.tree.directories;
                let (node, handle) = all[self.dice.index(all.len())];
                (
                    op::READDIRPLUS,
                    node,
                    Body::read(handle, 0, LISTING).0,
                    32 << 10,
                )
            }
        }
    }

    fn next_in_sequence(&mut self, step: u32) -> (u32, u64, Vec<u8>, usize) {
        if self.offset >= self.tree.files[self.file].size {
            // Small files at the end of the list are no sequential load.
            let step = u64::from(step);
            let next = self
                .tree
                .files
                .get(self.file + 1)
                .filter(|file| file.size >= step);
            self.file = if next.is_some() { self.file + 1 } else { 0 };
            self.offset = 0;
        }
        let file = self.tree.files[self.file];
        let body = Body::read(file.handle, self.offset, step).0;
        self.offset += u64::from(step);
        (op::READ, file.node, body, usize::try_from(step).unwrap())
    }

    /// Keeps `depth` requests in flight on each queue until time is up;
    /// returns requests and bytes.
    fn drive(&mut self, row: &Row, length: Duration) -> Answer<(u64, u64)> {
        let end = Instant::now() + length;
        let depth = row.depth / row.queues;
        for queue in 1..=row.queues {
            for _ in 0..depth {
                self.submit(row.ask, queue)?;
            }
            self.session.flush(queue)?;
        }
        let (mut requests, mut bytes, mut flying) = (0, 0, depth * row.queues);
        while flying > 0 {
            for queue in 1..=row.queues {
                // With one queue sleeping is as good as it gets; with two, the
                // other one must not wait.
                let mut reply = if row.queues == 1 {
                    Some(self.session.complete(queue)?)
                } else {
                    self.session.try_complete(queue)?
                };
                while let Some(done) = reply {
                    bytes += u64::try_from(self.session.finish(done)?).unwrap();
                    requests += 1;
                    flying -= 1;
                    if Instant::now() < end {
                        self.submit(row.ask, queue)?;
                        flying += 1;
                    }
                    reply = self.session.try_complete(queue)?;
                }
                self.session.flush(queue)?;
            }
        }
        Ok((requests, bytes))
    }

    fn submit(&mut self, ask: Ask, queue: usize) -> Answer<()> {
        let (opcode, node, body, room) = self.next(ask);
        self.session
            .submit(queue, opcode, node, &body, Some(room))
            .map(drop)
    }
}

impl Row {
    pub(crate) fn name(&self) -> String {
        let what = match self.ask {
            Ask::Random => "random 4 KiB".to_owned(),
            Ask::Sequential(step) => format!("sequential {} KiB", step >> 10),
            Ask::Lookup => "LOOKUP".to_owned(),
            Ask::Getattr => "GETATTR".to_owned(),
            Ask::Readdirplus => "READDIRPLUS".to_owned(),
            Ask::Walk => return "walk of the tree".to_owned(),
        };
        let queues = if self.queues > 1 {
            let fewer = if self.queues_b < self.queues {
                format!("/{}", self.queues_b)
            } else {
                String::new()
            };
            format!(" q{}{fewer}", self.queues)
        } else {
            String::new()
        };
        format!("{what} d{}{queues}", self.depth)
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self.ask {
            Ask::Sequential(_) => "MB/s",
            Ask::Walk => "entry/s",
            _ => "req/s",
        }
    }

    pub(crate) fn cpu_unit(&self) -> &'static str {
        match self.ask {
            Ask::Sequential(_) => "s/GiB",
            Ask::Walk => "µs/entry",
            _ => "µs/req",
        }
    }

    /// Takes one sample.
    pub(crate) fn sample(&self, side: &mut Side, length: Duration) -> Answer<Sample> {
        let (cpu, start) = (side.daemon.cpu()?, Instant::now());
        let (requests, bytes) = if self.ask == Ask::Walk {
            (load::walk(&mut side.session, |_, _, _, _, _| {})?, 0)
        } else {
            side.drive(self, length)?
        };
        let seconds = start.elapsed().as_secs_f64();
        let cpu = side.daemon.cpu()?.saturating_sub(cpu).as_secs_f64();
        if requests == 0 {
            return Err(Failure::Malformed("not one request was served".into()));
        }
        let (requests, bytes) = (float(requests), float(bytes));
        Ok(match self.ask {
            Ask::Sequential(_) => Sample {
                rate: bytes / 1e6 / seconds,
                cpu: cpu / (bytes / f64::from(1 << 30)),
            },
            _ => Sample {
                rate: requests / seconds,
                cpu: cpu * 1e6 / requests,
            },
        })
    }
}

/// Exact up to 2^53, which no sample reaches.
fn float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    f64::from(u32::try_from(high).unwrap()) * 4_294_967_296.0
        + f64::from(u32::try_from(low).unwrap())
}
