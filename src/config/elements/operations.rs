//! `[operations]`: a server for operators.

use std::time::Duration;

use super::{Address, Host, Secret};
use crate::config::element::Element;

/// A server of health, metrics and the state of the run.
#[derive(Debug, Clone, PartialEq, Eq, Element)]
pub struct OperationsConfig {
    /// Address and port to listen on; port 0 selects any free port.
    #[key(as = Address, default = "127.0.0.1:9400".to_owned())]
    pub listen: String,
    /// True if other machines may connect. Then everything but health requires the `token`.
    #[key(default)]
    pub public: bool,
    /// A secret of at least 16 characters, such as `"${env.OPS_TOKEN}"`: requests that send it as
    /// `Authorization: Bearer` may see the bodies of books, and change nodes.
    pub token: Option<Secret>,
    /// What SIGHUP does.
    #[key(default)]
    pub hangup: Hangup,
    /// Time between the first SIGTERM, SIGINT or SIGHUP, from which on `/health/ready` fails, and
    /// the drain, for load balancers to notice.
    #[key(default, max = 86_400, because = "a grace period takes a day at most")]
    pub grace: Duration,
    /// Hosts that a request may name besides the address that is listened on, such as
    /// ["ops.example"]; ["*"] allows any.
    #[key(as = Vec<Host>, default)]
    pub hosts: Vec<String>,
    /// Time between two snapshots of `/api/stream`. States, such as carts that wait for space, are
    /// looked at four times as often.
    #[key(
        default = Duration::from_secs(1), min = 0.1, max = 60,
        because = "snapshots are 100 ms to 60 s apart"
    )]
    pub sample: Duration,
}

/// What SIGHUP does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Element)]
#[element(words)]
pub enum Hangup {
    /// It drains the run, as SIGTERM does.
    #[default]
    Drain,
    /// The run reads its file again and goes on with it.
    Reload,
}
