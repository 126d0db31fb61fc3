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
