//! A guest that reads: so many requests in flight, each answer kept and
//! compared with the truth when the clock has stopped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::catalog::Catalog;
use crate::support::session::wire::{Body, op};
use crate::support::session::{Answer, Failure, Session, Ticket};

/// One READ.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// What became of READs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Of each READ, in the order of the answers.
    pub(crate) latencies: Vec<Duration>,
    /// Answers with bytes that are not the file's.
    pub(crate) wrong: u64,
    /// Answers with an errno.
    pub(crate) failed: u64,
    /// Right bytes.
    pub(crate) bytes: u64,
}

/// READs of open files.
pub(crate) struct Reader<'a> {
    pub(crate) guest: &'a mut Session,
    open: HashMap<PathBuf, (u64, u64)>,
    flying: HashMap<Ticket, (usize, Instant)>,
    /// Index of the READ and what came back.
    answers: Vec<(usize, Answer<Vec<u8>>)>,
    latencies: Vec<Duration>,
}

impl<'a> Reader<'a> {
    /// Looks up and opens all files, before any clock runs.
    pub(crate) fn new(guest: &'a mut Session, asks: &[Ask]) -> Answer<Self> {
        let mut open = HashMap::new();
        for ask in asks {
            if !open.contains_key(&ask.path) {
                let node = guest.resolve(&ask.path.to_string_lossy())?;
                open.insert(ask.path.clone(), (node, guest.open(node)?));
            }
        }
        Ok(Self {
            guest,
            open,
            flying: HashMap::new(),
            answers: Vec::new(),
            latencies: Vec::new(),
        })
    }

    /// Sends one READ without waiting.
    pub(crate) fn submit(&mut self, index: usize, ask: &Ask) -> Answer<()> {
        let (node, handle) = self.open[&ask.path];
        let len = u32::try_from(ask.len).unwrap_or(u32::MAX);
        let body = Body::read(handle, ask.offset, len).0;
        let ticket = self.guest.submit(1, op::READ, node, &body, Some(ask.len))?;
        self.flying.insert(ticket, (index, Instant::now()));
        self.guest.flush(1)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Takes one answer; false if it is not to a READ of this reader.
    pub(crate) fn take(&mut self, reply: crate::support::session::Reply) -> bool {
        let Some((index, asked)) = self.flying.remove(&reply.ticket) else {
            self.guest.finish(reply).ok();
            return false;
        };
        self.latencies.push(asked.elapsed());
        self.answers.push((index, self.guest.body(reply)));
        true
    }

    /// Keeps `depth` READs in flight until all are answered.
    pub(crate) fn run(&mut self, asks: &[Ask], depth: usize) -> Answer<f64> {
        let start = Instant::now();
        let mut left: VecDeque<usize> = (0..asks.len()).collect();
        while !left.is_empty() || !self.flying.is_empty() {
            while self.flying.len() < depth
                && let Some(index) = left.pop_front()
            {
                self.submit(index, &asks[index])?;
            }
            let reply = self.guest.complete(1)?;
            self.take(reply);
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Compares everything with the truth.
    pub(crate) fn judge(
        self,
        asks: &[Ask],
        catalog: &Catalog,
        seconds: f64,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome {
            seconds,
            latencies: self.latencies,
            ..Outcome::default()
        };
        for (index, answer) in self.answers {
            let ask = &asks[index];
            judge(
                &mut outcome,
                &ask.path,
                ask.offset,
                ask.len,
                answer,
                catalog,
            )?;
        }
        Ok(outcome)
    }
}

/// Compares one answer with the truth.
pub(crate) fn judge(
    outcome: &mut Outcome,
    path: &Path,
    offset: u64,
    len: usize,
    answer: Answer<Vec<u8>>,
    catalog: &Catalog,
) -> io::Result<()> {
    match answer {
        Ok(bytes) if bytes == catalog.truth(path, offset, len)? => {
            outcome.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        }
        Ok(_) => outcome.wrong += 1,
        Err(Failure::Errno(_)) => outcome.failed += 1,
        Err(failure) => return Err(io::Error::other(failure)),
    }
    Ok(())
}

/// All of it at once: open, run, judge.
pub(crate) fn read_all(
    guest: &mut Session,
    asks: &[Ask],
    depth: usize,
    catalog: &Catalog,
) -> io::Result<Outcome> {
    let mut reader = Reader::new(guest, asks).map_err(io::Error::other)?;
    let seconds = reader.run(asks, depth).map_err(io::Error::other)?;
    reader.judge(asks, catalog, seconds)
}
