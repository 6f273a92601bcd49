//! Compares bytes with the file that a proof is of.

use std::io::Read;

use crate::image::witness::WitnessError;
use crate::image::witness::check::Proved;
use crate::image::witness::document::Content;
use crate::path_text::show;

impl Proved {
    /// Reads `bytes` to their end and checks that they are the file's.
    ///
    /// # Errors
    /// When the proof is of no file, the bytes cannot be read, or are others.
    pub fn compare(&self, bytes: &mut dyn Read) -> Result<(), WitnessError> {
        let wrong = |reason: String| WitnessError::Contents {
            path: show(&self.path),
            reason,
        };
        let Content::File { size, chunks, .. } = &self.node.content else {
            return Err(wrong("it is not a regular file".to_owned()));
        };
        let step = u64::from(self.chunk_size);
        let mut buffer = Vec::new();
        let mut offset = 0;
        for chunk in chunks {
            let wanted = step.min(size.saturating_sub(offset));
            buffer.clear();
            let mut part = bytes.take(wanted);
            part.read_to_end(&mut buffer).map_err(WitnessError::Read)?;
            if (buffer.len() as u64) < wanted {
                let found = offset.saturating_add(buffer.len() as u64);
                return Err(wrong(format!("they end at {found}, the file has {size}")));
            }
            if self.algorithm.digest(&buffer) != chunk.0 {
                let end = offset.saturating_add(wanted);
                return Err(wrong(format!("they differ between {offset} and {end}")));
            }
            offset = offset.saturating_add(wanted);
        }
        match bytes.read(&mut [0]).map_err(WitnessError::Read)? {
            0 => Ok(()),
            _ => Err(wrong(format!("they go on behind {size}, its size"))),
        }
    }
}
