//! The names of files in the state directory.

/// The daemon as a whole.
pub(super) const DAEMON: &str = "daemon.json";

/// The mount itself.
const TABLE: &str = "json";

/// Nodes of an image that the guest holds.
pub(super) const NODES: &str = "nodes";

/// Of a directory: nodes, opened files, inode numbers.
pub(super) const INODES: &str = "inodes";
pub(super) const HANDLES: &str = "handles";
pub(super) const NUMBERS: &str = "numbers";

/// All parts that a mount may have.
pub(super) const PARTS: [&str; 4] = [NODES, INODES, HANDLES, NUMBERS];

/// The table of what changes with requests.
pub(super) const SESSION: &str = "session";

/// Whom a file is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Daemon,
    Mount(u32),
}

/// Whom a file of this name is about; none if a daemon that goes on has no use for it.
pub(super) fn owner(name: &str) -> Option<Owner> {
    if matches!(name, DAEMON | SESSION) {
        return Some(Owner::Daemon);
    }
    let (number, part) = name.strip_prefix("mount-")?.split_once('.')?;
    let known = part == TABLE || PARTS.contains(&part);
    let number = number.parse::<u32>().ok().filter(|_| known)?;
    // As it is written, and in no other way.
    (self::name(number, part) == name).then_some(Owner::Mount(number))
}

/// The name of a mount's table.
pub(super) fn table(number: u32) -> String {
    name(number, TABLE)
}

/// The name of a part of a mount.
pub(super) fn name(number: u32, part: &str) -> String {
    format!("mount-{number}.{part}")
}
