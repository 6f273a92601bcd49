//! What a host demands of every mount.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{ConfigError, Policy};
use crate::image::Allowed;
use crate::store::{StoreConfig, Verify};

/// The policy of a host whose command lines name none, if it is there.
pub const HOST_POLICY: &str = "/etc/tidegate/policy.json";

/// What a host demands of every mount, and what it decides in the place of a
/// mount's configuration.
#[derive(Clone, Debug)]
pub struct HostRules {
    /// The file of allowed digests. It is read at each mount, and comes before
    /// the one that a mount's configuration names.
    pub policy: Option<PathBuf>,
    /// Refuse an image that no digest vouches for.
    pub require_root: bool,
    /// When chunks are proved.
    pub verify: Verify,
    /// Longest that one read may wait for a chunk.
    pub deadline: Duration,
    /// Memory for tags, in bytes, of each mount.
    pub tag_budget: usize,
    /// The cache directory in the place of a configuration's.
    pub cache: Option<PathBuf>,
    /// Most bytes in the cache directory, in the place of a configuration's.
    pub cache_limit: Option<u64>,
}

impl Default for HostRules {
    fn default() -> Self {
        let store = StoreConfig::default();
        Self {
            policy: None,
            require_root: false,
            verify: store.verify,
            deadline: store.deadline,
            tag_budget: store.tag_budget,
            cache: None,
            cache_limit: None,
        }
    }
}

/// What may be mounted.
#[derive(Debug, Default)]
pub(super) struct MayBe {
    /// The digests that are allowed; none if nobody says.
    pub(super) digests: Option<Allowed>,
    /// Whether images are whose data cannot be proved.
    pub(super) unverified: bool,
}

impl HostRules {
    /// What is allowed: by the host, else by `other`, the policy that a mount's
    /// configuration names, which cannot allow what nobody can prove.
    ///
    /// # Errors
    /// When a policy cannot be read or understood.
    pub(super) fn allowed(&self, other: Option<&Path>) -> Result<MayBe, ConfigError> {
        let policy = self.policy.as_deref().or(other);
        let Some(policy) = policy.map(Policy::load).transpose()? else {
            return Ok(MayBe::default());
        };
        Ok(MayBe {
            unverified: policy.allow_unverified && self.policy.is_some(),
            digests: Some(Allowed {
                roots: policy.roots,
                bootstraps: policy.bootstrap_digests,
                only: policy.require,
            }),
        })
    }
}
