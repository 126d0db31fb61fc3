//! The config language as plain data, one declaration a table: keys with their descriptions,
//! defaults, bounds and short forms; see `element`.
//!
//! A file, the environment and a builder fill the same types. Those of policies, resilience,
//! restarts and such are the engine's own.

mod balancer;
mod crew;
mod execution;
mod fault;
mod gophers;
mod http;
mod kind;
mod operations;
mod pile;
mod requester;
mod resilience;
mod secret;
mod steps;
mod store;
mod topology;

pub use balancer::{
    BalancerConfig, HedgeConfig, LoadPolicy, ReplicateConfig, WhenFull, WorkersConfig,
};
pub use crew::{CartsConfig, CrewConfig, RelayConfig};
pub use execution::{
    Backoff, ExecutionConfig, ModelConfig, Placement, Strategy, SupervisionConfig,
};
pub use fault::{ExpectConfig, FaultConfig, FaultKind, FaultWhatConfig, When};
pub use http::HttpConfig;
pub use kind::KindConfig;
pub use operations::{Hangup, OperationsConfig};
pub use pile::{
    Capacity, DumpConfig, Exclusive, IncineratorConfig, LoadSlots, PileConfig, RetryConfig,
    UnloadSlots,
};
pub use requester::{Arrivals, LoadConfig, Order, RequesterConfig};
pub use resilience::{Eject, Priority, Resilience, RetryBudget, Shed};
pub use secret::Secret;
pub use steps::{Span, StepTime, StepsConfig};
pub use store::{PileStore, StoreConfig};
pub use topology::TopologyConfig;

use super::element::values::{
    Address, Burn, Copies, End, Header, Host, Method, Name, Service, Source, Text, Unbounded,
    Unlimited, Url, UrlPath, Verbatim, Works,
};
use gophers::Gophers;
