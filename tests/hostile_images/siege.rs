//! What every hostile image goes through.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidegate::backend::directory::DirectoryBackend;
use tidegate::destination::Destination;
use tidegate::fs::walk::{self, Step};
use tidegate::fs::{Errno, FileSystem, ImageFs, Read};
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};

use crate::images;

/// Most names that are looked at.
const STEPS: usize = 5000;

/// What became of a hostile image.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was said when it was opened or walked.
    pub(crate) faults: Vec<String>,
    /// Whether it was refused as a whole.
    pub(crate) refused: bool,
    /// What guests got in place of answers.
    pub(crate) errors: Vec<Errno>,
}

impl Outcome {
    /// Whether some fault says this.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.faults.iter().any(|fault| fault.contains(text))
    }
}

/// Opens, walks and serves the image.
pub(crate) fn endure(bootstrap: &[u8], blobs: &Path) -> Outcome {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bootstrap).unwrap();
    let mut outcome = Outcome::default();
    let image = match Image::open(file.path(), Pin::default()) {
        Ok(image) => image,
        Err(error) => {
            outcome.faults.push(error.to_string());
            outcome.refused = true;
            return outcome;
        }
    };
    let mut steps = 0;
    walk::walk(&image, &mut |step| {
        steps += 1;
        match step {
            Step::Node(path, node) => {
                if images::see(&image, node).is_none() {
                    outcome
                        .faults
                        .push(format!("chunks of {}", walk::show(path)));
                }
            }
            Step::Fault(_, error) => outcome.faults.push(error.to_string()),
        }
        steps < STEPS
    });
    assert!(steps < STEPS, "a walk without end");
    for node in image.prefetch_table().unwrap_or_default() {
        let _ = image.node(&node);
    }
    let backend = Arc::new(DirectoryBackend::new(blobs.to_owned()));
    let config = StoreConfig::default();
    let Ok(store) = Store::open(config, backend, image.blobs().to_vec()) else {
        return outcome;
    };
    let fs = ImageFs::new(Arc::new(image), store);
    fs.init();
    outcome.errors = serve(&fs);
    outcome
}

/// Asks everything of everything, as a guest that goes down into each
/// directory; gives the errors.
fn serve(fs: &ImageFs) -> Vec<Errno> {
    let mut errors = Vec::new();
    let mut note = |error: Errno| errors.push(error);
    let mut open = vec![(1, 0)];
    let mut asked = 0;
    let mut buffer = vec![0; 64 << 10];
    while let Some((node, depth)) = open.pop() {
        asked += 1;
        assert!(asked < STEPS, "a tree without end");
        let size = match fs.getattr(node) {
            Ok((attr, _)) => attr.size,
            Err(error) => {
                note(error);
                continue;
            }
        };
        if let Err(error @ Errno::EIO) = fs.readlink(node).map(drop) {
            note(error);
        }
        let _ = fs.listxattr(node);
        for offset in [0, size.saturating_sub(9), u64::MAX - 4096] {
            let mut dest = Destination::from_slice(&mut buffer);
            let read = match fs.read(node, 0, offset, &mut dest) {
                Read::Ready(read) => read.map(drop),
                Read::Pending(read) => {
                    let runtime = tidegate::runtime::handle().unwrap();
                    runtime.block_on(read).map(drop)
                }
            };
            if let Err(error @ Errno::EIO) = read {
                note(error);
            }
        }
        let mut names = Vec::new();
        let listed = fs.readdir(node, 0, 0, &mut |shown| {
            names.push(shown.name.to_vec());
            names.len() < STEPS
        });
        match listed {
            Err(Errno::ENOTDIR) => continue,
            Err(error) => note(error),
            Ok(()) => {}
        }
        assert!(depth < 64, "a tree without a ground");
        for name in names
            .iter()
            .filter(|name| !matches!(&name[..], b"." | b".."))
        {
            assert!(!name.is_empty() && !name.contains(&b'/') && !name.contains(&0));
            match fs.lookup(node, name) {
                Ok(entry) => open.push((entry.node, depth + 1)),
                Err(error) => note(error),
            }
        }
    }
    errors
}

/// The most memory that this process has had, in bytes.
pub(crate) fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// Fails if this process ever had more memory than a hostile image may cost.
pub(crate) fn assert_modest() {
    let peak = peak();
    assert!(peak < 256 << 20, "{} MiB", peak >> 20);
}
