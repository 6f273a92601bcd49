//! The table of metrics against what is written about it.

use std::collections::BTreeSet;

use super::metrics::{DIRECTORIES, Kind, METRICS, PREFIX, REQUESTS};

const PAGE: &str = include_str!("../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana.json");
const API: &str = include_str!("../../../docs/openapi.yaml");
const ROUTES: &str = include_str!("../router.rs");

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    text.match_indices(PREFIX)
        .map(|(at, _)| {
            let name = text[at..].chars();
            name.take_while(|&c| c.is_ascii_alphanumeric() || c == '_')
                .collect()
        })
        .collect()
}

/// Name, kind and help of every metric.
fn all() -> Vec<(String, Kind, &'static str)> {
    let images = METRICS.iter().map(|it| (it.exported(), it.kind, it.help));
    let directories = DIRECTORIES
        .iter()
        .map(|it| (it.exported(), it.kind, it.help));
    let requests = REQUESTS.iter().map(|it| (it.exported(), it.kind, it.help));
    images.chain(directories).chain(requests).collect()
}

fn exported() -> BTreeSet<String> {
    all().into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn every_metric_is_described_with_its_type_and_nothing_else_is() {
    let described: BTreeSet<String> = PAGE
        .lines()
        .filter(|line| line.starts_with(&format!("| `{PREFIX}")))
        .flat_map(|line| named(line.split('|').nth(1).unwrap_or_default()))
        .collect();
    assert_eq!(described, exported());
    for (name, kind, help) in all() {
        let start = format!("| `{name}` |");
        let line = PAGE.lines().find(|line| line.starts_with(&start)).unwrap();
        let kind = match kind {
            Kind::Counter => "counter, ",
            Kind::Gauge => "gauge, ",
            Kind::Histogram => "histogram, ",
        };
        let unit = line.split('|').nth(2).unwrap().trim();
        assert!(unit.starts_with(kind) && unit.len() > kind.len(), "{line}");
        assert!(!help.ends_with('.'), "{help}");
    }
}

#[test]
fn every_counter_of_the_store_is_a_metric() {
    let counters = serde_json::to_value(crate::store::Snapshot::default()).unwrap();
    let exported = exported();
    for name in counters.as_object().unwrap().keys() {
        let name = format!("{PREFIX}store_{name}_total");
        assert!(exported.contains(&name), "{name}");
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist_and_all_of_them() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let shown: BTreeSet<String> = named(&dashboard["panels"].to_string())
        .into_iter()
        .map(|name| name.trim_end_matches("_bucket").to_owned())
        .collect();
    assert_eq!(shown, exported());
}

#[test]
fn every_endpoint_is_described() {
    let literals = ROUTES.split('"').skip(1).step_by(2);
    let paths: BTreeSet<&str> = literals.filter(|text| text.starts_with('/')).collect();
    assert!(paths.len() > 5);
    for path in paths {
        assert!(API.contains(&format!("\n  {path}:\n")), "{path}");
    }
}
