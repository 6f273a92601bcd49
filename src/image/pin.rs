//! What an operator demands of an image before it is served.

use crate::chunk::Digest;

/// What vouches for an image. Nothing by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pin {
    /// The root digest that the image must have.
    pub root: Option<Digest>,
    /// The SHA-256 that the bootstrap file must have.
    pub bootstrap: Option<Digest>,
    /// Refuse an image that neither these nor a list vouch for.
    pub require: bool,
    /// The digests that are allowed on this host.
    pub allowed: Option<Allowed>,
}

/// A list of what may be served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// Root digests.
    pub roots: Vec<Digest>,
    /// SHA-256 of bootstrap files.
    pub bootstraps: Vec<Digest>,
    /// Refuse what is not listed. Otherwise it is served as not pinned, unless
    /// a pin contradicts the list.
    pub only: bool,
}

/// Why an image is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It has another root than the pinned one.
    Root(Digest, Digest),
    /// Its bootstrap has another digest than the pinned one.
    Bootstrap(Digest, Digest),
    /// A root is pinned and it has none.
    NoRoot,
    /// Nothing vouches for it.
    Unpinned,
    /// It is not on the list.
    NotAllowed,
}

impl Pin {
    /// Whether the digest of the bootstrap file matters.
    pub(super) fn wants_bootstrap(&self) -> bool {
        let listed = self.allowed.as_ref();
        self.bootstrap.is_some() || listed.is_some_and(|list| !list.bootstraps.is_empty())
    }

    /// Whether something vouches for an image with this root, whose bootstrap
    /// has this digest.
    pub(super) fn judge(
        &self,
        root: Option<Digest>,
        bootstrap: Option<Digest>,
    ) -> Result<bool, Refused> {
        if let (Some(wanted), Some(found)) = (self.bootstrap, bootstrap)
            && wanted != found
        {
            return Err(Refused::Bootstrap(found, wanted));
        }
        match (self.root, root) {
            (Some(wanted), Some(found)) if wanted != found => {
                return Err(Refused::Root(found, wanted));
            }
            (Some(_), None) => return Err(Refused::NoRoot),
            (Some(_), Some(_)) | (None, _) => {}
        }
        let listed = match &self.allowed {
            None => false,
            Some(list) => {
                let listed = root.is_some_and(|root| list.roots.contains(&root))
                    || bootstrap.is_some_and(|digest| list.bootstraps.contains(&digest));
                let contradicted = self.root.is_some() && !list.roots.is_empty()
                    || self.bootstrap.is_some() && !list.bootstraps.is_empty();
                if !listed && (list.only || contradicted) {
                    return Err(Refused::NotAllowed);
                }
                listed
            }
        };
        let pinned = self.root.is_some() || self.bootstrap.is_some() || listed;
        if self.require && !pinned {
            return Err(Refused::Unpinned);
        }
        Ok(pinned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::DigestAlgorithm;

    fn digest(name: &str) -> Digest {
        DigestAlgorithm::Sha256.digest(name.as_bytes())
    }

    fn root(name: &str) -> Pin {
        Pin {
            root: Some(digest(name)),
            ..Pin::default()
        }
    }

    fn list(roots: &[&str], bootstraps: &[&str], only: bool) -> Option<Allowed> {
        let digests = |names: &[&str]| names.iter().map(|name| digest(name)).collect();
        Some(Allowed {
            roots: digests(roots),
            bootstraps: digests(bootstraps),
            only,
        })
    }

    #[test]
    fn a_pin_accepts_what_it_names_and_nothing_else() {
        let (a, b) = (digest("a"), digest("b"));
        assert_eq!(root("a").judge(Some(a), None), Ok(true));
        assert_eq!(root("a").judge(Some(b), None), Err(Refused::Root(b, a)));
        assert_eq!(root("a").judge(None, None), Err(Refused::NoRoot));
        let pin = Pin {
            bootstrap: Some(a),
            require: true,
            ..Pin::default()
        };
        assert_eq!(pin.judge(None, Some(a)), Ok(true));
        assert_eq!(pin.judge(None, Some(b)), Err(Refused::Bootstrap(b, a)));
    }

    #[test]
    fn without_a_pin_an_image_is_served_unless_one_is_required() {
        let mut pin = Pin::default();
        assert_eq!(pin.judge(Some(digest("a")), None), Ok(false));
        assert_eq!(pin.judge(None, None), Ok(false));
        pin.require = true;
        assert_eq!(pin.judge(Some(digest("a")), None), Err(Refused::Unpinned));
        assert_eq!(pin.judge(None, None), Err(Refused::Unpinned));
    }

    #[test]
    fn a_list_vouches_for_what_it_names() {
        let mut pin = Pin {
            require: true,
            allowed: list(&["a"], &["file"], false),
            ..Pin::default()
        };
        assert_eq!(pin.judge(Some(digest("a")), None), Ok(true));
        assert_eq!(pin.judge(None, Some(digest("file"))), Ok(true));
        assert_eq!(pin.judge(Some(digest("b")), None), Err(Refused::Unpinned));
        pin.require = false;
        assert_eq!(pin.judge(Some(digest("b")), None), Ok(false));
    }

    #[test]
    fn a_strict_list_refuses_everything_else() {
        let mut pin = Pin {
            allowed: list(&["a"], &[], true),
            ..Pin::default()
        };
        assert_eq!(pin.judge(Some(digest("b")), None), Err(Refused::NotAllowed));
        assert_eq!(pin.judge(None, None), Err(Refused::NotAllowed));
        pin.allowed = list(&[], &[], true);
        assert_eq!(pin.judge(Some(digest("a")), None), Err(Refused::NotAllowed));
    }

    #[test]
    fn a_pin_that_is_not_on_the_list_is_refused() {
        let mut pin = root("b");
        pin.allowed = list(&["a"], &[], false);
        assert_eq!(pin.judge(Some(digest("b")), None), Err(Refused::NotAllowed));
        // A list of files says nothing about roots.
        pin.allowed = list(&[], &["file"], false);
        assert_eq!(pin.judge(Some(digest("b")), None), Ok(true));
    }
}
