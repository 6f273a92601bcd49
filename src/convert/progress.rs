//! What a conversion shows on a terminal while it works.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How a line looks: what is done, how far it is, how fast it goes.
const STYLE: &str = "{prefix:<28} {bar:24} {bytes:>11} of {total_bytes:>11} {bytes_per_sec:>12}";

/// The bars of a conversion, or none.
#[derive(Clone)]
pub struct Progress(MultiProgress);

impl Progress {
    /// Bars on standard error, if that is a terminal and they are wanted.
    pub fn new(wanted: bool) -> Self {
        let target = match wanted && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A bar for `size` bytes, gone when they are done.
    pub(super) fn bar(&self, what: &str, size: u64) -> Bar {
        let bar = ProgressBar::new(size);
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        let bar = self.0.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }
}

/// A bar that goes when it is dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// How many bytes are done.
    pub(super) fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A digest as a line has room for it.
pub(super) fn short(digest: &str) -> &str {
    let digits = digest.trim_start_matches("sha256:");
    digits.get(..12).unwrap_or(digits)
}
