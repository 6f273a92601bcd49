//! `nydusd fuse`: images on the host, as nydus-snapshotter starts it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::arguments::{Failover, FuseArguments, Global};
use super::{host, mount_first};
use crate::cli::state_options::StateArguments;
use crate::cli::{Failure, Outcome};
use crate::control::{Bound, State};
use crate::fusedev::{self, MountOptions, Mounted};
use crate::sandbox::Report;

pub(super) fn run(
    global: &Global,
    arguments: &FuseArguments,
    control: Bound,
    sandbox: Report,
) -> Result<Outcome, Failure> {
    let mountpoint = arguments.mountpoint.as_deref();
    let mountpoint = mountpoint.ok_or("--mountpoint DIR is missing")?;
    if global.upgrade {
        return Err(
            "--upgrade: a running mount cannot be taken over; stop the other daemon and start this one without --upgrade"
                .into(),
        );
    }
    if arguments.writable {
        log::warn!("--writable is left out: images cannot be written");
    }
    if arguments.failover_policy == Failover::Flush {
        log::warn!("--failover-policy is left out: no other daemon takes over");
    }
    let host = host(global, control, &StateArguments::default(), sandbox)?;
    // A signal that comes while we mount waits for the mount and then removes
    // it.
    let slot: Arc<Mutex<Option<Arc<Mounted>>>> = Arc::default();
    let mut place = slot.lock();
    let hook = Arc::clone(&slot);
    host.end_at_signals(move || {
        let Some(mounted) = hook.lock().clone() else {
            return;
        };
        if let Err(error) = mounted.unmount() {
            log::warn!("{error}");
        }
    })?;
    mount_first(&host, global, &arguments.fs)?;
    let options = MountOptions {
        threads: arguments.fuse_threads,
        ..MountOptions::default()
    };
    host.daemon.set_state(State::Ready);
    let tree = Arc::clone(host.attacher.tree());
    let mounted = Arc::new(fusedev::mount(mountpoint, tree, options)?);
    *place = Some(Arc::clone(&mounted));
    drop(place);
    host.daemon.set_state(State::Running);
    mounted.wait();
    host.finish();
    Ok(Outcome::Done)
}
