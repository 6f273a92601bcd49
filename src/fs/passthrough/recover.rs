//! The table of nodes is filled with those of the daemon before this one.

use std::sync::Arc;

use super::descriptors::Held;
use super::found::Finder;
use super::host::Stat;
use super::inode::Inode;
use super::inodes::Inodes;
use super::keep::{Record, STEP};
use crate::fs::nodes::ROOT;
use crate::state::{Saved, Serial, Slots};

/// How often the nodes that were not found are looked for in directories that were:
/// a guest can nest directories against the order in which it looked them up.
const PASSES: usize = 100;

/// What became of the nodes of a daemon before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Recovered {
    /// Found again.
    pub(super) found: usize,
    /// Not found.
    pub(super) lost: usize,
}

impl Inodes {
    /// Finds what is `saved`, and writes down changes from now on. None when the root
    /// is another directory than it was.
    pub(super) fn keep(&mut self, slots: Slots, saved: &Saved) -> Option<Recovered> {
        let root = self.root.identity();
        let mut before = root;
        let mut records = Vec::with_capacity(saved.records.len());
        let mut has_root = false;
        for (place, bytes) in &saved.records {
            match Record::read(bytes) {
                Some(record) if record.id == ROOT => {
                    has_root = true;
                    before = record.identity;
                }
                Some(record) if record.references > 0 => records.push((*place, record)),
                _ => slots.free(*place),
            }
        }
        let stat = Stat::of(self.root.fd()).ok()?;
        if !before.is(self.root.fd(), &stat, before.handle == root.handle) {
            return None;
        }
        let table = self.table.get_mut();
        if !has_root {
            slots.add(&self.root.record());
        }
        let mut finder = Finder::new(self.root.fd(), root.key.1, before.key.1);
        let mut done = Recovered::default();
        // A directory is looked up before what is in it, unless that was moved there.
        records.sort_unstable_by_key(|(_, record)| record.id);
        for pass in 0..PASSES {
            let left = records.len();
            records.retain(|(place, record)| {
                let parent = match record.parent {
                    ROOT => Some(&self.root),
                    parent => table.get(parent),
                };
                let parent = parent.map(Arc::clone);
                // Handles lead there at once or never.
                let found = match pass {
                    0 => finder.find(record, parent.as_deref()),
                    _ => Finder::by_name(record, parent.as_deref()),
                };
                let Some((fd, stat)) = found else {
                    return true;
                };
                let Ok(fd) = Held::new(fd) else {
                    return true;
                };
                table.recover(record, Inode::new(&stat, fd), *place);
                done.found += 1;
                false
            });
            // Those that were found may be the directories of others.
            if records.is_empty() || records.len() == left {
                break;
            }
        }
        for (place, _) in &records {
            slots.free(*place);
        }
        done.lost = records.len();
        table.ids = Serial::again(ROOT, saved, &slots, STEP);
        self.kept = Some(slots);
        Some(done)
    }
}
