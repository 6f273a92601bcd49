//! One request in a ring: its descriptors, walked once and kept, so that what
//! the guest does to its table afterwards changes nothing.

use std::ops::Deref;

use smallvec::SmallVec;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap};

use crate::fuse::REQUEST_LIMIT;

/// Most descriptors of a chain; a reply of 256 pages needs some 260.
const MAX_DESCRIPTORS: usize = 2048;

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

    /// Copies the request, or its first [`REQUEST_LIMIT`] bytes, into
    /// `request`. Returns whether the chain is sound so far; if not, `request`
    /// holds what could be read.
    pub(super) fn gather(&self, memory: &GuestMemoryMmap, request: &mut Vec<u8>) -> bool {
        request.clear();
        for &(address, len) in &self.readable {
            let at = request.len();
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let len = len.min(REQUEST_LIMIT - at);
            request.resize(at + len, 0);
            if memory.read_slice(&mut request[at..], address).is_err() {
                request.truncate(at);
                return false;
            }
        }
        self.complete
    }
}
