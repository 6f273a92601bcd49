//! What a guest does while its daemon is killed, and what must be true of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::guest::{
    Request, create, created, fsync, link, made, mkdir, release, removexattr, rename, rmdir,
    setxattr, symlink, unlink, write,
};
use crate::support::dice::Dice;
use crate::support::session::Answer;
use crate::support::session::wire::{Body, ROOT, op};

/// Somebody who has one request in flight.
pub(crate) trait Actor {
    /// What to ask next.
    fn next(&mut self, dice: &mut Dice) -> Request;
    /// Takes the answer to it. Anything but success is a fault.
    fn done(&mut self, answer: Answer<Vec<u8>>);
    /// Compares what was acknowledged with the directory of the host; nothing is in
    /// flight.
    fn check(&self, _source: &Path) {}
}

/// Reads files of the image.
pub(crate) struct Reader {
    /// Node and content of each.
    files: Vec<(u64, Vec<u8>)>,
    at: (usize, usize, usize),
}

impl Reader {
    pub(crate) fn new(files: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            files,
            at: (0, 0, 0),
        }
    }
}

impl Actor for Reader {
    fn next(&mut self, dice: &mut Dice) -> Request {
        let file = dice.below(self.files.len());
        let (node, content) = &self.files[file];
        let offset = dice.below(content.len());
        let len = 1 + dice.below(64 << 10);
        self.at = (file, offset, len);
        let body = Body::read(0, offset as u64, u32::try_from(len).unwrap());
        Request(op::READ, *node, body.0, len)
    }

    fn done(&mut self, answer: Answer<Vec<u8>>) {
        let (file, offset, len) = self.at;
        let content = &self.files[file].1;
        let end = content.len().min(offset + len);
        let read = answer.unwrap_or_else(|failure| panic!("a read failed: {failure}"));
        assert!(
            read == content[offset..end],
            "wrong bytes at {offset} of file {file}"
        );
    }
}

/// Appends records to a log, and writes here and there in a file.
pub(crate) struct Writer {
    log: (u64, u64),
    data: (u64, u64),
    sequence: u64,
    /// What the files hold as far as it was acknowledged.
    logged: Vec<u8>,
    written: Vec<u8>,
    pending: Pending,
}

enum Pending {
    Log(Vec<u8>),
    Data(usize, Vec<u8>),
    Sync,
}

/// Names of its files.
pub(crate) const LOG: &str = "log";
pub(crate) const DATA: &str = "data";

impl Writer {
    /// With node and handle of both files, which are empty; the first appends.
    pub(crate) fn new(log: (u64, u64), data: (u64, u64)) -> Self {
        Self {
            log,
            data,
            sequence: 0,
            logged: Vec::new(),
            written: Vec::new(),
            pending: Pending::Sync,
        }
    }

    /// Sequence number, length, content and digest.
    fn record(&mut self, dice: &mut Dice) -> Vec<u8> {
        self.sequence += 1;
        let len = 1 + dice.below(6000);
        let byte = u8::try_from(dice.below(256)).unwrap();
        let mut record = self.sequence.to_le_bytes().to_vec();
        record.extend((len as u64).to_le_bytes());
        record.resize(16 + len, byte);
        let digest: [u8; 32] = Sha256::digest(&record).into();
        record.extend(digest);
        record
    }
}

impl Actor for Writer {
    fn next(&mut self, dice: &mut Dice) -> Request {
        match dice.below(8) {
            0 => {
                self.pending = Pending::Sync;
                fsync(self.log.0, self.log.1)
            }
            1..=4 => {
                let record = self.record(dice);
                // A guest's kernel sends the end as it knows it.
                let at = self.logged.len() as u64;
                let request = write(self.log.0, self.log.1, at, &record);
                self.pending = Pending::Log(record);
                request
            }
            _ => {
                let at = dice.below(100_000);
                let bytes = vec![u8::try_from(dice.below(256)).unwrap(); 1 + dice.below(9000)];
                let request = write(self.data.0, self.data.1, at as u64, &bytes);
                self.pending = Pending::Data(at, bytes);
                request
            }
        }
    }

    fn done(&mut self, answer: Answer<Vec<u8>>) {
        let answer = answer.unwrap_or_else(|failure| panic!("a write failed: {failure}"));
        let count = |len: usize| {
            let count = u32::from_le_bytes(answer[..4].try_into().unwrap());
            assert_eq!(count as usize, len, "a write was cut short");
        };
        match std::mem::replace(&mut self.pending, Pending::Sync) {
            Pending::Sync => {}
            Pending::Log(record) => {
                count(record.len());
                self.logged.extend(record);
            }
            Pending::Data(at, bytes) => {
                count(bytes.len());
                let end = at + bytes.len();
                if self.written.len() < end {
                    self.written.resize(end, 0);
                }
                self.written[at..end].copy_from_slice(&bytes);
            }
        }
    }

    fn check(&self, source: &Path) {
        let log = fs::read(source.join(LOG)).unwrap();
        let (mut at, mut sequence) = (0, 0);
        while at < log.len() {
            let number = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
            sequence += 1;
            assert_eq!(number(at), sequence, "record at {at}");
            let end = at + 16 + usize::try_from(number(at + 8)).unwrap();
            let digest: [u8; 32] = Sha256::digest(&log[at..end]).into();
            assert!(log[end..end + 32] == digest, "record {sequence} is torn");
            at = end + 32;
        }
        assert!(log == self.logged, "the log is not what was acknowledged");
        let data = fs::read(source.join(DATA)).unwrap();
        assert!(data == self.written, "data are not what was acknowledged");
    }
}

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Thing {
    File(Vec<u8>),
    Link(String),
    Directory,
}

/// Makes, renames and removes names, one after the other.
#[derive(Default)]
pub(crate) struct Namer {
    round: u64,
    step: usize,
    node: u64,
    handle: u64,
    dir: u64,
    content: Vec<u8>,
    names: BTreeMap<String, Thing>,
    /// Nodes of which the guest drops a reference.
    forgotten: Vec<u64>,
}

impl Namer {
    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.round)
    }

    /// How often it went through all of it.
    pub(crate) fn rounds(&self) -> u64 {
        self.round
    }

    /// What the guest forgets now.
    pub(crate) fn forget(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.forgotten)
    }
}

impl Actor for Namer {
    fn next(&mut self, dice: &mut Dice) -> Request {
        let [file, dir, other, sym] = ["file", "dir", "other", "sym"].map(|kind| self.name(kind));
        match self.step {
            0 => {
                let byte = u8::try_from(dice.below(256)).unwrap();
                self.content = vec![byte; dice.below(20_000)];
                create(ROOT, &file, libc::O_RDWR | libc::O_EXCL)
            }
            1 => write(self.node, self.handle, 0, &self.content),
            2 => fsync(self.node, self.handle),
            3 => setxattr(self.node, "user.round", &self.round.to_le_bytes(), 1),
            4 => release(self.node, self.handle),
            5 => mkdir(ROOT, &dir),
            6 => rename(ROOT, &file, self.dir, "inside", 1),
            7 => link(self.node, ROOT, &other),
            8 => symlink(ROOT, &sym, "anywhere"),
            9 => rename(ROOT, &other, ROOT, &sym, 2),
            10 => removexattr(self.node, "user.round"),
            11 => unlink(ROOT, &sym),
            12 => unlink(self.dir, "inside"),
            13 => rmdir(ROOT, &dir),
            _ => rename(ROOT, &other, ROOT, "last", 0),
        }
    }

    fn done(&mut self, answer: Answer<Vec<u8>>) {
        let (round, step) = (self.round, self.step);
        let answer = answer
            .unwrap_or_else(|failure| panic!("step {step} of round {round} failed: {failure}"));
        let [file, dir, other, sym] = ["file", "dir", "other", "sym"].map(|kind| self.name(kind));
        let inside = format!("{dir}/inside");
        match step {
            0 => {
                (self.node, self.handle) = created(&answer);
                self.names.insert(file, Thing::File(Vec::new()));
            }
            1 => {
                self.names.insert(file, Thing::File(self.content.clone()));
            }
            5 => {
                self.dir = made(&answer);
                self.names.insert(dir, Thing::Directory);
            }
            6 => {
                let moved = self.names.remove(&file).unwrap();
                self.names.insert(inside, moved);
            }
            7 => {
                assert_eq!(made(&answer), self.node, "a link leads to another node");
                let linked = self.names[&inside].clone();
                self.names.insert(other, linked);
                self.forgotten.push(self.node);
            }
            8 => {
                self.forgotten.push(made(&answer));
                self.names.insert(sym, Thing::Link("anywhere".to_owned()));
            }
            9 => {
                let (one, two) = (self.names[&other].clone(), self.names[&sym].clone());
                self.names.insert(other, two);
                self.names.insert(sym, one);
            }
            11 => {
                self.names.remove(&sym);
            }
            12 => {
                self.names.remove(&inside);
                self.forgotten.push(self.node);
            }
            13 => {
                self.names.remove(&dir);
                self.forgotten.push(self.dir);
            }
            14 => {
                let moved = self.names.remove(&other).unwrap();
                self.names.insert("last".to_owned(), moved);
            }
            _ => {}
        }
        self.step += 1;
        if self.step == 15 {
            self.step = 0;
            self.round += 1;
        }
    }

    fn check(&self, source: &Path) {
        let mut found = BTreeMap::new();
        let mut directories = vec![(source.to_owned(), String::new())];
        while let Some((at, before)) = directories.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{before}{}", entry.file_name().to_str().unwrap());
                let kind = entry.file_type().unwrap();
                let thing = if kind.is_dir() {
                    directories.push((entry.path(), format!("{name}/")));
                    Thing::Directory
                } else if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).unwrap();
                    Thing::Link(target.to_str().unwrap().to_owned())
                } else {
                    Thing::File(fs::read(entry.path()).unwrap())
                };
                if name != LOG && name != DATA {
                    found.insert(name, thing);
                }
            }
        }
        let shown = |names: &BTreeMap<String, Thing>| names.keys().cloned().collect::<Vec<_>>();
        assert_eq!(shown(&found), shown(&self.names));
        assert!(found == self.names, "a name stands for something else");
    }
}
