//! The server of `[operations]`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use gopherworks_supervision::clock::Clock;

use super::server::{Limits, Server, ServerState};
use super::service::{Entrance, service};
use crate::config::elements::{HttpConfig, OperationsConfig};
use crate::topology::TopologyLink;
use crate::web::{Hosts, Operations, ServerCounts};

/// Maximum number of open connections.
const CONNECTIONS: u32 = 512;
/// Largest body of a request, in bytes.
const BODY: u64 = 64 << 10;
/// Longest time for open requests to end after the run.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Longest time for the server's thread to close its connections after that.
const LATEST: Duration = Duration::from_millis(900);
/// Number of samples of node states between two snapshots.
const LOOKS: u32 = 4;

/// A bound socket and the settings of the server.
pub(crate) struct OperationsListener {
    socket: TcpListener,
    config: OperationsConfig,
}

/// A running server for operators, on a thread of its own. Dropping it cuts its connections.
pub(crate) struct OperationsServer {
    server: Server,
    address: SocketAddr,
    operations: Operations,
}

impl OperationsListener {
    /// Binds the socket before anything runs, so that a failure prevents the start.
    pub(crate) fn bind(config: &OperationsConfig) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(&config.listen)?, config: config.clone() })
    }

    /// Serves the state of `topology` until the server is ended.
    pub(crate) fn serve(self, topology: &Arc<TopologyLink>) -> io::Result<OperationsServer> {
        let Self { socket, config } = self;
        let address = socket.local_addr()?;
        let hosts = Hosts::listening(address.ip(), &config.hosts);
        let operations = Operations::new().linked(topology.clone()).configured(&config, hosts);
        let plan = HttpConfig {
            public: config.public,
            body: BODY,
            connections: CONNECTIONS,
            ..HttpConfig::new(config.listen.as_str())
        };
        let name = format!("{}.operations", topology.name());
        let counts = Arc::new(ServerCounts::default());
        let shared = ServerState::new(name.into(), Limits::of(&plan), counts);
        let (entrance, of) = (Entrance::new(&plan, shared.clone()), operations.clone());
        let make = move || service(entrance.clone(), of.routes());
        let server = Server::start(socket, shared, (1, plan.connections), make)?;
        server.spawn(look(topology.clone(), config.sample / LOOKS));
        Ok(OperationsServer { server, address, operations })
    }
}

impl OperationsServer {
    /// The bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends streams, then connections, within a second.
    pub(crate) async fn end(self) {
        self.operations.close();
        tokio::select! {
            biased;
            () = self.server.end(LAST_ANSWERS) => {}
            () = Clock::real().sleep(LATEST) => {}
        }
    }
}

/// Samples the node states that no counter records, until the topology is dropped.
async fn look(topology: Arc<TopologyLink>, pause: Duration) {
    let clock = Clock::real();
    while let Some(running) = topology.get() {
        running.look();
        drop(running);
        clock.sleep(pause).await;
    }
}
