//! Directories: finding and listing entries, with proof along a path of hashes.
//!
//! Entries are handled in groups: with a section 128 entries, a leaf of the
//! directory's entry list; without one the entries of a directory block.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::chunk::Digest;
use crate::image::error::ImageError;
use crate::image::group::{Entry, Group, GroupKey, Target};
use crate::image::list::List;
use crate::image::metadata::Metadata;
use crate::image::model::{NodeProof, NodeRef};
use crate::image::proof::{self, FANOUT, LINK_BIT, Leaf, ListHead, ListKind};
use crate::image::rafs::dirent::{self, Dirent};
use crate::image::rafs::{BLOCK_LEN, u32_at};
use crate::image::section::{ChildRecord, DirectoryRecord};

/// Where a directory's blocks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Bytes of all blocks together.
    pub(crate) size: u64,
    /// Offset of the full blocks in the bootstrap.
    pub(crate) start: u64,
    /// Offset of the last, partial block if it is behind the inode.
    pub(crate) tail: Option<u64>,
    /// Bytes of a block.
    pub(crate) block: u64,
}

impl Blocks {
    fn count(&self) -> u64 {
        self.size.div_ceil(self.block)
    }

    /// Offset in the bootstrap and length of a block.
    fn at(&self, block: u64) -> (u64, u64) {
        let start = block.saturating_mul(self.block);
        let len = self.size.saturating_sub(start).min(self.block);
        match self.tail {
            Some(tail) if len < self.block => (tail, len),
            _ => (self.start.saturating_add(start), len),
        }
    }
}

/// The proved part of a directory.
#[derive(Debug)]
struct Proved {
    /// The entry list.
    list: List,
    /// Offset of the child records in the bootstrap.
    children: u64,
    /// Offset of the block index in the bootstrap; none for a single block.
    block_index: Option<u64>,
    /// Entries before each block, read at the first need. A hint.
    entries_before: OnceLock<Vec<u32>>,
}

/// A loaded directory of a RAFS v6 image.
#[derive(Debug)]
pub struct ErofsDirectory {
    nid: u64,
    blocks: Blocks,
    proved: Option<Proved>,
    /// The only group of a small directory.
    single: Option<Arc<Group>>,
    /// First names of the groups that were loaded, so that the next lookup
    /// finds its group without searching the directory's blocks.
    first_names: RwLock<BTreeMap<Box<[u8]>, u64>>,
}

impl ErofsDirectory {
    /// Memory that the value holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let index = self
            .proved
            .as_ref()
            .and_then(|it| it.block_index)
            .map_or(0, |_| {
                usize::try_from(self.blocks.count().saturating_mul(4)).unwrap_or(usize::MAX)
            });
        index.saturating_add(self.single.as_ref().map_or(0, |group| group.memory()))
    }

    /// Number of groups.
    pub fn groups(&self) -> u64 {
        match &self.proved {
            Some(proved) => proved.list.head.count.div_ceil(FANOUT as u64),
            None => self.blocks.count(),
        }
    }

    /// The entry list; none without a section.
    pub(crate) fn entry_list(&self) -> Option<&List> {
        self.proved.as_ref().map(|proved| &proved.list)
    }

    /// The last of the loaded groups that begin at or before `name`.
    fn known_group(&self, name: &[u8]) -> Option<u64> {
        let known = self.first_names.read();
        let up_to = (Bound::Unbounded, Bound::Included(name));
        known
            .range::<[u8], _>(up_to)
            .next_back()
            .map(|(_, &group)| group)
    }

    /// Two directories with the same entries have the same digest, but not the
    /// same children's numbers and records.
    fn key(&self, group: u64) -> GroupKey {
        let digest = self
            .proved
            .as_ref()
            .map_or(Digest::default(), |proved| proved.list.digest);
        (self.nid, digest, group)
    }
}

fn is_dots(dirent: &Dirent<'_>) -> bool {
    dirent.name == b"." || dirent.name == b".."
}

impl Metadata {
    /// Loads what is needed to use a directory. Also returns the head and the
    /// digest of its entry list, which are zeros without a section.
    pub(crate) fn load_directory(
        &self,
        node: &NodeRef,
        blocks: Blocks,
    ) -> Result<(ErofsDirectory, ListHead, Digest), ImageError> {
        let nid = node.nid;
        let Some((proof, section)) = node.proof.zip(self.section) else {
            let directory = ErofsDirectory {
                nid,
                blocks,
                proved: None,
                single: None,
                first_names: RwLock::default(),
            };
            return Ok((directory, ListHead::default(), Digest::default()));
        };
        let damaged = || self.bootstrap.damaged(format!("record of directory {nid}"));
        let (mut record, mut children) = (DirectoryRecord::default(), 0);
        if proof.record != 0 {
            let at = section.at(proof.record).ok_or_else(damaged)?;
            let mut bytes = [0; DirectoryRecord::LEN];
            self.bootstrap.read_into(at, &mut bytes)?;
            record = DirectoryRecord::parse(&bytes);
            children = at + DirectoryRecord::LEN as u64;
        }
        let kind = ListKind::Entries;
        let head = record.head;
        let block_index = match record.block_index {
            0 => None,
            offset => Some(section.at(offset).ok_or_else(damaged)?),
        };
        let levels = section.offset.saturating_add(record.levels);
        let digest = if head.count > FANOUT as u64 {
            List::digest_of_stored(&self.bootstrap, kind, head, levels)?
        } else {
            Digest::default()
        };
        let mut directory = ErofsDirectory {
            nid,
            blocks,
            proved: Some(Proved {
                list: List {
                    kind,
                    head,
                    digest,
                    levels,
                },
                children,
                block_index,
                entries_before: OnceLock::new(),
            }),
            single: None,
            first_names: RwLock::default(),
        };
        if head.count > FANOUT as u64 {
            return Ok((directory, head, digest));
        }
        let mut top = Digest::default();
        let mut group = Group::default();
        if head.count > 0 {
            (group, top) = self.read_proved_group(&directory, 0)?;
        }
        let digest = proof::list_digest(kind, &head, &top);
        if let Some(proved) = &mut directory.proved {
            proved.list.digest = digest;
        }
        directory.single = Some(Arc::new(group));
        Ok((directory, head, digest))
    }

    /// Finds `name` in a directory; with a section its absence is proved too.
    ///
    /// # Errors
    /// When the directory cannot be read or proved.
    pub fn find(
        &self,
        directory: &ErofsDirectory,
        name: &[u8],
    ) -> Result<Option<Entry>, ImageError> {
        if directory.groups() == 0 {
            return Ok(None);
        }
        if let Some(known) = directory.known_group(name)
            && let Some(answer) = self.find_in(directory, known, name)?
        {
            return Ok(answer);
        }
        let guess = self.guess_group(directory, name)?;
        match self.find_in(directory, guess, name)? {
            Some(answer) => Ok(answer),
            // Without proofs the blocks' first names are all there is.
            None if directory.proved.is_none() => Ok(None),
            None => {
                let nid = directory.nid;
                Err(self
                    .bootstrap
                    .unproved(format!("block index of directory {nid}")))
            }
        }
    }

    /// Finds `name` in one group: the entry, its absence, or nothing if that
    /// group cannot tell. Where the name would stand at the group's edge, the
    /// neighbour must show that it is not there either.
    fn find_in(
        &self,
        directory: &ErofsDirectory,
        number: u64,
        name: &[u8],
    ) -> Result<Option<Option<Entry>>, ImageError> {
        let group = self.group(directory, number)?;
        let place = match group.search(name) {
            Ok(found) => return Ok(Some(group.get(found).map(|(_, entry)| *entry))),
            Err(place) => place,
        };
        let apart = if place == 0 && number > 0 {
            let before = self.group(directory, number - 1)?;
            before
                .get(before.len().wrapping_sub(1))
                .is_some_and(|(last, _)| last < name)
        } else if place == group.len() && number + 1 < directory.groups() {
            let after = self.group(directory, number + 1)?;
            after.get(0).is_some_and(|(first, _)| first > name)
        } else {
            true
        };
        Ok(apart.then_some(None))
    }

    /// A group of a directory's entries.
    ///
    /// # Errors
    /// When it cannot be read or proved.
    pub fn group(&self, directory: &ErofsDirectory, group: u64) -> Result<Arc<Group>, ImageError> {
        if let Some(single) = &directory.single {
            return Ok(Arc::clone(single));
        }
        let key = directory.key(group);
        if let Some(found) = self.groups.get(&key) {
            return Ok(found);
        }
        let loaded = match &directory.proved {
            Some(proved) => {
                let (loaded, leaf) = self.read_proved_group(directory, group)?;
                proved.list.prove(&self.bootstrap, group, leaf)?;
                loaded
            }
            None => self.read_block_group(directory, group)?,
        };
        let loaded = Arc::new(loaded);
        if let Some((first, _)) = loaded.get(0) {
            directory.first_names.write().insert(first.into(), group);
        }
        self.groups.insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The group in which `name` stands if it exists. A hint, computed from
    /// bytes that are not proved.
    fn guess_group(&self, directory: &ErofsDirectory, name: &[u8]) -> Result<u64, ImageError> {
        if directory.single.is_some() {
            return Ok(0);
        }
        let damaged = |reason: String| self.bootstrap.damaged(reason);
        let (mut low, mut high) = (0, directory.blocks.count());
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.read_block(&directory.blocks, middle)?;
            if dirent::first_name(&block).map_err(damaged)? <= name {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let block = low.saturating_sub(1);
        let Some(proved) = &directory.proved else {
            return Ok(block);
        };
        let bytes = self.read_block(&directory.blocks, block)?;
        let entries = dirent::parse(&bytes).map_err(damaged)?;
        let inside = entries
            .iter()
            .filter(|it| !is_dots(it) && it.name <= name)
            .count() as u64;
        let before = self.entries_before(directory, proved, block)?;
        let position = before.saturating_add(inside.saturating_sub(1));
        let groups = directory.groups();
        Ok((position / FANOUT as u64).min(groups.saturating_sub(1)))
    }

    /// How many entries are in the blocks before `block`. A hint.
    fn entries_before(
        &self,
        directory: &ErofsDirectory,
        proved: &Proved,
        block: u64,
    ) -> Result<u64, ImageError> {
        let index = self.block_index(directory, proved)?;
        let found = usize::try_from(block)
            .ok()
            .and_then(|block| index.get(block));
        found.map(|&entries| u64::from(entries)).ok_or_else(|| {
            self.bootstrap
                .damaged(format!("block index of {}", directory.nid))
        })
    }

    fn block_index<'a>(
        &self,
        directory: &ErofsDirectory,
        proved: &'a Proved,
    ) -> Result<&'a [u32], ImageError> {
        if let Some(index) = proved.entries_before.get() {
            return Ok(index);
        }
        let index = match proved.block_index {
            None => vec![0],
            Some(at) => {
                let len = usize::try_from(directory.blocks.count().saturating_mul(4));
                let bytes = self.bootstrap.read(at, len.unwrap_or(usize::MAX))?;
                bytes
                    .chunks_exact(4)
                    .map(|entry| u32_at(entry, 0))
                    .collect()
            }
        };
        Ok(proved.entries_before.get_or_init(|| index))
    }

    /// Reads a group of a proved directory and hashes it as a leaf.
    fn read_proved_group(
        &self,
        directory: &ErofsDirectory,
        group: u64,
    ) -> Result<(Group, Digest), ImageError> {
        let damaged = |reason: String| self.bootstrap.damaged(reason);
        let short = || damaged(format!("directory {} is too short", directory.nid));
        let proved = directory.proved.as_ref().ok_or_else(short)?;
        let start = group.saturating_mul(FANOUT as u64);
        let count = proved
            .list
            .head
            .count
            .saturating_sub(start)
            .min(FANOUT as u64);
        let count = usize::try_from(count).unwrap_or(FANOUT);
        let at = proved
            .children
            .saturating_add(start.saturating_mul(ChildRecord::LEN as u64));
        let mut children = [0; FANOUT * ChildRecord::LEN];
        let children = &mut children[..count * ChildRecord::LEN];
        self.bootstrap.read_into(at, children)?;
        let mut children = children
            .chunks_exact(ChildRecord::LEN)
            .map(ChildRecord::parse);

        let index = self.block_index(directory, proved)?;
        let after = index.partition_point(|&before| u64::from(before) <= start);
        let mut block = after.saturating_sub(1);
        let before = index.get(block).copied().map_or(0, u64::from);
        let mut skip = usize::try_from(start.saturating_sub(before)).unwrap_or(usize::MAX);

        let mut found = Group::default();
        let mut leaf = Leaf::new(ListKind::Entries);
        while found.len() < count {
            if block as u64 >= directory.blocks.count() {
                return Err(short());
            }
            let bytes = self.read_block(&directory.blocks, block as u64)?;
            for dirent in dirent::parse(&bytes)
                .map_err(damaged)?
                .iter()
                .filter(|it| !is_dots(it))
            {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let Some(child) = children.next() else { break };
                if found.last_name().is_some_and(|last| last >= dirent.name) {
                    return Err(damaged("directory entries out of order".into()));
                }
                let code = dirent.file_type.code() | if child.link { LINK_BIT } else { 0 };
                leaf.entry(dirent.name, code, &child.digest);
                found.push(dirent.name, dirent.file_type, target(dirent.nid, &child));
            }
            block += 1;
        }
        Ok((found, leaf.take()))
    }

    /// Reads a block of a directory without a section as a group.
    fn read_block_group(
        &self,
        directory: &ErofsDirectory,
        block: u64,
    ) -> Result<Group, ImageError> {
        let bytes = self.read_block(&directory.blocks, block)?;
        let mut found = Group::default();
        let dirents = dirent::parse(&bytes).map_err(|reason| {
            let (nid, at) = (directory.nid, directory.blocks.at(block).0);
            let reason = format!("{reason} (directory of inode {nid}, block at offset {at:#x})");
            self.bootstrap.damaged(reason)
        })?;
        for dirent in dirents.iter().filter(|it| !is_dots(it)) {
            let node = NodeRef {
                nid: dirent.nid,
                proof: None,
            };
            found.push(dirent.name, dirent.file_type, Target::Node(node));
        }
        Ok(found)
    }

    fn read_block(&self, blocks: &Blocks, block: u64) -> Result<Vec<u8>, ImageError> {
        let (at, len) = blocks.at(block);
        self.bootstrap
            .read(at, usize::try_from(len).unwrap_or(BLOCK_LEN))
    }
}

fn target(nid: u64, child: &ChildRecord) -> Target {
    if child.link {
        return Target::Link {
            nid,
            digest: child.digest,
            path: child.record,
        };
    }
    let proof = NodeProof {
        digest: child.digest,
        record: child.record,
    };
    Target::Node(NodeRef {
        nid,
        proof: Some(proof),
    })
}
