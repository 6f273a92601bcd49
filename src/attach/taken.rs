//! What of another daemon's mounts is brought back so far.

use std::sync::Arc;

use super::entry::Entry;
use super::open::AttachError;
use super::{Live, Made};
use crate::control::Shown;
use crate::error_chain::chain;
use crate::fs::GoneFs;
use crate::fs::mounts::{MountPath, PutBack};
use crate::fs::operation::Wants;

/// A daemon that is going on where another was killed.
pub(super) struct Taken {
    /// Mounts of which nothing is known but what is written down.
    pub(super) awaited: Vec<Entry>,
    pub(super) back: Vec<PutBack>,
    /// What is known besides of each that could be opened.
    pub(super) made: Vec<(u32, Option<Live>, Shown)>,
    pub(super) lost: Vec<String>,
}

impl Taken {
    /// Mounts that are to be brought back.
    pub(super) fn new(awaited: Vec<Entry>) -> Self {
        Self {
            awaited,
            back: Vec::new(),
            made: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// What the command line mounted at `path`: it did so once.
    pub(super) fn awaited_at(&mut self, path: &MountPath, image: bool) -> Option<Entry> {
        let path = path.to_string();
        let same = |entry: &Entry| entry.path == path && entry.image == image;
        let at = self.awaited.iter().position(same)?;
        Some(self.awaited.remove(at))
    }

    /// Puts what is brought back, or what stands for it, under its number.
    pub(super) fn put(&mut self, entry: &Entry, made: Result<Made, AttachError>) {
        let Ok(path) = entry.path.parse::<MountPath>() else {
            return;
        };
        let back = |fs, stats| PutBack {
            number: entry.number,
            path: path.clone(),
            fs,
            stats,
        };
        match made {
            Ok(made) => {
                self.back.push(back(made.fs, made.stats));
                self.made.push((entry.number, made.live, made.shown));
            }
            Err(error) => {
                log::error!(
                    "What was mounted at {path} cannot be brought back, and what the guest holds of it is stale: {}",
                    chain(&error)
                );
                let wants = Wants {
                    opens: !entry.image,
                    ..Wants::default()
                };
                self.lost.push(entry.path.clone());
                self.back
                    .push(back(Arc::new(GoneFs::new(wants)), Arc::default()));
            }
        }
    }
}
