//! Chooses where the stream of a layer is entered: contexts, of which each
//! serves the chunks that follow.

use crate::image::rafs::context::EXTENT_MAX;
use crate::inflate::points::Point;

/// Most stored bytes of a context with several chunks. A reader fetches a
/// context whole, so this is what a small read costs; a chunk that does not
/// compress may need a little more than its own length.
const STORED: u64 = 512 << 10;

/// Most decompressed bytes of a context with several chunks: what a small read
/// costs in time.
const RAW: u64 = 8 << 20;

/// Stored bytes that no chunk needs and that are worth a context of their own.
const GAP: u64 = 128 << 10;

/// Longest part of the stream that a chunk's record can name.
const PART_MAX: u64 = (1 << 24) - 1;

/// A part of a layer that is fetched and decompressed at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Context {
    /// Where it begins.
    pub(super) point: Point,
    /// Stored bytes from there on.
    pub(super) len: u32,
    /// Bytes that come out.
    pub(super) raw: u32,
}

/// Where a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Number of its context.
    pub(super) context: u32,
    /// Offset in the context's output.
    pub(super) offset: u32,
    /// Offset and length of its part of the stream.
    pub(super) stored: (u64, u32),
}

/// A layer as far as it matters here.
pub(super) struct Stream<'a> {
    /// Where it can be entered.
    pub(super) points: &'a [Point],
    /// Its stored length.
    pub(super) len: u64,
}

impl Stream<'_> {
    /// The number of the last point at or before `raw` and the stored offset
    /// where the bytes before `end` are complete. Nothing if a gzip member ends
    /// in between, or the layer.
    fn around(&self, raw: u64, end: u64) -> Option<(Point, u64)> {
        let first = self.points.partition_point(|it| it.raw_offset <= raw);
        let behind = self.points.partition_point(|it| it.raw_offset < end);
        let point = *self.points.get(first.checked_sub(1)?)?;
        let between = self.points.get(first..behind).unwrap_or_default();
        if between.iter().any(|it| it.window == 0) {
            return None;
        }
        let stop = self.points.get(behind).map_or(self.len, |it| it.offset);
        Some((point, stop))
    }
}

/// Chooses contexts for `chunks` (offset in the archive and length), which
/// ascend. Gives the contexts and the place of each chunk.
///
/// # Errors
/// The number of a chunk that cannot be entered.
pub(super) fn choose(
    stream: &Stream<'_>,
    chunks: &[(u64, u32)],
) -> Result<(Vec<Context>, Vec<Place>), usize> {
    let mut contexts: Vec<Context> = Vec::new();
    let mut places = Vec::with_capacity(chunks.len());
    for (number, &(start, len)) in chunks.iter().enumerate() {
        let end = start.saturating_add(u64::from(len));
        let (point, stop) = stream.around(start, end).ok_or(number)?;
        let part = stop.saturating_sub(point.offset);
        let extended = contexts
            .last()
            .and_then(|last| extend(last, &point, (end, stop)));
        match (extended, contexts.last_mut()) {
            (Some(longer), Some(last)) => *last = longer,
            _ => contexts.push(Context {
                point,
                len: fits(part, EXTENT_MAX.into()).ok_or(number)?,
                raw: fits(end.saturating_sub(point.raw_offset), EXTENT_MAX.into()).ok_or(number)?,
            }),
        }
        let context = contexts.last().ok_or(number)?;
        let offset = start.saturating_sub(context.point.raw_offset);
        places.push(Place {
            context: u32::try_from(contexts.len() - 1).map_err(|_| number)?,
            offset: fits(offset, EXTENT_MAX.into()).ok_or(number)?,
            stored: (point.offset, fits(part, PART_MAX).ok_or(number)?),
        });
    }
    Ok((contexts, places))
}

fn fits(value: u64, most: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|_| value <= most)
}

/// The context that also serves a chunk, if it is not better off with one of its
/// own from `point` on. The chunk ends at `end`, its stream at `stop`.
fn extend(last: &Context, point: &Point, (end, stop): (u64, u64)) -> Option<Context> {
    let ends = last.point.offset + u64::from(last.len);
    if point.window == 0 && point.raw_offset > last.point.raw_offset
        || point.offset > ends + GAP
        || point.offset < last.point.offset
    {
        return None;
    }
    // A member may end between the last chunk and the point.
    if point.raw_offset > last.point.raw_offset
        && u64::from(point.window) < (point.raw_offset - last.point.raw_offset).min(32 << 10)
    {
        return None;
    }
    let len = fits(stop - last.point.offset, STORED)?;
    let raw = fits(end - last.point.raw_offset, RAW)?;
    Some(Context {
        len: len.max(last.len),
        raw: raw.max(last.raw),
        ..*last
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point at each stored offset, four times as far in the archive.
    fn points(offsets: &[u64]) -> Vec<Point> {
        let point = |&offset: &u64| Point {
            offset: offset + 10,
            raw_offset: 4 * offset,
            window: u32::try_from((4 * offset).min(32768)).unwrap(),
            previous: 0,
            bits: 0,
        };
        offsets.iter().map(point).collect()
    }

    #[test]
    fn chunks_share_a_context_until_it_is_full() {
        let all: Vec<u64> = (0..200).map(|n| n * 30_000).collect();
        let points = points(&all);
        let stream = Stream {
            points: &points,
            len: 200 * 30_000 + 18,
        };
        let chunks: Vec<_> = (0..2000).map(|n| (n * 12_000 + 512, 11_000)).collect();
        let (contexts, places) = choose(&stream, &chunks).unwrap();
        assert!((10..=16).contains(&contexts.len()), "{}", contexts.len());
        for (place, (start, len)) in places.iter().zip(&chunks) {
            let context = &contexts[place.context as usize];
            assert!(u64::from(context.len) <= STORED);
            assert_eq!(context.point.raw_offset + u64::from(place.offset), *start);
            assert!(place.offset + len <= context.raw);
            let (at, part) = place.stored;
            assert!(at >= context.point.offset);
            let end = context.point.offset + u64::from(context.len);
            assert!(at + u64::from(part) <= end);
        }
    }

    #[test]
    fn what_no_chunk_needs_is_left_out() {
        let all: Vec<u64> = (0..100).map(|n| n * 30_000).collect();
        let points = points(&all);
        let stream = Stream {
            points: &points,
            len: 3_000_018,
        };
        let (contexts, _) = choose(&stream, &[(0, 100), (4 * 2_000_000, 100)]).unwrap();
        let spans: Vec<_> = contexts
            .iter()
            .map(|it| (it.point.offset, it.len))
            .collect();
        assert_eq!(spans, [(10, 30_000), (1_980_010, 30_000)]);
    }

    #[test]
    fn a_context_ends_where_a_member_ends() {
        let mut points = points(&[0, 30_000, 60_000, 90_000]);
        points[2].window = 0;
        let stream = Stream {
            points: &points,
            len: 120_000,
        };
        let chunks = [
            (1_000, 100),
            (200_000, 40_000),
            (240_000, 1_000),
            (400_000, 1),
        ];
        let (contexts, places) = choose(&stream, &chunks).unwrap();
        let found: Vec<_> = places.iter().map(|place| place.context).collect();
        assert_eq!(found, [0, 0, 1, 1]);
        assert_eq!(contexts[1].point, points[2]);
        assert_eq!(choose(&stream, &[(1, 1), (230_000, 20_000)]), Err(1));
        points[3].window = 100;
        let stream = Stream {
            points: &points,
            len: 120_000,
        };
        let (contexts, _) = choose(&stream, &[(240_000, 1_000), (400_000, 1)]).unwrap();
        assert_eq!(contexts.len(), 2);
    }

    #[test]
    fn a_block_that_is_too_long_is_refused() {
        let points = points(&[0, 5 << 20]);
        let stream = Stream {
            points: &points,
            len: 6 << 20,
        };
        assert!(choose(&stream, &[(15 << 20, 1 << 20)]).is_ok());
        assert_eq!(choose(&stream, &[(16 << 20, 1)]), Err(0));
    }
}
