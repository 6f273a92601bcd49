//! A file that is damaged for one run and mended for the next.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::input::Input;

/// Numbers at which parsers stumble.
const ODD: [u64; 8] = [
    0,
    1,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX,
];

/// A file and what it holds when it is whole.
pub struct Patched {
    file: File,
    whole: Vec<u8>,
    dirty: Vec<(usize, usize)>,
    len: usize,
    floor: usize,
}

impl Patched {
    /// A file in memory that holds `whole`.
    pub fn new(whole: Vec<u8>) -> Self {
        let fd = memfd_create("bootstrap", MemfdFlags::CLOEXEC).unwrap();
        Self::of(File::from(fd), whole, 0)
    }

    /// A file at `path` that holds `whole` and is damaged from byte `floor` on.
    pub fn at(path: &Path, whole: Vec<u8>, floor: usize) -> Self {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        Self::of(options.open(path).unwrap(), whole, floor)
    }

    fn of(file: File, whole: Vec<u8>, floor: usize) -> Self {
        file.write_all_at(&whole, 0).unwrap();
        let len = whole.len();
        Self {
            file,
            whole,
            dirty: Vec::new(),
            len,
            floor,
        }
    }

    /// A path that opens the file.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Damages the file as the input says: a list of an operation, an offset
    /// of three bytes and what to put there.
    pub fn damage(&mut self, input: &mut Input<'_>) {
        for _ in 0..64 {
            if input.is_empty() {
                return;
            }
            let operation = input.u8();
            let at = self.place(input);
            let amount = usize::from(operation >> 3) + 1;
            match operation & 7 {
                // Other bytes.
                0..=2 => self.put(at, input.bytes(amount)),
                // One flipped bit.
                3 => {
                    let mut byte = [0];
                    if self.file.read_at(&mut byte, at as u64).unwrap() == 1 {
                        self.put(at, &[byte[0] ^ 1 << (amount % 8)]);
                    }
                }
                // An odd number in 2, 4 or 8 bytes.
                4 => {
                    let number = ODD[usize::from(input.u8() & 7)].to_le_bytes();
                    let width = [2, 4, 8, 8][amount % 4];
                    self.put(at, &number[..width]);
                }
                // What stands elsewhere.
                5 | 6 => {
                    let from = self.place(input);
                    let mut copy = vec![0; amount * 4];
                    let got = self.file.read_at(&mut copy, from as u64).unwrap();
                    self.put(at, &copy[..got]);
                }
                // Another end.
                _ => {
                    self.file.set_len(at as u64).unwrap();
                    self.len = at;
                }
            }
        }
    }

    fn place(&self, input: &mut Input<'_>) -> usize {
        let floor = self.floor.min(self.len);
        floor + input.u24() % (self.len - floor).max(1)
    }

    /// Makes the file hold these bytes.
    pub fn replace(&mut self, bytes: &[u8]) {
        self.file.set_len(0).unwrap();
        self.file.write_all_at(bytes, 0).unwrap();
        self.len = bytes.len();
        self.dirty = vec![(0, self.whole.len())];
    }

    /// Makes the file whole again.
    pub fn mend(&mut self) {
        if self.len != self.whole.len() {
            self.file.set_len(0).unwrap();
            self.dirty = vec![(0, self.whole.len())];
        }
        for (start, end) in self.dirty.drain(..) {
            let end = end.min(self.whole.len());
            self.file
                .write_all_at(&self.whole[start..end], start as u64)
                .unwrap();
        }
        self.len = self.whole.len();
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.len - at.min(self.len))];
        self.file.write_all_at(bytes, at as u64).unwrap();
        self.dirty.push((at, at + bytes.len()));
    }
}
