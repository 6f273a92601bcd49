//! Listings of directories, by cookies that stay good.

use std::sync::Arc;

use super::ImageFs;
use crate::fs::nodes::ROOT;
use crate::fs::{DirEntry, Errno};
use crate::image::{Content, Directory, group};

/// Directory cookies 0, 1 and 2 stand before `.`, `..` and the first entry.
const FIRST_ENTRY: u64 = 2;

/// Bits of a cookie that hold the position inside a group.
const POSITION_BITS: u32 = 16;

impl ImageFs {
    /// Calls `add` with the entries of a directory from cookie `offset` on.
    pub(super) fn list(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<&group::Entry>) -> bool,
    ) -> Result<(), Errno> {
        let held = self.held(node)?;
        let loaded = self.node(&held.node)?;
        let Content::Directory(directory) = &loaded.content else {
            return Err(Errno::ENOTDIR);
        };
        for (cookie, name, id) in [(0, &b"."[..], node), (1, &b".."[..], held.parent)] {
            if offset > cookie {
                continue;
            }
            let ino = if id == ROOT {
                self.image.root().nid
            } else {
                id
            };
            if !add(
                DirEntry {
                    ino,
                    kind: 4,
                    name,
                    next: cookie + 1,
                },
                None,
            ) {
                return Ok(());
            }
        }
        let cursor = offset.saturating_sub(FIRST_ENTRY);
        let mut position = usize::try_from(cursor & ((1 << POSITION_BITS) - 1)).unwrap_or(0);
        for number in (cursor >> POSITION_BITS)..directory.groups() {
            let group = self.group(directory, number)?;
            while let Some((name, entry)) = group.get(position) {
                position += 1;
                let next = FIRST_ENTRY + ((number << POSITION_BITS) | position as u64);
                let kind = entry.file_type.code();
                let shown = DirEntry {
                    ino: entry.target.nid(),
                    kind,
                    name,
                    next,
                };
                if !add(shown, Some(entry)) {
                    return Ok(());
                }
            }
            position = 0;
        }
        Ok(())
    }

    fn group(&self, directory: &Directory, number: u64) -> Result<Arc<group::Group>, Errno> {
        self.image
            .group(directory, number)
            .map_err(|error| self.io_error(&error))
    }
}
