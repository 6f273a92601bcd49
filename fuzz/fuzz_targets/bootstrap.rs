//! Opens any bytes as a bootstrap and looks at all that it shows.
//!
//! Errors are fine; panics, hangs and unbounded memory are bugs.
//!
//! Input: a byte that says what to start from (bits 0-2: 0 for the rest of the
//! input as it is, else one of four valid bootstraps); then the bytes, or the
//! list of damages to do to the bootstrap (see `Patched::damage`).
//!
//! The first run of a process and every 64th is served as well, whatever its
//! input: see the target `rafs5`.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate::fs::walk;
use tidegate::image::{Image, Pin};
use tidegate_fuzz::bench::Bench;
use tidegate_fuzz::input::Input;
use tidegate_fuzz::look::{look, serve};
use tidegate_fuzz::patch::Patched;

/// Runs from one that is served to the next.
const SERVED: u64 = 64;

struct Rig {
    runs: u64,
    benches: [Bench; 2],
    files: [Patched; 4],
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

impl Rig {
    fn new() -> Self {
        let (small, wide) = (Bench::small(), Bench::wide());
        let files = [
            small.bootstrap(),
            small.foreign(),
            wide.bootstrap(),
            wide.foreign(),
        ];
        Self {
            runs: 0,
            benches: [small, wide],
            files: files.map(Patched::new),
        }
    }

    fn run(&mut self, data: &[u8]) {
        let mut input = Input(data);
        let how = input.u8();
        let base = usize::from(how & 7);
        let number = base.saturating_sub(1) % 4;
        let (file, bench) = (&mut self.files[number], &self.benches[number / 2]);
        if base == 0 {
            file.replace(input.0);
        } else {
            file.damage(&mut input);
        }
        match Image::open(&file.path(), Pin::default()) {
            Ok(image) => {
                explore(&image);
                if self.runs.is_multiple_of(SERVED)
                    && let Some(store) = bench.store(&image)
                {
                    serve(Arc::new(image), store);
                }
            }
            Err(error) => drop(error.to_string()),
        }
        file.mend();
        self.runs += 1;
    }
}

fn explore(image: &Image) {
    let sight = look(image);
    let step = 1 + sight.found.len() / 10;
    for path in sight.found.keys().step_by(step) {
        let _ = walk::find(image, path);
        let _ = walk::find(image, &[path.as_slice(), b"\xff"].concat());
    }
}

fuzz_target!(|data: &[u8]| RIG.with_borrow_mut(|rig| rig.run(data)));
