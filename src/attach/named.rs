//! What the command line mounts, and how to make it again: a state that is taken over
//! names it without saying what it is.

use std::path::PathBuf;

use super::open::Served;
use crate::fs::mounts::MountPath;
use crate::fs::passthrough::{Options, PassthroughFs};

/// Something that the command line mounts.
#[derive(Clone)]
pub(super) enum What {
    /// An image, which is open already.
    Image(Box<Served>),
    /// A directory of the host.
    Directory(PathBuf, Options),
}

/// All that it mounted and that was not unmounted since.
#[derive(Default)]
pub(super) struct Named(Vec<(MountPath, What)>);

impl Named {
    /// Remembers an image.
    pub(super) fn image(&mut self, path: &MountPath, served: &Served) {
        let what = What::Image(Box::new(served.clone()));
        self.0.push((path.clone(), what));
    }

    /// Remembers a directory.
    pub(super) fn directory(&mut self, path: &MountPath, fs: &PassthroughFs) {
        let what = What::Directory(fs.source().to_owned(), fs.options().clone());
        self.0.push((path.clone(), what));
    }

    /// Forgets what is at a path.
    pub(super) fn forget(&mut self, path: &MountPath) {
        self.0.retain(|(at, _)| at != path);
    }

    /// All that it remembers.
    pub(super) fn all(&self) -> Vec<(MountPath, What)> {
        self.0.clone()
    }
}
