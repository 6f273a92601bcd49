//! A cache directory that a nydusd of the host uses at the same time, as it does
//! where nydus-snapshotter has a daemon for each image.
//!
//! `TIDEGATE_BESIDE_SECONDS` (5) reads for longer; `TIDEGATE_PEERS` says where nydusd is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;

use crate::clients::Client;
use crate::rig::{api, assert_done, body, config, start, until};
use crate::support::frontend::Config;
use crate::support::image::{self, noise};
use crate::support::mount::is_possible;

const FILES: usize = 24;
const LEN: usize = 300_000;
const AT: &str = "/rafs/1/lowerdir";

struct Nydusd {
    child: Child,
    on: PathBuf,
}

impl Drop for Nydusd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = rustix::mount::unmount(&self.on, UnmountFlags::DETACH);
    }
}

fn nydusd() -> Option<PathBuf> {
    let peers = std::env::var_os("TIDEGATE_PEERS").map(PathBuf::from);
    let peers = peers.or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache/tidegate/peers"))
    })?;
    let program = peers.join("bin/nydusd");
    program.exists().then_some(program)
}

/// Check 36.
#[test]
fn a_cache_directory_is_shared_with_a_living_nydusd() {
    let Some(program) = nydusd().filter(|_| is_possible()) else {
        println!("SKIPPED: needs nydusd (scripts/peers), root and /dev/fuse");
        return;
    };
    let image = image::build(
        |root| {
            (0..FILES).try_for_each(|file| {
                fs::write(root.join(format!("f{file}")), noise(file as u64, LEN))
            })
        },
        &["--chunk-size", "64KiB"],
    )
    .unwrap();
    let daemon = start(&[]);
    let home = daemon.work().to_owned();
    let (cache, on) = (home.join("cache"), home.join("on"));
    fs::create_dir(&cache).unwrap();
    fs::create_dir(&on).unwrap();
    let text = config(&image, &cache);
    fs::write(home.join("config.json"), text.to_string()).unwrap();
    let child = Command::new(program)
        .args([
            "fuse",
            "--log-level",
            "error",
            "--rlimit-nofile",
            "0",
            "--mountpoint",
        ])
        .arg(&on)
        .arg("--bootstrap")
        .arg(image.bootstrap())
        .arg("--config")
        .arg(home.join("config.json"))
        .current_dir(&home)
        .stdin(Stdio::null())
        .stderr(File::create(home.join("nydusd")).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let theirs = Nydusd { child, on };
    until("nydusd serves", || theirs.on.join("f0").exists());
    assert_done(&Client::Go.mount(&api(&daemon), AT, &body(&image.bootstrap(), &text)));
    // An hour of it may run beside other work.
    let config = Config {
        timeout: Duration::from_secs(120),
        ..Config::default()
    };
    let mut guest = daemon.mount(&config).unwrap();

    let seconds = std::env::var("TIDEGATE_BESIDE_SECONDS");
    let seconds = seconds.map_or(5, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut slowest = Duration::ZERO;
    let truth: Vec<Vec<u8>> = (0..FILES).map(|file| noise(file as u64, LEN)).collect();
    let (mut state, mut reads) = (7u64, 0);
    let mut draw = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    while Instant::now() < end {
        let (file, at, len) = (draw(FILES), draw(LEN), 1 + draw(100_000));
        let wanted = &truth[file][at..LEN.min(at + len)];
        let begun = Instant::now();
        let node = guest.resolve(&format!("{AT}/f{file}")).unwrap();
        assert!(
            guest.read(node, 0, at as u64, len).unwrap() == wanted,
            "f{file} at {at}"
        );
        slowest = slowest.max(begun.elapsed());
        let (file, at) = (draw(FILES), draw(LEN));
        let wanted = &truth[file][at..LEN.min(at + len)];
        let mut bytes = vec![0; wanted.len()];
        // Not what the host's kernel keeps.
        let open = File::open(theirs.on.join(format!("f{file}"))).unwrap();
        rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        open.read_exact_at(&mut bytes, at as u64).unwrap();
        assert!(bytes == wanted, "nydusd: f{file} at {at}");
        reads += 1;
    }
    for (file, content) in truth.iter().enumerate() {
        let node = guest.resolve(&format!("{AT}/f{file}")).unwrap();
        assert!(guest.read(node, 0, 0, LEN).unwrap() == *content);
        assert!(fs::read(theirs.on.join(format!("f{file}"))).unwrap() == *content);
    }
    println!("{reads} reads of each, ours in {slowest:?} at most");
    // Ours are apart from theirs.
    let names = fs::read_dir(&cache).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "tidegate"), "{names:?}");
    assert!(names.len() > 1, "nydusd has its files elsewhere: {names:?}");
    let counters = daemon.counters().unwrap();
    assert_eq!(counters["proof_failures_cache"], 0, "{counters}");
}
