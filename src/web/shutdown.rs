//! Shutdown in order: readiness fails, HTTP finishes its requests, everything drains, accounts are
//! returned.

use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use gopherworks_balancer::figures::RequestCounts;
use gopherworks_supervision::clock::Clock;

use super::Operations;
use crate::report::Report;

/// The final account of a balancer or topology.
#[derive(Debug, Clone)]
pub enum Account {
    /// A balancer: each request is counted under one outcome.
    Balancer {
        /// Name of the balancer.
        name: String,
        /// Requests by outcome.
        counts: RequestCounts,
    },
    /// A topology and its report.
    Topology(Box<Report>),
}

impl Account {
    /// True if everything is accounted for exactly once.
    pub fn balances(&self) -> bool {
        match self {
            Account::Balancer { counts, .. } => counts.asked == counts.over(),
            Account::Topology(report) => report.balances(),
        }
    }
}

impl Operations {
    /// Runs `server` until it ends or the process gets SIGTERM, SIGINT or Ctrl-C, then shuts down
    /// as [`Operations::shut_down`] does. A second signal stops at once and gives up what is in
    /// flight. Build the server with `disable_signals()`, otherwise it stops before readiness
    /// fails.
    ///
    /// # Errors
    /// The server failed. Balancers and topologies are drained nevertheless; their accounts are
    /// logged.
    pub async fn serve(&self, server: Server) -> std::io::Result<Vec<Account>> {
        let handle = server.handle();
        let mut running = std::pin::pin!(server);
        tokio::select! {
            biased;
            ended = &mut running => {
                let accounts = self.drain().await;
                return match ended {
                    Ok(()) => Ok(accounts),
                    Err(error) => {
                        log::error!("the server failed: {error}; {accounts:?}");
                        Err(error)
                    }
                };
            }
            () = told() => {}
        }
        let hurried = async {
            // A second signal means: stop waiting.
            told().await;
            self.hurry.send_replace(true);
            handle.stop(false).await;
            std::future::pending().await
        };
        tokio::select! {
            (accounts, ended) = async { tokio::join!(self.shut_down(&handle), running) } => {
                ended.map(|()| accounts)
            }
            never = hurried => never,
        }
    }

    /// Shuts down in order: `/health/ready` answers 503 for the grace period, streams end, the
    /// server accepts no further connection and finishes its requests within its own
    /// `shutdown_timeout`, balancers and topologies drain within [`Operations::patience`]. Returns
    /// the accounts in the order of being added.
    pub async fn shut_down(&self, server: &ServerHandle) -> Vec<Account> {
        self.not_ready();
        tokio::select! {
            biased;
            () = self.hurried() => {}
            () = Clock::real().sleep(self.grace) => {}
        }
        self.streams.end();
        server.stop(true).await;
        self.drain().await
    }

    /// Resolves at the second signal, after which the shutdown waits for nothing.
    async fn hurried(&self) {
        // Can't fail: the sender is in `self`.
        let _ = self.hurry.subscribe().wait_for(|hurry| *hurry).await;
    }

    async fn drain(&self) -> Vec<Account> {
        self.not_ready();
        let clock = Clock::real();
        let until = clock.now() + self.patience;
        let mut accounts = Vec::new();
        // In the order of being added: callers before the balancers that they call.
        for watched in self.watched.iter() {
            let Some(patient) = watched.end(until - clock.now()) else {
                continue;
            };
            let account = tokio::select! {
                biased;
                account = patient => Some(account),
                () = self.hurried() => match watched.end(Duration::ZERO) {
                    Some(hurried) => Some(hurried.await),
                    None => None,
                },
            };
            accounts.extend(account);
        }
        accounts
    }
}

/// Waits for a signal to end.
async fn told() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            log::error!("can't listen for Ctrl-C: {error}");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => tokio::select! {
                _ = terminated.recv() => {}
                () = interrupted => {}
            },
            Err(error) => {
                log::error!("can't listen for SIGTERM: {error}");
                interrupted.await;
            }
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}

/// Default of [`Operations::patience`].
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
