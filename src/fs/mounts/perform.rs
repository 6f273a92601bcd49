//! The tree passes on requests that open, change or flush something.

use std::sync::Arc;

use futures_util::future::join_all;

use super::super::Errno;
use super::super::nodes::ROOT;
use super::super::operation::{Caller, OpenFile, Operation, Reply};
use super::MountTree;
use super::mount::Mount;
use super::view::{Directory, Place, View};

impl MountTree {
    /// Hands an operation to the mount that its node is in, and brings the answer
    /// back.
    pub(super) fn pass_on(
        &self,
        caller: Caller,
        node: u64,
        operation: Operation<'_>,
    ) -> Result<Reply, Errno> {
        loop {
            let view = self.view.load();
            if matches!(operation, Operation::SyncFs) {
                return sync_all(&view, caller);
            }
            let (mount, inner) = match view.place(node)? {
                Place::Mount(mount, inner) => (mount, inner),
                Place::Tree(_) if operation.changes() => return Err(Errno::EROFS),
                Place::Tree(_) => return Err(Errno::ENOSYS),
            };
            let Some(pin) = self.pin(mount, node) else {
                // The mount is being replaced: look again.
                std::thread::yield_now();
                continue;
            };
            let operation = inside(&view, mount, node, operation)?;
            let reply = mount.fs.perform(caller, inner, operation)?;
            drop(pin);
            return outside(mount, reply);
        }
    }
}

/// An operation as the mount sees it.
///
/// # Errors
/// `EXDEV` when it reaches into another mount; `EEXIST` and `EBUSY` when it is
/// about a name that the tree gives.
fn inside<'a>(
    view: &View,
    mount: &Arc<Mount>,
    node: u64,
    operation: Operation<'a>,
) -> Result<Operation<'a>, Errno> {
    let same = |other: u64| match view.place(other)? {
        Place::Mount(found, inner) if found.number == mount.number => Ok(inner),
        Place::Mount(..) | Place::Tree(_) => Err(Errno::EXDEV),
    };
    let taken = |directory: u64, name: &[u8]| {
        let given = |graft: &Directory| graft.names.contains_key(name);
        view.graft(directory).is_some_and(given)
    };
    match &operation {
        Operation::Create { name, .. }
        | Operation::Mknod { name, .. }
        | Operation::Mkdir { name, .. }
        | Operation::Symlink { name, .. }
        | Operation::Link { name, .. }
            if taken(node, name) =>
        {
            return Err(Errno::EEXIST);
        }
        Operation::Unlink(name) | Operation::Rmdir(name) | Operation::Rename { name, .. }
            if taken(node, name) =>
        {
            return Err(Errno::EBUSY);
        }
        Operation::Rename { to, to_name, .. } if taken(*to, to_name) => return Err(Errno::EBUSY),
        _ => {}
    }
    Ok(match operation {
        Operation::Link { node, name } => Operation::Link {
            node: same(node)?,
            name,
        },
        Operation::Rename {
            name,
            to,
            to_name,
            flags,
        } => Operation::Rename {
            name,
            to: same(to)?,
            to_name,
            flags,
        },
        Operation::CopyRange {
            handle,
            offset,
            to,
            to_offset,
            len,
        } => Operation::CopyRange {
            handle,
            offset,
            to: OpenFile {
                node: same(to.node)?,
                handle: to.handle,
            },
            to_offset,
            len,
        },
        other => other,
    })
}

/// A reply as the device shows it.
fn outside(mount: &Arc<Mount>, reply: Reply) -> Result<Reply, Errno> {
    let shown = |entry| {
        let shown = mount.shown(entry);
        if shown.is_err() {
            mount.fs.forget(entry.node, 1);
        }
        shown
    };
    Ok(match reply {
        Reply::Entry(entry) => Reply::Entry(shown(entry)?),
        Reply::Created(entry, opened) => Reply::Created(shown(entry)?, opened),
        Reply::Attr(attr, timeout) => Reply::Attr(mount.attr(attr)?, timeout),
        other => other,
    })
}

/// SYNCFS is about the whole device: all mounts at once.
fn sync_all(view: &View, caller: Caller) -> Result<Reply, Errno> {
    let mut waiting = Vec::new();
    for mount in view.mounts.values() {
        match mount.fs.perform(caller, ROOT, Operation::SyncFs) {
            Ok(Reply::Later(sync)) => waiting.push(sync),
            Ok(_) | Err(Errno::ENOSYS) => {}
            Err(errno) => return Err(errno),
        }
    }
    if waiting.is_empty() {
        return Ok(Reply::Done);
    }
    Ok(Reply::Later(Box::pin(async move {
        let all: Result<Vec<u64>, Errno> = join_all(waiting).await.into_iter().collect();
        all.map(|_| 0)
    })))
}
