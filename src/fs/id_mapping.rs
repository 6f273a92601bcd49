//! Owners of an image under other numbers, for containers in user namespaces.

/// Shows ids from `internal` on as those from `external` on, `count` of them; others
/// stay what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdMapping {
    internal: u32,
    external: u32,
    count: u32,
}

impl IdMapping {
    /// A mapping; none if one of its ids would be none.
    pub fn new(internal: u32, external: u32, count: u32) -> Option<Self> {
        // u32::MAX is nobody.
        let fits = |first: u32| first.checked_add(count).is_some();
        (fits(internal) && fits(external)).then_some(Self {
            internal,
            external,
            count,
        })
    }

    /// The id that is shown for one of the image.
    pub(super) fn shown(self, id: u32) -> u32 {
        match id.checked_sub(self.internal) {
            Some(offset) if offset < self.count => self.external.saturating_add(offset),
            _ => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_range_are_moved_and_others_are_not() {
        let mapping = IdMapping::new(0, 100_000, 65_536).unwrap();
        for (id, shown) in [
            (0, 100_000),
            (1000, 101_000),
            (65_535, 165_535),
            (65_536, 65_536),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(mapping.shown(id), shown, "{id}");
        }
        assert_eq!(IdMapping::new(5, 7, 0).unwrap().shown(5), 5);
        assert_eq!(IdMapping::new(0, u32::MAX - 10, 65_536), None);
    }
}
