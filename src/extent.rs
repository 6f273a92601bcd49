//! Extents: stored units that several chunks share. The words that `image`,
//! which reads the tables of a blob, and `store`, which fetches extents, have
//! in common. No I/O.

/// A stored unit that several chunks share: it is fetched and decompressed
/// whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// Position of the blob in the image's blob table, from 0.
    pub blob: u16,
    /// Number of the extent in its blob, from 0.
    pub number: u32,
    /// Offset in the blob.
    pub offset: u64,
    /// Length in the blob.
    pub len: u32,
    /// Length when it is decompressed.
    pub raw: u32,
    /// Smallest and largest index of its chunks.
    pub chunks: (u32, u32),
    /// How it is decompressed.
    pub entry: Entry,
}

/// How an extent is decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// As a whole, with the blob's compressor if it is shorter than its raw
    /// form.
    Whole,
    /// By entering a DEFLATE stream.
    Stream {
        /// Bits of `previous`, from the top, that belong to the stream.
        bits: u8,
        /// The byte before the extent.
        previous: u8,
        /// Offset and length of the dictionary in the blob's dictionaries.
        dictionary: (u32, u32),
    },
}

/// No extent: a chunk with a stored form of its own.
const ALONE: u32 = u32::MAX;

/// The extents of one blob and which chunks are in them.
#[derive(Debug, Default)]
pub struct Extents {
    extents: Vec<Extent>,
    /// For each chunk its extent, or [`ALONE`], and the offset in its output.
    places: Vec<(u32, u32)>,
    /// Chunks in the order of their extents; and for each extent where its
    /// chunks begin.
    members: Vec<u32>,
    starts: Vec<u32>,
    dictionaries: Vec<u8>,
    /// Whether a digest of the bootstrap vouches for all this.
    proved: bool,
}

/// A chunk of an extent, as the blob's tables tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Index of the chunk.
    pub chunk: u32,
    /// Number of the extent.
    pub extent: u32,
    /// Offset in the extent's output.
    pub offset: u32,
    /// Length of the chunk.
    pub len: u32,
}

impl Extents {
    /// The extents of a blob of `chunks` chunks, of which `members` are in
    /// extents. Extents without chunks are never asked for.
    ///
    /// # Errors
    /// When a chunk is not inside its extent, or a dictionary not inside
    /// `dictionaries`.
    pub fn new(
        chunks: u32,
        mut extents: Vec<Extent>,
        mut members: Vec<Member>,
        dictionaries: Vec<u8>,
        proved: bool,
    ) -> Result<Self, String> {
        for extent in &mut extents {
            if let Entry::Stream { dictionary, .. } = extent.entry
                && u64::from(dictionary.0) + u64::from(dictionary.1) > dictionaries.len() as u64
            {
                return Err(format!(
                    "the dictionary of context {} runs past the end",
                    extent.number
                ));
            }
            extent.chunks = (u32::MAX, 0);
        }
        members.sort_unstable_by_key(|member| (member.extent, member.chunk));
        let mut places = vec![(ALONE, 0); usize::try_from(chunks).unwrap_or(0)];
        let mut starts = vec![0; extents.len() + 1];
        for member in &members {
            let number = usize::try_from(member.extent).unwrap_or(usize::MAX);
            let (Some(extent), Some(place)) = (
                extents.get_mut(number),
                places.get_mut(usize::try_from(member.chunk).unwrap_or(usize::MAX)),
            ) else {
                return Err(format!(
                    "chunk {} in context {} of {}",
                    member.chunk,
                    member.extent,
                    extents.len()
                ));
            };
            if u64::from(member.offset) + u64::from(member.len) > u64::from(extent.raw) {
                return Err(format!(
                    "chunk {} is not inside the {} bytes of context {number}",
                    member.chunk, extent.raw
                ));
            }
            *place = (member.extent, member.offset);
            let (first, last) = extent.chunks;
            extent.chunks = (first.min(member.chunk), last.max(member.chunk));
            if let Some(count) = starts.get_mut(number + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Ok(Self {
            extents,
            places,
            members: members.iter().map(|member| member.chunk).collect(),
            starts,
            dictionaries,
            proved,
        })
    }

    /// The extent that holds a chunk, and the chunk's offset in its output.
    pub fn find(&self, chunk: u32) -> Option<(&Extent, usize)> {
        let at = usize::try_from(chunk).ok()?;
        let (number, offset) = *self.places.get(at)?;
        let extent = self.extents.get(usize::try_from(number).ok()?)?;
        Some((extent, usize::try_from(offset).ok()?))
    }

    /// Indices of the chunks in an extent, ascending.
    pub fn members(&self, extent: &Extent) -> &[u32] {
        let bound = |number: u32| {
            let number = usize::try_from(number).ok()?;
            usize::try_from(*self.starts.get(number)?).ok()
        };
        let range = bound(extent.number).zip(bound(extent.number.saturating_add(1)));
        let members = range.and_then(|(start, end)| self.members.get(start..end));
        members.unwrap_or_default()
    }

    /// The dictionary at an offset, which [`Extents::new`] has checked.
    pub fn dictionary(&self, (offset, len): (u32, u32)) -> &[u8] {
        let bound = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let end = bound(offset).saturating_add(bound(len));
        self.dictionaries
            .get(bound(offset)..end)
            .unwrap_or_default()
    }

    /// Whether a digest of the bootstrap vouches for the tables.
    pub fn is_proved(&self) -> bool {
        self.proved
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.extents.len() * size_of::<Extent>()
            + self.places.len() * 8
            + (self.members.len() + self.starts.len()) * 4
            + self.dictionaries.len()
    }
}

/// The tables of a blob as they came from a source or out of the cache: nothing
/// is believed.
#[derive(Clone, Copy, Debug)]
pub struct StoredTables<'a> {
    /// Chunk-info table as it is stored, and the header behind it.
    pub info: &'a [u8],
    /// Table of contents with its footer.
    pub toc: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(number: u32) -> Extent {
        Extent {
            blob: 0,
            number,
            offset: 1000 * u64::from(number),
            len: 10,
            raw: 100,
            chunks: (0, 0),
            entry: Entry::Whole,
        }
    }

    fn member(chunk: u32, extent: u32, offset: u32) -> Member {
        Member {
            chunk,
            extent,
            offset,
            len: 30,
        }
    }

    #[test]
    fn chunks_find_their_extent_and_extents_their_chunks() {
        let members = vec![member(4, 1, 0), member(0, 0, 70), member(2, 1, 30)];
        let it = Extents::new(5, vec![extent(0), extent(1)], members, vec![], false).unwrap();
        let (found, offset) = it.find(2).unwrap();
        assert_eq!((found.number, offset, found.chunks), (1, 30, (2, 4)));
        assert_eq!(it.members(&extent(1)), [2, 4]);
        assert_eq!(it.members(&extent(0)), [0]);
        assert!(it.members(&extent(2)).is_empty());
        assert!(it.find(1).is_none() && it.find(5).is_none());
    }

    #[test]
    fn what_points_outside_is_refused() {
        for bad in [member(0, 2, 0), member(5, 0, 0), member(0, 0, 71)] {
            let got = Extents::new(5, vec![extent(0), extent(1)], vec![bad], vec![], false);
            assert!(got.is_err(), "{bad:?}");
        }
        let entry = Entry::Stream {
            bits: 0,
            previous: 0,
            dictionary: (1, 4),
        };
        let stream = Extent { entry, ..extent(0) };
        assert!(Extents::new(5, vec![stream], vec![], vec![0; 4], false).is_err());
        let it = Extents::new(5, vec![stream], vec![], vec![0; 5], false).unwrap();
        assert_eq!(it.dictionary((1, 4)).len(), 4);
    }
}
