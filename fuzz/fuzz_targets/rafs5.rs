//! Opens any bytes as a RAFS v5 bootstrap and looks at all that it shows.
//!
//! Errors are fine; panics, hangs and unbounded memory are bugs.
//!
//! Input: a byte that says what to start from (bits 0-2: 0 for the rest of the
//! input as it is, else a small bootstrap, or if all bits but the fourth are set
//! one with long lists, which takes ten times as long); then the bytes, or the
//! list of damages to do to the bootstrap (see `Patched::damage`).
//!
//! The first run of a process and every 64th is served as well, whatever its
//! input: that takes much longer, and its threads never do the same twice, which
//! a fuzzer would take for news.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::fs::walk;
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};
use tidegate_fuzz::input::Input;
use tidegate_fuzz::look::{look, serve};
use tidegate_fuzz::patch::Patched;

/// Runs from one that is served to the next.
const SERVED: u64 = 64;

struct Rig {
    runs: u64,
    images: [(Patched, Arc<DirectoryBackend>); 2],
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/v5")
}

impl Rig {
    fn new() -> Self {
        let image = |name: &str| {
            let home = data().join(name);
            let bootstrap = fs::read(home.join("bootstrap")).unwrap();
            let backend = DirectoryBackend::new(home.join("blobs"));
            (Patched::new(bootstrap), Arc::new(backend))
        };
        Self {
            runs: 0,
            images: [image("tiny"), image("lz4")],
        }
    }

    fn run(&mut self, data: &[u8]) {
        let mut input = Input(data);
        let how = input.u8();
        let base = how & 7;
        let (file, backend) = &mut self.images[usize::from(how | 8 == 0xff)];
        if base == 0 {
            file.replace(input.0);
        } else {
            file.damage(&mut input);
        }
        match Image::open(&file.path(), Pin::default()) {
            Ok(image) => {
                explore(&image);
                if self.runs.is_multiple_of(SERVED)
                    && let Some(store) = store(&image, backend)
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

fn store(image: &Image, backend: &Arc<DirectoryBackend>) -> Option<Arc<Store>> {
    let config = StoreConfig {
        // Made anew thousands of times, and not to be waited for.
        tag_budget: 256 << 10,
        deadline: Duration::from_millis(5),
        ..StoreConfig::default()
    };
    Store::open(config, Arc::clone(backend) as _, image.blobs().to_vec()).ok()
}

fn explore(image: &Image) {
    for node in image.prefetch_table().unwrap_or_default().iter().take(8) {
        let _ = image.node(node);
    }
    let sight = look(image);
    let step = 1 + sight.found.len() / 10;
    for path in sight.found.keys().step_by(step) {
        let _ = walk::find(image, path);
        let _ = walk::find(image, &[path.as_slice(), b"\xff"].concat());
    }
}

fuzz_target!(|data: &[u8]| RIG.with_borrow_mut(|rig| rig.run(data)));
