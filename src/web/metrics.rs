//! Metrics in the text formats of Prometheus and OpenMetrics, read on demand.

use std::fmt;
use std::sync::Arc;

use gopherworks_balancer::figures::{Buckets, Figures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::watched::{Observation, Watched};
use crate::report::Report;

/// All metrics, as a collector for a `prometheus_client` registry.
///
/// Names begin with `gopherworks_`, times are in seconds, counters end in `_total`; the labels
/// `balancer` and `topology` name the source.
#[derive(Clone)]
pub struct Metrics(Arc<Vec<Box<dyn Watched>>>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").field(&self.0.len()).finish()
    }
}

impl Metrics {
    pub(super) fn new(watched: Arc<Vec<Box<dyn Watched>>>) -> Self {
        Self(watched)
    }
}

/// One sample of a family: its labels and its value.
type Sample = (Vec<(&'static str, String)>, Value);

enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Buckets),
}

struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Vec<Sample>,
}

impl Family {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some((_, first)) = self.samples.first() else {
            return Ok(());
        };
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), first.kind())?;
        for (labels, value) in &self.samples {
            value.write(metric.encode_family(labels)?)?;
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Value::Counter(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram(_) => MetricType::Histogram,
        }
    }

    fn write(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Counter(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
            Value::Gauge(value) => encoder.encode_gauge(value),
            Value::Histogram(all) => {
                encoder.encode_histogram::<NoLabelSet>(all.seconds, all.count, &all.buckets, None)
            }
        }
    }
}

/// The families in the order of output; samples of one family must be adjacent.
#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let sample = (labels.collect(), value);
        if let Some(family) = self.0.iter_mut().find(|family| family.name == name) {
            family.samples.push(sample);
            return;
        }
        let unit = matches!(sample.1, Value::Histogram(_)).then_some(Unit::Seconds);
        self.0.push(Family { name, help, unit, samples: vec![sample] });
    }

    fn balancer(&mut self, name: &str, ready: bool, figures: &Figures, restarts: u64) {
        let counts = figures.counts;
        for (outcome, count) in counts.outcomes() {
            self.add(
                "gopherworks_balancer_requests",
                "Requests that have ended, by outcome",
                &[("balancer", name), ("outcome", outcome)],
                Value::Counter(count),
            );
        }
        let own = [("balancer", name)];
        let counters = [
            (
                "gopherworks_balancer_copies",
                "Hedged or replicated copies of requests, without retries",
                counts.copies,
            ),
            (
                "gopherworks_balancer_wasted_copies",
                "Copies that were started but not needed",
                counts.wasted,
            ),
            (
                "gopherworks_balancer_retries",
                "Requests requeued because their worker was lost",
                counts.retried,
            ),
            ("gopherworks_balancer_ejections", "Ejections of workers", counts.ejected),
            ("gopherworks_balancer_restarts", "Restarts of workers and of the balancer", restarts),
        ];
        for (metric, help, count) in counters {
            self.add(metric, help, &own, Value::Counter(count));
        }
        let gauges = [
            (
                "gopherworks_balancer_ready",
                "1 if it accepts requests and has a worker",
                f64::from(u8::from(ready)),
            ),
            ("gopherworks_balancer_requests_in_flight", "Requests in flight", figures.open as f64),
            (
                "gopherworks_balancer_requests_waiting",
                "Requests queued at the balancer",
                figures.waiting as f64,
            ),
            ("gopherworks_balancer_workers", "Configured workers", figures.workers as f64),
            ("gopherworks_balancer_workers_ejected", "Ejected workers", figures.ejected as f64),
        ];
        for (metric, help, value) in gauges {
            self.add(metric, help, &own, Value::Gauge(value));
        }
        let workers = figures.loads.workers.iter().take(figures.workers);
        for (number, load) in workers.enumerate() {
            let worker = (number + 1).to_string();
            self.add(
                "gopherworks_balancer_worker_pending",
                "Requests pending at a worker, including running ones",
                &[("balancer", name), ("worker", &worker)],
                Value::Gauge(load.pending as f64),
            );
        }
    }

    fn times(&mut self, name: &str, [response, waited]: [Buckets; 2]) {
        let own = [("balancer", name)];
        self.add(
            "gopherworks_balancer_response",
            "Time from the call to the answer",
            &own,
            Value::Histogram(response),
        );
        self.add(
            "gopherworks_balancer_wait",
            "Time from acceptance to the first start at a worker",
            &own,
            Value::Histogram(waited),
        );
    }

    fn topology(&mut self, name: &str, ready: bool, report: &Report) {
        let ledger = &report.ledger;
        let outcomes =
            [("burned", ledger.burned), ("dead", ledger.dead), ("dropped", ledger.dropped)];
        for (outcome, count) in outcomes {
            self.add(
                "gopherworks_books",
                "Books that have ended, by outcome",
                &[("topology", name), ("outcome", outcome)],
                Value::Counter(count),
            );
        }
        let own = [("topology", name)];
        self.add(
            "gopherworks_books_offered",
            "Books accepted by piles",
            &own,
            Value::Counter(ledger.offered),
        );
        self.add(
            "gopherworks_topology_restarts",
            "Restarts of actors",
            &own,
            Value::Counter(report.restarts),
        );
        self.add(
            "gopherworks_books_in_flight",
            "Books on piles, in carts and at incinerators",
            &own,
            Value::Gauge(ledger.in_flight as f64),
        );
        self.add(
            "gopherworks_topology_ready",
            "1 if it runs",
            &own,
            Value::Gauge(f64::from(u8::from(ready))),
        );
        for node in &report.nodes {
            let labels = [("topology", name), ("node", &node.name), ("kind", node.kind)];
            self.add(
                "gopherworks_node_books",
                "Books that passed through",
                &labels,
                Value::Counter(node.books),
            );
            self.add(
                "gopherworks_node_restarts",
                "Restarts of its actor",
                &labels,
                Value::Counter(node.restarts),
            );
        }
        for balancer in &report.balancers {
            for (outcome, count) in balancer.outcomes() {
                self.add(
                    "gopherworks_balancer_requests",
                    "Requests that have ended, by outcome",
                    &[("topology", name), ("balancer", &balancer.name), ("outcome", outcome)],
                    Value::Counter(count),
                );
            }
            self.add(
                "gopherworks_balancer_requests_in_flight",
                "Requests in flight",
                &[("topology", name), ("balancer", &balancer.name)],
                Value::Gauge(balancer.in_flight as f64),
            );
        }
    }
}

#[cfg(feature = "http")]
impl Families {
    fn served(&mut self, requester: &str, served: super::served::Served) {
        let own = [("requester", requester)];
        self.add(
            "gopherworks_http_connections",
            "Open connections",
            &own,
            Value::Gauge(served.connections as f64),
        );
        let counters = [
            (
                "gopherworks_http_malformed_requests",
                "Requests that are not HTTP, logged at level debug",
                served.malformed,
            ),
            (
                "gopherworks_http_slow_clients",
                "Connections cut because their client was too slow",
                served.slow,
            ),
        ];
        for (metric, help, count) in counters {
            self.add(metric, help, &own, Value::Counter(count));
        }
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::default();
        for watched in self.0.iter() {
            #[cfg(feature = "http")]
            if let Some((requester, served)) = watched.served() {
                families.served(&requester, served);
            }
            match watched.observe() {
                Observation::Balancer { figures, restarts, times } => {
                    families.balancer(&watched.name(), watched.is_ready(), &figures, restarts);
                    families.times(&watched.name(), times);
                }
                Observation::Topology(report) => {
                    families.topology(&report.topology, watched.is_ready(), &report);
                }
            }
        }
        families.0.iter().try_for_each(|family| family.write(&mut encoder))
    }
}
