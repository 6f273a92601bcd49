//! `--modcaps`: capabilities that the process gives up.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::cli::Failure;

/// Takes what the lists name with a minus from the calling thread and from all that
/// it starts; call it before there are others.
///
/// Returns whether all that are named with a plus are there.
///
/// # Errors
/// When a list cannot be read or the system refuses.
pub(super) fn apply(lists: &[String]) -> Result<bool, Failure> {
    let mut dropped = CapabilitySet::empty();
    let mut wanted = CapabilitySet::empty();
    for item in lists.iter().flat_map(|list| list.split(':')) {
        let (into, name) = match (item.strip_prefix('-'), item.strip_prefix('+')) {
            (Some(name), _) => (&mut dropped, name),
            (None, Some(name)) => (&mut wanted, name),
            (None, None) => {
                return Err(format!(
                    "--modcaps: {item:?} begins with neither + nor -, as in +sys_admin:-chown"
                )
                .into());
            }
        };
        *into |=
            named(name).ok_or_else(|| format!("--modcaps: no capability is named {name:?}"))?;
    }
    let before = capabilities(None)?;
    let all = (wanted - dropped - before.effective).is_empty();
    if dropped.is_empty() {
        return Ok(all);
    }
    let after = CapabilitySets {
        effective: before.effective - dropped,
        permitted: before.permitted - dropped,
        inheritable: before.inheritable - dropped,
    };
    set_capabilities(None, after)
        .map_err(|error| format!("--modcaps: the system refuses: {error}"))?;
    Ok(all)
}

fn named(name: &str) -> Option<CapabilitySet> {
    let name = name.to_uppercase();
    CapabilitySet::from_name(name.strip_prefix("CAP_").unwrap_or(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(named("sys_admin"), Some(CapabilitySet::SYS_ADMIN));
        assert_eq!(named("CAP_CHOWN"), Some(CapabilitySet::CHOWN));
        assert_eq!(named("fly"), None);
        assert!(apply(&["chown".to_owned()]).is_err());
        assert!(apply(&["-fly".to_owned()]).is_err());
    }
}
