//! The end in order: not ready, HTTP finishes its requests, everything drains, the account.

use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use gopherworks_actors::balancer::desk::Counts;
use gopherworks_actors::clock::Clock;

use super::Endpoints;
use crate::report::Report;

/// What one balancer or topology has done when it has ended.
#[derive(Debug, Clone)]
pub enum Account {
    /// A balancer: every request that was asked is among the others.
    Balancer {
        /// Its name.
        name: String,
        /// What has become of its requests.
        counts: Counts,
    },
    /// A topology.
    Topology(Box<Report>),
}

impl Account {
    /// True if everything is accounted for, once.
    pub fn balances(&self) -> bool {
        match self {
            Account::Balancer { counts, .. } => counts.asked == counts.over(),
            Account::Topology(report) => report.balances(),
        }
    }
}

impl Endpoints {
    /// Runs `server` until it ends by itself or the process is told to: by SIGTERM, SIGINT or
    /// Ctrl-C. Then ends everything in order, as [`Endpoints::shut_down`] does; told a second
    /// time, it stops at once and gives up what is under way. The server has to be built with
    /// `disable_signals()`, else it stops before it says that it is not ready.
    ///
    /// # Errors
    /// The server's. Balancers and topologies are drained all the same; their account is in the
    /// log then.
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
            // Who asks a second time does not want to wait any longer.
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

    /// Ends everything in order: `/health/ready` answers 503, for as long as the grace says; the
    /// server takes no further connection and finishes the requests that it has, within its own
    /// `shutdown_timeout`; balancers and topologies drain, all within [`Endpoints::patience`].
    /// Gives the account of each, in the order in which they were added.
    pub async fn shut_down(&self, server: &ServerHandle) -> Vec<Account> {
        self.not_ready();
        tokio::select! {
            biased;
            () = self.hurried() => {}
            () = Clock::real().sleep(self.grace) => {}
        }
        server.stop(true).await;
        self.drain().await
    }

    /// Waits until the end is not to be waited for.
    async fn hurried(&self) {
        // The sender is in `self`.
        let _ = self.hurry.subscribe().wait_for(|hurry| *hurry).await;
    }

    async fn drain(&self) -> Vec<Account> {
        self.not_ready();
        let clock = Clock::real();
        let until = clock.now() + self.patience;
        let mut accounts = Vec::new();
        // One after the other in the order of being added: who asks is added before who is asked.
        for watched in self.watched.iter() {
            let patient = watched.end(until - clock.now());
            let account = tokio::select! {
                biased;
                account = patient => account,
                () = self.hurried() => watched.end(Duration::ZERO).await,
            };
            accounts.push(account);
        }
        accounts
    }
}

/// Waits for the process to be told to end.
async fn told() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            log::error!("Ctrl-C can't be heard: {error}");
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
                log::error!("SIGTERM can't be heard: {error}");
                interrupted.await;
            }
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}

/// How long each balancer and topology may drain, where nothing else is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
