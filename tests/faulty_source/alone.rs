//! Each fault alone: what is read while it lasts, and that everything is read
//! once it is over.

use std::time::Duration;

use crate::readers::{read, read_all_right};
use crate::rig::{Rig, guest, tokens};
use crate::support::dice::Dice;
use crate::support::registry::{Fault, On, Redirect, Settings, What};

/// What readers see of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Nothing.
    Nothing,
    /// Errors, and nothing else.
    Errors,
    /// Some errors perhaps.
    Some,
}

/// How long readers begin reads while there is a fault.
const LASTS: Duration = Duration::from_millis(1500);

fn status(status: u16) -> What {
    let retry_after = None;
    What::Status {
        status,
        retry_after,
    }
}

fn check(settings: Settings, faults: Vec<Fault>, expect: Expect) {
    let rig = Rig::new(settings);
    let mut dice = Dice(7);
    let daemon = rig.serve(&rig.config());
    let mut guest = guest(&daemon);
    rig.registry.change(|settings| settings.faults = faults);
    let pieces = rig.pieces(&mut dice);
    let tally = read(&rig, &mut guest, &pieces, LASTS);
    println!("under the fault: {tally:?}");
    match expect {
        Expect::Nothing => assert_eq!(tally.errors, 0, "{}", daemon.complaints()),
        Expect::Errors => assert!(tally.errors > 0 && tally.right == 0, "{tally:?}"),
        Expect::Some => assert!(tally.errors + tally.right > 0),
    }
    rig.mend();
    let after = read_all_right(&rig, &mut guest, &rig.pieces(&mut dice));
    println!("afterwards: {after:?}");
}

fn check_fault(fault: Fault, expect: Expect) {
    check(Settings::default(), vec![fault], expect);
}

macro_rules! faults {
    ($($name:ident: $fault:expr => $expect:ident;)*) => {
        $(#[test] fn $name() { check_fault($fault, Expect::$expect); })*
    };
}

faults! {
    server_errors_now_and_then_are_not_seen:
        Fault::new(status(503)).every(2).times(3) => Nothing;
    overload_is_waited_for:
        Fault::new(What::Status { status: 429, retry_after: Some("1".into()) }).times(2) => Nothing;
    one_answer_that_hangs_is_not_seen:
        Fault::new(What::Hang).times(1) => Nothing;
    server_errors_are_errors_until_they_end:
        Fault::new(status(500)) => Errors;
    refused_blobs_are_errors_until_they_are_served:
        Fault::new(status(404)) => Errors;
    cut_bodies_are_errors_at_worst:
        Fault::new(What::Truncate) => Some;
    cut_bodies_now_and_then_are_not_seen:
        Fault::new(What::Truncate).every(2).times(3) => Nothing;
    short_ranges_are_errors:
        Fault::new(What::Short) => Errors;
    altered_bytes_are_errors:
        Fault::new(What::Alter { bytes: 100_000 }) => Errors;
    ignored_ranges_are_errors:
        Fault::new(What::Whole) => Errors;
    other_ranges_are_errors:
        Fault::new(What::WrongRange) => Errors;
    bodies_of_unknown_length_are_read:
        Fault::new(What::Chunked) => Nothing;
    reset_connections_are_errors_at_worst:
        Fault::new(What::Reset) => Some;
    reset_connections_now_and_then_are_not_seen:
        Fault::new(What::Reset).every(2).times(3) => Nothing;
    closed_connections_are_errors:
        Fault::new(What::Close) => Errors;
    hanging_answers_are_errors_at_the_deadline:
        Fault::new(What::Hang) => Errors;
    dripping_bodies_are_errors_at_worst:
        Fault::new(What::Drip { rate: 10_000 }) => Some;
    bodies_that_hang_midway_are_errors_at_worst:
        Fault::new(What::HangMidway) => Some;
}

#[test]
fn expiring_tokens_are_renewed_unseen() {
    let settings = Settings {
        auth: tokens(200, Some(60)),
        rtt_ms: 20.0,
        ..Settings::default()
    };
    check(settings, Vec::new(), Expect::Nothing);
}

#[test]
fn token_server_that_fails_is_an_error_until_it_is_back() {
    let settings = Settings {
        auth: tokens(60_000, Some(60)),
        ..Settings::default()
    };
    let faults = vec![Fault::new(status(500)).on(On::Token)];
    check(settings, faults, Expect::Errors);
}

#[test]
fn expiring_links_of_three_hops_are_followed_anew_unseen() {
    let settings = Settings {
        auth: tokens(60_000, None),
        redirect: Some(Redirect {
            hops: 3,
            other_port: true,
            relative: false,
            expires_ms: 150,
        }),
        rtt_ms: 10.0,
        ..Settings::default()
    };
    check(settings, Vec::new(), Expect::Nothing);
}

#[test]
fn links_that_are_refused_are_errors_until_they_are_good() {
    let settings = Settings {
        redirect: Some(Redirect {
            relative: true,
            ..Redirect::default()
        }),
        ..Settings::default()
    };
    let faults = vec![Fault::new(status(403)).on(On::Link)];
    check(settings, faults, Expect::Errors);
}
