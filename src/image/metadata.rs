//! What the functions that load and prove metadata share: the bootstrap, what its
//! superblocks say, and the groups of directory entries that are in memory.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::bounded_cache::bounded;
use crate::image::bootstrap::Bootstrap;
use crate::image::group::{Group, GroupKey};
use crate::image::layout::Layout;
use crate::image::rafs::superblock::SuperBlock;

/// Bytes of directory groups that stay in memory.
pub(crate) const GROUP_BUDGET: u64 = 16 << 20;

/// Where an image's integrity section is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Section {
    /// The offset in the bootstrap of what is at `offset` in the section.
    pub(crate) fn at(&self, offset: u64) -> Option<u64> {
        (offset < self.len)
            .then(|| self.offset.checked_add(offset))
            .flatten()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GroupWeight;

impl Weighter<GroupKey, Arc<Group>> for GroupWeight {
    fn weight(&self, _: &GroupKey, group: &Arc<Group>) -> u64 {
        group.memory() as u64
    }
}

/// The metadata of an open RAFS v6 image.
#[derive(Debug)]
pub struct Metadata {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) superblock: SuperBlock,
    pub(crate) section: Option<Section>,
    pub(crate) layout: Layout,
    pub(crate) groups: Cache<GroupKey, Arc<Group>, GroupWeight>,
}

impl Metadata {
    /// Metadata of which nothing is loaded yet.
    pub(crate) fn new(
        bootstrap: Bootstrap,
        superblock: SuperBlock,
        section: Option<Section>,
        layout: Layout,
    ) -> Self {
        let groups = bounded(256, GROUP_BUDGET, GroupWeight);
        Self {
            bootstrap,
            superblock,
            section,
            layout,
            groups,
        }
    }
}
