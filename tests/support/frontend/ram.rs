//! The guest's memory: shared regions backed by memfds, and an allocator that
//! only goes forward.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};

/// Length of a guest page in bytes.
pub const PAGE: u64 = 4096;

/// Where the regions of the guest's memory are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regions {
    /// One region from address 0.
    One,
    /// Two halves that touch: a buffer may lie across the border.
    Touching,
    /// Two halves, the second from 4 GiB on, as behind a PCI hole.
    Apart,
}

/// Guest memory. Clones share the memory but not the allocator's position.
#[derive(Debug, Clone)]
pub struct GuestRam {
    map: GuestMemoryMmap,
    free: Vec<(u64, u64)>,
}

impl GuestRam {
    /// Makes `size` bytes of memory (split in halves unless `Regions::One`).
    ///
    /// # Errors
    /// When a memfd cannot be made or mapped.
    pub fn new(size: u64, regions: Regions) -> io::Result<Self> {
        let half = size / 2;
        let ranges: Vec<(u64, u64)> = match regions {
            Regions::One => vec![(0, size)],
            Regions::Touching => vec![(0, half), (half, half)],
            Regions::Apart => vec![(0, half), (1 << 32, half)],
        };
        let mut parts = Vec::new();
        for &(start, length) in &ranges {
            let fd = rustix::fs::memfd_create("guest-ram", MemfdFlags::CLOEXEC)?;
            let file = File::from(fd);
            file.set_len(length)?;
            let length = usize::try_from(length).map_err(io::Error::other)?;
            parts.push((GuestAddress(start), length, Some(FileOffset::new(file, 0))));
        }
        let map = GuestMemoryMmap::from_ranges_with_files(parts).map_err(io::Error::other)?;
        let free = ranges
            .iter()
            .map(|&(start, length)| (start, start + length))
            .collect();
        Ok(Self { map, free })
    }

    /// Takes `length` bytes aligned to `align` from the first region with room.
    ///
    /// # Errors
    /// When no region has that much left.
    pub fn alloc(&mut self, length: u64, align: u64) -> io::Result<u64> {
        for (next, end) in &mut self.free {
            let start = next.next_multiple_of(align);
            if start + length <= *end {
                *next = start + length;
                return Ok(start);
            }
        }
        Err(io::Error::other(format!(
            "guest memory has no room for {length} bytes"
        )))
    }

    /// First address behind the last region.
    pub fn end(&self) -> u64 {
        self.map.last_addr().0 + 1
    }

    /// The regions as `SET_MEM_TABLE` wants them.
    ///
    /// # Errors
    /// When a region has no file (never).
    pub fn table(&self) -> io::Result<Vec<VhostUserMemoryRegionInfo>> {
        self.map
            .iter()
            .map(|region| {
                VhostUserMemoryRegionInfo::from_guest_region(region).map_err(io::Error::other)
            })
            .collect()
    }

    /// First address of the last region.
    pub fn last_region_start(&self) -> u64 {
        self.map
            .iter()
            .last()
            .map_or(0, |region| region.start_addr().0)
    }

    /// Where `address` is mapped in this process.
    ///
    /// # Errors
    /// When the address is outside memory.
    pub fn host_address(&self, address: u64) -> io::Result<u64> {
        let pointer = self
            .map
            .get_host_address(GuestAddress(address))
            .map_err(io::Error::other)?;
        u64::try_from(pointer.addr()).map_err(io::Error::other)
    }

    /// Writes `bytes` at `address`.
    ///
    /// # Errors
    /// When the range is outside memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.map
            .write_slice(bytes, GuestAddress(address))
            .map_err(io::Error::other)
    }

    /// Fills `bytes` from `address`.
    ///
    /// # Errors
    /// When the range is outside memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.map
            .read_slice(bytes, GuestAddress(address))
            .map_err(io::Error::other)
    }

    /// Atomic load.
    ///
    /// # Errors
    /// When the address is outside memory or unaligned.
    pub fn load<T: AtomicAccess>(&self, address: u64, order: Ordering) -> io::Result<T> {
        self.map
            .load(GuestAddress(address), order)
            .map_err(io::Error::other)
    }

    /// Atomic store.
    ///
    /// # Errors
    /// When the address is outside memory or unaligned.
    pub fn store<T: AtomicAccess>(
        &self,
        value: T,
        address: u64,
        order: Ordering,
    ) -> io::Result<()> {
        self.map
            .store(value, GuestAddress(address), order)
            .map_err(io::Error::other)
    }
}
