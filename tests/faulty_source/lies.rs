//! Bytes that fail their proof cost another question, not an error.

use crate::readers::read_all_right;
use crate::rig::{Rig, guest};
use crate::support::dice::Dice;
use crate::support::registry::{Fault, Settings, What};

fn altered() -> Fault {
    Fault::new(What::Alter { bytes: 1 })
}

#[test]
fn every_seventh_answer_altered_is_not_seen() {
    let rig = Rig::new(Settings::default());
    let daemon = rig.serve(&rig.config());
    let mut guest = guest(&daemon);
    let faults = vec![altered().every(7)];
    rig.registry.change(|settings| settings.faults = faults);
    for seed in 0..3 {
        read_all_right(&rig, &mut guest, &rig.pieces(&mut Dice(seed)));
    }
    let counters = daemon.counters().unwrap();
    assert!(
        counters["proof_failures_source"].as_u64() > Some(0),
        "no answer was altered: {counters}"
    );
}

#[test]
fn mirror_that_lies_costs_no_error_while_the_origin_is_good() {
    let rig = Rig::new(Settings::default());
    let mirror = rig.another_registry(Settings {
        faults: vec![altered()],
        ..Settings::default()
    });
    let daemon = rig.serve(&rig.config_with_mirror(&mirror));
    read_all_right(&rig, &mut guest(&daemon), &rig.pieces(&mut Dice(1)));
    let (mirror, origin) = (mirror.counts(), rig.registry.counts());
    assert!(!mirror.by_status.is_empty() && !origin.by_status.is_empty());
}

#[test]
fn mirror_that_is_gone_costs_no_error_while_the_origin_is_good() {
    let rig = Rig::new(Settings::default());
    let mirror = rig.another_registry(Settings::default());
    let config = rig.config_with_mirror(&mirror);
    let daemon = rig.serve(&config);
    drop(mirror);
    read_all_right(&rig, &mut guest(&daemon), &rig.pieces(&mut Dice(1)));
}
