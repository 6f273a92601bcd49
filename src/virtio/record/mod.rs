//! Which requests are under way, where a process that dies leaves it behind.
//!
//! * `layout` is the record of one queue, as the vhost-user specification lays it
//!   out ("Inflight I/O tracking", split virtqueues).
//! * `shared` is a region that the VMM keeps: it asks for it with GET_INFLIGHT_FD and
//!   hands it to the next process with SET_INFLIGHT_FD.
//! * `own` is the same record in a file of the daemon's, for VMMs that keep none, and
//!   what shows that it is about the rings in front of us.
//!
//! Stores are seen in order by whoever looks after this process has died; nothing is
//! written for the case that the host goes down, since the guest goes down with it.

mod layout;
mod own;
mod shared;
#[cfg(test)]
mod tests;

use layout::Entries;
pub(super) use own::{OwnRecord, RingPlace, RingState};
pub(super) use shared::SharedRecord;

/// The record of one queue while it runs.
pub(super) struct Tracker {
    entries: Entries,
    prints: Option<own::Prints>,
}

/// Where a ring goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// Heads that were taken and not given back, in the order in which they were
    /// taken.
    pub(super) heads: Vec<u16>,
    /// Index of the available ring behind all that was taken.
    pub(super) next_avail: u16,
}

impl Tracker {
    /// Notes that a head was taken out of the available ring.
    pub(super) fn take(&self, head: u16) {
        if let Some(prints) = &self.prints {
            prints.set(head, 0);
        }
        self.entries.take(head);
    }

    /// Notes which request a head is, by the first bytes of it.
    pub(super) fn identify(&self, head: u16, request: &[u8]) {
        if let Some(prints) = &self.prints {
            prints.set(head, own::fingerprint(request));
        }
    }

    /// Notes that a head is about to be put into the used ring.
    pub(super) fn give_back(&self, head: u16) {
        self.entries.give_back(head);
    }

    /// Notes that the used ring has the head; `used` is its index now.
    pub(super) fn given_back(&self, head: u16, used: u16) {
        self.entries.given_back(head, used);
    }

    /// The ring was stopped in order: nothing is under way.
    pub(super) fn end(&self) {
        if let Some(prints) = &self.prints {
            prints.end();
        }
    }
}
