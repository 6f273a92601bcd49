//! One request in a ring: its descriptors, walked once and kept, so that what
//! the guest does to its table afterwards changes nothing.

use smallvec::SmallVec;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

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
    /// Walks the chain that begins at descriptor `head` of the table at `table` with
    /// `size` descriptors, whatever the available ring says (virtio 1.2, 2.7.5).
    pub(super) fn at(head: u16, table: GuestAddress, size: u16, memory: &GuestMemoryMmap) -> Self {
        let mut it = Self {
            head,
            readable: SmallVec::new(),
            writable: SmallVec::new(),
            complete: false,
        };
        let (mut count, mut index) = (u32::from(size), u32::from(head));
        let mut table = Table::new(table, count, memory);
        let mut indirect = false;
        for _ in 0..MAX_DESCRIPTORS {
            if index >= count {
                return it;
            }
            let Some(descriptor) = table.get(index, memory) else {
                return it;
            };
            if descriptor.refers_to_indirect_table() {
                if indirect {
                    return it;
                }
                indirect = true;
                count = descriptor.len() / DESCRIPTOR_LEN;
                table = Table::new(descriptor.addr(), count, memory);
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
            if !from.is_some_and(|from| read(memory, from, &mut request[at..])) {
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

/// A table of descriptors. Where all of it lies in one region, that is looked for
/// once and not for each of them.
struct Table<'m> {
    address: GuestAddress,
    whole: Option<VolatileSlice<'m>>,
}

impl<'m> Table<'m> {
    fn new(address: GuestAddress, count: u32, memory: &'m GuestMemoryMmap) -> Self {
        let len = usize::try_from(u64::from(DESCRIPTOR_LEN) * u64::from(count));
        let whole = len.ok().and_then(|len| memory.get_slice(address, len).ok());
        Self { address, whole }
    }

    fn get(&self, index: u32, memory: &GuestMemoryMmap) -> Option<Descriptor> {
        let at = u64::from(DESCRIPTOR_LEN) * u64::from(index);
        match &self.whole {
            Some(whole) => whole.read_obj(usize::try_from(at).ok()?).ok(),
            None => memory.read_obj(self.address.checked_add(at)?).ok(),
        }
    }
}

/// Fills `to` with what is at an address. Most often that is in one region.
fn read(memory: &GuestMemoryMmap, address: GuestAddress, to: &mut [u8]) -> bool {
    match memory.get_slice(address, to.len()) {
        Ok(slice) => slice.copy_to(to) == to.len(),
        Err(_) => memory.read_slice(to, address).is_ok(),
    }
}
