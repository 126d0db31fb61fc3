//! Metrics in the text formats of Prometheus and OpenMetrics, read on demand.

mod table;

use std::fmt;
use std::sync::Arc;

use gopherworks_balancer::figures::Buckets;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};

use self::table::Metric;
use super::watched::{BalancerState, Observation, TopologyState, Watched};
use crate::topology::{NodeStatus, PileStatus};

pub use table::reference;

/// Maximum number of gophers and workers with metrics of their own.
const MOST_ROWS: usize = 1_000;

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

type Labels = Vec<(&'static str, String)>;

enum Value {
    Counter(u64),
    /// A counter of seconds.
    Seconds(f64),
    Gauge(f64),
    Histogram(Buckets),
}

impl Value {
    fn flag(on: bool) -> Self {
        Value::Gauge(f64::from(u8::from(on)))
    }

    fn write(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Counter(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
            Value::Seconds(time) => encoder.encode_counter::<NoLabelSet, _, u64>(time, None),
            Value::Gauge(value) => encoder.encode_gauge(value),
            Value::Histogram(all) => {
                encoder.encode_histogram::<NoLabelSet>(all.seconds, all.count, &all.buckets, None)
            }
        }
    }
}

/// Samples by family, since those of one family must be adjacent.
struct Families(Vec<Vec<(Labels, Value)>>);

impl Families {
    fn new() -> Self {
        Self(table::ALL.iter().map(|_| Vec::new()).collect())
    }

    /// Adds a sample. `values` are those of the metric's labels.
    fn add(&mut self, metric: &'static Metric, own: &Labels, values: &[&str], value: Value) {
        debug_assert_eq!(metric.labels.len(), own_labels(own) + values.len(), "{}", metric.name);
        let Some(at) = table::ALL.iter().position(|known| known.name == metric.name) else {
            return;
        };
        let named = &metric.labels[metric.labels.len() - values.len()..];
        let more = named.iter().zip(values).map(|(label, value)| (*label, (*value).to_owned()));
        self.0[at].push((own.iter().cloned().chain(more).collect(), value));
    }

    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in table::ALL.iter().zip(&self.0) {
            if samples.is_empty() {
                continue;
            }
            let (unit, kind) = (metric.unit(), metric.kind);
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for (labels, value) in samples {
                value.write(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn balancer(&mut self, topology: &Labels, balancer: BalancerState) {
        let BalancerState { name, ready, figures, restarts, times } = balancer;
        let counts = figures.counts;
        let mut own = topology.clone();
        own.push(("balancer", name));
        for (outcome, count) in counts.outcomes() {
            self.add(table::REQUESTS, &own, &[outcome], Value::Counter(count));
        }
        for (metric, count) in [
            (table::COPIES, counts.copies),
            (table::WASTED, counts.wasted),
            (table::RETRIES, counts.retried),
            (table::EJECTIONS, counts.ejected),
            (table::BALANCER_RESTARTS, restarts),
        ] {
            self.add(metric, &own, &[], Value::Counter(count));
        }
        self.add(table::BALANCER_READY, &own, &[], Value::flag(ready));
        for (metric, number) in [
            (table::REQUESTS_IN_FLIGHT, figures.open),
            (table::REQUESTS_WAITING, figures.waiting),
            (table::WORKERS, figures.workers),
            (table::WORKERS_EJECTED, figures.ejected),
        ] {
            self.add(metric, &own, &[], Value::Gauge(number as f64));
        }
        let workers = figures.loads.workers.iter().take(figures.workers.min(MOST_ROWS));
        for (number, load) in (1..).zip(workers) {
            let pending = Value::Gauge(load.pending as f64);
            self.add(table::PENDING, &own, &[&u32::to_string(&number)], pending);
        }
        let [response, waited] = times;
        self.add(table::RESPONSE, &own, &[], Value::Histogram(response));
        self.add(table::WAIT, &own, &[], Value::Histogram(waited));
    }

    fn topology(&mut self, state: TopologyState) {
        let own = vec![("topology", state.name)];
        let ledger = &state.ledger;
        for (outcome, count) in [
            ("burned", ledger.burned),
            ("dead", ledger.dead),
            ("dropped", ledger.dropped - ledger.filtered - ledger.split),
            ("filtered", ledger.filtered),
            ("split", ledger.split),
        ] {
            self.add(table::BOOKS, &own, &[outcome], Value::Counter(count));
        }
        self.add(table::OFFERED, &own, &[], Value::Counter(ledger.offered));
        self.add(table::RESTARTS, &own, &[], Value::Counter(state.restarts));
        self.add(table::IN_FLIGHT, &own, &[], Value::Gauge(ledger.in_flight as f64));
        self.add(table::READY, &own, &[], Value::flag(state.ready));
        let mut gophers = 0;
        for node in state.nodes {
            gophers += usize::from(node.kind == "gopher");
            if node.kind != "gopher" || gophers <= MOST_ROWS {
                self.node(&own, &node);
            }
        }
        let left_out = gophers.saturating_sub(MOST_ROWS) as f64;
        self.add(table::NODES_LEFT_OUT, &own, &[], Value::Gauge(left_out));
        if let Some(store) = state.store {
            self.add(table::STORE_UP, &own, &[], Value::flag(store.up));
            let unconfirmed = Value::Gauge(store.unconfirmed as f64);
            self.add(table::STORE_UNCONFIRMED, &own, &[], unconfirmed);
            self.add(table::STORE_COMMIT, &own, &[], Value::Histogram(store.commits));
        }
        for balancer in state.balancers {
            self.balancer(&own, balancer);
        }
    }

    fn node(&mut self, topology: &Labels, node: &NodeStatus) {
        let mut own = topology.clone();
        own.extend([("node", node.name.clone()), ("kind", node.kind.to_owned())]);
        if let Some(pile) = &node.pile {
            self.pile(&own, pile);
        }
        for (metric, count) in [
            (table::NODE_BOOKS, node.books),
            (table::NODE_CARTS, node.carts),
            (table::NODE_WAITS, node.waits),
            (table::NODE_RESTARTS, node.restarts),
            (table::NODE_FAILURES, node.failed),
            (table::NODE_DEAD, node.dead),
        ] {
            self.add(metric, &own, &[], Value::Counter(count));
        }
        if let Some(gophers) = node.gophers {
            self.add(table::NODE_GOPHERS, &own, &[], Value::Gauge(gophers as f64));
        }
        self.add(table::NODE_BUSY, &own, &[], Value::Seconds(node.busy_s));
        for (metric, time) in
            [(table::NODE_IDLE, node.idle_s), (table::NODE_BLOCKED, node.blocked_s)]
        {
            if let Some(time) = time {
                self.add(metric, &own, &[], Value::Seconds(time));
            }
        }
        if matches!(node.kind, "pile" | "crew" | "relay" | "incinerator") {
            self.add(table::NODE_PAUSED, &own, &[], Value::flag(node.paused.is_some()));
        }
    }

    fn pile(&mut self, own: &Labels, pile: &PileStatus) {
        for (state, books) in [
            ("ready", pile.ready),
            ("delayed", pile.delayed),
            ("leased", pile.leased),
            ("stored", pile.stored),
        ] {
            self.add(table::PILE_BOOKS, own, &[state], Value::Gauge(books as f64));
        }
        if let Some(most) = pile.capacity {
            self.add(table::PILE_CAPACITY, own, &[], Value::Gauge(most as f64));
        }
        let oldest = pile.oldest_s.unwrap_or(0.0);
        self.add(table::PILE_OLDEST, own, &[], Value::Gauge(oldest));
    }
}

/// Number of labels besides `topology`.
fn own_labels(labels: &Labels) -> usize {
    labels.iter().filter(|(label, _)| *label != "topology").count()
}

#[cfg(feature = "http")]
impl Families {
    fn served(&mut self, requester: &str, served: super::served::Served) {
        let own = vec![("requester", requester.to_owned())];
        let connections = Value::Gauge(served.connections as f64);
        self.add(table::HTTP_CONNECTIONS, &own, &[], connections);
        self.add(table::HTTP_MALFORMED, &own, &[], Value::Counter(served.malformed));
        self.add(table::HTTP_SLOW, &own, &[], Value::Counter(served.slow));
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new();
        let mut named = Vec::new();
        for watched in self.0.iter() {
            #[cfg(feature = "http")]
            if let Some((requester, served)) = watched.served() {
                families.served(&requester, served);
            }
            match watched.observe() {
                Some(Observation::Balancer(state)) => {
                    named.push(state.name.clone());
                    families.balancer(&Labels::new(), *state);
                }
                Some(Observation::Topology(mut state)) => {
                    // A balancer of a topology that was also added by itself is counted once.
                    state.balancers.retain(|balancer| !named.contains(&balancer.name));
                    families.topology(*state);
                }
                None => {}
            }
        }
        families.write(&mut encoder)
    }
}
