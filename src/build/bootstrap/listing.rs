//! A directory's entries as EROFS lists them: with `.` and `..`, by name bytes.

use crate::build::tree::NodeIndex;

/// What an entry leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    /// `.`
    Own,
    /// `..`
    Parent,
    /// A child.
    Child(NodeIndex),
}

/// The entries with `.` and `..` in their places.
pub(super) fn sorted(entries: &[(Box<[u8]>, NodeIndex)]) -> Vec<(&[u8], To)> {
    let mut all: Vec<(&[u8], To)> = Vec::with_capacity(entries.len() + 2);
    let before = |dots: &[u8]| entries.partition_point(|(name, _)| **name < *dots);
    let (own, parent) = (before(b"."), before(b".."));
    let children = |range: std::ops::Range<usize>| {
        entries[range]
            .iter()
            .map(|(name, child)| (&**name, To::Child(*child)))
    };
    all.extend(children(0..own));
    all.push((b".", To::Own));
    all.extend(children(own..parent));
    all.push((b"..", To::Parent));
    all.extend(children(parent..entries.len()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_where_their_bytes_say() {
        let names: [&[u8]; 4] = [b"!first", b".!", b".a", b"b"];
        let entries: Vec<(Box<[u8]>, NodeIndex)> =
            names.iter().map(|name| ((*name).into(), 1)).collect();
        let listed: Vec<&[u8]> = sorted(&entries).into_iter().map(|(name, _)| name).collect();
        let wanted: [&[u8]; 6] = [b"!first", b".", b".!", b"..", b".a", b"b"];
        assert_eq!(listed, wanted);
    }
}
