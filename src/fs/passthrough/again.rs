//! Requests that may have been carried out before: a daemon took them and was killed
//! before the guest had its answer. What finds its own work done has succeeded, and
//! what would do harm a second time looks first.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use rustix::fs::RenameFlags;
use sha2::{Digest as _, Sha256};

use super::PassthroughFs;
use super::handles::Handle;
use super::host::{self, Stat};
use crate::destination::Destination;
use crate::fs::Errno;
use crate::fs::operation::{Caller, Reply};
use crate::payload::Payload;

/// The answer to a request, or what `look` makes of it when it failed with an `errno`
/// that may come from having been carried out before.
pub(super) fn or_done(
    caller: Caller,
    answer: Result<Reply, Errno>,
    errno: Errno,
    look: impl FnOnce() -> Result<Reply, Errno>,
) -> Result<Reply, Errno> {
    match answer {
        Err(failed) if caller.again && failed == errno => look().map_err(|_| failed),
        answer => answer,
    }
}

/// What a file that was just made is like: its type, and what else the request says.
pub(super) enum Wanted<'a> {
    /// A directory.
    Directory,
    /// A link to this.
    Link(&'a [u8]),
    /// Anything else, with the type bits of its mode and its device number.
    Node(u32, u32),
}

impl PassthroughFs {
    /// What was made, or was made before.
    pub(super) fn or_made(
        &self,
        caller: Caller,
        made: Result<Reply, Errno>,
        (parent, name): (u64, &[u8]),
        wanted: &Wanted<'_>,
    ) -> Result<Reply, Errno> {
        or_done(caller, made, Errno::EEXIST, || {
            self.is_made(caller, parent, name, wanted)?;
            self.find(parent, name).map(Reply::Entry)
        })
    }

    /// Whether what is found under `name` is what `caller` just made there.
    pub(super) fn is_made(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        wanted: &Wanted<'_>,
    ) -> Result<(), Errno> {
        let parent = self.inodes.get(parent)?;
        let fd = host::find(parent.directory()?, name)?;
        let stat = Stat::of(fd.as_fd())?;
        let same = match *wanted {
            Wanted::Directory => stat.is_dir(),
            Wanted::Link(target) => {
                stat.file_type() == libc::S_IFLNK
                    && rustix::fs::readlinkat(&fd, c"", Vec::new())?.as_bytes() == target
            }
            Wanted::Node(kind, rdev) => {
                // MKNOD without a type makes a file.
                let kind = match kind & libc::S_IFMT {
                    0 => libc::S_IFREG,
                    kind => kind,
                };
                let device = matches!(kind, libc::S_IFBLK | libc::S_IFCHR);
                stat.file_type() == kind
                    && (kind != libc::S_IFREG || stat.attr.size == 0)
                    && (!device || stat.attr.rdev == rdev)
            }
        };
        let own = !self.ids.switches() || stat.attr.uid == caller.uid;
        match same && own {
            true => Ok(()),
            false => Err(Errno::EEXIST),
        }
    }

    /// The node under `name`, if that is another name of `node`.
    pub(super) fn is_linked(&self, parent: u64, node: u64, name: &[u8]) -> Result<Reply, Errno> {
        let directory = self.inodes.get(parent)?;
        let found = host::find(directory.directory()?, name)?;
        let found = Stat::of(found.as_fd())?;
        let wanted = Stat::of(self.inodes.get(node)?.fd())?;
        if (found.dev, found.ino) != (wanted.dev, wanted.ino) {
            return Err(Errno::EEXIST);
        }
        self.find(parent, name).map(Reply::Entry)
    }

    /// Whether a rename was carried out: the name is gone and the other one there,
    /// a whiteout has its place, or the two have changed places.
    pub(super) fn is_renamed(
        &self,
        (old, from): (BorrowedFd<'_>, (u64, &[u8])),
        (new, to): (BorrowedFd<'_>, (u64, &[u8])),
        flags: RenameFlags,
    ) -> bool {
        let (before, after) = (look(old, from.1), look(new, to.1));
        let (Some(before), Some(after)) = (before, after) else {
            return before.is_none() && after.is_some();
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            let mark = exchange_of(from, to);
            let marked = |stat| self.inodes.mark(stat) == Some(mark);
            return marked(&after) && !marked(&before);
        }
        let whiteout = before.file_type() == libc::S_IFCHR && before.attr.rdev == 0;
        flags.contains(RenameFlags::WHITEOUT) && whiteout
    }

    /// Marks what is about to change places, which can be done twice without a
    /// trace: who carries it out again sees by the mark where the node is now. (Not
    /// if the same two changed places just before, and the daemon was killed before
    /// it came here.)
    pub(super) fn announce(
        &self,
        (old, from): (BorrowedFd<'_>, &[u8]),
        (new, to): (BorrowedFd<'_>, &[u8]),
        mark: u64,
    ) {
        if let Some(stat) = look(new, to) {
            self.inodes.set_mark(&stat, 0);
        }
        if let Some(stat) = look(old, from) {
            self.inodes.set_mark(&stat, mark);
        }
    }

    /// Whether a node has this attribute.
    pub(super) fn has_xattr(&self, node: u64, name: &[u8], value: &[u8]) -> Result<Reply, Errno> {
        match self.get_xattr(node, name)? == value {
            true => Ok(Reply::Done),
            false => Err(Errno::EEXIST),
        }
    }

    /// A WRITE to a file that appends: what the file has of it at its end is not
    /// written a second time.
    pub(super) fn append_again(
        &self,
        node: u64,
        handle: &Arc<Handle>,
        offset: u64,
        data: &Payload<'_>,
    ) -> Result<Reply, Errno> {
        let inode = self.inodes.get(node)?;
        let size = Stat::of(handle.fd())?.attr.size;
        let data = data.copy_from(0);
        // The guest wrote where it knew the end to be.
        let start = match size.checked_sub(offset) {
            Some(behind) if behind <= data.len() as u64 => offset,
            // Others have appended too: it is at the end, or somebody wrote behind it.
            _ => size.saturating_sub(data.len() as u64),
        };
        let reader = host::reopen(inode.fd(), libc::O_RDONLY)?;
        let mut there = vec![0; data.len()];
        let mut done = 0;
        while done < there.len() {
            let left = there.len() - done;
            let mut room = Destination::from_slice(&mut there[done..]);
            let at = start.saturating_add(done as u64);
            match room.read_from(0, left, reader.as_fd(), at, false)? {
                0 => break,
                read => done += read,
            }
        }
        if !data.starts_with(&there[..done]) {
            done = 0;
        }
        while done < data.len() {
            // At the end, wherever that is.
            let rest = Payload::from_slice(&data[done..]);
            match rest.write_to(0, handle.fd(), size, false)? {
                0 => break,
                written => done += written,
            }
        }
        Ok(Reply::Count(done as u64))
    }
}

fn look(directory: BorrowedFd<'_>, name: &[u8]) -> Option<Stat> {
    let fd = host::find(directory, name).ok()?;
    Stat::of(fd.as_fd()).ok()
}

/// What two names that change places are marked with; never 0.
pub(super) fn exchange_of(from: (u64, &[u8]), to: (u64, &[u8])) -> u64 {
    let mut hash = Sha256::new();
    for (parent, name) in [from, to] {
        hash.update(parent.to_le_bytes());
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut mark = [0; 8];
    mark.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(mark) | 1
}
