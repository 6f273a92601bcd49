//! How long a reader waits while another file is written in a burst, both on one
//! queue. For reading, since it depends on the disk: run it with `--ignored`.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::session::wire::{Body, Fields, ROOT, op};

const WRITE: u32 = 16;
const OPEN: u32 = 14;

/// Bytes of a write, and how many are under way.
const BLOCK: usize = 256 << 10;
const AT_ONCE: usize = 8;

#[test]
#[ignore = "measures: TIDEGATE_BURST_MIB (1024) are written"]
fn a_reader_during_a_burst_of_writes() {
    let size = std::env::var("TIDEGATE_BURST_MIB");
    let size = size.map_or(1024, |text| text.parse::<usize>().unwrap()) << 20;
    // Beside the code: /tmp may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("read"), vec![1; 1 << 20]).unwrap();
    fs::write(dir.path().join("written"), "").unwrap();
    let shared = dir.path().to_str().unwrap();
    let daemon = Daemon::tidegate(&["--shared-dir", shared]).unwrap();
    let config = Config {
        depth: AT_ONCE + 1,
        request_max: BLOCK + 4096,
        timeout: Duration::from_secs(120),
        ..Config::default()
    };
    let mut guest = daemon.mount(&config).unwrap();
    let mut open = |name: &[u8]| {
        let node = guest.lookup(ROOT, name).unwrap().node;
        let flags = Body::default().u32(libc::O_RDWR.cast_unsigned()).u32(0).0;
        let raw = guest.raw(OPEN, node, &flags, 16).unwrap();
        (node, Fields(&raw).u64())
    };
    let (read, written) = (open(b"read"), open(b"written"));
    let mut times = Vec::new();
    let (mut offset, mut under_way) = (0, 0);
    let begun = Instant::now();
    let mut asked: Option<(usize, Instant)> = None;
    while offset < size || under_way > 0 || asked.is_some() {
        while offset < size && under_way < AT_ONCE {
            let len = u32::try_from(BLOCK).unwrap();
            let head = Body::default().u64(written.1).u64(offset as u64).u32(len);
            let mut body = head.u32(0).u64(0).u32(0).u32(0).0;
            body.resize(body.len() + BLOCK, 7);
            guest.submit(1, WRITE, written.0, &body, Some(8)).unwrap();
            offset += BLOCK;
            under_way += 1;
        }
        if asked.is_none() && offset < size {
            let at = (times.len() * 4096 % (1 << 20)) as u64;
            let body = Body::read(read.1, at, 4096).0;
            let ticket = guest
                .submit(1, op::READ, read.0, &body, Some(4096))
                .unwrap();
            asked = Some((ticket.slot, Instant::now()));
        }
        guest.flush(1).unwrap();
        let reply = guest.complete(1).unwrap();
        match asked {
            Some((slot, since)) if slot == reply.ticket.slot => {
                times.push(since.elapsed());
                asked = None;
                assert_eq!(guest.finish(reply).unwrap(), 4096);
            }
            _ => {
                under_way -= 1;
                guest.finish(reply).unwrap();
            }
        }
    }
    let rate = size as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 1000];
    println!(
        "{} reads of 4 KiB beside writes of {rate:.0} MiB/s: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}
