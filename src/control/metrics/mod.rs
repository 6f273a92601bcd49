//! Everything that is measured, and how it is written down for Prometheus.
//!
//! `table` lists the metrics; `docs/metrics.md` describes each, and a test holds
//! the two together.

mod table;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::daemon::{Daemon, Instance};

pub use self::table::{DIRECTORIES, METRICS, REQUESTS};

/// What every name begins with.
pub const PREFIX: &str = "tidegate_";

/// One metric.
pub struct Metric<Of: 'static = Instance> {
    /// Its name behind [`PREFIX`]. Counters get `_total` behind it.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it means, as a sentence without its full stop.
    pub help: &'static str,
    /// Reads the values of what is served.
    read: fn(&Of, &mut Samples),
}

/// The kinds of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Is what it is.
    Gauge,
    /// How many were up to which value.
    Histogram,
}

impl<Of> Metric<Of> {
    /// The name as it is exported.
    pub fn exported(&self) -> String {
        let end = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{PREFIX}{}{end}", self.name)
    }
}

impl Kind {
    fn of_client(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Histogram { sum: f64, buckets: Vec<(f64, u64)> },
}

type Labels = Vec<(&'static str, String)>;

/// The values of one metric, each with its labels.
#[derive(Default)]
struct Samples(Vec<(Labels, Value)>);

impl Samples {
    fn whole(&mut self, value: u64) {
        self.0.push((Vec::new(), Value::Whole(value)));
    }

    fn real(&mut self, value: f64) {
        self.0.push((Vec::new(), Value::Real(value)));
    }

    fn labelled(&mut self, labels: Labels, value: Value) {
        self.0.push((labels, value));
    }
}

/// Writes all metrics of a daemon in the OpenMetrics text format. May wait for
/// the disk.
///
/// # Errors
/// When the encoder fails, which text in memory does not make it do.
pub fn encode(daemon: &Arc<Daemon>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Source(Arc::clone(daemon))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct Source(Arc<Daemon>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let images = self.0.instances();
        let directories = self.0.directories();
        let stats_of_images = images
            .iter()
            .map(|(at, it)| (at.clone(), Arc::clone(&it.stats)));
        let stats_of_directories = directories
            .iter()
            .map(|(at, it)| (at.clone(), Arc::clone(&it.stats)));
        let stats: Vec<_> = stats_of_images.chain(stats_of_directories).collect();
        write_all(&mut encoder, METRICS, &images)?;
        write_all(&mut encoder, DIRECTORIES, &directories)?;
        write_all(&mut encoder, REQUESTS, &stats)
    }
}

/// Writes metrics of all that is served of one kind.
fn write_all<Of>(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &[Metric<Of>],
    served: &[(String, Arc<Of>)],
) -> Result<(), fmt::Error> {
    for metric in metrics {
        let name = format!("{PREFIX}{}", metric.name);
        let kind = metric.kind.of_client();
        let mut family = encoder.encode_descriptor(&name, metric.help, None, kind)?;
        for (mountpoint, it) in served {
            let mut samples = Samples::default();
            (metric.read)(it, &mut samples);
            for (labels, value) in samples.0 {
                let mut all = vec![("mountpoint", mountpoint.clone())];
                all.extend(labels);
                put(family.encode_family(&all)?, metric.kind, &value)?;
            }
        }
    }
    Ok(())
}

fn put(mut encoder: MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => ConstCounter::new(*value).encode(encoder),
        (Kind::Counter, Value::Real(value)) => ConstCounter::new(*value).encode(encoder),
        (Kind::Gauge, Value::Real(value)) => ConstGauge::new(*value).encode(encoder),
        (Kind::Gauge, Value::Whole(value)) => {
            ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)).encode(encoder)
        }
        (Kind::Histogram, Value::Histogram { sum, buckets }) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<[(&str, &str); 0]>(*sum, count, buckets, None)
        }
        (Kind::Counter | Kind::Gauge, Value::Histogram { .. })
        | (Kind::Histogram, Value::Whole(_) | Value::Real(_)) => Err(fmt::Error),
    }
}
