//! Random operations on one file, against a model of it, as fsx does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use rustix::fs::FallocateFlags;
use tidegate::fs::passthrough::{Cache, Options};

use crate::rig::Rig;

/// Largest size that the file gets, in bytes.
const LARGEST: usize = 300_000;

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u8),
    Read(usize, usize),
    Truncate(usize),
    Punch(usize, usize),
    Zero(usize, usize),
    Copy(usize, usize, usize),
    Reopen(bool),
    Append(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..LARGEST - 70_000;
    let len = prop_oneof![1usize..100, 1usize..70_000];
    prop_oneof![
        4 => (at.clone(), len.clone(), any::<u8>()).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        4 => (at.clone(), len.clone()).prop_map(|(at, len)| Step::Read(at, len)),
        1 => at.clone().prop_map(Step::Truncate),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Step::Punch(at, len)),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Step::Zero(at, len)),
        1 => (at.clone(), at, len.clone()).prop_map(|(from, to, len)| Step::Copy(from, to, len)),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => (1usize..3000, any::<u8>()).prop_map(|(len, byte)| Step::Append(len, byte)),
    ]
}

fn filled(len: usize, seed: u8) -> Vec<u8> {
    let cycle = (0u8..241).cycle().take(len);
    cycle.map(|byte| seed.wrapping_add(byte)).collect()
}

struct Both<'a> {
    rig: &'a Rig,
    file: File,
    model: Vec<u8>,
}

impl Both<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[at..end].copy_from_slice(bytes);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write(at, len, seed) => {
                let bytes = filled(len, seed);
                self.file.write_all_at(&bytes, at as u64).unwrap();
                self.put(at, &bytes);
            }
            Step::Read(at, len) => {
                let mut bytes = vec![0; len];
                let mut done = 0;
                while let Ok(more @ 1..) = self.file.read_at(&mut bytes[done..], (at + done) as u64)
                {
                    done += more;
                }
                let end = (at + len).min(self.model.len());
                assert_eq!(bytes[..done], self.model[at.min(end)..end]);
            }
            Step::Truncate(len) => {
                self.file.set_len(len as u64).unwrap();
                self.model.resize(len, 0);
            }
            Step::Punch(at, len) | Step::Zero(at, len) => {
                let zero = matches!(step, Step::Zero(..));
                let mode = match zero {
                    true => FallocateFlags::ZERO_RANGE,
                    false => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                };
                rustix::fs::fallocate(&self.file, mode, at as u64, len as u64).unwrap();
                let end = match zero {
                    true => at + len,
                    false => (at + len).min(self.model.len()),
                };
                if at < end {
                    self.put(at, &vec![0; end - at]);
                }
            }
            Step::Copy(from, to, len) => {
                let there = self.model.len().saturating_sub(from).min(len);
                if there == 0 || from.abs_diff(to) < there {
                    return;
                }
                let bytes = self.model[from..from + there].to_vec();
                let (mut from, mut to_at, mut done) = (from as u64, to as u64, 0);
                while done < there {
                    done += rustix::fs::copy_file_range(
                        &self.file,
                        Some(&mut from),
                        &self.file,
                        Some(&mut to_at),
                        there - done,
                    )
                    .unwrap();
                }
                self.put(to, &bytes);
            }
            Step::Reopen(create) => self.file = open(self.rig, create),
            Step::Append(len, seed) => {
                if self.model.len() + len > LARGEST {
                    return;
                }
                let bytes = filled(len, seed);
                let mut end = OpenOptions::new()
                    .append(true)
                    .open(self.rig.on("file"))
                    .unwrap();
                std::io::Write::write_all(&mut end, &bytes).unwrap();
                self.put(self.model.len(), &bytes);
            }
        }
        assert_eq!(self.file.metadata().unwrap().len(), self.model.len() as u64);
    }
}

fn open(rig: &Rig, create: bool) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    options.open(rig.on("file")).unwrap()
}

fn run(cache: Cache) {
    let Some(rig) = Rig::new(Options {
        cache,
        ..Options::default()
    }) else {
        return;
    };
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let mut both = Both { rig: &rig, file: open(&rig, true), model: Vec::new() };
        both.file.set_len(0).unwrap();
        for step in &steps {
            both.take(step);
        }
        assert_eq!(fs::read(rig.on("file")).unwrap(), both.model);
        assert_eq!(fs::read(rig.source("file")).unwrap(), both.model);
    });
}

#[test]
fn files_behave_as_their_model_when_data_is_cached() {
    run(Cache::Always);
}

#[test]
fn files_behave_as_their_model_when_data_is_checked_at_open() {
    run(Cache::Auto);
}

#[test]
fn files_behave_as_their_model_when_nothing_is_cached() {
    run(Cache::Never);
}
