//! Directories: the entries are inode records that follow each other in the
//! inode table, proved together when the directory is loaded.
//!
//! Entries are handled in groups of 128. Of a directory with several groups a
//! hash and the first name of each stay in memory, so that a group that is read
//! again is what was proved.

use std::sync::Arc;

use crate::chunk::Digest;
use crate::image::error::ImageError;
use crate::image::field::BadField;
use crate::image::group::{Entry, Group, Target};
use crate::image::model::{FileType, NodeProof, NodeRef};
use crate::image::proof::FANOUT;
use crate::image::rafs5::inode::{self, Inode};
use crate::image::v5::V5;
use crate::image::v5::hasher::Hasher;
use crate::image::v5::window::Window;

/// Most bytes of first names that stay in memory for a directory.
const NAMES_MAX: usize = 64 << 20;

/// A loaded directory of a RAFS v5 image.
#[derive(Debug)]
pub struct V5Directory {
    nid: u64,
    /// Position of the first entry in the inode table, from 1.
    first: u64,
    /// Number of entries.
    count: u64,
    /// The only group of a small directory.
    single: Option<Arc<Group>>,
    /// Hash of each group of a larger one.
    seals: Box<[Digest]>,
    /// First name of each group, as ends in `names`.
    ends: Box<[u32]>,
    names: Box<[u8]>,
}

impl V5Directory {
    /// Memory that the value holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let single = self.single.as_ref().map_or(0, |group| group.memory());
        single + self.names.len() + size_of_val(&self.seals[..]) + size_of_val(&self.ends[..])
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> u64 {
        self.count.div_ceil(FANOUT as u64)
    }

    /// The last group that begins at or before `name`.
    fn group_of(&self, name: &[u8]) -> u64 {
        let first = |group: usize| {
            let start = group.checked_sub(1).and_then(|it| self.ends.get(it));
            let end = self.ends.get(group).copied().unwrap_or(0) as usize;
            let start = start.copied().unwrap_or(0) as usize;
            self.names.get(start..end).unwrap_or_default()
        };
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if first(middle) <= name {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1) as u64
    }
}

impl V5 {
    /// Loads a directory: reads all its entries and computes the digest of its
    /// content.
    pub(super) fn load_directory(
        &self,
        window: &mut Window<'_>,
        inode: &Inode,
    ) -> Result<(V5Directory, Digest), ImageError> {
        let (first, count) = (u64::from(inode.child_index), u64::from(inode.child_count));
        let entries = self.table.len() as u64;
        if count > 0 && (first <= inode.number || first + count - 1 > entries) {
            let why = format!(
                "{count} entries from {first} on for inode {} of {entries}",
                inode.number
            );
            return Err(self.bad(&BadField::new("First entry", inode.at + 92, why)));
        }
        let mut directory = V5Directory {
            nid: inode.number,
            first,
            count,
            single: None,
            seals: Box::default(),
            ends: Box::default(),
            names: Box::default(),
        };
        let mut hasher = Hasher::new(self.superblock.algorithm);
        let (mut seals, mut ends, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut last: Option<Vec<u8>> = None;
        for number in 0..directory.groups() {
            let (group, seal) = self.read_group(window, &directory, number, |digest| {
                hasher.update(digest);
            })?;
            let begin = group.get(0).map_or(&[][..], |(name, _)| name);
            if last.as_deref().is_some_and(|last| last >= begin) {
                return Err(self.out_of_order(&directory));
            }
            last = group.last_name().map(<[u8]>::to_vec);
            if directory.groups() == 1 {
                directory.single = Some(Arc::new(group));
                break;
            }
            names.extend_from_slice(begin);
            if names.len() > NAMES_MAX {
                let why = format!("{count}, whose names take too much memory");
                return Err(self.bad(&BadField::new("Number of entries", inode.at + 96, why)));
            }
            ends.push(u32::try_from(names.len()).unwrap_or(u32::MAX));
            seals.push(seal);
            self.groups
                .insert((directory.nid, seal, number), Arc::new(group));
        }
        directory.seals = seals.into();
        directory.ends = ends.into();
        directory.names = names.into();
        Ok((directory, hasher.finish()))
    }

    /// Finds `name` in a directory.
    ///
    /// # Errors
    /// When the entries cannot be read or are not those that were proved.
    pub(crate) fn find(
        &self,
        directory: &V5Directory,
        name: &[u8],
    ) -> Result<Option<Entry>, ImageError> {
        if directory.count == 0 {
            return Ok(None);
        }
        let group = self.group(directory, directory.group_of(name))?;
        let found = group.search(name).ok().and_then(|at| group.get(at));
        Ok(found.map(|(_, entry)| *entry))
    }

    /// A group of a directory's entries.
    ///
    /// # Errors
    /// When they cannot be read or are not those that were proved.
    pub(crate) fn group(
        &self,
        directory: &V5Directory,
        number: u64,
    ) -> Result<Arc<Group>, ImageError> {
        if let Some(single) = directory.single.as_ref().filter(|_| number == 0) {
            return Ok(Arc::clone(single));
        }
        let proved = usize::try_from(number)
            .ok()
            .and_then(|it| directory.seals.get(it));
        let key = proved.map(|seal| (directory.nid, *seal, number));
        if let Some(found) = key.and_then(|key| self.groups.get(&key)) {
            return Ok(found);
        }
        let mut window = Window::new(&self.bootstrap);
        let (group, seal) = self.read_group(&mut window, directory, number, |_| {})?;
        if proved != Some(&seal) {
            let what = format!("group {number} of the entries of inode {}", directory.nid);
            return Err(self.bootstrap.unproved(what));
        }
        let group = Arc::new(group);
        self.groups
            .insert((directory.nid, seal, number), Arc::clone(&group));
        Ok(group)
    }

    /// Reads a group of entries, hashes it, and hands on their digests.
    fn read_group(
        &self,
        window: &mut Window<'_>,
        directory: &V5Directory,
        number: u64,
        mut digest: impl FnMut(&Digest),
    ) -> Result<(Group, Digest), ImageError> {
        let start = number.saturating_mul(FANOUT as u64);
        let count = directory.count.saturating_sub(start).min(FANOUT as u64);
        let mut group = Group::default();
        let mut seal = blake3::Hasher::new();
        for index in
            (directory.first.saturating_add(start)..).take(usize::try_from(count).unwrap_or(0))
        {
            let inode = self.inode(window, index)?;
            let at = inode.at + inode::LEN as u64;
            let name = window.exactly(at, inode.name_len)?;
            inode::check_name(name, at).map_err(|bad| self.bad(&bad))?;
            check_place(&inode, index, directory.nid).map_err(|bad| self.bad(&bad))?;
            if group.last_name().is_some_and(|last| last >= name) {
                return Err(self.out_of_order(directory));
            }
            digest(&inode.digest);
            let code = inode.attr.file_type.code();
            seal.update(&[inode.name_len.to_le_bytes()[0], code]);
            seal.update(&inode.number.to_le_bytes());
            seal.update(&inode.digest.0);
            seal.update(name);
            let proof = NodeProof {
                digest: inode.digest,
                record: 0,
            };
            let node = NodeRef {
                nid: inode.number,
                proof: Some(proof),
            };
            group.push(name, inode.attr.file_type, Target::Node(node));
        }
        Ok((group, Digest(*seal.finalize().as_bytes())))
    }

    fn out_of_order(&self, directory: &V5Directory) -> ImageError {
        let nid = directory.nid;
        let reason = format!("names in the directory of inode {nid} are doubled or out of order");
        self.bootstrap.damaged(reason)
    }
}

/// Refuses an entry that belongs to another directory, or has the number of
/// another node and is no file: the later names of a hard link.
fn check_place(inode: &Inode, index: u64, directory: u64) -> Result<(), BadField> {
    let is_file = inode.attr.file_type == FileType::Regular;
    if inode.number != index && !is_file {
        let why = format!(
            "{}, not {index}: a hard link to what is no file",
            inode.number
        );
        return Err(BadField::new("Inode number", inode.at + 40, why));
    }
    if inode.attr.file_type == FileType::Directory && inode.parent != directory {
        let why = format!("{}, but it stands in {directory}", inode.parent);
        return Err(BadField::new(
            "Inode number of the parent",
            inode.at + 32,
            why,
        ));
    }
    Ok(())
}
