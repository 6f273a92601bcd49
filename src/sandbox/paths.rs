//! Paths: what threads that open files by name may open.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, path_beneath_rules,
};

/// What the resolver of the C library reads: its configuration, its libraries,
/// and what `/etc/resolv.conf` may be a link to.
const RESOLVER: &[&str] = &[
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run",
    "/var/run",
    "/nix/store",
];

/// Whether the kernel can restrict paths.
pub(super) fn can_restrict() -> bool {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    ruleset.is_ok()
}

/// Lets the calling thread read what the resolver needs, and open nothing else;
/// what is open stays so. A kernel that cannot leaves all as it is.
///
/// # Errors
/// When the system refuses.
pub(super) fn resolver_alone() -> Result<(), RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .create()?
        .add_rules(path_beneath_rules(RESOLVER, AccessFs::from_read(ABI::V5)))?
        .restrict_self()?;
    Ok(())
}
