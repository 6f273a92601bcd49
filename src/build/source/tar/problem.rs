//! What can be wrong with one entry of an archive.

/// Why an entry of an archive cannot become part of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryProblem {
    /// A name or link target that starts at the root.
    #[error("{0} is absolute; make the archive with relative names")]
    Absolute(String),
    /// A name or link target that climbs.
    #[error("{0} has a `..` component; make the archive without")]
    DotDot(String),
    /// No name at all.
    #[error("The name is empty")]
    EmptyName,
    /// A component that no file system takes.
    #[error("A name of {0} bytes is longer than 255")]
    NameTooLong(usize),
    /// A zero byte in a name.
    #[error("A name has a zero byte")]
    ZeroInName,
    /// A whiteout that would take away what is no entry.
    #[error("{0} is a whiteout of nothing")]
    Whiteout(String),
    /// Symbolic links that lead on and on.
    #[error("{0} leads through too many symbolic links")]
    Loop(String),
    /// The root as something else than a directory.
    #[error("The root can only be a directory")]
    Root,
    /// A parent that is no directory.
    #[error("{0}, which it lies below, is not a directory")]
    ParentIsNoDirectory(String),
    /// A hard link to something that has not come yet.
    #[error("It is a hard link to {0}, which is not in the archive before it")]
    LinkTargetMissing(String),
    /// A hard link to a directory.
    #[error("It is a hard link to the directory {0}")]
    LinkToDirectory(String),
    /// A symbolic link with a bad target.
    #[error("It is a symbolic link with a bad target of {0} bytes (allowed: 1 to 4095, no zeros)")]
    Target(usize),
    /// A type that has no place in an image.
    #[error("Entries of type {0:?} are not supported")]
    Type(char),
    /// A number in the header.
    #[error("The header's {0} is not a number in range")]
    Number(&'static str),
    /// A device number.
    #[error("Device number {major}:{minor} does not fit 32 bits")]
    Device {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// The PAX records.
    #[error("Its PAX header is malformed: {0}")]
    Pax(&'static str),
    /// An extension header of absurd length.
    #[error("Its extension header has {0} bytes")]
    ExtensionTooLong(u64),
    /// The map of a sparse file.
    #[error("Its map of holes is malformed: {0}")]
    Sparse(&'static str),
    /// Data that ends early.
    #[error("The archive ends inside its data")]
    Truncated,
}
