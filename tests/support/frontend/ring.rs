//! A split virtqueue laid by hand (virtio 1.2, section 2.7), with every field
//! within reach of a test that wants to write nonsense into it.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::ram::GuestRam;

/// The chain goes on at `next`.
pub const NEXT: u16 = 1;
/// The device writes to the buffer.
pub const WRITE: u16 = 2;
/// The buffer is a table of descriptors.
pub const INDIRECT: u16 = 4;

/// Bytes of a descriptor.
pub const DESCRIPTOR_LEN: u64 = 16;

/// One entry of a descriptor table.
#[derive(Debug, Clone, Copy, Default)]
pub struct Descriptor {
    /// Guest address of the buffer.
    pub address: u64,
    /// Length of the buffer in bytes.
    pub length: u32,
    /// `NEXT`, `WRITE`, `INDIRECT`.
    pub flags: u16,
    /// Index of the next descriptor of the chain.
    pub next: u16,
}

impl Descriptor {
    /// The entry as the device reads it.
    pub fn bytes(&self) -> [u8; 16] {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&self.address.to_le_bytes());
        raw[8..12].copy_from_slice(&self.length.to_le_bytes());
        raw[12..14].copy_from_slice(&self.flags.to_le_bytes());
        raw[14..].copy_from_slice(&self.next.to_le_bytes());
        raw
    }
}

/// What the device gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Head index of the chain.
    pub head: u32,
    /// Bytes that the device says it wrote.
    pub length: u32,
}

/// How to wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Sleep on the call eventfd.
    Event,
    /// Watch the used index without sleeping.
    Spin,
}

/// The rings of one queue and its two eventfds.
#[derive(Debug)]
pub struct Ring {
    ram: GuestRam,
    size: u16,
    /// Guest address of the descriptor table.
    pub table: u64,
    /// Guest address of the available ring.
    pub avail: u64,
    /// Guest address of the used ring.
    pub used: u64,
    /// Available index as last published.
    pub avail_index: u16,
    /// Used index up to which completions were taken.
    pub seen: u16,
    notified: u16,
    event_index: bool,
    wait: Wait,
    /// Written to wake the device.
    pub kick: EventFd,
    /// Written by the device.
    pub call: EventFd,
    epoll: Epoll,
}

impl Ring {
    /// Lays an empty ring of `size` descriptors (a power of two).
    ///
    /// # Errors
    /// When memory or file descriptors run out.
    pub fn new(ram: &mut GuestRam, size: u16, event_index: bool, wait: Wait) -> io::Result<Self> {
        let table = ram.alloc(DESCRIPTOR_LEN * u64::from(size), 16)?;
        let avail = ram.alloc(6 + 2 * u64::from(size), 2)?;
        let used = ram.alloc(6 + 8 * u64::from(size), 4)?;
        let call = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let epoll = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN, 0);
        epoll.ctl(ControlOperation::Add, call.as_raw_fd(), event)?;
        Ok(Self {
            ram: ram.clone(),
            size,
            table,
            avail,
            used,
            avail_index: 0,
            seen: 0,
            notified: 0,
            event_index,
            wait,
            kick: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            call,
            epoll,
        })
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Whether the device was told that EVENT_IDX holds; set by the handshake.
    pub fn set_event_index(&mut self, on: bool) {
        self.event_index = on;
    }

    /// Writes entry `index` of the descriptor table.
    ///
    /// # Errors
    /// When `index` is so large that the entry lies outside memory.
    pub fn describe(&self, index: u16, descriptor: Descriptor) -> io::Result<()> {
        let at = self.table + DESCRIPTOR_LEN * u64::from(index);
        self.ram.write(at, &descriptor.bytes())
    }

    /// Puts `head` (any value) into the available ring and publishes it.
    ///
    /// # Errors
    /// Never, while the ring lies in memory.
    pub fn offer(&mut self, head: u16) -> io::Result<()> {
        let slot = u64::from(self.avail_index % self.size);
        self.ram
            .store(head, self.avail + 4 + 2 * slot, Ordering::Relaxed)?;
        self.publish(self.avail_index.wrapping_add(1))
    }

    /// Writes the available index (any value) where the device reads it.
    ///
    /// # Errors
    /// Never, while the ring lies in memory.
    pub fn publish(&mut self, index: u16) -> io::Result<()> {
        self.avail_index = index;
        self.ram.store(index, self.avail + 2, Ordering::Release)
    }

    /// Wakes the device if it asked to be woken for what was published since
    /// the last call.
    ///
    /// # Errors
    /// When the eventfd cannot be written.
    pub fn notify(&mut self) -> io::Result<()> {
        fence(Ordering::SeqCst);
        let wanted = if self.event_index {
            let at = self.used + 4 + 8 * u64::from(self.size);
            let event: u16 = self.ram.load(at, Ordering::Relaxed)?;
            let new = self.avail_index;
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(self.notified)
        } else {
            self.ram.load::<u16>(self.used, Ordering::Relaxed)? & 1 == 0
        };
        self.notified = self.avail_index;
        if wanted { self.kick.write(1) } else { Ok(()) }
    }

    /// Takes the next completion if there is one.
    ///
    /// # Errors
    /// Never, while the ring lies in memory.
    pub fn pop(&mut self) -> io::Result<Option<Used>> {
        if self.ram.load::<u16>(self.used + 2, Ordering::Acquire)? == self.seen {
            return Ok(None);
        }
        let at = self.used + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let head = self.ram.load(at, Ordering::Relaxed)?;
        let length = self.ram.load(at + 4, Ordering::Relaxed)?;
        Ok(Some(Used { head, length }))
    }

    /// Takes the next completion, waiting up to `timeout`; `None` when time is
    /// up.
    ///
    /// # Errors
    /// When polling fails.
    pub fn take(&mut self, timeout: Duration) -> io::Result<Option<Used>> {
        let mut deadline = None;
        loop {
            if let Some(used) = self.pop()? {
                return Ok(Some(used));
            }
            let end = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match self.wait {
                Wait::Spin => std::hint::spin_loop(),
                Wait::Event => self.sleep(left)?,
            }
        }
    }

    /// Asks for an interrupt at the next completion, unless it is there
    /// already, and sleeps for it.
    fn sleep(&self, timeout: Duration) -> io::Result<()> {
        if self.arm()? {
            let millis = i32::try_from(timeout.as_millis())
                .unwrap_or(i32::MAX)
                .max(1);
            match self.epoll.wait(millis, &mut [EpollEvent::default()]) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        self.drain()
    }

    /// Asks for an interrupt at the next completion; false when one is there
    /// already.
    ///
    /// # Errors
    /// Never, while the ring lies in memory.
    pub fn arm(&self) -> io::Result<bool> {
        let used_event = self.avail + 4 + 2 * u64::from(self.size);
        self.ram.store(self.seen, used_event, Ordering::Relaxed)?;
        fence(Ordering::SeqCst);
        Ok(self.ram.load::<u16>(self.used + 2, Ordering::Acquire)? == self.seen)
    }

    /// Empties the call eventfd.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn drain(&self) -> io::Result<()> {
        match self.call.read() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}
