//! What it costs to write down what a guest holds. Prints figures, judges none.

use std::fs;
use std::path::Path;
use std::time::Instant;

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use tidegate::fs::FileSystem;
use tidegate::fs::passthrough::{KeptFiles, Options, PassthroughFs};

const ROOT: u64 = 1;
const FILES: usize = 4000;

/// Time of the thread on a CPU, per file: others may be busy too.
fn nanoseconds(work: impl FnOnce()) -> u64 {
    let now = || {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        u64::try_from(time.num_nanoseconds()).unwrap()
    };
    let start = now();
    work();
    (now() - start) / FILES as u64
}

/// First LOOKUP, another one, FORGET; each on the average.
fn measure(fs: &PassthroughFs, names: &[String]) -> [u64; 3] {
    let mut nodes = Vec::new();
    let first = nanoseconds(|| {
        nodes = names
            .iter()
            .map(|name| fs.lookup(ROOT, name.as_bytes()).unwrap().node)
            .collect();
    });
    let again = nanoseconds(|| {
        for name in names {
            fs.lookup(ROOT, name.as_bytes()).unwrap();
        }
    });
    let forget = nanoseconds(|| nodes.iter().for_each(|&node| fs.forget(node, 2)));
    [first, again, forget]
}

fn kept(state: &Path, source: &Path) -> PassthroughFs {
    let files = KeptFiles {
        nodes: state.join("nodes"),
        handles: state.join("handles"),
        numbers: state.join("numbers"),
    };
    let fs = PassthroughFs::new(source, Options::default()).unwrap();
    fs.keeping(&files).unwrap()
}

#[test]
#[ignore = "measures; run alone, with --no-capture"]
fn what_a_lookup_costs() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let source = home.path().join("source");
    fs::create_dir(&source).unwrap();
    let names: Vec<_> = (0..FILES).map(|number| format!("file-{number}")).collect();
    for name in &names {
        fs::write(source.join(name), b"").unwrap();
    }
    let limit = rustix::process::Resource::Nofile;
    let mut most = rustix::process::getrlimit(limit);
    most.current = most.maximum;
    rustix::process::setrlimit(limit, most).unwrap();
    for round in 0..8 {
        let bare = PassthroughFs::new(&source, Options::default()).unwrap();
        println!("ns without: {:?}", measure(&bare, &names));
        for place in ["/dev/shm", env!("CARGO_TARGET_TMPDIR")] {
            let state = tempfile::tempdir_in(place).unwrap();
            let fs = kept(state.path(), &source);
            println!("ns with state in {place}: {:?}", measure(&fs, &names));
            for name in &names {
                fs.lookup(ROOT, name.as_bytes()).unwrap();
            }
            drop(fs);
            let start = Instant::now();
            let fs = kept(state.path(), &source);
            assert_eq!(fs.held_nodes(), FILES);
            println!(
                "round {round}: {FILES} nodes found again in {:?}",
                start.elapsed()
            );
        }
    }
}
