//! Converts one layer: reads its archive once, as a stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::changes::{Change, Named, What, clean};
use super::error::LayerError;
use super::record::{LayerImage, RecordWriter};
use crate::build::options::BuildOptions;
use crate::build::pack::{CHUNKS_MAX, ChunkStream, Dict, PackError, Packed, pack_stream};
use crate::build::source::tar::entries::{Attributes, Entries, Entry, FileData, Kind};
use crate::build::source::tar::input::{Input, Label, Stream};
use crate::build::source::tar::spool::decoded;
use crate::build::source::{EntryProblem, SourceError, XattrProblem, shown, xattr};
use crate::build::tree::Content;
use crate::chunk::Digest;

/// Bytes that are read from a layer at once.
const BUFFER: usize = 256 << 10;

/// Where a layer's files are put.
#[derive(Debug, Clone, Copy)]
pub struct LayerPlaces<'a> {
    /// Directory of the blobs, each named by its SHA-256.
    pub blobs: &'a Path,
    /// An empty file for the record, and what messages call it.
    pub record: (&'a File, &'a Path),
}

/// Converts a layer that messages call `name` and whose SHA-256 is `digest`.
/// `layer` gives its bytes as they are stored; it must check them itself, at
/// its end at the latest.
///
/// Attributes in name spaces that Linux does not have (`com.apple…`) are left
/// out with a warning. Blob and record depend on the layer, the dictionary and
/// the options, not on the number of threads.
///
/// # Errors
/// A layer that cannot be read or is damaged, an entry that an image cannot
/// hold (each names the entry), and what the system refuses.
pub fn convert(
    name: &str,
    digest: Digest,
    layer: impl Read + Send,
    dict: &dyn Dict,
    options: &BuildOptions,
    places: &LayerPlaces<'_>,
) -> Result<LayerImage, LayerError> {
    let label = Path::new(name);
    let input = decoded(BufReader::with_capacity(BUFFER, layer))
        .map_err(|source| Label::new(label).failed("read", source))?;
    record((name, digest), input, options, places.record, |stream| {
        Ok(pack_stream(stream, dict, options, places.blobs)?)
    })
}

/// Walks through a layer's archive, which `input` gives without compression, and
/// writes the layer's record. What becomes of the chunks is for `pack` to say: it
/// takes them all from the stream, and tells for each its position in
/// [`Packed::chunks`].
///
/// # Errors
/// As [`convert`], and those of `pack`.
pub(in crate::build) fn record<R: Read, E: From<LayerError>>(
    (name, digest): (&str, Digest),
    input: R,
    options: &BuildOptions,
    (file, path): (&File, &Path),
    pack: impl FnOnce(&mut LayerStream<R>) -> Result<(Packed, Vec<u32>), E>,
) -> Result<LayerImage, E> {
    let failed = |action| {
        move |source| LayerError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = file.try_clone().map_err(failed("open layer record"))?;
    let record = RecordWriter::new(file).map_err(failed("write layer record"))?;
    let mut stream = LayerStream {
        entries: Entries::with_open_end(Stream::new(input, Path::new(name))),
        record,
        chunk_size: options.chunk_size,
        file: None,
        chunks: 0,
        left_out: 0,
    };
    let (packed, references) = pack(&mut stream)?;
    if stream.left_out > 0 {
        let count = stream.left_out;
        log::warn!(
            "{name}: {count} extended attributes that Linux has no name space for are left out"
        );
    }
    let file = stream
        .record
        .finish(digest, options, &packed, &references)
        .map_err(failed("write layer record"))?;
    Ok(LayerImage::from_file(file, path)?)
}

/// The chunks of a layer's files; its changes go to the record on the way.
pub(in crate::build) struct LayerStream<R> {
    entries: Entries<Stream<R>>,
    record: RecordWriter,
    chunk_size: u32,
    /// The file whose chunks come next.
    file: Option<OpenFile>,
    /// Chunks of all files so far.
    chunks: u64,
    /// Attributes that were left out.
    left_out: usize,
}

/// A file that is being cut.
struct OpenFile {
    /// Bytes that were cut, and all.
    at: u64,
    size: u64,
    /// The rest of the data, where the file is sparse.
    pieces: Option<VecDeque<(u64, u64)>>,
}

impl<R: Read + Send> ChunkStream for LayerStream<R> {
    fn next_len(&mut self) -> Result<Option<u32>, PackError> {
        loop {
            if let Some(file) = &self.file {
                let left = file.size - file.at;
                let len = u32::try_from(left).unwrap_or(u32::MAX);
                return Ok(Some(len.min(self.chunk_size)));
            }
            match self.entries.next().map_err(Box::new)? {
                Some(entry) => self.entry(entry)?,
                None => {
                    self.entries.input.drain().map_err(Box::new)?;
                    return Ok(None);
                }
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, PackError> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        let input = &mut self.entries.input;
        let from = file.at;
        file.at += buffer.len() as u64;
        let data = match &mut file.pieces {
            None => input.read(buffer).map(|()| true),
            Some(pieces) => sparse(input, pieces, from, buffer),
        };
        if file.at >= file.size {
            self.file = None;
        }
        data.map_err(|error| Box::new(error).into())
    }
}

impl<R: Read> LayerStream<R> {
    /// Where in the archive the next chunk lies; None if it does not lie in one
    /// piece.
    pub(in crate::build) fn position(&self) -> Option<u64> {
        let file = self.file.as_ref()?;
        let whole = file.pieces.is_none();
        whole.then(|| self.entries.input.offset())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), PackError> {
        let Entry { name, kind } = entry;
        let refuse = |label: &Label, problem| Box::new(label.refuse(&name, problem));
        let label = self.entries.input.label();
        // Whiteouts may be entries of any kind.
        let path = match Named::read(&name).map_err(|it| refuse(label, it))? {
            Named::Ignored => return Ok(()),
            Named::Whiteout(whiteout) => {
                self.record.whiteout(whiteout);
                return Ok(());
            }
            Named::Path(path) => path,
        };
        let written = match kind {
            Kind::Link(target) => {
                let target = clean(&target).map_err(|it| refuse(label, it))?;
                self.record.change(&Change::Link {
                    path: &path,
                    target: &target,
                })
            }
            Kind::File(attributes, data) => {
                let first = self.chunks;
                let count = data.size.div_ceil(u64::from(self.chunk_size));
                self.chunks = first.saturating_add(count);
                // A few bytes of a sparse file's map can tell any size.
                if self.chunks > CHUNKS_MAX {
                    return Err(PackError::TooManyChunks);
                }
                let size = data.size;
                self.node(&path, attributes, What::File { size, first })?;
                self.file = (size > 0).then(|| open(data));
                return Ok(());
            }
            Kind::Other(attributes, content) => {
                let what = match &content {
                    Content::Directory(_) => What::Directory,
                    Content::Symlink(target) => What::Symlink(target),
                    Content::CharDevice(number) => What::CharDevice(*number),
                    Content::BlockDevice(number) => What::BlockDevice(*number),
                    Content::Fifo => What::Fifo,
                    Content::File(_) | Content::Socket => {
                        return Err(refuse(label, EntryProblem::Type('?')).into());
                    }
                };
                return self.node(&path, attributes, what);
            }
        };
        written.map_err(|source| self.unwritten(source))
    }

    fn node(
        &mut self,
        path: &[u8],
        attributes: Attributes,
        what: What<'_>,
    ) -> Result<(), PackError> {
        let mut xattrs = Vec::with_capacity(attributes.xattrs.len());
        for (key, value) in &attributes.xattrs {
            match xattr::check(key, value.len()) {
                Ok(()) => xattrs.push((key.as_slice(), value.as_slice())),
                Err(XattrProblem::Namespace) => self.left_out += 1,
                Err(source) => {
                    return Err(Box::new(SourceError::Xattr {
                        path: shown(path),
                        name: shown(key),
                        source,
                    })
                    .into());
                }
            }
        }
        let change = Change::Node {
            path,
            attributes: attributes.meta.into(),
            xattrs,
            what,
        };
        let written = self.record.change(&change);
        written.map_err(|source| self.unwritten(source))
    }

    fn unwritten(&self, source: std::io::Error) -> PackError {
        let label = self.entries.input.label();
        Box::new(label.failed("write the record of", source)).into()
    }
}

fn open(data: FileData) -> OpenFile {
    let pieces = data.pieces.map(|pieces| {
        let pieces = pieces.into_iter();
        pieces.filter(|(_, len)| *len > 0).collect()
    });
    OpenFile {
        at: 0,
        size: data.size,
        pieces,
    }
}

/// Fills `buffer`, which stands at `from` of a sparse file, from its pieces;
/// false if there is none.
fn sparse<I: Input>(
    input: &mut I,
    pieces: &mut VecDeque<(u64, u64)>,
    from: u64,
    buffer: &mut [u8],
) -> Result<bool, SourceError> {
    let end = from + buffer.len() as u64;
    if pieces.front().is_none_or(|(at, _)| *at >= end) {
        return Ok(false);
    }
    buffer.fill(0);
    while let Some((at, len)) = pieces.front_mut().filter(|(at, _)| *at < end) {
        let stop = end.min(*at + *len);
        let range = usize::try_from(*at - from).unwrap_or(usize::MAX)
            ..usize::try_from(stop - from).unwrap_or(usize::MAX);
        input.read(buffer.get_mut(range).unwrap_or_default())?;
        *len -= stop - *at;
        *at = stop;
        if *len > 0 {
            break;
        }
        pieces.pop_front();
    }
    Ok(true)
}
