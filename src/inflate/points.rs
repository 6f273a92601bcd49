//! Decompression of a gzip file from its start, which notes where it can be
//! entered later.
//!
//! Source of the method: `inflate` with `Z_BLOCK`, as `examples/zran.c` of zlib
//! uses it.

use std::io::{self, BufRead, Read};

use libz_rs_sys as zlib;

use super::InflateError;
use super::resume::WINDOW;
use super::stream::{Form, Pause, Stream};

/// A place in a gzip file where a DEFLATE block begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Offset of the next whole byte in the compressed file.
    pub offset: u64,
    /// Offset in the decompressed file.
    pub raw_offset: u64,
    /// Bytes before `raw_offset` that the block can refer to: those of the same
    /// gzip member, at most 32 KiB.
    pub window: u32,
    /// The byte before `offset`.
    pub previous: u8,
    /// How many of its top bits belong to the block.
    pub bits: u8,
}

/// Reads the decompressed bytes of a gzip file of one or more members.
pub struct Points<R> {
    input: R,
    stream: Stream,
    /// Whether a member is being read.
    inside: bool,
    offset: u64,
    raw_offset: u64,
    /// Where the member's output begins.
    member: u64,
    previous: u8,
    found: Vec<Point>,
}

impl<R: BufRead> Points<R> {
    /// A reader at the start of the gzip file `input`.
    ///
    /// # Errors
    /// When zlib has no memory.
    pub fn new(input: R) -> Result<Self, InflateError> {
        Ok(Self {
            input,
            stream: Stream::new(Form::Gzip)?,
            inside: false,
            offset: 0,
            raw_offset: 0,
            member: 0,
            previous: 0,
            found: Vec::new(),
        })
    }

    /// The points so far, ascending by both offsets.
    pub fn into_points(self) -> Vec<Point> {
        self.found
    }

    /// Notes a block that begins here.
    fn note(&mut self, bits: u8) {
        let window = self.raw_offset - self.member;
        let point = Point {
            offset: self.offset,
            raw_offset: self.raw_offset,
            window: u32::try_from(window.min(WINDOW as u64)).unwrap_or(0),
            previous: self.previous,
            bits,
        };
        // Blocks without output (those of flushes) end where they began.
        match self.found.last_mut() {
            Some(last) if last.raw_offset == point.raw_offset => *last = point,
            _ => self.found.push(point),
        }
    }
}

impl<R: BufRead> Read for Points<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                if self.inside || self.offset == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                return Ok(0);
            }
            if !self.inside {
                self.inside = true;
                self.member = self.raw_offset;
            }
            let step = self.stream.inflate(input, out, Pause::AtBlocks);
            if let Some(last) = step.consumed.checked_sub(1) {
                self.previous = input.get(last).copied().unwrap_or(0);
            }
            self.input.consume(step.consumed);
            self.offset += step.consumed as u64;
            self.raw_offset += step.produced as u64;
            match (step.code, step.block) {
                (zlib::Z_STREAM_END, _) => {
                    self.stream.reset().map_err(io::Error::other)?;
                    self.inside = false;
                }
                (zlib::Z_OK | zlib::Z_BUF_ERROR, Some(bits)) => self.note(bits),
                (zlib::Z_OK | zlib::Z_BUF_ERROR, None) => {}
                (code, _) => {
                    let done = usize::try_from(self.raw_offset).unwrap_or(usize::MAX);
                    let error = InflateError::Refused { done, code };
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            if step.produced > 0 {
                return Ok(step.produced);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::inflate::resume;

    /// Text in which much is repeated, near and far.
    fn data(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut out = Vec::new();
        while out.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let far = usize::try_from(state >> 17).unwrap();
            if state & 0xf00 == 0 && far < out.len() {
                let from = out.len() - far;
                let piece: Vec<u8> = out[from..].iter().copied().take(200).collect();
                out.extend(piece);
            } else {
                out.extend(state.to_string().bytes().chain(state.to_be_bytes()));
            }
        }
        out.truncate(len);
        out
    }

    fn gzip(data: &[u8], level: u32) -> Vec<u8> {
        let mut it = GzEncoder::new(Vec::new(), Compression::new(level));
        it.write_all(data).unwrap();
        it.finish().unwrap()
    }

    fn points(stored: &[u8], capacity: usize) -> (Vec<u8>, Vec<Point>) {
        let mut reader = Points::new(BufReader::with_capacity(capacity, stored)).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        (out, reader.into_points())
    }

    /// Decompresses from each point on and compares.
    fn enter_everywhere(stored: &[u8], data: &[u8], points: &[Point]) {
        for (number, point) in points.iter().enumerate() {
            let at = usize::try_from(point.raw_offset).unwrap();
            let end = points
                .get(number + 3)
                .map_or(data.len(), |it| usize::try_from(it.raw_offset).unwrap());
            // Not over the end of the member.
            let same = |it: &Point| it.raw_offset > point.raw_offset && it.window == 0;
            let next = points[number..].iter().find(|it| same(it));
            let end = next.map_or(end, |it| end.min(usize::try_from(it.raw_offset).unwrap()));
            let window = usize::try_from(point.window).unwrap();
            let mut out = vec![0; end - at];
            let got = resume(
                &stored[usize::try_from(point.offset).unwrap()..],
                point.bits,
                point.previous,
                &data[at - window..at],
                &mut out,
            );
            assert_eq!(got, Ok(out.len()), "{point:?}");
            assert!(out == data[at..end], "{point:?}");
        }
    }

    #[test]
    fn a_file_can_be_entered_at_every_point() {
        let data = data(2_000_000);
        for level in [0, 1, 6, 9] {
            let stored = gzip(&data, level);
            let (out, points) = points(&stored, 8 << 10);
            assert!(out == data);
            assert_eq!((points[0].raw_offset, points[0].window), (0, 0));
            // The fastest level of some libraries makes few blocks.
            let few = if level == 1 { 1 } else { 5 };
            assert!(points.len() >= few, "level {level}: {}", points.len());
            assert!(level < 6 || points.iter().any(|point| point.bits > 0));
            enter_everywhere(&stored, &data, &points);
        }
    }

    #[test]
    fn members_begin_without_a_window() {
        let data = data(700_000);
        let (one, two) = data.split_at(300_001);
        let stored = [gzip(one, 6), gzip(b"", 6), gzip(two, 9)].concat();
        let (out, points) = points(&stored, 100);
        assert!(out == data);
        let starts: Vec<_> = points
            .iter()
            .filter(|point| point.window == 0)
            .map(|point| point.raw_offset)
            .collect();
        assert_eq!(starts, [0, 300_001]);
        enter_everywhere(&stored, &data, &points);
    }

    #[test]
    fn the_way_it_is_read_makes_no_difference() {
        let data = data(400_000);
        let stored = [gzip(&data, 6), gzip(&data[..100], 6)].concat();
        let (_, all) = points(&stored, 1 << 20);
        let (_, bytewise) = points(&stored, 1);
        assert_eq!(all, bytewise);
        let mut reader = Points::new(&stored[..]).unwrap();
        let mut byte = [0];
        let mut count = 0;
        while reader.read(&mut byte).unwrap() == 1 {
            count += 1;
        }
        assert_eq!(count, data.len() + 100);
        assert_eq!(reader.into_points(), all);
    }

    #[test]
    fn what_is_damaged_or_cut_is_refused() {
        let data = data(100_000);
        let good = gzip(&data, 6);
        let read = |stored: &[u8]| {
            let mut reader = Points::new(stored).unwrap();
            reader.read_to_end(&mut Vec::new()).map_err(|it| it.kind())
        };
        assert_eq!(read(&good), Ok(data.len()));
        let cut = &good[..good.len() - 1];
        assert_eq!(read(cut), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(read(b""), Err(io::ErrorKind::UnexpectedEof));
        for at in [0, 1, 500, good.len() - 6] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            assert_eq!(read(&bad), Err(io::ErrorKind::InvalidData), "{at}");
        }
        let tail = [&good[..], b"tail"].concat();
        assert_eq!(read(&tail), Err(io::ErrorKind::InvalidData));
    }
}
