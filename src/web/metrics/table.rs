//! Every metric: its name, what it counts, and its labels.

use std::fmt::Write as _;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A family of metrics.
pub(super) struct Metric {
    /// Name without the endings `_seconds` and `_total`.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// True if values are in seconds.
    pub(super) seconds: bool,
    /// Labels besides `topology`.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

impl Metric {
    pub(super) fn unit(&self) -> Option<Unit> {
        self.seconds.then_some(Unit::Seconds)
    }

    /// The name in the output, without those of a histogram's parts.
    fn full_name(&self) -> String {
        let seconds = if self.seconds { "_seconds" } else { "" };
        let total = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}{seconds}{total}", self.name)
    }
}

/// The values of a metric are in seconds.
const SECONDS: bool = true;

/// Declares metrics, and [`ALL`] of them in this order, which is that of the output.
macro_rules! metrics {
    ($(
        $id:ident: $kind:ident $(($seconds:ident))? $name:literal [$($label:literal),*]
            $help:literal;
    )*) => {
        $(pub(super) const $id: &Metric = &Metric {
            name: $name,
            kind: MetricType::$kind,
            seconds: false $(| $seconds)?,
            labels: &[$($label),*],
            help: $help,
        };)*

        pub(super) const ALL: &[&Metric] = &[$($id),*];
    };
}

metrics! {
    HTTP_CONNECTIONS: Gauge "gopherworks_http_connections" ["requester"]
        "Open connections";
    HTTP_MALFORMED: Counter "gopherworks_http_malformed_requests" ["requester"]
        "Requests that are not HTTP, logged at level debug";
    HTTP_SLOW: Counter "gopherworks_http_slow_clients" ["requester"]
        "Connections cut because their client was too slow";
    BOOKS: Counter "gopherworks_books" ["outcome"]
        "Books that have ended, by outcome";
    OFFERED: Counter "gopherworks_books_offered" []
        "Books accepted by piles";
    RESTARTS: Counter "gopherworks_topology_restarts" []
        "Restarts of actors";
    IN_FLIGHT: Gauge "gopherworks_books_in_flight" []
        "Books on piles, in carts and at incinerators";
    READY: Gauge "gopherworks_topology_ready" []
        "1 if it runs, is not being drained, and its store works";
    PILE_BOOKS: Gauge "gopherworks_pile_books" ["node", "kind", "state"]
        "Books by state: `ready`, `delayed` before the next attempt, `leased`, or in the store \
         only (`stored`)";
    PILE_CAPACITY: Gauge "gopherworks_pile_capacity_books" ["node", "kind"]
        "Most books that are ready at once; absent if unbounded";
    PILE_OLDEST: Gauge(SECONDS) "gopherworks_pile_oldest" ["node", "kind"]
        "Least age of the first ready book, sampled; 0 if there is none";
    NODE_BOOKS: Counter "gopherworks_node_books" ["node", "kind"]
        "Books that passed through";
    NODE_CARTS: Counter "gopherworks_node_carts" ["node", "kind"]
        "Carts that passed through";
    NODE_WAITS: Counter "gopherworks_node_waits" ["node", "kind"]
        "Times that a cart had to wait for books, space or a restart";
    NODE_RESTARTS: Counter "gopherworks_node_restarts" ["node", "kind"]
        "Restarts of its actor";
    NODE_FAILURES: Counter "gopherworks_node_failures" ["node", "kind"]
        "Failed attempts";
    NODE_DEAD: Counter "gopherworks_node_dead" ["node", "kind"]
        "Dead letters, and requests that failed or were refused";
    NODE_BUSY: Counter(SECONDS) "gopherworks_node_busy" ["node", "kind"]
        "Time in steps, works and burns; of a crew, the mean of its gophers";
    NODE_IDLE: Counter(SECONDS) "gopherworks_node_idle" ["node", "kind"]
        "Time that the carts of a crew waited for books, in proportion to the carts that waited; \
         sampled";
    NODE_BLOCKED: Counter(SECONDS) "gopherworks_node_blocked" ["node", "kind"]
        "Time that the loaded carts of a crew waited for space or for the incinerator, in \
         proportion; sampled";
    NODE_PAUSED: Gauge "gopherworks_node_paused" ["node", "kind"]
        "1 while its sink is unavailable, or an operator pauses it; of a pile, its source";
    NODE_GOPHERS: Gauge "gopherworks_node_gophers" ["node", "kind"]
        "Gophers of a crew that get carts";
    NODES_LEFT_OUT: Gauge "gopherworks_nodes_left_out" []
        "Gophers without metrics of their own, since there are more than 1,000; their crews have \
         them";
    STORE_UP: Gauge "gopherworks_store_up" []
        "1 while the store of durable piles works";
    STORE_UNCONFIRMED: Gauge "gopherworks_store_unconfirmed_books" []
        "Books whose latest changes are not stored";
    STORE_COMMIT: Histogram(SECONDS) "gopherworks_store_commit" []
        "Time of a commit";
    REQUESTS: Counter "gopherworks_balancer_requests" ["balancer", "outcome"]
        "Requests that have ended, by outcome";
    COPIES: Counter "gopherworks_balancer_copies" ["balancer"]
        "Hedged or replicated copies of requests, without retries";
    WASTED: Counter "gopherworks_balancer_wasted_copies" ["balancer"]
        "Copies that were started but not needed";
    RETRIES: Counter "gopherworks_balancer_retries" ["balancer"]
        "Requests requeued because their worker was lost";
    EJECTIONS: Counter "gopherworks_balancer_ejections" ["balancer"]
        "Ejections of workers";
    BALANCER_RESTARTS: Counter "gopherworks_balancer_restarts" ["balancer"]
        "Restarts of workers and of the balancer";
    BALANCER_READY: Gauge "gopherworks_balancer_ready" ["balancer"]
        "1 if it accepts requests and has a worker";
    REQUESTS_IN_FLIGHT: Gauge "gopherworks_balancer_requests_in_flight" ["balancer"]
        "Requests in flight";
    REQUESTS_WAITING: Gauge "gopherworks_balancer_requests_waiting" ["balancer"]
        "Requests queued at the balancer";
    WORKERS: Gauge "gopherworks_balancer_workers" ["balancer"]
        "Configured workers";
    WORKERS_EJECTED: Gauge "gopherworks_balancer_workers_ejected" ["balancer"]
        "Ejected workers";
    PENDING: Gauge "gopherworks_balancer_worker_pending" ["balancer", "worker"]
        "Requests pending at a worker, including running ones; of the first 1,000 workers";
    RESPONSE: Histogram(SECONDS) "gopherworks_balancer_response" ["balancer"]
        "Time from the call to the answer";
    WAIT: Histogram(SECONDS) "gopherworks_balancer_wait" ["balancer"]
        "Time from acceptance to the first start at a worker";
}

/// All metrics, as `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = "# Metrics\n\nGenerated by `gopherworks schema --format metrics`.\n\n\
        Those of a topology also have the label `topology`. A histogram has `_bucket`, `_sum` and \
        `_count`.\n\n| Metric | Type | Labels | |\n|---|---|---|---|\n"
        .to_owned();
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match metric.kind {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        let (name, labels) = (metric.full_name(), labels.join(", "));
        let _ = writeln!(out, "| `{name}` | {kind} | {labels} | {} |", metric.help);
    }
    out
}
