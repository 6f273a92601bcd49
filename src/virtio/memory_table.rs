//! The guest's memory as the VMM hands it over, and the VMM's own addresses in it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserSingleMemoryRegion};
use vhost::vhost_user::{Error, Result};
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryMmap, GuestRegionMmap};

use super::Memory;

/// Regions that a VMM may plug in, as of the kernel's own vhost.
pub(super) const MAX_SLOTS: u64 = 509;

/// Where a region is for the VMM and for the guest.
struct Mapping {
    vmm: u64,
    guest: u64,
    len: u64,
}

/// The table of regions.
pub(super) struct MemoryTable {
    memory: Memory,
    mappings: Vec<Mapping>,
}

impl MemoryTable {
    /// A table that says what is in `memory`.
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            mappings: Vec::new(),
        }
    }

    /// Replaces all regions.
    pub(super) fn set(&mut self, told: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<()> {
        let mut regions = Vec::new();
        let mut mappings = Vec::new();
        for (told, file) in told.iter().zip(files) {
            let address = GuestAddress(told.guest_phys_addr);
            let region = GuestRegionMmap::new(told.mmap_region(file)?, address);
            regions.push(region.ok_or_else(overflow)?);
            mappings.push(Mapping {
                vmm: told.user_addr,
                guest: told.guest_phys_addr,
                len: told.memory_size,
            });
        }
        self.replace(GuestMemoryMmap::from_regions(regions).map_err(failed)?);
        self.mappings = mappings;
        Ok(())
    }

    /// Adds a region.
    pub(super) fn add(&mut self, told: &VhostUserSingleMemoryRegion, file: File) -> Result<()> {
        let address = GuestAddress(told.guest_phys_addr);
        let region = GuestRegionMmap::new(told.mmap_region(file)?, address);
        let region = Arc::new(region.ok_or_else(overflow)?);
        let memory = self.memory.memory().insert_region(region);
        self.replace(memory.map_err(failed)?);
        self.mappings.push(Mapping {
            vmm: told.user_addr,
            guest: told.guest_phys_addr,
            len: told.memory_size,
        });
        Ok(())
    }

    /// Removes a region.
    pub(super) fn remove(&mut self, told: &VhostUserSingleMemoryRegion) -> Result<()> {
        let address = GuestAddress(told.guest_phys_addr);
        let memory = self.memory.memory();
        let (rest, _) = memory
            .remove_region(address, told.memory_size)
            .map_err(failed)?;
        self.replace(rest);
        self.mappings
            .retain(|mapping| mapping.guest != told.guest_phys_addr);
        Ok(())
    }

    /// The guest's address of what the VMM has at `vmm`.
    pub(super) fn guest_address(&self, vmm: u64) -> Result<u64> {
        let found = self.mappings.iter().find_map(|mapping| {
            let inside = vmm.checked_sub(mapping.vmm)?;
            (inside < mapping.len).then(|| mapping.guest.checked_add(inside))?
        });
        found.ok_or_else(|| failed(format!("no memory region holds address {vmm:#x}")))
    }

    /// All requests from now on see `memory`.
    fn replace(&self, memory: GuestMemoryMmap) {
        match self.memory.lock() {
            Ok(guard) => guard.replace(memory),
            // Whoever panicked did so before the replacement.
            Err(poisoned) => poisoned.into_inner().replace(memory),
        }
    }
}

fn overflow() -> Error {
    failed("a memory region goes beyond the end of addresses")
}

/// What is wrong with a message. Its connection ends, once the VMM is told.
pub(super) fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::ReqHandlerError(io::Error::other(why))
}
