//! Figures for Prometheus, in its text format.

use std::time::Duration;

use affinis::Stats;
use affinis_api::target::Target;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::jobs::JobKind;

/// The content type of the figures.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabels {
    collection: String,
}

/// The figures of a service.
pub(crate) struct Figures {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    jobs: Family<JobLabels, Counter>,
    gates: Family<JobLabels, Counter>,
    running: Gauge,
    items: Family<CollectionLabels, Gauge>,
    segments: Family<CollectionLabels, Gauge>,
    growing: Family<CollectionLabels, Gauge>,
    judgements: Family<CollectionLabels, Gauge>,
    active: Family<CollectionLabels, Gauge>,
    memory: Family<CollectionLabels, Gauge>,
    disk: Gauge,
}

/// Buckets from a fifth of a millisecond to about 26 s, in seconds.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0002, 2.0, 18))
}

impl Default for Figures {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("affinis");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let durations = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register(
            "request_duration_seconds",
            "Time to the head of the answer",
            durations.clone(),
        );
        let jobs = Family::default();
        registry.register("jobs", "Jobs that ended", jobs.clone());
        let gates = Family::default();
        registry.register("refits", "Refits by what became of them", gates.clone());
        let running = Gauge::default();
        registry.register("jobs_running", "Jobs that run", running.clone());
        let mut of_collection = |name: &str, help: &str| {
            let family = Family::<CollectionLabels, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let items = of_collection("items", "Live items");
        let segments = of_collection("segments", "Sealed segments of the index");
        let growing = of_collection("growing_items", "Items without a graph");
        let judgements = of_collection("judgements", "Judgements");
        let active = of_collection("active_metric", "Version of the metric that is active");
        let memory = of_collection("memory_bytes", "Memory of the index");
        let disk = Gauge::default();
        registry.register("disk_bytes", "Size of the store on disk", disk.clone());
        Self {
            registry,
            requests,
            durations,
            jobs,
            gates,
            running,
            items,
            segments,
            growing,
            judgements,
            active,
            memory,
            disk,
        }
    }
}

impl Figures {
    /// Counts an answer.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&RouteLabels {
                method: method.clone(),
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        let labels = RequestLabels {
            method,
            route,
            status: status.into(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a job.
    pub(crate) fn job_ended(&self, kind: JobKind, done: bool) {
        let labels = JobLabels {
            kind: kind.name(),
            outcome: if done { "done" } else { "failed" },
        };
        self.jobs.get_or_create(&labels).inc();
    }

    /// Counts a refit by what the gate let become of it.
    pub(crate) fn refitted(&self, promoted: bool) {
        let labels = JobLabels {
            kind: JobKind::Refit.name(),
            outcome: if promoted { "promoted" } else { "not_promoted" },
        };
        self.gates.get_or_create(&labels).inc();
    }

    /// The figures, with those of the open collections as they are now. Blocks.
    pub(crate) fn text(&self, open: &[Target], running: usize) -> affinis::Result<String> {
        self.running.set(running as i64);
        let families = [
            &self.items,
            &self.segments,
            &self.growing,
            &self.judgements,
            &self.active,
            &self.memory,
        ];
        // Collections that were dropped are not told any more.
        for family in families {
            family.clear();
        }
        for target in open {
            // Figures of a table cost the database more than is worth at every scrape.
            let Ok(collection) = target.embedded("the database has its figures") else {
                continue;
            };
            let stats = collection.stats()?;
            self.disk.set(stats.store_bytes as i64);
            let labels = CollectionLabels {
                collection: collection.name().to_owned(),
            };
            for (family, value) in families.iter().zip(values(&stats)) {
                family.get_or_create(&labels).set(value);
            }
        }
        let mut figures = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut figures, &self.registry);
        Ok(figures)
    }
}

/// The figures of a collection, in the order of their families.
fn values(stats: &Stats) -> [i64; 6] {
    [
        stats.items as i64,
        stats.segments.len() as i64,
        stats.growing as i64,
        stats.judgements as i64,
        i64::from(stats.active_metric.0),
        stats.memory_bytes as i64,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let figures = Figures::default();
        figures.answered("GET", "/healthz", 200, Duration::from_millis(1));
        figures.job_ended(JobKind::Refit, true);
        let text = figures.text(&[], 0).expect("figures");
        for line in [
            r#"affinis_requests_total{method="GET",route="/healthz",status="200"} 1"#,
            r#"affinis_request_duration_seconds_count{method="GET",route="/healthz"} 1"#,
            r#"affinis_jobs_total{kind="refit",outcome="done"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
