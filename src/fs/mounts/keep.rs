//! What the tree writes down for the daemon that is started after a crash.
//!
//! Numbers and places are a value that whoever keeps the table of mounts saves with
//! it ([`Places`]). What changes with requests is a table of its own, the ledger:
//! the options of the FUSE session, and how often the guest holds each mount's
//! root.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::path::MountPath;
use crate::state::{Slot, Slots, StateError};

/// Bytes of a record: what it is about, and a number.
const RECORD: usize = 16;

/// The options of the session.
const OPTIONS: u64 = 1;

/// Records from here on are about mounts, by number.
const ROOTS: u64 = 16;

/// Numbers that were given to mounts and to paths; none is used twice.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Places {
    /// The number of the next mount; 0 if there was none yet.
    pub(super) next: u32,
    /// Whether the number of the first mount at the root is still to be had.
    pub(super) plain: bool,
    /// Serial numbers of the paths that are in use.
    pub(super) serials: BTreeMap<String, u64>,
    /// The last of them.
    pub(super) last: u64,
}

/// Largest serial number: far more than can be given, and far from overflowing.
const SERIAL_MAX: u64 = 1 << 39;

impl Places {
    /// Whether a tree can have given these.
    pub fn are_possible(&self) -> bool {
        let mut paths = self.serials.keys();
        self.last < SERIAL_MAX
            && self.serials.values().all(|&serial| serial < SERIAL_MAX)
            && paths.all(|path| path.parse::<MountPath>().is_ok())
    }
}

/// The table of what changes with requests.
pub(super) struct Ledger {
    slots: Arc<Slots>,
    options: Mutex<(Slot, u64)>,
    /// Counts of mounts that are not put back yet.
    found: Mutex<HashMap<u32, (Slot, u64)>>,
}

impl Ledger {
    /// Opens the table at `path`, or makes one.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let (slots, saved) = Slots::open(path, RECORD)?;
        let mut options = (Slot::NONE, 0);
        let mut found = HashMap::new();
        for (slot, record) in saved.records {
            let field = |at: usize| {
                let bytes = record.get(at..at + 8).and_then(|part| part.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            match field(0) {
                OPTIONS => options = (slot, field(8)),
                about => match about.checked_sub(ROOTS).map(u32::try_from) {
                    Some(Ok(mount)) => {
                        found.insert(mount, (slot, field(8)));
                    }
                    _ => slots.free(slot),
                },
            }
        }
        Ok(Self {
            slots: Arc::new(slots),
            options: Mutex::new(options),
            found: Mutex::new(found),
        })
    }

    /// The options that the last INIT agreed on; 0 if there was none.
    pub(super) fn options(&self) -> u64 {
        self.options.lock().1
    }

    /// Writes down what an INIT agreed on.
    pub(super) fn agreed(&self, options: u64) {
        let mut kept = self.options.lock();
        *kept = (write(&self.slots, kept.0, OPTIONS, options), options);
    }

    /// The count of a mount's root.
    pub(super) fn roots(&self, mount: u32) -> RootCount {
        let found = self.found.lock().remove(&mount);
        RootCount {
            slots: Arc::clone(&self.slots),
            about: ROOTS + u64::from(mount),
            count: Mutex::new(found.unwrap_or((Slot::NONE, 0))),
        }
    }
}

/// How often the guest holds the root of a mount, written down.
pub(super) struct RootCount {
    slots: Arc<Slots>,
    about: u64,
    count: Mutex<(Slot, u64)>,
}

impl RootCount {
    /// The count.
    pub(super) fn get(&self) -> u64 {
        self.count.lock().1
    }

    /// Changes the count.
    pub(super) fn change(&self, how: impl FnOnce(u64) -> u64) {
        let mut count = self.count.lock();
        let changed = how(count.1);
        if changed != count.1 {
            *count = (write(&self.slots, count.0, self.about, changed), changed);
        }
    }

    /// Removes it from the table, with the mount.
    pub(super) fn retire(&self) {
        let mut count = self.count.lock();
        self.slots.free(count.0);
        *count = (Slot::NONE, 0);
    }
}

fn write(slots: &Slots, slot: Slot, about: u64, value: u64) -> Slot {
    if slot == Slot::NONE {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&about.to_le_bytes());
        record[8..].copy_from_slice(&value.to_le_bytes());
        return slots.add(&record);
    }
    slots.put(slot, 8, &value.to_le_bytes());
    slot
}
