//! Faults mixed at random: rounds of a fresh daemon each, first with faults,
//! then with a good source.
//!
//! A test of the suite runs some seconds of it. `scripts/chaos-sources` runs as
//! long as it is told to, in steps if it must: the file of finished rounds says
//! where to go on. Variables: `TIDEGATE_CHAOS_LOG` (that file),
//! `TIDEGATE_CHAOS_SECONDS`, `TIDEGATE_CHAOS_SEED`.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::readers::{READERS, Tally, read, read_all_right};
use crate::rig::{PASSWORD, Rig, USER, guest, tokens};
use crate::support::dice::Dice;
use crate::support::registry::{Auth, Fault, On, Redirect, Settings, What};

/// How long each round is faulty.
const FAULTY: Duration = Duration::from_secs(2);

fn fault(dice: &mut Dice) -> Fault {
    let status = *dice.pick(&[401, 403, 404, 416, 429, 500, 502, 503, 504]);
    let retry_after = *dice.pick(&[None, None, Some("0"), Some("1")]);
    let retry_after = retry_after.map(str::to_owned);
    let what = match dice.below(12) {
        0 | 1 => What::Status {
            status,
            retry_after,
        },
        2 => What::Truncate,
        3 => What::Short,
        4 => What::Alter {
            bytes: u32::try_from(1 + dice.below(100)).unwrap(),
        },
        5 => What::Whole,
        6 => What::WrongRange,
        7 => What::Chunked,
        8 => What::Reset,
        9 => What::Close,
        10 => dice.pick(&[What::Hang, What::HangMidway]).clone(),
        _ => What::Drip { rate: 20_000 },
    };
    let on = match (&what, dice.below(6)) {
        (What::Status { .. }, 0) => On::Entry,
        (What::Status { .. }, 1) => On::Link,
        (What::Status { .. }, 2) => On::Token,
        _ => On::Blob,
    };
    let chance = *dice.pick(&[0.02, 0.1, 0.3, 0.6, 1.0]);
    Fault::new(what).on(on).probability(chance)
}

fn settings(dice: &mut Dice) -> Settings {
    let auth = match dice.below(3) {
        0 => Auth::Open,
        1 => Auth::Basic {
            user: USER.into(),
            password: PASSWORD.into(),
        },
        _ => tokens(
            *dice.pick(&[150, 1000, 60_000]),
            *dice.pick(&[None, Some(60)]),
        ),
    };
    let hops = u32::try_from(dice.below(4)).unwrap();
    let redirect = (hops > 0).then(|| Redirect {
        hops,
        other_port: dice.below(2) == 0,
        relative: dice.below(2) == 0,
        expires_ms: *dice.pick(&[100, 1000, 60_000]),
    });
    Settings {
        rtt_ms: *dice.pick(&[0.0, 1.0, 5.0, 20.0]),
        jitter_ms: *dice.pick(&[0.0, 5.0]),
        bandwidth: *dice.pick(&[0, 0, 3_000_000, 20_000_000]),
        auth,
        redirect,
        faults: (0..1 + dice.below(4)).map(|_| fault(dice)).collect(),
        seed: dice.next(),
        ..Settings::default()
    }
}

/// One round; what it was like, and how it ended.
fn round(rig: &Rig, seed: u64, number: u64) -> (Value, Tally) {
    let mut dice = Dice(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let settings = settings(&mut dice);
    println!("round {number}: {}", json!(settings));
    rig.registry.change(|current| *current = settings.clone());
    let daemon = rig.serve(&rig.config());
    let mut guest = guest(&daemon);
    let begin = Instant::now();
    let mut faulty = Tally::default();
    while begin.elapsed() < FAULTY {
        let pieces = rig.pieces(&mut dice);
        let rest = FAULTY.saturating_sub(begin.elapsed());
        faulty = faulty.and(read(rig, &mut guest, &pieces, rest));
        if faulty.errors == 0 {
            // Everything is in the cache.
            break;
        }
    }
    rig.mend();
    // A fetch that the faults left hanging may still fail those who wait for it.
    let pieces = rig.pieces(&mut dice);
    let settling = read(rig, &mut guest, &pieces, Duration::MAX);
    assert!(settling.errors <= READERS, "{settling:?} at a good source");
    let faulty = faulty.and(settling);
    let good = read_all_right(rig, &mut guest, &pieces);
    let log = daemon.complaints();
    assert!(
        !log.contains("panicked") && !log.contains(PASSWORD),
        "{log}"
    );
    let tally = faulty.and(good);
    println!("round {number}: {faulty:?}, then {good:?}");
    let entry = json!({
        "round": number, "seed": seed, "settings": settings,
        "right": tally.right, "errors": tally.errors,
        "slowest_ms": u64::try_from(tally.slowest.as_millis()).unwrap(),
        "after_ms": u64::try_from(good.slowest.as_millis()).unwrap(),
    });
    (entry, tally)
}

/// Rounds from `first` on until the time is up.
fn run(seed: u64, first: u64, length: Duration, mut note: impl FnMut(Value)) -> Tally {
    let rig = Rig::new(Settings::default());
    let begin = Instant::now();
    let mut total = Tally::default();
    for number in first.. {
        if begin.elapsed() >= length {
            break;
        }
        let round_begin = Instant::now();
        let (mut entry, tally) = round(&rig, seed, number);
        entry["seconds"] = json!(round_begin.elapsed().as_secs_f64());
        note(entry);
        total = total.and(tally);
    }
    total
}

#[test]
fn mixed_faults_never_bring_a_wrong_byte() {
    let total = run(1, 0, Duration::from_secs(20), |_| {});
    println!("{total:?}");
    assert!(total.right > 0 && total.errors > 0, "{total:?}");
}

/// For `scripts/chaos-sources`.
#[test]
#[ignore = "takes as long as it is told to"]
fn mixed_faults_for_long() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("TIDEGATE_CHAOS_SEED").unwrap_or(1);
    let wanted = number("TIDEGATE_CHAOS_SECONDS").unwrap_or(600);
    let path = env::var("TIDEGATE_CHAOS_LOG").expect("TIDEGATE_CHAOS_LOG names a file");
    let done = fs::read_to_string(&path).unwrap_or_default();
    let done: Vec<Value> = done
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|entry: &Value| entry["seed"] == seed)
        .collect();
    let first = done
        .iter()
        .filter_map(|entry| entry["round"].as_u64())
        .max();
    let spent: f64 = done
        .iter()
        .filter_map(|entry| entry["seconds"].as_f64())
        .sum();
    let left = Duration::from_secs(wanted).saturating_sub(Duration::from_secs_f64(spent));
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let total = run(seed, first.map_or(0, |last| last + 1), left, |entry| {
        writeln!(log, "{entry}").unwrap();
    });
    println!("{total:?}");
}
