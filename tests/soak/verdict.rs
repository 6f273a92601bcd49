//! Whether samples are flat: the median of the last third against that of the first,
//! after a warm-up. Medians, since a load that is random has peaks.

use std::fmt;

use crate::samples::Sample;

/// What stands at the end of the line of a flat part.
pub(crate) const FLAT: &str = "flat";

/// Share of the samples that are the warm-up: caches and pools fill.
const WARM_UP: f64 = 0.2;

/// How long was measured, which decides what may still be warming up.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Short,
    Long,
}

/// One figure: early, late.
#[derive(Clone, Copy, Debug)]
struct Figure {
    name: &'static str,
    early: u64,
    late: u64,
    /// What it may grow by: a share in percent, and an amount.
    long: (u64, u64),
    short: (u64, u64),
}

impl Figure {
    fn is_flat(&self, length: Length) -> bool {
        let (percent, amount) = match length {
            Length::Short => self.short,
            Length::Long => self.long,
        };
        self.late <= self.early + self.early * percent / 100 + amount
    }
}

/// What samples say.
#[derive(Debug)]
pub(crate) struct Verdict {
    figures: Vec<Figure>,
    samples: usize,
    last: Sample,
}

impl Verdict {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let warm = (samples.len() as f64 * WARM_UP) as usize;
        let measured = &samples[warm..];
        let third = measured.len() / 3;
        assert!(third > 0, "{} samples are too few", samples.len());
        let figure = |name, of: fn(&Sample) -> u64, long, short| Figure {
            name,
            early: median(&measured[..third], of),
            late: median(&measured[measured.len() - third..], of),
            long,
            short,
        };
        Self {
            figures: vec![
                figure("descriptors", |sample| sample.descriptors, (5, 8), (20, 20)),
                figure("threads", |sample| sample.threads, (5, 4), (20, 12)),
                figure(
                    "resident KiB",
                    |sample| sample.resident,
                    (10, 4096),
                    (40, 16 << 10),
                ),
                figure(
                    "anonymous KiB",
                    |sample| sample.anonymous,
                    (10, 4096),
                    (40, 16 << 10),
                ),
            ],
            samples: samples.len(),
            last: *samples.last().unwrap(),
        }
    }

    /// Fails if something grew.
    pub(crate) fn assert(&self, length: Length) {
        println!("{self}");
        for figure in &self.figures {
            assert!(figure.is_flat(length), "{figure:?} is not flat: {self}");
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { at, done, .. } = self.last;
        write!(out, "{done} done in {at:.0} s, {} samples; ", self.samples)?;
        for Figure {
            name, early, late, ..
        } in &self.figures
        {
            write!(out, "{name} {early} to {late}, ")?;
        }
        let flat = self
            .figures
            .iter()
            .all(|figure| figure.is_flat(Length::Long));
        out.write_str(if flat { FLAT } else { "NOT FLAT" })
    }
}

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn growth_is_told_from_noise() {
    let samples = |grow: u64| -> Vec<Sample> {
        let one = |at: u64| Sample {
            descriptors: 50 + at % 13,
            threads: 20,
            resident: 60_000 + 5000 * (at % 7) + grow * at,
            anonymous: 40_000,
            ..Sample::default()
        };
        (0..300).map(one).collect()
    };
    assert!(Verdict::of(&samples(0)).to_string().ends_with(" flat"));
    let grows = Verdict::of(&samples(100)).to_string();
    assert!(grows.ends_with("NOT FLAT"), "{grows}");
}
