//! One request in a ring: its descriptors, walked once and kept, so that what
//! the guest does to its table afterwards changes nothing.

use std::ops::Deref;

use smallvec::SmallVec;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, GuestMemoryMmap};

use super::memory::payload;
use crate::fuse::{REQUEST_LIMIT, WRITE_HEAD_LEN, is_write};
use crate::payload::Payload;

/// Most descriptors of a chain; a reply of 256 pages needs some 260.
const MAX_DESCRIPTORS: usize = 2048;

/// Bytes of a descriptor in a table.
const DESCRIPTOR_LEN: u32 = 16;

/// Address and length in bytes.
pub(super) type Range = (GuestAddress, u32);

/// A chain of descriptors.
pub(super) struct Chain {
    /// Its place in the ring's table, by which it is given back.
    pub(super) head: u16,
    /// What the guest wrote for us.
    readable: SmallVec<[Range; 4]>,
    /// Where the reply goes.
    pub(super) writable: SmallVec<[Range; 8]>,
    /// Whether the chain ends where the guest said, within bounds.
    complete: bool,
}

impl Chain {
    /// Walks the chain.
    pub(super) fn walk<M>(chain: DescriptorChain<M>) -> Self
    where
        M: Deref,
        M::Target: GuestMemory,
    {
        let mut it = Self {
            head: chain.head_index(),
            readable: SmallVec::new(),
            writable: SmallVec::new(),
            complete: false,
        };
        for (count, descriptor) in chain.enumerate() {
            if count == MAX_DESCRIPTORS {
                it.complete = false;
                break;
            }
            let range = (descriptor.addr(), descriptor.len());
            if descriptor.is_write_only() {
                it.writable.push(range);
            } else {
                it.readable.push(range);
            }
            // A walk that breaks off leaves the last one with a successor.
            it.complete = !descriptor.has_next();
        }
        it
    }

    /// Walks the chain that begins at descriptor `head` of a table with `size`
    /// descriptors, whatever the available ring says.
    pub(super) fn at(head: u16, table: GuestAddress, size: u16, memory: &GuestMemoryMmap) -> Self {
        let mut it = Self {
            head,
            readable: SmallVec::new(),
            writable: SmallVec::new(),
            complete: false,
        };
        let (mut table, mut count, mut index) = (table, u32::from(size), u32::from(head));
        let mut indirect = false;
        for _ in 0..MAX_DESCRIPTORS {
            if index >= count {
                return it;
            }
            let at = table.checked_add(u64::from(DESCRIPTOR_LEN) * u64::from(index));
            let read = at.map(|at| memory.read_obj::<Descriptor>(at));
            let Some(Ok(descriptor)) = read else {
                return it;
            };
            if descriptor.refers_to_indirect_table() {
                if indirect {
                    return it;
                }
                indirect = true;
                table = descriptor.addr();
                count = descriptor.len() / DESCRIPTOR_LEN;
                index = 0;
                continue;
            }
            let range = (descriptor.addr(), descriptor.len());
            match descriptor.is_write_only() {
                true => it.writable.push(range),
                false => it.readable.push(range),
            }
            if !descriptor.has_next() {
                it.complete = true;
                return it;
            }
            index = descriptor.next().into();
        }
        it
    }

    /// The first `len` bytes of the request, for those who tell it from others.
    pub(super) fn first_bytes(&self, memory: &GuestMemoryMmap, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.copy_up_to(len, memory, &mut bytes);
        (read && bytes.len() == len).then_some(bytes)
    }

    /// Copies the request into `request`: of a WRITE what stands before its
    /// payload, of others the first [`REQUEST_LIMIT`] bytes. Returns whether the
    /// chain is sound so far; if not, `request` holds what could be read.
    pub(super) fn gather(&self, memory: &GuestMemoryMmap, request: &mut Vec<u8>) -> bool {
        request.clear();
        let sound = self.copy_up_to(WRITE_HEAD_LEN, memory, request)
            && (is_write(request) || self.copy_up_to(REQUEST_LIMIT, memory, request));
        sound && self.complete
    }

    /// Copies on, behind what `request` holds already, until it is `limit` long or
    /// complete.
    fn copy_up_to(&self, limit: usize, memory: &GuestMemoryMmap, request: &mut Vec<u8>) -> bool {
        let mut behind = request.len();
        for &(address, len) in &self.readable {
            let at = request.len();
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let skip = behind.min(len);
            behind -= skip;
            let take = (len - skip).min(limit.saturating_sub(at));
            if take == 0 {
                continue;
            }
            request.resize(at + take, 0);
            let from = u64::try_from(skip)
                .ok()
                .and_then(|skip| address.checked_add(skip));
            let read = from.map(|from| memory.read_slice(&mut request[at..], from));
            if !matches!(read, Some(Ok(()))) {
                request.truncate(at);
                return false;
            }
        }
        true
    }

    /// What the request brings behind its first `copied` bytes, which were copied:
    /// the payload of a WRITE, else nothing.
    ///
    /// None when it lies outside of `memory`.
    pub(super) fn payload<'m>(
        &self,
        memory: &'m GuestMemoryMmap,
        copied: &[u8],
    ) -> Option<Payload<'m>> {
        if !is_write(copied) {
            return Some(Payload::default());
        }
        payload(memory, &self.readable, copied.len())
    }
}
