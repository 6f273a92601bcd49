//! Requests in flight on one ring: each has a slot with buffers of its own.

use std::io;
use std::time::Duration;

use super::Config;
use super::ram::{GuestRam, PAGE};
use super::ring::{DESCRIPTOR_LEN, Descriptor, INDIRECT, NEXT, Ring, WRITE};

/// Bytes of a FUSE request header and of a reply header.
pub const IN_HEADER: usize = 40;
/// See [`IN_HEADER`].
pub const OUT_HEADER: usize = 16;

/// How the buffers of a request are cut into descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One descriptor for each page, as a guest's page cache does it.
    Pages,
    /// One descriptor for all of the data.
    Whole,
}

/// A completion: which slot, and how much the device says it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Slot of the request.
    pub slot: usize,
    /// Bytes written, reply header included.
    pub length: u32,
}

#[derive(Debug)]
struct Slot {
    head: u16,
    table: u64,
    request: u64,
    reply: u64,
    data: u64,
    shape: Option<(usize, Option<usize>)>,
}

/// A ring with `depth` slots.
#[derive(Debug)]
pub struct Queue {
    /// The ring itself, for tests that write to it directly.
    pub ring: Ring,
    ram: GuestRam,
    slots: Vec<Slot>,
    free: Vec<usize>,
    span: u16,
    indirect: bool,
    cut: Cut,
    timeout: Duration,
}

impl Queue {
    /// Lays the ring and the buffers of all slots.
    ///
    /// # Errors
    /// When memory runs out, or the ring is too short for requests of this
    /// size at this depth without indirect tables.
    pub fn new(ram: &mut GuestRam, config: &Config, indirect: bool) -> io::Result<Self> {
        let ring = Ring::new(ram, config.queue_size, config.event_index, config.wait)?;
        let pages = config.reply_max.div_ceil(4096);
        let longest = 3 + if config.cut == Cut::Pages { pages } else { 1 };
        let depth = u16::try_from(config.depth).map_err(io::Error::other)?;
        let span = if indirect { 1 } else { ring.size() / depth };
        if span == 0 || (!indirect && usize::from(span) < longest) {
            return Err(io::Error::other(format!(
                "{depth} requests of {longest} descriptors do not fit a ring of {}",
                ring.size()
            )));
        }
        let mut slots = Vec::new();
        for index in 0..depth {
            let head = index * span;
            let table = if indirect {
                ram.alloc(DESCRIPTOR_LEN * to_u64(longest)?, 16)?
            } else {
                ring.table + DESCRIPTOR_LEN * u64::from(head)
            };
            let request = ram.alloc(to_u64(IN_HEADER + config.request_max)?, 64)?;
            let reply = ram.alloc(64, 64)?;
            let data = ram.alloc(to_u64(pages * 4096)?, PAGE)?;
            slots.push(Slot {
                head,
                table,
                request,
                reply,
                data,
                shape: None,
            });
        }
        let free = (0..slots.len()).rev().collect();
        let (cut, timeout) = (config.cut, config.timeout);
        Ok(Self {
            ring,
            ram: ram.clone(),
            slots,
            free,
            span,
            indirect,
            cut,
            timeout,
        })
    }

    /// Requests that can still be submitted.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts `message` (header and body) into a free slot and publishes it,
    /// without waking the device. `reply` is the room for a reply's body;
    /// `None` leaves the device nothing to write to.
    ///
    /// # Errors
    /// When all slots are taken.
    pub fn submit(&mut self, message: &[u8], reply: Option<usize>) -> io::Result<usize> {
        let index = self
            .free
            .pop()
            .ok_or_else(|| io::Error::other("all slots are in flight"))?;
        let shape = (message.len(), reply);
        if self.slots[index].shape != Some(shape) {
            self.lay(index, shape)?;
            self.slots[index].shape = Some(shape);
        }
        let slot = &self.slots[index];
        self.ram.write(slot.request, message)?;
        if reply.is_some() {
            self.ram.write(slot.reply, &[0; OUT_HEADER])?;
        }
        self.ring.offer(slot.head)?;
        Ok(index)
    }

    /// Writes the descriptors for a request of this shape.
    fn lay(&self, index: usize, (length, reply): (usize, Option<usize>)) -> io::Result<()> {
        let slot = &self.slots[index];
        let header = length.min(IN_HEADER);
        let mut chain = vec![(slot.request, header, 0)];
        if length > header {
            chain.push((slot.request + to_u64(header)?, length - header, 0));
        }
        if let Some(room) = reply {
            chain.push((slot.reply, OUT_HEADER, WRITE));
            let step = if self.cut == Cut::Pages {
                4096
            } else {
                room.max(1)
            };
            for offset in (0..room).step_by(step) {
                let part = step.min(room - offset);
                chain.push((slot.data + to_u64(offset)?, part, WRITE));
            }
        }
        let first = if self.indirect { 0 } else { slot.head };
        let last = chain.len() - 1;
        for (position, &(address, length, flags)) in chain.iter().enumerate() {
            let number = u16::try_from(position).map_err(io::Error::other)?;
            let descriptor = Descriptor {
                address,
                length: u32::try_from(length).map_err(io::Error::other)?,
                flags: if position == last {
                    flags
                } else {
                    flags | NEXT
                },
                next: if position == last {
                    0
                } else {
                    first + number + 1
                },
            };
            let at = slot.table + DESCRIPTOR_LEN * u64::from(number);
            self.ram.write(at, &descriptor.bytes())?;
        }
        if self.indirect {
            let length = u32::try_from(16 * chain.len()).map_err(io::Error::other)?;
            let entry = Descriptor {
                address: slot.table,
                length,
                flags: INDIRECT,
                next: 0,
            };
            self.ring.describe(slot.head, entry)?;
        }
        Ok(())
    }

    /// Wakes the device if it sleeps.
    ///
    /// # Errors
    /// When the eventfd cannot be written.
    pub fn notify(&mut self) -> io::Result<()> {
        self.ring.notify()
    }

    /// Waits for the next completion.
    ///
    /// # Errors
    /// `TimedOut`, or `InvalidData` when the device returns a head that is not
    /// in flight.
    pub fn complete(&mut self) -> io::Result<Done> {
        let used = self.ring.take(self.timeout)?;
        self.identify(used.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "the device returned no buffer in time",
            )
        })?)
    }

    /// Takes a completion if there is one.
    ///
    /// # Errors
    /// `InvalidData` when the device returns a head that is not in flight.
    pub fn try_complete(&mut self) -> io::Result<Option<Done>> {
        self.ring.pop()?.map(|used| self.identify(used)).transpose()
    }

    fn identify(&self, used: super::ring::Used) -> io::Result<Done> {
        let slot = usize::try_from(used.head).map_err(io::Error::other)? / usize::from(self.span);
        let known = self
            .slots
            .get(slot)
            .is_some_and(|s| u32::from(s.head) == used.head);
        if !known || self.free.contains(&slot) {
            let text = format!(
                "the device returned head {}, which is not in flight",
                used.head
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Done {
            slot,
            length: used.length,
        })
    }

    /// The reply header in a slot, valid until the slot is released.
    ///
    /// # Errors
    /// Never, for a slot of this queue.
    pub fn reply_header(&self, slot: usize) -> io::Result<[u8; OUT_HEADER]> {
        let mut header = [0; OUT_HEADER];
        self.ram.read(self.slots[slot].reply, &mut header)?;
        Ok(header)
    }

    /// Copies the reply's body from a slot.
    ///
    /// # Errors
    /// When `body` is longer than the slot's buffer.
    pub fn reply_body(&self, slot: usize, body: &mut [u8]) -> io::Result<()> {
        self.ram.read(self.slots[slot].data, body)
    }

    /// Fills the reply buffer of a free slot, so that a test sees what the
    /// device left alone.
    ///
    /// # Errors
    /// When `length` is longer than the buffer.
    pub fn taint(&self, slot: usize, byte: u8, length: usize) -> io::Result<()> {
        self.ram.write(self.slots[slot].data, &vec![byte; length])
    }

    /// Makes a slot free again.
    pub fn release(&mut self, slot: usize) {
        self.free.push(slot);
    }

    /// Says that a test has written to the descriptor table: every slot lays
    /// its descriptors anew.
    pub fn forget_shapes(&mut self) {
        for slot in &mut self.slots {
            slot.shape = None;
        }
    }
}

fn to_u64(value: usize) -> io::Result<u64> {
    u64::try_from(value).map_err(io::Error::other)
}
