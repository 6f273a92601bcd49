//! `nydusd virtiofs`: a virtual machine's device, as Kata's runtimes start it.

use std::path::PathBuf;

use super::arguments::{Global, VirtiofsArguments};
use super::{host, mount_first};
use crate::cli::host::listener;
use crate::cli::{Failure, Outcome};
use crate::control::Bound;
use crate::sandbox::Report;
use crate::virtio::{ServeOptions, Shutdown};

pub(super) fn run(
    global: &Global,
    arguments: &VirtiofsArguments,
    control: Bound,
    sandbox: Report,
) -> Result<Outcome, Failure> {
    if global.upgrade {
        log::warn!(
            "--upgrade is left out: no other daemon hands its state over; one that was killed leaves it in --state DIR"
        );
    }
    let foreign = arguments.foreign.given();
    if !foreign.is_empty() {
        log::warn!(
            "Options of virtiofsd do nothing here: {}",
            foreign.join(" ")
        );
    }
    let listener = arguments.fd.map(listener).transpose()?;
    let shutdown = Shutdown::new()?;
    let host = host(global, control, &arguments.state, sandbox)?;
    let hook = shutdown.clone();
    host.end_at_signals(move || hook.remove_socket())?;
    // Kata mounts a directory beside the images before the guest starts.
    host.attacher.tree().expect_directories();
    host.attacher.restore();
    mount_first(&host, global, &arguments.fs)?;
    let socket = match (&arguments.sock, arguments.fd) {
        (Some(path), _) => path.clone(),
        (None, fd) => PathBuf::from(format!("descriptor {}", fd.unwrap_or(-1))),
    };
    let options = ServeOptions {
        listener,
        request_queues: arguments.request_queues,
        exit_on_disconnect: arguments.exit_on_disconnect,
        record: arguments.state.dir().map(Into::into),
        ..ServeOptions::new(socket)
    };
    host.serve(&options, &shutdown)?;
    host.finish();
    Ok(Outcome::Done)
}
