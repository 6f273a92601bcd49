//! A passed-through directory, mounted on the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::fs::FileSystem;
use tidegate::fs::passthrough::{Options, PassthroughFs};
use tidegate::fusedev::{MountOptions, Mounted, mount};

/// A mount and what is behind it.
pub(crate) struct Rig {
    // In the order in which they are dropped.
    mounted: Mounted,
    pub(crate) fs: Arc<PassthroughFs>,
    home: TempDir,
}

impl Rig {
    /// Mounts an empty directory; none where nothing can be mounted.
    pub(crate) fn new(options: Options) -> Option<Self> {
        if !crate::support::mount::is_possible() {
            eprintln!("Skipped: mounting needs root and /dev/fuse");
            return None;
        }
        // Beside the code: /tmp may be a file system without all features.
        let home = tempfile::Builder::new()
            .prefix("passthrough-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        for name in ["source", "on"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let fs = Arc::new(PassthroughFs::new(&home.path().join("source"), options).unwrap());
        let how = MountOptions {
            read_only: false,
            ..MountOptions::default()
        };
        let shared: Arc<dyn FileSystem> = fs.clone();
        let mounted = mount(&home.path().join("on"), shared, how).unwrap();
        Some(Self { mounted, fs, home })
    }

    /// A path as the guest sees it.
    pub(crate) fn on(&self, path: &str) -> PathBuf {
        self.home.path().join("on").join(path)
    }

    /// The same path on the host.
    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.home.path().join("source").join(path)
    }

    /// Has the kernel forget what it knows, and waits until it has said so.
    pub(crate) fn forget_all(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.fs.held_nodes() > 0 || self.fs.open_handles() > 0 {
            std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
            assert!(
                Instant::now() < end,
                "{} nodes and {} handles are held",
                self.fs.held_nodes(),
                self.fs.open_handles()
            );
            // The kernel tells of it in its own time.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether nothing is mounted there any more.
    pub(crate) fn unmount(&self) {
        self.mounted.unmount().unwrap();
        self.mounted.wait();
    }
}

/// Runs a script in a directory; it must succeed.
pub(crate) fn sh(at: &Path, script: &str) -> String {
    let done = Command::new("sh")
        .args(["-euc", script])
        .current_dir(at)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}\n{text}");
    String::from_utf8(done.stdout).unwrap()
}
